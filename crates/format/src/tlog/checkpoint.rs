//! Checkpoints (C2SP tlog-checkpoint v1.0.0): the origin, size and root of a log, as the text of a
//! signed note.

use super::note::{check_name, Note, SignerKey, VerifierKey};
use super::{base64, parse_hash, parse_number, Malformed};
use crate::hash::Hash;

/// The state of a log: what it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries its tree has, at most [`MAX_SIZE`](super::MAX_SIZE).
    pub size: u64,
    /// The root of the tree (RFC 6962).
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the text of the note: three lines, each with its line feed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }

    /// Reads the text of a note. Extension lines are ignored, as tlog-checkpoint advises. Whether an
    /// empty tree has the root of one is not asked here:
    /// [`is_consistent`](super::tree::is_consistent) does, and a witness answers that in a way of its
    /// own.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, Malformed> {
        let Some(lines) = text.strip_suffix('\n') else {
            return Err(Malformed("a checkpoint ends with a line feed".to_string()));
        };
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Malformed("a checkpoint has an origin, a size and a root".to_string()));
        };
        check_name(origin)?;
        if lines.any(str::is_empty) {
            return Err(Malformed("an extension line of the checkpoint is empty".to_string()));
        }
        let (size, root) = (parse_number(size)?, parse_hash(root)?);
        Ok(Checkpoint { origin: origin.to_string(), size, root })
    }

    /// Returns the checkpoint as a note, signed with the log's key of type 0x01.
    pub fn sign(&self, key: &SignerKey) -> String {
        let text = self.text();
        let line = key.sign_text(&text);
        format!("{text}\n{line}")
    }
}

/// A checkpoint as a signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What the text says.
    pub checkpoint: Checkpoint,
    /// The text with its signature lines.
    pub note: Note,
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint. Its signatures are not verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are not a note, or its text is not a checkpoint.
    pub fn parse(note: &[u8]) -> Result<SignedCheckpoint, Malformed> {
        let note = Note::parse(note)?;
        Ok(SignedCheckpoint { checkpoint: Checkpoint::parse(&note.text)?, note })
    }

    /// Reads several checkpoints, one after the other in one text. A note ends with its last signature
    /// line.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not made of at least one signed checkpoint.
    pub fn parse_all(text: &str) -> Result<Vec<SignedCheckpoint>, Malformed> {
        let (mut start, mut at, mut signed, mut found) = (0, 0, false, Vec::new());
        for line in text.split_inclusive('\n') {
            let is_signature = line.starts_with('\u{2014}');
            if signed && !is_signature {
                found.push(SignedCheckpoint::parse(&text.as_bytes()[start..at])?);
                start = at;
            }
            signed = is_signature;
            at += line.len();
        }
        found.push(SignedCheckpoint::parse(&text.as_bytes()[start..])?);
        Ok(found)
    }

    /// Says whether the log signed it: whether one of `keys`, whose name must be the origin, made a
    /// line, and every line of theirs is valid.
    #[must_use]
    pub fn is_signed_by_log(&self, keys: &[VerifierKey]) -> bool {
        let ours = keys.iter().filter(|key| key.name() == self.checkpoint.origin);
        let lines: Vec<bool> = ours.filter_map(|key| self.note.is_signed_by(key)).collect();
        !lines.is_empty() && lines.into_iter().all(|valid| valid)
    }
}
