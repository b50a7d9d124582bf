//! Evidence for the outside: the Merkle tree over the log, checkpoints that others cosign, and
//! proofs. All formats are those that transparency logs share (RFC 6962, C2SP), so that software of
//! others reads them.
//!
//! [`tree`] hashes, proves and verifies; [`tile`] finds hashes in tiles, and [`growing`] fills them. [`note`] is a text with
//! signatures, [`checkpoint`] the text that a log signs, [`cosignature`] what a witness adds to it.
//! [`proof`] is a file that shows that an event is in the tree.

pub mod checkpoint;
pub mod cosignature;
pub mod growing;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tree;
pub mod tree_export;

pub use crate::export::read::Malformed;

use crate::hash::Hash;
use base64::engine::general_purpose::STANDARD;
use base64::Engine;

/// The largest size of a tree. Sizes are kept as signed 64-bit numbers in many places.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// Writes bytes as base64 (RFC 4648 §4, with padding).
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64 (RFC 4648 §4) as [`base64()`] writes it.
///
/// # Errors
///
/// [`Malformed`] for any other text, such as one without padding.
pub fn parse_base64(text: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|_| Malformed("not base64 with padding".to_string()))
}

/// Reads a hash in base64.
///
/// # Errors
///
/// [`Malformed`] if the text is not 32 bytes in base64.
pub fn parse_hash(text: &str) -> Result<Hash, Malformed> {
    parse_base64(text)?.try_into().map_err(|_| Malformed("a hash must have 32 bytes".to_string()))
}

/// Reads a number as it is written in these formats: decimal, without sign and leading zeros, at
/// most [`MAX_SIZE`].
///
/// # Errors
///
/// [`Malformed`] for any other text.
pub fn parse_number(text: &str) -> Result<u64, Malformed> {
    let number = text.parse::<u64>().ok().filter(|number| *number <= MAX_SIZE && number.to_string() == text);
    number.ok_or_else(|| Malformed("not a number from 0 to 2^63 - 1 without leading zeros".to_string()))
}
