//! An event's way into the log.

pub mod at_shard;
pub mod batch;
pub mod chain;
pub mod payload;
pub mod repeated;
pub mod replica;
pub mod replica_erasures;
pub mod restore;
pub mod schemas;
pub mod sealed;
pub mod shard;
pub mod targets;
pub mod track;
pub mod validate;
pub mod watch;
