//! Events of the hot table that are older than others which have moved: each was the last of its lane, or its transaction
//! took long. They go into the segment of their time.

use crate::jobs::seal_due::{sealed_to, Wanted, FIRST};
use crate::log::segments::{Segment, State};
use crate::pg::datum::{any_micros, Datum};
use crate::pg::setting;
use crate::pg::spi::{self, Arg};
use crate::settings::{HOT_EVENTS, SEAL_EVENTS};
use std::ffi::CStr;

/// The events of the hot table that can move: a lane's last one stays, so there must be a later one.
pub const NO_TAIL: &str = "EXISTS (SELECT FROM ONLY immutable.events n \
    WHERE n.tenant_id = e.tenant_id AND n.lane = e.lane AND n.seq > e.seq)";

/// Where maintenance makes a segment of a time that has none, there are so many events of that time: this part of
/// `immutable.seal_events`.
const WORTH_IT: i64 = 10;

/// The settings of a plan that goes from row to row along indexes.
const BY_INDEXES: [(&CStr, &CStr); 9] = [
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_sort", c"off"),
    (c"enable_incremental_sort", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"jit", c"off"),
    (c"work_mem", c"64MB"),
];

/// Runs statements that go from row to row along indexes. Their time depends on the rows that they concern alone. Nothing is
/// known of a table that was filled just now, so that the planner would guess, and a wrong guess would take hours.
pub fn by_indexes<T>(body: impl FnOnce() -> T) -> T {
    let before = BY_INDEXES.map(|(name, value)| {
        let before = setting::value(name);
        setting::for_transaction(name, value);
        before
    });
    let done = body();
    for ((name, _), before) in BY_INDEXES.iter().zip(before) {
        if let Some(before) = before {
            setting::for_transaction(name, &before);
        }
    }
    done
}

/// The sealed segments of whose times the hot table has events that can move.
pub fn late(known: &[Segment]) -> Vec<&Segment> {
    let mut found: Vec<&Segment> = Vec::new();
    let Some(to) = sealed_to(known) else { return found };
    let statement = format!(
        "SELECT e.created_at FROM ONLY immutable.events e WHERE e.created_at < $1 AND {NO_TAIL} \
         ORDER BY e.created_at LIMIT $2"
    );
    let given = [Arg::Time(to), Arg::Int8(i64::from(SEAL_EVENTS.get()))];
    by_indexes(|| {
        spi::query_now_planned_each_time(&statement, &given, |row| {
            let Some(at) = row.at(0).map(any_micros) else { return };
            let is_of = |segment: &Segment| segment.state == State::Sealed && segment.from <= at && at < segment.to;
            if !found.last().is_some_and(|last| is_of(last)) {
                found.extend(known.iter().find(|segment| is_of(segment)));
            }
        });
    });
    found
}

/// A time before or between the sealed segments that gets one of its own. Retention has removed the segments of that time,
/// and the hot table has events of it that can move.
pub fn gap(wanted: Wanted, known: &[Segment]) -> Option<(i64, i64)> {
    let most = i64::from(SEAL_EVENTS.get());
    let (before, enough) = match wanted {
        Wanted::Before(before) => (before, 1),
        Wanted::AllButHot => (i64::MAX, 1),
        Wanted::Due if HOT_EVENTS.get() < 0 => return None,
        Wanted::Due => (i64::MAX, (most / WORTH_IT).max(1)),
    };
    let mut from = FIRST;
    for segment in known.iter().filter(|segment| segment.state == State::Sealed) {
        let to = segment.from.min(before);
        if from < to && movable(from, to, enough) >= enough {
            return Some((from, to));
        }
        from = from.max(segment.to);
    }
    None
}

/// How many events of a time can move, up to `most`.
fn movable(from: i64, to: i64, most: i64) -> i64 {
    let mut count = 0;
    let statement = format!(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM ONLY immutable.events e \
           WHERE e.created_at >= $1 AND e.created_at < $2 AND {NO_TAIL} LIMIT $3) m"
    );
    by_indexes(|| {
        spi::query_now_planned_each_time(&statement, &[Arg::Time(from), Arg::Time(to), Arg::Int8(most)], |row| {
            count = row.at(0).map_or(0, Datum::i64);
        });
    });
    count
}
