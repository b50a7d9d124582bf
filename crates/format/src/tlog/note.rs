//! Signed notes (C2SP signed-note v1.0.0): a text, and lines of signatures by named keys.

use super::{base64, parse_base64, Malformed};
use crate::hash::sha256;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// The most signature lines that a note may have, as in golang.org/x/mod/sumdb/note.
pub const MAX_SIGNATURES: usize = 100;
/// The most bytes that a note may have.
pub const MAX_BYTES: usize = 1_000_000;
/// The most bytes of a key's name. An ML-DSA cosignature cannot state a longer one.
pub const MAX_NAME: usize = 255;

/// What begins a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";
const PRIVATE: &str = "PRIVATE+KEY+";

/// What a key signs, by the type byte of signed-note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// 0x01: Ed25519 (RFC 8032) over the text. Logs sign so.
    Ed25519,
    /// 0x04: an Ed25519 cosignature with a time. Witnesses sign so.
    Cosignature,
}

impl KeyType {
    /// Returns the type byte.
    pub fn byte(self) -> u8 {
        match self {
            KeyType::Ed25519 => 1,
            KeyType::Cosignature => 4,
        }
    }

    fn of(byte: u8) -> Result<KeyType, Malformed> {
        match byte {
            1 => Ok(KeyType::Ed25519),
            4 => Ok(KeyType::Cosignature),
            _ => malformed(&format!("a key of type {byte:#04x}, where 0x01 and 0x04 are known")),
        }
    }
}

fn malformed<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(what.to_string()))
}

/// Checks a key's name, or a log's origin: 1 to 255 bytes without Unicode spaces, control
/// characters and `+`.
///
/// # Errors
///
/// [`Malformed`] says which rule the name breaks.
pub fn check_name(name: &str) -> Result<(), Malformed> {
    match name {
        "" => malformed("the name is empty"),
        _ if name.len() > MAX_NAME => malformed("the name has more than 255 bytes"),
        _ if name.contains('+') => malformed("the name contains a +"),
        _ if name.chars().any(|char| char.is_whitespace() || char.is_control()) => {
            malformed("the name contains a space or a control character")
        }
        _ => Ok(()),
    }
}

/// The first 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
fn key_id(name: &str, kind: KeyType, public: &[u8; 32]) -> u32 {
    let digest = sha256(&[name.as_bytes(), b"\n", &[kind.byte()], public]);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Whether the coordinate of a public key is below 2^255 - 19 (RFC 8032 §5.1.3).
fn is_canonical(public: &[u8; 32]) -> bool {
    public[0] < 0xed || public[31] & 0x7f != 0x7f || public[1..31].iter().any(|byte| *byte != 0xff)
}

/// A public key that verifies signatures of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    kind: KeyType,
    public: [u8; 32],
}

impl VerifierKey {
    /// Reads a verifier key: `<name>+<8 hex digits>+<base64 of type byte and public key>`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not one of a known type, or its key id is not that of its key.
    pub fn parse(text: &str) -> Result<VerifierKey, Malformed> {
        let (name, id, kind, public) = parse_key(text)?;
        if key_id(&name, kind, &public) != id {
            return malformed("the key id is not that of the name and the key");
        }
        match VerifyingKey::from_bytes(&public) {
            Ok(key) if !key.is_weak() && is_canonical(&public) => {}
            Ok(_) => return malformed("a public key that everybody can sign for, or one of several texts of a key"),
            Err(_) => return malformed("the public key is not one of Ed25519"),
        }
        Ok(VerifierKey { name, id, kind, public })
    }

    /// Returns the key as [`VerifierKey::parse`] reads it.
    pub fn text(&self) -> String {
        key_text(&self.name, self.id, self.kind, &self.public)
    }

    /// Returns the name. A log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key id, which signature lines begin with.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns what the key signs.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// Returns the public key's 32 bytes (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Says whether a signature line is by a key of this name and id. It need not be valid.
    #[must_use]
    pub fn made(&self, line: &SignatureLine) -> bool {
        self.name == line.name && self.id == line.id
    }

    /// Says whether this key signed `message` with the 64 bytes of an Ed25519 signature. Keys and
    /// signatures that several implementations judge differently are refused.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = VerifyingKey::from_bytes(&self.public);
        let signature = Signature::from_slice(signature);
        matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_strict(message, &signature).is_ok())
    }
}

fn key_text(name: &str, id: u32, kind: KeyType, key: &[u8; 32]) -> String {
    let mut typed = vec![kind.byte()];
    typed.extend_from_slice(key);
    format!("{name}+{id:08x}+{}", base64(&typed))
}

fn parse_key(text: &str) -> Result<(String, u32, KeyType, [u8; 32]), Malformed> {
    // The base64 part may contain a + itself.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return malformed("not a key of the form name+id+key");
    };
    check_name(name)?;
    let number = u32::from_str_radix(id, 16).ok().filter(|number| format!("{number:08x}") == id);
    let Some(number) = number else { return malformed("the key id is not 8 lower-case hex digits") };
    let key = parse_base64(key)?;
    let Some((kind, key)) = key.split_first() else { return malformed("the key is empty") };
    let kind = KeyType::of(*kind)?;
    let Ok(key) = key.try_into() else { return malformed("the key does not have 32 bytes") };
    Ok((name.to_string(), number, kind, key))
}

/// A private key that signs under one name. Its bytes are wiped from memory when it is dropped.
pub struct SignerKey {
    name: String,
    id: u32,
    kind: KeyType,
    key: SigningKey,
}

impl SignerKey {
    /// Returns the key of this name and seed. The seed must be 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for a name that [`check_name`] refuses.
    pub fn new(name: &str, kind: KeyType, seed: &[u8; 32]) -> Result<SignerKey, Malformed> {
        check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let id = key_id(name, kind, key.verifying_key().as_bytes());
        Ok(SignerKey { name: name.to_string(), id, kind, key })
    }

