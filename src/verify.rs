//! Verification: it reads the rows back and reports every break.

pub mod erasures;
pub mod heads;
pub mod lanes;
pub mod progress;
pub mod run;
pub mod scope;
pub mod sums;
pub mod targets;
pub mod verdict;
