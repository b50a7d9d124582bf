#![doc = include_str!("../README.md")]
//!
//! ## The way of an event
//!
//! [`split`] takes a payload that is JSON text apart, and [`json`] reads its metadata and targets.
//! [`target`] normalises and sorts the targets. [`commitment`] seals every value that may be erased
//! one day, [`document`] writes the text that is hashed, and [`link`] decides where in its lane the
//! event goes. Read back, [`link`] checks that the event still stands there, and [`sum`] checks a
//! whole lane in any order. Events leave page by page with a [`cursor`] or as an [`export`].
//! [`subject`] finds what of an event is erased when a person asks for it, and [`erasure`] erases
//! it. [`token`], [`api_key`] and [`ticket`] say who may look, and [`fold`] how a search compares.
//! [`pattern`] says which actions a log takes.
//! [`tlog`] makes evidence of it all that others can verify.

pub mod api_key;
pub mod commitment;
pub mod csv;
pub mod cursor;
pub mod document;
pub mod erasure;
pub mod event;
pub mod export;
pub mod fold;
pub mod hash;
pub mod id;
pub mod json;
pub mod limits;
pub mod link;
pub mod pattern;
pub mod pruning;
pub mod split;
pub mod subject;
pub mod sum;
pub mod target;
pub mod ticket;
pub mod time;
pub mod tlog;
pub mod token;
pub mod word;

pub use crate::hash::{parse_hex, sha256, Hash, Salt};
pub use crate::id::Id;
