//! Cosignatures with a time (C2SP tlog-cosignature v1.0.1, Ed25519): a witness states that this was
//! the largest tree of the log that it had seen at that time, and that it extends all it saw before.

use super::note::{KeyType, Note, SignatureLine, SignerKey, VerifierKey};
use super::MAX_SIZE;

/// A valid cosignature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    /// Seconds since 1970-01-01T00:00:00Z, by the witness's clock.
    pub time: u64,
}

/// What a witness signs at `time`, in seconds since 1970, for a note with this text.
fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Cosigns the text of a note with a key of type 0x04 at `time`, in seconds since 1970. Returns the
/// signature line with its line feed.
pub fn cosign(key: &SignerKey, text: &str, time: u64) -> String {
    let mut signature = time.to_be_bytes().to_vec();
    signature.extend_from_slice(&key.sign(message(time, text).as_bytes()));
    key.line(&signature)
}

/// Verifies a signature line as a cosignature by `key` of a note with this text. `None` if it is not
/// a valid one.
#[must_use]
pub fn verify(key: &VerifierKey, text: &str, line: &SignatureLine) -> Option<Cosignature> {
    if key.kind() != KeyType::Cosignature || !key.made(line) || line.signature.len() != 72 {
        return None;
    }
    let (time, signature) = line.signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    // A time of 0 says nothing on this being the largest tree.
    let is_time = (1..=MAX_SIZE).contains(&time);
    (is_time && key.verify(message(time, text).as_bytes(), signature)).then_some(Cosignature { time })
}

/// Says whether `key` cosigned a note. `None` if the note has no line of this key; `Some(None)` if it
/// has one that is not valid, or two.
#[must_use]
pub fn of_note(note: &Note, key: &VerifierKey) -> Option<Option<Cosignature>> {
    let mut lines = note.lines_of(key);
    let line = lines.next()?;
    Some(verify(key, &note.text, line).filter(|_| lines.next().is_none()))
}
