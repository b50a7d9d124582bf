//! The viewer's files, which are part of the program.

pub(crate) mod files;
pub(crate) mod prepared;
