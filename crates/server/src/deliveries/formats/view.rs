//! The members of an event or of an alert, by one name each.

use crate::deliveries::item::{Item, Kind};
use immutable_format::time;
use serde_json::Value;

/// The members of an event.
///
/// An event by itself has its actor, resource and hashes in objects. The event of an alert has them flat.
#[derive(Clone, Copy)]
pub(crate) struct EventView<'a>(&'a Value);

impl<'a> EventView<'a> {
    /// The member of this name; None if it is null, missing or an empty text.
    fn member(self, nested: (&str, &str), flat: &str) -> Option<&'a str> {
        let value = match self.0.get(nested.0).and_then(|object| object.get(nested.1)) {
            Some(value) => value,
            None => self.0.get(flat)?,
        };
        value.as_str().filter(|text| !text.is_empty())
    }

    /// A member that is a text at the top.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// `id`, `name` or `type` of the actor.
    pub(crate) fn actor(self, name: &str) -> Option<&'a str> {
        self.member(("actor", name), &format!("actor_{name}"))
    }

    /// `type`, `id` or `name` of the resource.
    pub(crate) fn resource(self, name: &str) -> Option<&'a str> {
        self.member(("resource", name), &format!("resource_{name}"))
    }

    pub(crate) fn event_hash(self) -> Option<&'a str> {
        self.member(("integrity", "event_hash"), "event_hash")
    }

    pub(crate) fn previous_event_hash(self) -> Option<&'a str> {
        self.member(("integrity", "previous_event_hash"), "previous_event_hash")
    }

    pub(crate) fn lane(self) -> Option<i64> {
        self.0.get("integrity")?.get("lane")?.as_i64()
    }

    pub(crate) fn seq(self) -> Option<i64> {
        self.0.get("integrity")?.get("seq")?.as_i64()
    }

    pub(crate) fn action(self) -> &'a str {
        self.text("action").unwrap_or("unknown")
    }

    /// When it happened, as text.
    pub(crate) fn occurred_at(self) -> Option<&'a str> {
        self.text("occurred_at").or(self.created_at())
    }

    /// When it was recorded, as text.
    pub(crate) fn created_at(self) -> Option<&'a str> {
        self.text("created_at")
    }

    /// The metadata, if there is any.
    pub(crate) fn metadata(self) -> Option<&'a Value> {
        self.0.get("metadata").filter(|value| value.as_object().is_some_and(|object| !object.is_empty()))
    }

    /// The targets, if there is any.
    pub(crate) fn targets(self) -> Option<&'a Vec<Value>> {
        self.0.get("targets").and_then(Value::as_array).filter(|targets| !targets.is_empty())
    }
}

/// The members of an alert.
#[derive(Clone, Copy)]
pub(crate) struct AlertView<'a>(&'a Value);

impl<'a> AlertView<'a> {
    /// A member that is a text.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The event, unless it is gone.
    pub(crate) fn event(self) -> Option<EventView<'a>> {
        self.0.get("event").filter(|event| event.is_object()).map(EventView)
    }
}

/// What an item shows.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Event(EventView<'a>),
    Alert(AlertView<'a>),
}

impl<'a> View<'a> {
    /// What this item shows.
    pub(crate) fn of(item: &'a Item) -> View<'a> {
        match item.kind {
            Kind::EventCreated => View::Event(EventView(&item.json)),
            Kind::AlertTriggered => View::Alert(AlertView(&item.json)),
        }
    }

    /// When it happened, or was triggered, as text.
    pub(crate) fn time(self) -> Option<&'a str> {
        match self {
            View::Event(event) => event.occurred_at(),
            View::Alert(alert) => alert.text("triggered_at"),
        }
    }

    /// When it was recorded, as text; of an alert, when it was triggered.
    pub(crate) fn recorded(self) -> Option<&'a str> {
        match self {
            View::Event(event) => event.created_at().or(event.occurred_at()),
            View::Alert(alert) => alert.text("triggered_at"),
        }
    }

    /// The event, or that of the alert.
    pub(crate) fn event(self) -> Option<EventView<'a>> {
        match self {
            View::Event(event) => Some(event),
            View::Alert(alert) => alert.event(),
        }
    }
}

/// Microseconds since 1970 of a time that is written as text.
pub(crate) fn micros(text: Option<&str>) -> Option<i64> {
    text.and_then(|text| time::parse(text).ok())
}

/// Milliseconds since 1970 of a time that is written as text; 0 for none.
pub(crate) fn millis(text: Option<&str>) -> i64 {
    micros(text).unwrap_or(0).div_euclid(1000)
}
