//! Answers: pages of events, the feed of changes, exports.

pub mod answer;
pub mod changes;
pub mod estimate;
pub mod events;
pub mod export;
pub mod export_events;
pub mod export_shards;
pub mod feed;
pub mod feed_mark;
pub mod feed_position;
pub mod feed_runs;
pub mod filter;
pub mod fold;
pub mod lead;
pub mod page;
pub mod probe;
pub mod query;
pub mod shard;
pub mod shards;
pub mod strategy;
pub mod time_bound;
pub mod total;
pub mod windows;
