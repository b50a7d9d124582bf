//! What is delivered: one event or one alert.

use serde_json::Value;

/// One event or one alert, on its way to a destination.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The same over all attempts to deliver it, so that a receiver can tell what it has already.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// The event as `get_events()` shows it, or the alert as `get_alerts()` does.
    pub(crate) json: Value,
    /// The document of the event, whose SHA-256 is `integrity.event_hash`.
    pub(crate) document: Option<String>,
    pub(crate) log_id: String,
    /// The name of the stream.
    pub(crate) stream: String,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    EventCreated,
    AlertTriggered,
}

impl Kind {
    /// The name that deliveries carry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::EventCreated => "event.created",
            Kind::AlertTriggered => "alert.triggered",
        }
    }
}
