//! Signatures of webhooks: Standard Webhooks 1.0.0, and the service's own.

use base64::prelude::{Engine, BASE64_STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The keys of a receiver, one a line of its secret. While a key is exchanged there are two, the new one first.
pub(crate) struct Keys {
    keys: Vec<Key>,
    /// The first line as it is, which is the key of the service's own signature.
    first: String,
}

enum Key {
    Hmac(Vec<u8>),
    Ed25519(Box<SigningKey>),
}

impl Keys {
    /// The keys of a secret.
    ///
    /// # Errors
    /// A sentence that does not hold the secret.
    pub(crate) fn parse(secret: &str) -> Result<Keys, String> {
        let lines = || secret.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines().map(parse_key).collect::<Result<Vec<_>, _>>()?;
        let first = lines().next().unwrap_or_default().to_owned();
        Ok(Keys { keys, first })
    }

    /// The value of `webhook-signature`.
    pub(crate) fn standard(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let signatures = self.keys.iter().map(|key| match key {
            Key::Hmac(key) => format!("v1,{}", BASE64_STANDARD.encode(hmac(key, &signed))),
            Key::Ed25519(key) => format!("v1a,{}", BASE64_STANDARD.encode(key.sign(&signed).to_bytes())),
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// The value of `X-Immutable-Signature`.
    pub(crate) fn own(&self, body: &[u8]) -> String {
        format!("sha256={}", hex::encode(hmac(self.first.as_bytes(), body)))
    }
}

fn parse_key(line: &str) -> Result<Key, String> {
    let base64 = |text: &str, prefix: &str| {
        BASE64_STANDARD.decode(text).map_err(|_| format!("What follows {prefix} in the secret is not base64."))
    };
    if let Some(text) = line.strip_prefix("whsec_") {
        let key = base64(text, "whsec_")?;
        return match key.len() {
            24..=64 => Ok(Key::Hmac(key)),
            _ => Err(String::from("What follows whsec_ in the secret does not have 24 to 64 bytes.")),
        };
    }
    if let Some(text) = line.strip_prefix("whsk_") {
        let key = base64(text, "whsk_")?;
        // The seed, with or without the public key behind it.
        let seed = key.get(..32).filter(|_| matches!(key.len(), 32 | 64)).and_then(|seed| seed.try_into().ok());
        let seed: [u8; 32] = seed.ok_or("What follows whsk_ in the secret does not have 32 or 64 bytes.")?;
        return Ok(Key::Ed25519(Box::new(SigningKey::from_bytes(&seed))));
    }
    match line.len() {
        16.. => Ok(Key::Hmac(line.as_bytes().to_vec())),
        _ => Err(String::from("The secret has fewer than 16 characters.")),
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length.
    Hmac::<Sha256>::new_from_slice(key)
        .map_or_else(|_| Vec::new(), |mac| mac.chain_update(message).finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let keys = Keys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            keys.standard("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_line_signs() {
        let keys =
            Keys::parse(&format!("whsk_{}\n\nat least sixteen characters\n", BASE64_STANDARD.encode([7; 32]))).unwrap();
        let signatures = keys.standard("a", 1, b"x");
        let (v1a, v1) = signatures.split_once(' ').unwrap();
        assert!(v1a.starts_with("v1a,") && v1.starts_with("v1,"), "{signatures}");
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused_without_being_shown() {
        for secret in ["short", "whsec_QUJD", "whsec_!!!!", "whsk_QUJD", "whsk_????"] {
            let refused = Keys::parse(secret).err().expect(secret);
            assert!(!refused.contains(secret), "{refused}");
        }
    }
}
