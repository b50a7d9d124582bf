//! Verification: it reads the rows back and reports every break.

pub mod basis;
pub mod budget;
pub mod calls;
pub mod checkpoint;
pub mod cluster;
pub mod coverage;
pub mod differences;
pub mod erasures;
pub mod heads;
pub mod lane_heads;
pub mod lanes;
pub mod late;
pub mod message;
pub mod node;
pub mod notes;
pub mod progress;
pub mod prunings;
pub mod remote;
pub mod run;
pub mod scope;
pub mod shard_names;
pub mod shared;
pub mod sums;
pub mod survey;
pub mod targets;
pub mod verdict;
