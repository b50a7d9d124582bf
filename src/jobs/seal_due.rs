//! Which events are moved next: those before a cut.

use crate::log::segments::{Segment, State};
use crate::pg::datum::any_micros;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use crate::settings::{HOT_AGE, HOT_EVENTS, SEAL_EVENTS};

/// What is asked for.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// All events before this time, in microseconds since 1970.
    Before(i64),
    /// All but the newest `immutable.hot_events`.
    AllButHot,
    /// The same, once it is worth a segment, or the events are old.
    Due,
}

/// The end of the time that sealed segments cover; None before the first one.
pub fn sealed_to(segments: &[Segment]) -> Option<i64> {
    segments.iter().filter(|segment| segment.state == State::Sealed).map(|segment| segment.to).max()
}

/// The created_at of an event of the hot table: the one that has `before` older ones behind the end of the segments.
fn created_at(from: Option<i64>, before: i64) -> Option<i64> {
    let mut found = None;
    spi::query_now_planned_each_time(
        "SELECT e.created_at FROM ONLY immutable.events e WHERE e.created_at >= $1 ORDER BY e.created_at OFFSET $2 LIMIT 1",
        &[Arg::Time(from.unwrap_or(FIRST)), Arg::Int8(before)],
        |row| found = row.at(0).map(any_micros),
    );
    found
}

/// Before all events.
pub const FIRST: i64 = i64::MIN.wrapping_add(946_684_800_000_000);

/// The time up to which events go into the next segment; None if none shall be made.
pub fn cut(wanted: Wanted, segments: &[Segment]) -> Option<i64> {
    let from = sealed_to(segments);
    let (hot, most) = (i64::from(HOT_EVENTS.get()), i64::from(SEAL_EVENTS.get()));
    let oldest = created_at(from, 0)?;
    let before = match wanted {
        Wanted::Before(before) => before.min(transaction::now()),
        Wanted::AllButHot => created_at_from_the_end(from, hot.max(0))?,
        Wanted::Due if hot < 0 => return None,
        Wanted::Due => match created_at(from, hot + most) {
            Some(_) => created_at(from, most)?,
            None => by_age(oldest)?,
        },
    };
    let cut = created_at(from, most).map_or(before, |most| most.min(before));
    // All of them have the same created_at where that is not later.
    let cut = if cut > oldest { cut } else { oldest + 1 };
    (cut <= before && from.is_none_or(|from| from < cut)).then_some(cut)
}

/// The created_at of the oldest of the newest `left` events; that of none if there are not more.
fn created_at_from_the_end(from: Option<i64>, left: i64) -> Option<i64> {
    if left == 0 {
        return Some(transaction::now());
    }
    let mut found = None;
    spi::query_now_planned_each_time(
        "SELECT e.created_at FROM ONLY immutable.events e WHERE e.created_at >= $1 \
         ORDER BY e.created_at DESC OFFSET $2 LIMIT 1",
        &[Arg::Time(from.unwrap_or(FIRST)), Arg::Int8(left - 1)],
        |row| found = row.at(0).map(any_micros),
    );
    found
}

/// Where the oldest event is older than `immutable.hot_age`, a time that leaves half of that age, so that a segment of few
/// events is not made each minute.
fn by_age(oldest: i64) -> Option<i64> {
    let age = i64::from(HOT_AGE.get()) * 1_000_000;
    let now = transaction::now();
    (oldest < now - age).then(|| now - age / 2)
}
