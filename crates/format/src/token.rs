//! Viewer tokens: JSON Web Tokens (RFC 7519) in compact form (RFC 7515), signed with HMAC-SHA-256
//! (RFC 2104) and nothing else.
//!
//! [`mint`] writes a token. [`open`] takes one apart and refuses it if its form or its header is
//! wrong. [`Sealed::verify`] checks the signature, and only a payload with a right signature can be
//! read: [`Authentic::claims`] holds the claims to the rules of this format, and
//! [`Claims::check_time`] compares them with the clock.
//!
//! The parser is that of [`json`](crate::json), which refuses an object with two members of one
//! name, so that no two readers can understand a token differently.

use crate::json::{write_string, Members, Value};
use crate::limits;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The greatest length of a token, in bytes.
pub const MAX_BYTES: usize = 8192;
/// The greatest length of the request headers, as JSON, that are searched for a token, in bytes.
pub const MAX_HEADERS_BYTES: usize = 128 * 1024;
/// The least length of a secret, in bytes: that of the digest (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// The greatest length of a secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 1024;
/// The greatest length of a `jti`, in bytes.
pub const MAX_JTI_BYTES: usize = 255;
/// The greatest number of seconds that a token may be valid for: `exp - iat`.
pub const MAX_LIFETIME: i64 = 86_400;
/// The number of seconds that the issuer's clock may be ahead of ours. There is no leeway for
/// `exp`.
pub const LEEWAY: i64 = 60;
/// The claim `iss` of every viewer token. A secret that is shared with another application also
/// signs other tokens.
pub const ISSUER: &str = "immutable";
/// The claim `role` of every viewer token.
pub const ROLE: &str = "immutable_viewer";

const TYPE: &str = "JWT";
/// Nesting of a header or payload. Other issuers put objects of their own into a payload; they are
/// ignored.
const NESTING: usize = 16;

/// What a token says. Everything but the time is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The tenant whose events the token opens.
    pub tenant_id: String,
    /// The actor whose events the token opens; `None` for all events of the tenant.
    pub actor_id: Option<String>,
    /// The id of the token (RFC 7519 §4.1.7), by which it can be revoked.
    pub jti: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// The time before which it is not valid, in seconds since 1970.
    pub nbf: Option<i64>,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
}

/// Why a token was refused. No variant holds a part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The token is longer than [`MAX_BYTES`].
    TooLong,
    /// The token is not three parts of base64url, or not JSON objects with distinct members.
    Form,
    /// The algorithm is not HS256, whatever it is.
    Algorithm,
    /// The header says that the token is more, or something else, than a plain JWT.
    Header,
    /// No key in use made the signature.
    Signature,
    /// A claim is missing, or is not as this format has it. Only a token whose signature is right
    /// gets this error.
    Claim(&'static str),
    /// The time `exp` is over.
    Expired,
    /// The time `iat` or `nbf` has not come yet.
    NotYetValid,
    /// The request headers are not a JSON object of texts with distinct names.
    Headers,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::TooLong => write!(f, "it is longer than {MAX_BYTES} bytes"),
            Error::Form => write!(f, "it is no JSON Web Token in compact form"),
            Error::Algorithm => write!(f, "its algorithm is not HS256"),
            Error::Header => write!(f, "its header is not one of a plain JWT"),
            Error::Signature => write!(f, "its signature is not of a key in use"),
            Error::Claim(claim) => write!(f, "its claim {claim} is missing or malformed"),
            Error::Expired => write!(f, "it has expired"),
            Error::NotYetValid => write!(f, "it is not valid yet"),
            Error::Headers => write!(f, "the request's headers are no JSON object of distinct names"),
        }
    }
}

impl std::error::Error for Error {}

fn mac(secret: &[u8], input: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(input.as_bytes());
    Some(mac)
}

/// The members of a payload, as they are written one after the other.
pub(crate) struct Payload(String);

