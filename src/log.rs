//! What the log is made of: its tables, rows, lanes and its own events.

pub mod alert_state;
pub mod brought;
pub mod columns;
pub mod distributed;
pub mod event;
pub mod lane;
pub mod log_identity;
pub mod own_change;
pub mod own_event;
pub mod place;
pub mod pruned;
pub mod readable;
pub mod recorded;
pub mod rewriting;
pub mod row;
pub mod seam;
<<<<<<< HEAD
=======
pub mod segment_indexes;
>>>>>>> h-cseal
pub mod segment_triggers;
pub mod segments;
pub mod session_context;
pub mod shard_name;
pub mod shard_range;
pub mod shards;
pub mod shared_table;
pub mod small_table;
pub mod snapshot;
pub mod subscription;
pub mod tables;
pub mod tail;
pub mod targets;
pub mod tree;
pub mod tree_leaves;
pub mod tree_runs;
pub mod uncommitted;
