//! A witness (C2SP tlog-witness v1.0.0): it cosigns a checkpoint of a log only if that extends the
//! one that it cosigned last.
//!
//! [`decide`] says what is answered, [`state`] keeps the last checkpoints on disk, [`http`] is the
//! service. [`key`] makes and reads the private key, and [`run`] puts them together.

mod decide;
mod http;
pub mod key;
pub mod run;
mod state;