impl Payload {
    pub(crate) fn new() -> Payload {
        Payload(String::from("{"))
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write_string(name, &mut self.0);
        self.0.push(':');
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(value, &mut self.0);
    }

    pub(crate) fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        self.0.push_str(&value.to_string());
    }

    /// The token of this type with this payload.
    pub(crate) fn sign(mut self, secret: &[u8], typ: &str) -> Option<String> {
        self.0.push('}');
        let header = format!("{{\"alg\":\"HS256\",\"typ\":\"{typ}\"}}");
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&self.0));
        let signature = mac(secret, &input)?.finalize().into_bytes();
        Some(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The seal of a text that is no token. It must contain a character that no token has before its signature.
pub fn seal(secret: &[u8], text: &str) -> Option<String> {
    Some(URL_SAFE_NO_PAD.encode(mac(secret, text)?.finalize().into_bytes()))
}

/// Whether this is the seal of the text.
pub fn is_seal(secret: &[u8], text: &str, seal: &str) -> bool {
    let Ok(seal) = URL_SAFE_NO_PAD.decode(seal) else { return false };
    mac(secret, text).is_some_and(|mac| mac.verify_slice(&seal).is_ok())
}

/// Writes a token, signed with HMAC-SHA-256 (RFC 2104). Returns `None` if [`Authentic::claims`]
/// would refuse the claims, or if the token would be too long.
pub fn mint(secret: &[u8], claims: &Claims) -> Option<String> {
    let mut payload = Payload::new();
    payload.text("role", ROLE);
    payload.text("iss", ISSUER);
    payload.number("iat", claims.iat);
    if let Some(nbf) = claims.nbf {
        payload.number("nbf", nbf);
    }
    payload.number("exp", claims.exp);
    payload.text("jti", &claims.jti);
    payload.text("tenant_id", &claims.tenant_id);
    if let Some(actor_id) = &claims.actor_id {
        payload.text("actor_id", actor_id);
    }
    let token = payload.sign(secret, TYPE)?;
    // A token that would be refused when it comes back is not returned.
    let sealed = open(&token).ok()?;
    (sealed.verify(secret)?.claims().ok().as_ref() == Some(claims)).then_some(token)
}

/// A token in parts. Nothing is known of it yet but that its header asks for HS256.
pub struct Sealed<'a> {
    input: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// A payload whose signature is right.
pub struct Authentic(pub(crate) String);

/// Takes a token apart.
///
/// # Errors
///
/// [`Error::TooLong`], [`Error::Form`], [`Error::Algorithm`] or [`Error::Header`].
pub fn open(token: &str) -> Result<Sealed<'_>, Error> {
    open_typed(token, |typ| typ.is_none_or(|typ| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE))))
}

/// Takes a token apart whose type, the header's member `typ`, passes `is_type`.
pub(crate) fn open_typed(token: &str, is_type: fn(Option<&Value>) -> bool) -> Result<Sealed<'_>, Error> {
    if token.len() > MAX_BYTES {
        return Err(Error::TooLong);
    }
    let (input, signature) = token.rsplit_once('.').ok_or(Error::Form)?;
    let (header, payload) = input.split_once('.').ok_or(Error::Form)?;
    if payload.contains('.') {
        return Err(Error::Form);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Error::Form)?;
    let header = decode(header)?;
    let Value::Object(header) = parse(&header)? else { return Err(Error::Form) };
    match member(&header, "alg").and_then(Value::as_str) {
        Some("HS256") => {}
        _ => return Err(Error::Algorithm),
    }
    // This parser understands no critical header (RFC 7515 §4.1.11), and a token of another type is
    // another kind of token.
    if member(&header, "crit").is_some() || !is_type(member(&header, "typ")) {
        return Err(Error::Header);
    }
    Ok(Sealed { input, payload, signature })
}

impl Sealed<'_> {
    /// Returns the payload if `secret` made the signature. The comparison takes as long for a wrong
    /// signature as for a right one.
    pub fn verify(&self, secret: &[u8]) -> Option<Authentic> {
        mac(secret, self.input)?.verify_slice(&self.signature).ok()?;
        decode(self.payload).ok().map(Authentic)
    }
}

