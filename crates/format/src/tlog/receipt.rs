//! Receipts: one event, the values of it that its holder may show, and the proof that it is in the
//! tree of a checkpoint. A receipt is verified without the log.

use super::checkpoint::SignedCheckpoint;
use super::policy::{Judgement, Policy, Refusal};
use super::proof::Proof;
use super::tree::leaf_hash;
use super::Malformed;
use crate::export::read::{shown, Shown};
use crate::hash::Hash;
use crate::limits;

/// The first line of a receipt.
pub const HEADER: &str = "immutable-receipt/v1";

/// The most bytes that a receipt may have: a line of an export, and a proof with its checkpoint.
pub const MAX_BYTES: usize = limits::LINE_BYTES + super::request::MAX_BYTES + 4096;

/// A receipt as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The line of the event as an export has it, without its line feed. Disclosures may be left out.
    pub line: String,
    /// The proof that the event is in the tree, with the checkpoint.
    pub proof: Proof,
}

/// What a receipt shows.
#[derive(Debug)]
pub struct Verified<'a> {
    /// The event, and what of it is disclosed.
    pub shown: Shown<'a>,
    /// The hash of the event.
    pub event_hash: Hash,
    /// The index of the event in the tree, from 0.
    pub index: u64,
    /// The checkpoint that the receipt has.
    pub checkpoint: SignedCheckpoint,
    /// What the policy says of the checkpoint; `None` without a policy.
    pub judgement: Option<Judgement>,
}

/// Why a receipt shows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The event is not the one that was hashed, or a disclosed value is not the one that was
    /// committed to.
    Event(String),
    /// The proof does not lead from the event to the root of the checkpoint.
    Proof,
    /// The checkpoint is not one that a known log has signed.
    Checkpoint(Refusal),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wrong::Event(why) => f.write_str(why),
            Wrong::Proof => f.write_str("the proof does not lead from the event to the root of the checkpoint"),
            Wrong::Checkpoint(refusal) => refusal.fmt(f),
        }
    }
}

impl Receipt {
    /// Returns the receipt's text.
    pub fn text(&self) -> String {
        [HEADER, "\n", &self.line, "\n", &self.proof.text()].concat()
    }

    /// Reads a receipt. Nothing is verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are not a receipt.
    pub fn parse(bytes: &[u8]) -> Result<Receipt, Malformed> {
        let malformed = |what: &str| Malformed(what.to_string());
        if bytes.len() > MAX_BYTES {
            return Err(malformed("a receipt of too many bytes"));
        }
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| Malformed(format!("not UTF-8, at byte {}", error.valid_up_to() + 1)))?;
        let Some(rest) = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')) else {
            return Err(malformed("a receipt begins with the line immutable-receipt/v1"));
        };
        let Some((line, proof)) = rest.split_once('\n') else {
            return Err(malformed("the receipt ends in the line of the event"));
        };
        shown(line.as_bytes())?;
        let proof = Proof::parse(proof)?;
        if proof.extra.is_some() {
            return Err(malformed("the proof of a receipt has no line that begins with extra"));
        }
        proof.checkpoint()?;
        Ok(Receipt { line: line.to_string(), proof })
    }

    /// Verifies the receipt: the hash of the document, each disclosed value against its commitment,
    /// the proof of inclusion, and, with a policy, the signatures of the checkpoint.
    ///
    /// # Errors
    ///
    /// [`Wrong`] says what does not hold.
    pub fn verify(&self, policy: Option<&Policy>) -> Result<Verified<'_>, Wrong> {
        let malformed = |error: Malformed| Wrong::Event(error.0);
        let shown = shown(self.line.as_bytes()).map_err(malformed)?;
        let event_hash = match &shown.event.content {
            Ok(hash) if shown.event.event_hash.as_deref() == Some(hash) => *hash,
            Ok(_) => return Err(Wrong::Event("the event's content does not hash to its event_hash".to_string())),
            Err(why) => return Err(Wrong::Event(why.clone())),
        };
        let checkpoint = self.proof.checkpoint().map_err(malformed)?;
        let judgement = policy.map(|policy| policy.judge(&checkpoint)).transpose().map_err(Wrong::Checkpoint)?;
        if !self.proof.includes(&leaf_hash(&event_hash), &checkpoint) {
            return Err(Wrong::Proof);
        }
        Ok(Verified { shown, event_hash, index: self.proof.index, checkpoint, judgement })
    }
}
