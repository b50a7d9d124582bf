//! The formats of the `immutable` audit log, without PostgreSQL.
//!
//! An event walks through the modules in this order:
//! [`split`] takes a payload that is JSON text apart, [`json`] reads its metadata and targets, [`target`] normalises and
//! sorts the targets, [`commitment`] seals every value that may one day be erased, [`document`] writes the text that is
//! hashed, and [`link`] says where in its lane it goes and, read back, whether it is still there; [`sum`] says the same of
//! a whole lane in any order. [`cursor`] is the way out page by page, [`export`] the way out as a file that verifies
//! without a database; [`subject`] says what of an event has to go when a person asks for it, [`token`] who may look,
//! and [`fold`] how a search compares.
//!
//! Insert, verification, export and any verifier outside the server call these same functions.

pub mod commitment;
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
pub mod split;
pub mod subject;
pub mod sum;
pub mod target;
pub mod time;
pub mod token;
pub mod word;

pub use crate::hash::{parse_hex, sha256, Hash, Salt};
pub use crate::id::Id;
