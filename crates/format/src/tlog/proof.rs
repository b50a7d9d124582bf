//! Proof files (C2SP tlog-proof): the index of a leaf, the proof of its inclusion, and the checkpoint
//! of the tree.

use super::checkpoint::SignedCheckpoint;
use super::tree::{is_included, MAX_PROOF};
use super::{base64, parse_base64, parse_hash, parse_number, Malformed};
use crate::hash::Hash;

/// The first line of a proof file.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Data that the reader needs to make the leaf. It is not authenticated.
    pub extra: Option<Vec<u8>>,
    /// The index of the leaf, from 0.
    pub index: u64,
    /// The proof of inclusion, the leaf's sibling first; at most 63 hashes.
    pub hashes: Vec<Hash>,
    /// The checkpoint as a signed note, as it stands in the file.
    pub note: String,
}

impl Proof {
    /// Returns the file's text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text += &["extra ", &base64(extra), "\n"].concat();
        }
        text += &["index ", &self.index.to_string(), "\n"].concat();
        for hash in &self.hashes {
            text.push_str(&base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a proof file. Neither the proof nor the signatures are verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not a proof file.
    pub fn parse(text: &str) -> Result<Proof, Malformed> {
        let malformed = |what: &str| Malformed(what.to_string());
        let Some((head, note)) = text.split_once("\n\n") else {
            return Err(malformed("a proof file has an empty line before the checkpoint"));
        };
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("a proof file begins with c2sp.org/tlog-proof@v1"));
        }
        let extra =
            lines.next_if(|line| line.starts_with("extra ")).map(|line| parse_base64(&line[6..])).transpose()?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = parse_number(index.ok_or_else(|| malformed("a proof file has a line with the index"))?)?;
        let hashes: Vec<Hash> = lines.map(parse_hash).collect::<Result<_, _>>()?;
        if hashes.len() > MAX_PROOF {
            return Err(malformed("a proof of more than 63 hashes"));
        }
        Ok(Proof { extra, index, hashes, note: note.to_string() })
    }

    /// Reads the checkpoint. Its signatures are not verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is not a signed checkpoint.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, Malformed> {
        SignedCheckpoint::parse(self.note.as_bytes())
    }

    /// Says whether the proof leads from this leaf hash to the root of `checkpoint`.
    #[must_use]
    pub fn includes(&self, leaf: &Hash, checkpoint: &SignedCheckpoint) -> bool {
        let checkpoint = &checkpoint.checkpoint;
        is_included(leaf, self.index, checkpoint.size, &checkpoint.root, &self.hashes)
    }
}
