//! What a scheduler runs: alerts, exports, the use of API keys, and the call that keeps it all going.

pub mod alerts;
pub mod exports;
pub mod maintenance;
pub mod pause;
pub mod step;
pub mod usage;
pub mod worker;
