//! An export: events as lines of JSON, verified by hashing the bytes of the lines, without a database.
//!
//! A header says what was asked for, then each event has a line, in the order of tenant, lane and seq, and an end line
//! says how many there were. In an event's line the document stands as it was hashed, and every value that is not erased
//! as the text that its commitment is the hash of. docs/hash-format.md is the specification.
//!
//! [`write`] makes the lines, [`read`] takes one apart, [`verify`] walks through all of them. Where the lines could be
//! re-encoded on their way, [`ascii`] keeps them from it.

pub mod ascii;
pub mod read;
pub mod scan;
pub mod verify;
pub mod write;

use crate::id::Id;
use std::borrow::Cow;

/// How much of each lane an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Every event of every lane it has.
    Whole,
    /// A run of events without holes; it may begin and end anywhere.
    Range,
    /// Events that passed a filter: holes are expected.
    Gaps,
}

impl Lanes {
    /// The name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Lanes::Whole => "whole",
            Lanes::Range => "range",
            Lanes::Gaps => "gaps",
        }
    }

    /// The reverse of [`Lanes::name`].
    pub fn named(name: &str) -> Option<Lanes> {
        [Lanes::Whole, Lanes::Range, Lanes::Gaps].into_iter().find(|lanes| lanes.name() == name)
    }

    /// What these filters leave of the lanes.
    pub fn left_by<'a>(filters: impl Iterator<Item = &'a str>) -> Lanes {
        filters.fold(Lanes::Whole, |lanes, filter| match (filter, lanes) {
            ("tenant_id", _) | (_, Lanes::Gaps) => lanes,
            ("from_date" | "to_date", _) => Lanes::Range,
            _ => Lanes::Gaps,
        })
    }
}

/// What an export's first line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The log's identity; `None` if the database has lost it, or nothing was ever recorded.
    pub log_id: Option<Id>,
    pub lanes: Lanes,
    /// Whether the lines are of ASCII alone; see [`ascii`].
    pub escaped: bool,
    /// The filters given, by name.
    pub filters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Where an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainPosition<'a> {
    pub tenant_id: Cow<'a, str>,
    pub lane: i16,
    pub seq: i64,
    pub id: Id,
}

/// The name this had before; its users come to the new one.
pub use self::ChainPosition as Place;