impl Authentic {
    /// Returns the claims if they are those of a viewer token.
    ///
    /// # Errors
    ///
    /// [`Error::Form`] if the payload is not a JSON object, [`Error::Claim`] with the first claim
    /// that is missing or wrong.
    pub fn claims(&self) -> Result<Claims, Error> {
        let Value::Object(members) = parse(&self.0)? else { return Err(Error::Form) };
        let text = |name: &'static str| member(&members, name).and_then(Value::as_str).ok_or(Error::Claim(name));
        // PostgreSQL's texts have no NUL; a longer one is no tenant's or actor's.
        let identity = |name: &'static str| {
            let text = text(name)?;
            let fits = text.len() <= limits::text_bytes(name) && !text.contains('\0');
            fits.then(|| text.to_string()).ok_or(Error::Claim(name))
        };
        if text("iss")? != ISSUER {
            return Err(Error::Claim("iss"));
        }
        if text("role")? != ROLE {
            return Err(Error::Claim("role"));
        }
        let jti = text("jti")?;
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES || jti.contains('\0') {
            return Err(Error::Claim("jti"));
        }
        // An actor that is null or empty is an issuer's mistake, and must not open the whole
        // tenant.
        let actor_id = match member(&members, "actor_id") {
            None => None,
            Some(_) => Some(identity("actor_id")?),
        };
        if actor_id.as_deref() == Some("") {
            return Err(Error::Claim("actor_id"));
        }
        let (iat, exp) = (seconds(&members, "iat")?, seconds(&members, "exp")?);
        match exp.checked_sub(iat) {
            Some(1..=MAX_LIFETIME) => {}
            _ => return Err(Error::Claim("exp")),
        }
        let nbf = member(&members, "nbf").map(|_| seconds(&members, "nbf")).transpose()?;
        Ok(Claims { tenant_id: identity("tenant_id")?, actor_id, jti: jti.to_string(), iat, nbf, exp })
    }
}

impl Claims {
    /// Compares the claims with the clock: `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] or [`Error::NotYetValid`].
    pub fn check_time(&self, now: i64) -> Result<(), Error> {
        if now >= self.exp {
            return Err(Error::Expired);
        }
        if self.iat.max(self.nbf.unwrap_or(self.iat)) > now.saturating_add(LEEWAY) {
            return Err(Error::NotYetValid);
        }
        Ok(())
    }
}

/// Returns the bearer token (RFC 6750 §2.1) among a request's headers, which are given as a JSON
/// object of names and values; `None` if there is no bearer token.
///
/// # Errors
///
/// [`Error::Headers`] if the text is not such an object, is longer than [`MAX_HEADERS_BYTES`], or
/// has two `Authorization` headers.
pub fn bearer(headers: &str) -> Result<Option<String>, Error> {
    if headers.len() > MAX_HEADERS_BYTES {
        return Err(Error::Headers);
    }
    // Escapes make the canonical text up to three times as long.
    let Ok(Value::Object(headers)) = Value::parse(headers, NESTING, 3 * MAX_HEADERS_BYTES) else {
        return Err(Error::Headers);
    };
    // The case of header names does not matter, so two names that differ only in case are one
    // header twice.
    let mut named = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let Some((_, value)) = named.next() else { return Ok(None) };
    if named.next().is_some() {
        return Err(Error::Headers);
    }
    let value = value.as_str().ok_or(Error::Headers)?;
    Ok(match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim().to_string()),
        _ => None,
    })
}

fn decode(part: &str) -> Result<String, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Form)?;
    String::from_utf8(bytes).map_err(|_| Error::Form)
}

pub(crate) fn parse(text: &str) -> Result<Value<'_>, Error> {
    Value::parse(text, NESTING, 3 * MAX_BYTES).map_err(|_| Error::Form)
}

