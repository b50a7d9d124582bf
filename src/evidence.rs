//! Evidence for those who do not trust the database: a Merkle tree over all events, checkpoints that
//! others cosign, and proofs.
//!
//! [`sequence`] appends events to the tree, and [`checkpoint`] signs its head with the keys of
//! [`signing_key`]. [`position`] says where the log may sign, and [`incarnation`] how it goes on
//! elsewhere. [`witness`] stores what others have signed. [`proof`] and [`receipt`] prove of an
//! [`entry`] of the tree that a [`kept_note`] covers it, and [`page`] of all that a page shows.
//! [`rebuild`] makes damaged tiles again, [`tree_export`] writes the tree as a file, and [`tile`]
//! gives it out piece by piece.

pub mod checkpoint;
pub mod entry;
pub mod incarnation;
pub mod kept_note;
pub mod page;
pub mod position;
pub mod proof;
pub mod rebuild;
pub mod receipt;
pub mod sequence;
pub mod signing_key;
pub mod tables;
pub mod tile;
pub mod tree_export;
pub mod witness;
