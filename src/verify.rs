//! Verification: it reads the rows back and reports every break.

pub mod budget;
pub mod checkpoint;
pub mod coverage;
pub mod differences;
pub mod erasures;
pub mod heads;
pub mod lanes;
pub mod late;
pub mod notes;
pub mod progress;
pub mod run;
pub mod scope;
pub mod shared;
pub mod sums;
pub mod targets;
pub mod verdict;