pub(crate) fn member<'a, 'v>(members: &'v Members<'a>, name: &str) -> Option<&'v Value<'a>> {
    members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// An integer as digits say it: 1e9 and 1.0 are numbers, but no seconds.
pub(crate) fn seconds(members: &Members<'_>, name: &'static str) -> Result<i64, Error> {
    match member(members, name) {
        Some(Value::Number(digits)) => digits.parse().map_err(|_| Error::Claim(name)),
        _ => Err(Error::Claim(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const OTHER: &[u8] = b"0123456789abcdef0123456789abcdeg";
    const NOW: i64 = 1_773_585_138;
    const HEADER: &str = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

    fn ours() -> Claims {
        Claims {
            tenant_id: "org_1".into(),
            actor_id: Some("user_1".into()),
            jti: "j".into(),
            iat: NOW,
            nbf: None,
            exp: NOW + 3600,
        }
    }

    /// Any header and payload with a right signature.
    fn signed(header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = mac(SECRET, &input).unwrap().finalize().into_bytes();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn read(token: &str) -> Result<Claims, Error> {
        let claims = open(token)?.verify(SECRET).ok_or(Error::Signature)?.claims()?;
        claims.check_time(NOW)?;
        Ok(claims)
    }

    #[test]
    fn the_example_of_rfc_7515_has_the_signature_the_rfc_says() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
            .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
            .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let sealed = open(token).unwrap();
        assert!(sealed.verify(SECRET).is_none());
        assert_eq!(sealed.verify(&secret).unwrap().claims(), Err(Error::Claim("iss")));
    }

    #[test]
    fn what_is_minted_is_read() {
        for claims in [
            ours(),
            Claims { actor_id: None, tenant_id: String::new(), nbf: Some(NOW + 60), ..ours() },
            Claims { tenant_id: "ü\"\\\n\u{10ffff}".repeat(20), actor_id: Some("\u{1}".repeat(512)), ..ours() },
        ] {
            let token = mint(SECRET, &claims).unwrap();
            assert_eq!(read(&token), Ok(claims));
            assert!(open(&token).unwrap().verify(OTHER).is_none());
        }
    }

    #[test]
    fn what_would_not_be_read_is_not_minted() {
        for claims in [
            Claims { exp: NOW + MAX_LIFETIME + 1, ..ours() },
            Claims { exp: NOW, ..ours() },
            Claims { actor_id: Some(String::new()), ..ours() },
            Claims { tenant_id: "a\0b".into(), ..ours() },
            Claims { tenant_id: "a".repeat(256), ..ours() },
            Claims { jti: String::new(), ..ours() },
        ] {
            assert_eq!(mint(SECRET, &claims), None, "{claims:?}");
        }
    }

    #[test]
    fn no_other_header_will_do() {
        let token = mint(SECRET, &ours()).unwrap();
        let payload = decode(token.split('.').nth(1).unwrap()).unwrap();
        for (header, expected) in [
            (r#"{"alg":"none"}"#, Error::Algorithm),
            (r#"{"alg":"None"}"#, Error::Algorithm),
            (r#"{"alg":"RS256"}"#, Error::Algorithm),
            (r#"{"alg":"HS512"}"#, Error::Algorithm),
            (r#"{"alg":"hs256"}"#, Error::Algorithm),
            (r#"{"alg":["HS256"]}"#, Error::Algorithm),
            (r#"{"alg":null}"#, Error::Algorithm),
            (r"{}", Error::Algorithm),
            (r#"{"typ":"JWT"}"#, Error::Algorithm),
            (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Error::Header),
            (r#"{"alg":"HS256","crit":[]}"#, Error::Header),
            (r#"{"alg":"HS256","crit":null}"#, Error::Header),
            (r#"{"alg":"HS256","typ":"at+jwt"}"#, Error::Header),
            (r#"{"alg":"HS256","typ":null}"#, Error::Header),
            (r#"{"alg":"HS256","alg":"HS256"}"#, Error::Form),
            (r#"{"alg":"HS256","\u0061lg":"none"}"#, Error::Form),
            (r#"{"alg":"HS256"}x"#, Error::Form),
            (r#"["HS256"]"#, Error::Form),
            (r#""HS256""#, Error::Form),
            ("", Error::Form),
            ("\u{feff}{\"alg\":\"HS256\"}", Error::Form),
        ] {
            assert_eq!(read(&signed(header, &payload)), Err(expected), "{header}");
        }
        for header in [r#"{"alg":"HS256"}"#, r#"{"kid":"k1","typ":"jwt","alg":"HS256"}"#, r#" { "alg" : "HS256" } "#] {
            assert_eq!(read(&signed(header, &payload)), Ok(ours()), "{header}");
        }
    }

    #[test]
    fn no_other_claims_will_do() {
        let whole = [
            ("role", r#""immutable_viewer""#),
            ("iss", r#""immutable""#),
            ("iat", "1773585138"),
            ("exp", "1773588738"),
            ("jti", r#""j""#),
            ("tenant_id", r#""org_1""#),
            ("actor_id", r#""user_1""#),
        ];
        let payload = |change: &str, value: &str| {
            let mut members: Vec<String> = whole
                .iter()
                .filter(|(name, _)| *name != change)
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            if !value.is_empty() {
                members.push(format!("\"{change}\":{value}"));
            }
            format!("{{{}}}", members.join(","))
        };
        let claim = |name, values: &[&str]| {
            for value in values {
                let token = signed(HEADER, &payload(name, value));
                assert_eq!(read(&token), Err(Error::Claim(name)), "{name}: {value}");
            }
        };
        claim("role", &["", "null", r#""postgres""#, r#""immutable_auditor""#, r#"["immutable_viewer"]"#]);
        claim("iss", &["", "null", r#""supabase""#, r#"["immutable"]"#, r#""immutable ""#]);
        claim("jti", &["", "null", "1", r#""""#, r#""a\u0000""#, &format!("\"{}\"", "j".repeat(256))]);
        claim("tenant_id", &["", "null", "1", r#"["org_1"]"#, r#""a\u0000""#, &format!("\"{}\"", "t".repeat(256))]);
        claim("actor_id", &["null", r#""""#, "1", "true", r#""a\u0000""#, &format!("\"{}\"", "a".repeat(513))]);
        claim("iat", &["", "null", r#""1773585138""#, "1773585138.0", "1.773585138e9", "9223372036854775808"]);
        claim("exp", &["", "null", r#""1773588738""#, "1773588738.5", "1e99", "true"]);
        // Too long, not after iat, and a difference that overflows.
        claim("exp", &["1773671539", "1773585138", "1773585137", "-9223372036854775808", "9223372036854775807"]);
        claim("nbf", &["null", r#""0""#, "0.5"]);
        let form = |payload: &str| assert_eq!(read(&signed(HEADER, payload)), Err(Error::Form), "{payload}");
        form(&payload("x", r#"1,"tenant_id":"org_2""#));
        form(&payload("x", r#"1,"tenant\u005fid":"org_2""#));
        form(&payload("x", r#"{"a":1,"a":2}"#));
        form(&payload("x", &format!("{}1{}", "[".repeat(99), "]".repeat(99))));
        form("[]");
        form("");
        assert_eq!(read(&signed(HEADER, &payload("aud", r#"["x"],"sub":"y","app":{"a":[1]}"#))), Ok(ours()));
        assert_eq!(read(&signed(HEADER, &payload("iat", "1773585198"))).map(|claims| claims.iat), Ok(NOW + 60));
    }

    #[test]
    fn the_clock_is_held_to() {
        let claims = ours();
        assert_eq!(claims.check_time(NOW + 3599), Ok(()));
        assert_eq!(claims.check_time(NOW + 3600), Err(Error::Expired));
        assert_eq!(claims.check_time(NOW - 60), Ok(()));
        assert_eq!(claims.check_time(NOW - 61), Err(Error::NotYetValid));
        assert_eq!(claims.check_time(i64::MIN), Err(Error::NotYetValid));
        let later = Claims { nbf: Some(NOW + 100), ..claims };
        assert_eq!(later.check_time(NOW + 39), Err(Error::NotYetValid));
        assert_eq!(later.check_time(NOW + 40), Ok(()));
    }

    #[test]
    fn no_other_form_will_do() {
        let token = mint(SECRET, &ours()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        for broken in [
            String::new(),
            "x".into(),
            "..".into(),
            format!("{header}.{payload}"),
            format!("{token}."),
            format!("{token}.{signature}"),
            format!("{token}="),
            format!("{header}=.{payload}.{signature}"),
            format!(" {token}"),
            format!("{token}\n"),
            format!("Bearer {token}"),
            token.replace('.', ","),
        ] {
            assert_eq!(read(&broken), Err(Error::Form), "{broken}");
        }
        for forged in [
            format!("{header}.{payload}."),
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 32])),
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(signature).unwrap()[..16])),
            format!("{header}.{payload}!.{signature}"),
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("{}")),
        ] {
            assert_eq!(read(&forged), Err(Error::Signature), "{forged}");
        }
        // The last letter of 43 has two bits that mean nothing, and must be zero: one token, one
        // text.
        let last = signature.chars().last().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
        assert_eq!(read(&format!("{}{next}", &token[..token.len() - 1])), Err(Error::Form));
        assert_eq!(read(&format!("{token}{}", "A".repeat(MAX_BYTES))), Err(Error::TooLong));
    }

    #[test]
    fn the_bearer_token_is_found_among_headers() {
        let found = |token: &str| Ok(Some(token.to_string()));
        assert_eq!(bearer(r#"{"host":"x","authorization":"Bearer a.b.c"}"#), found("a.b.c"));
        assert_eq!(bearer(r#"{"Authorization":"bearer  a.b.c "}"#), found("a.b.c"));
        assert_eq!(bearer(r#"{"authorization":"Basic abc"}"#), Ok(None));
        assert_eq!(bearer(r#"{"authorization":"Bearer"}"#), Ok(None));
        assert_eq!(bearer(r#"{"cookie":"authorization"}"#), Ok(None));
        assert_eq!(bearer("{}"), Ok(None));
        for broken in [
            "",
            "[]",
            "x",
            r#"{"authorization":["Bearer a.b.c"]}"#,
            r#"{"authorization":"Bearer a","authorization":"Bearer b"}"#,
            r#"{"authorization":"Bearer a","Authorization":"Bearer b"}"#,
            &format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_HEADERS_BYTES)),
        ] {
            assert_eq!(bearer(broken), Err(Error::Headers));
        }
    }

    proptest! {
        #[test]
        fn any_tenant_and_actor_come_back(tenant_id in "\\PC{0,60}", actor_id in proptest::option::of("\\PC{1,60}")) {
            let claims = Claims { tenant_id, actor_id, ..ours() };
            prop_assert_eq!(read(&mint(SECRET, &claims).unwrap()), Ok(claims));
        }

        #[test]
        fn no_other_byte_anywhere(at in 0usize..10_000, with in 1u8..128) {
            let token = mint(SECRET, &ours()).unwrap();
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            let altered = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(read(&altered).is_ok(), altered == token);
        }

        #[test]
        fn any_text_is_refused_and_nothing_panics(text in "\\PC{0,200}", parts in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,43}") {
            prop_assert!(read(&text).is_err());
            prop_assert!(read(&parts).is_err());
            let _ = bearer(&text);
            prop_assert!(read(&signed(HEADER, &text)).is_err());
            let headed = signed(&text, "{}");
            prop_assert!(read(&headed).is_err());
        }

        #[test]
        fn no_other_secret(secret in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(secret != SECRET);
            let token = mint(SECRET, &ours()).unwrap();
            prop_assert!(open(&token).unwrap().verify(&secret).is_none());
        }
    }
}
