//! API keys: `imk_` and 32 random bytes in base64url (RFC 4648 §5).
//!
//! A client has the key, a program that takes it shows its digest, and the database holds the
//! digest's digest. SHA-256 needs no salt and no slowness here, because a key is as random as its
//! digest.

use crate::hash::{sha256, Hash};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;

/// What every key begins with, so that a scanner for secrets recognizes one.
pub const PREFIX: &str = "imk_";

/// How many random bytes a key has.
pub const RANDOM_BYTES: usize = 32;

/// How many characters of a key are kept for display.
pub const SHOWN: usize = 12;

/// The key of these random bytes.
pub fn key(random: &[u8; RANDOM_BYTES]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// Whether a text looks like a key, and so must not be shown anywhere.
pub fn is_like_key(text: &str) -> bool {
    text.trim_start().get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// What is shown of a key to the database: its SHA-256.
pub fn digest(key: &str) -> Hash {
    sha256(&[key.as_bytes()])
}

/// What the database holds of a key: SHA-256 of its digest.
pub fn stored(digest: &Hash) -> Hash {
    sha256(&[digest])
}

/// A digest as text: exactly 64 hex digits, none of them a capital letter.
pub fn parse_digest(text: &str) -> Option<Hash> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut digest = Hash::default();
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_has_the_digests_that_other_programs_compute() {
        let key = key(&[0xfb; 32]);
        assert_eq!(key, "imk_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
        let shown = digest(&key);
        // printf %s imk_… | sha256sum, and sha256sum of those 32 bytes.
        assert_eq!(hex::encode(shown), "1114c32b92de9a96b15e932531398d5d5282309e2c5b2a0d5110c35dcd78db00");
        assert_eq!(hex::encode(stored(&shown)), "86b6dc5f1c8afbd1de68c11c9a950aabba1f0c5ae0b05407fc98553b5d4d4978");
    }

    #[test]
    fn only_a_digest_is_read_as_one() {
        let text = hex::encode(digest("imk_a"));
        assert_eq!(parse_digest(&text), Some(digest("imk_a")));
        for other in [&text[1..], &format!("{text}0"), &text.to_uppercase(), &format!(" {}", &text[1..]), "", "imk_a"] {
            assert_eq!(parse_digest(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_digest_or_not(text in "\\PC{0,70}") {
            if let Some(digest) = parse_digest(&text) {
                prop_assert_eq!(hex::encode(digest), text);
            }
        }

        #[test]
        fn keys_are_like_keys_and_no_digests(random in any::<[u8; 32]>()) {
            let key = key(&random);
            prop_assert!(is_like_key(&key) && parse_digest(&key).is_none() && key.len() == 47);
        }
    }
}