    /// Reads a private key as golang.org/x/mod/sumdb/note writes it: `PRIVATE+KEY+<name>+<8 hex
    /// digits>+<base64 of type byte and seed>`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not one of a known type, or its key id is not that of its key.
    pub fn parse(text: &str) -> Result<SignerKey, Malformed> {
        let Some(rest) = text.strip_prefix(PRIVATE) else { return malformed("a private key begins with PRIVATE+KEY+") };
        let (name, id, kind, mut seed) = parse_key(rest)?;
        let key = SignerKey::new(&name, kind, &seed);
        seed.fill(0);
        match key {
            Ok(key) if key.id == id => Ok(key),
            Ok(_) => malformed("the key id is not that of the name and the key"),
            Err(error) => Err(error),
        }
    }

    /// Returns the private key as [`SignerKey::parse`] reads it. It is a secret.
    pub fn secret_text(&self) -> String {
        format!("{PRIVATE}{}", key_text(&self.name, self.id, self.kind, self.key.as_bytes()))
    }

    /// Returns the seed's 32 bytes, which are wiped when they are dropped. It is a secret.
    pub fn seed(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(self.key.as_bytes().to_vec())
    }

    /// Returns the public key.
    pub fn verifier(&self) -> VerifierKey {
        let public = self.key.verifying_key().to_bytes();
        VerifierKey { name: self.name.clone(), id: self.id, kind: self.kind, public }
    }

    /// Returns the 64 bytes of the Ed25519 signature of `message`. The same message has the same
    /// signature always.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Returns a signature line, with its line feed, with these bytes behind the key id.
    pub fn line(&self, signature: &[u8]) -> String {
        let mut blob = self.id.to_be_bytes().to_vec();
        blob.extend_from_slice(signature);
        format!("{DASH}{} {}\n", self.name, base64(&blob))
    }

    /// Signs the text of a note with a key of type 0x01, and returns the signature line with its line
    /// feed.
    pub fn sign_text(&self, text: &str) -> String {
        self.line(&self.sign(text.as_bytes()))
    }
}

/// A line of a note that has a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// The name of the key.
    pub name: String,
    /// The key id.
    pub id: u32,
    /// What follows the key id: at least one byte.
    pub signature: Vec<u8>,
}

impl SignatureLine {
    /// Reads a signature line without its line feed.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for any other text.
    pub fn parse(line: &str) -> Result<SignatureLine, Malformed> {
        let Some(rest) = line.strip_prefix(DASH) else { return malformed("a signature line begins with an em dash") };
        let Some((name, blob)) = rest.split_once(' ') else {
            return malformed("a signature line has a name and a signature");
        };
        check_name(name)?;
        let blob = parse_base64(blob)?;
        match blob.split_first_chunk::<4>() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(SignatureLine { name: name.to_string(), id: u32::from_be_bytes(*id), signature: signature.to_vec() })
            }
            _ => malformed("a signature has less than 5 bytes"),
        }
    }

    /// Returns the line with its line feed.
    pub fn text(&self) -> String {
        let mut blob = self.id.to_be_bytes().to_vec();
        blob.extend_from_slice(&self.signature);
        format!("{DASH}{} {}\n", self.name, base64(&blob))
    }
}

/// A text with signature lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with its last line feed. The empty line after it does not belong to it.
    pub text: String,
    /// The signature lines, at least one.
    pub signatures: Vec<SignatureLine>,
}

impl Note {
    /// Reads a signed note.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that are not a note: at most 1,000,000 bytes of UTF-8 without control
    /// characters but line feeds, a text, an empty line, and 1 to 100 signature lines.
    pub fn parse(note: &[u8]) -> Result<Note, Malformed> {
        if note.len() > MAX_BYTES {
            return malformed("a note of more than 1,000,000 bytes");
        }
        let Ok(note) = std::str::from_utf8(note) else { return malformed("the note is not UTF-8") };
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return malformed("the note contains a control character");
        }
        // The text may contain empty lines: the last one ends it.
        let Some(at) = note.rfind("\n\n") else { return malformed("the note has no empty line before its signatures") };
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else {
            return malformed("the note does not end with a signature line and a line feed");
        };
        let signatures = parse_lines(lines)?;
        Ok(Note { text: text.to_string(), signatures })
    }

    /// Returns the note as [`Note::parse`] reads it.
    pub fn to_text(&self) -> String {
        let lines: String = self.signatures.iter().map(SignatureLine::text).collect();
        format!("{}\n{lines}", self.text)
    }

    /// Returns the lines that a key signed, without checking them.
    pub fn lines_of<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a SignatureLine> {
        self.signatures.iter().filter(|line| key.made(line))
    }

    /// Says whether a key of type 0x01 signed the text. `None` if the note has no line of this key. Two
    /// lines of one key are not valid: every line of a known key must be, and nobody needs two.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifierKey) -> Option<bool> {
        let mut lines = self.lines_of(key);
        let line = lines.next()?;
        let valid = key.kind() == KeyType::Ed25519 && key.verify(self.text.as_bytes(), &line.signature);
        Some(valid && lines.next().is_none())
    }
}

/// Reads signature lines that are separated by line feeds: 1 to 100 of them, without a line feed
/// after the last.
///
/// # Errors
///
/// [`Malformed`] for any other text.
pub fn parse_lines(lines: &str) -> Result<Vec<SignatureLine>, Malformed> {
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == MAX_SIGNATURES {
            return malformed("more than 100 signature lines");
        }
        signatures.push(SignatureLine::parse(line)?);
    }
    Ok(signatures)
}
