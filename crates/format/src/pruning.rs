//! The record of a pruning: an event `immutable.pruned` in the chain of the tenant whose events were removed. Each of
//! its targets says where a lane begins since then. The next event of that lane carries the hash of the last one that
//! was removed, so that an edit cannot be passed off as a pruning.

use crate::hash::Hash;

/// The action of the record.
pub const ACTION: &str = "immutable.pruned";

/// The type of its targets.
pub const LANE: &str = "immutable.lane";

/// Where a lane begins: the last event that was removed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The lane.
    pub lane: i16,
    /// The number of the last event that was removed. Every event of the lane up to it is gone.
    pub seq: i64,
    /// The hash of that event, which the next one carries as the hash of the event before it.
    pub event_hash: Hash,
}

impl Begin {
    /// The target of the record that says so, as JSON.
    #[must_use]
    pub fn target(&self) -> String {
        let Begin { lane, seq, event_hash } = self;
        let hash = hex::encode(event_hash);
        format!("{{\"type\":\"{LANE}\",\"id\":\"{lane}\",\"metadata\":{{\"event_hash\":\"{hash}\",\"seq\":{seq}}}}}")
    }
}
