//! An export: events as lines of JSON. The bytes of the lines are hashed to verify it, without a
//! database.
//!
//! A header says what was asked for. Each event has a line after it, in the order of tenant, lane
//! and seq, and an end line says how many there were. In the line of an event the document stands
//! as it was hashed, and every value that is not erased stands as the text that its commitment is
//! the hash of. docs/hash-format.md is the specification.
//!
//! [`write`](mod@write) makes the lines, [`read`] takes one apart, [`verify`] walks through all of
//! them. [`ascii`] keeps lines intact where they could be re-encoded on their way.

pub mod ascii;
pub mod pruned;
pub mod read;
pub mod scan;
pub mod verify;
pub mod write;

use crate::id::Id;
use std::borrow::Cow;

/// How much of each lane an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Every event of every lane that it has.
    Whole,
    /// A run of events without holes, which may begin and end anywhere.
    Range,
    /// Events that passed a filter, so holes are expected.
    Gaps,
}

impl Lanes {
    /// Returns the name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Lanes::Whole => "whole",
            Lanes::Range => "range",
            Lanes::Gaps => "gaps",
        }
    }

    /// Reads a name as [`Lanes::name`] writes it.
    pub fn named(name: &str) -> Option<Lanes> {
        [Lanes::Whole, Lanes::Range, Lanes::Gaps].into_iter().find(|lanes| lanes.name() == name)
    }

    /// Returns what filters of these names leave of the lanes.
    pub fn left_by<'a>(filters: impl Iterator<Item = &'a str>) -> Lanes {
        filters.fold(Lanes::Whole, |lanes, filter| match (filter, lanes) {
            ("tenant_id", _) | (_, Lanes::Gaps) => lanes,
            ("from_date" | "to_date", _) => Lanes::Range,
            _ => Lanes::Gaps,
        })
    }
}

/// The first line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Microseconds since 1970-01-01T00:00:00Z. When the export was made.
    pub created_at: i64,
    /// The log's identity; `None` if the database has lost it, or if nothing was ever recorded.
    pub log_id: Option<Id>,
    /// How much of each lane the export holds.
    pub lanes: Lanes,
    /// Whether the lines are ASCII; see [`ascii`].
    pub escaped: bool,
    /// The names and values of the filters that were given.
    pub filters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The position of an event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainPosition<'a> {
    /// The tenant whose event it is.
    pub tenant_id: Cow<'a, str>,
    /// The lane.
    pub lane: i16,
    /// The position in the lane, from 1.
    pub seq: i64,
    /// The id of the event.
    pub id: Id,
}
