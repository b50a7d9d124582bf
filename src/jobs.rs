//! What a scheduler runs: alerts, exports, the use of API keys, and the call that keeps it all going.

pub mod alerts;
pub mod exports;
pub mod exports_calls;
pub mod exports_count;
pub mod exports_csv;
pub mod exports_erased;
pub mod exports_rows;
pub mod exports_table;
pub mod maintenance;
pub mod pause;
pub mod step;
pub mod usage;
pub mod worker;
