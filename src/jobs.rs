//! What a scheduler runs: alerts, exports, the use of API keys, and the call that keeps it all going.

pub mod alert_conditions;
pub mod alert_history;
pub mod alert_list;
pub mod alert_mark;
pub mod alert_match;
pub mod alert_piece;
pub mod alert_rules;
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
pub mod position;
pub mod step;
pub mod usage;
pub mod worker;
