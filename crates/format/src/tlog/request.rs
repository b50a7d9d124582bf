//! The body of a call of add-checkpoint (C2SP tlog-witness v1.0.0): the size that the witness
//! cosigned last, a proof of consistency, and the checkpoint.

use super::note::MAX_BYTES as MAX_NOTE;
use super::tree::MAX_PROOF;
use super::{base64, parse_hash, parse_number, Malformed};
use crate::hash::Hash;

/// The most bytes that a body may have: a line with the old size, the hashes of a proof, an empty
/// line, and a note.
pub const MAX_BYTES: usize = 4 + 19 + 1 + MAX_PROOF * 45 + 1 + MAX_NOTE;

/// What is asked of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness cosigned last; 0 if none.
    pub old: u64,
    /// The proof that the new tree begins with the old one; at most 63 hashes.
    pub proof: Vec<Hash>,
    /// The checkpoint as a signed note, as it stands in the body.
    pub note: String,
}

impl AddCheckpoint {
    /// Returns the body.
    pub fn text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a body. Neither the note nor the proof is verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are not such a body.
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint, Malformed> {
        let malformed = |what: &str| Malformed(what.to_string());
        if body.len() > MAX_BYTES {
            return Err(malformed("a body of too many bytes"));
        }
        let body = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
        let Some((head, note)) = body.split_once("\n\n") else {
            return Err(malformed("the body has no empty line before the checkpoint"));
        };
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = parse_number(old.ok_or_else(|| malformed("the body begins with a line with the old size"))?)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return Err(malformed("a proof of more than 63 hashes"));
            }
            proof.push(parse_hash(line)?);
        }
        Ok(AddCheckpoint { old, proof, note: note.to_string() })
    }
}
