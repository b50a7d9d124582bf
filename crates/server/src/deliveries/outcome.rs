//! How a delivery ended.

use std::time::Duration;

/// How far a delivery came, and how it ended.
///
/// `items[..delivered]` are with the receiver and are never sent again. What the outcome says is about
/// `items[delivered]`; the items behind it may be tried or not, and are sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) delivered: usize,
    pub(crate) outcome: Outcome,
}

/// How a delivery ended. A reason is one sentence that holds no value of an event and no secret, so that
/// it may be kept in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing failed. Fewer than all items are delivered if the time of one call was over: call again.
    Delivered,
    /// Nothing is wrong with the item: send again later, after this time if the receiver named one.
    Retry { reason: String, after: Option<Duration> },
    /// `items[delivered]` cannot be accepted, now or later: it is a dead letter. Go on with the next item.
    Refused { reason: String },
    /// The receiver wants nothing more (410).
    SwitchedOff { reason: String },
}
