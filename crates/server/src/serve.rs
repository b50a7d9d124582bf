//! Listens, serves, and stops when it is told to.

pub(crate) mod certificate;
pub(crate) mod clients;
pub(crate) mod logs;
pub(crate) mod run;
pub(crate) mod stream;
