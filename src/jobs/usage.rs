//! The use of API keys, counted from the log. Writers do not count it themselves, because all that
//! use one key would wait for each other. An event says in recorded_by with which key it was recorded.

use crate::jobs::position::position;
use crate::jobs::step::Done;
use crate::log::columns as c;
use crate::log::row::stored_text;
use crate::log::small_table::SmallTable;
use crate::pg::datum::micros;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use crate::read::feed;
use immutable_format::{time, Id};
use pgrx::pg_sys;
use std::collections::HashMap;

/// The most events that one transaction counts.
const MOST_EVENTS: usize = 10_000;

/// How old the mark may get while there are no keys, in microseconds. The first key's events are behind it.
const OLDEST_MARK: i64 = 300_000_000;

/// What precedes the key's id in recorded_by.
const KEY: &str = " key:";

/// What was recorded with one key in one month.
struct Used {
    events: i64,
    /// Microseconds since 1970.
    last: i64,
}

/// Counts the next events, in this transaction.
pub fn step() -> Done {
    let table = position(pg_sys::RowExclusiveLock);
    let (mut mark, mut ran_at) = (None, None);
    table.returning("SELECT p.usage_mark, p.ran_at FROM immutable.maintenance_position p", &[], |row| {
        mark = row.at(0).and_then(stored_text).map(str::to_string);
        ran_at = row.at(1).map(micros);
    });
    if !has_keys(&table) {
        if mark.is_none() || ran_at.is_none_or(|ran_at| ran_at < transaction::now() - OLDEST_MARK) {
            set_mark(&table, &feed::now());
        }
        return Done::NOTHING;
    }
    if mark.as_deref().is_some_and(|mark| !feed::is_mark(mark)) {
        mark = None;
    }
    if mark.is_none() {
        // Everything is counted anew. What somebody made of the mark must not count twice.
        table.execute("DELETE FROM immutable.api_key_usage", &[]);
    }
    let mut used: HashMap<(Id, String), Used> = HashMap::new();
    let reached = feed::read(mark.as_deref(), MOST_EVENTS, |row, layout| {
        let key = row.get(layout, c::RECORDED_BY).and_then(stored_text).and_then(key_of);
        let Some((key, at)) = key.zip(row.get(layout, c::CREATED_AT).map(micros)) else { return };
        let Some(month) = month_of(at) else { return };
        let used = used.entry((key, month)).or_insert(Used { events: 0, last: at });
        used.events += 1;
        used.last = used.last.max(at);
    });
    let events: i64 = used.values().map(|used| used.events).sum();
    for ((key, month), used) in used {
        count(&table, &key, &month, &used);
    }
    if mark.as_deref() != Some(&*reached.mark) && (reached.events > 0 || mark.is_none()) {
        set_mark(&table, &reached.mark);
    }
    Done { did: (events > 0).then(|| format!("{{\"events\":{events}}}")), has_more: reached.has_more }
}

/// Goes on with the events behind the mark.
pub fn set_mark(table: &SmallTable, mark: &str) {
    table.execute("UPDATE immutable.maintenance_position SET usage_mark = $1", &[Arg::text(mark)]);
}

fn has_keys(table: &SmallTable) -> bool {
    let mut found = false;
    table.returning("SELECT FROM immutable.api_keys LIMIT 1", &[], |_| found = true);
    found
}

/// The key in a value of recorded_by.
fn key_of(recorded_by: &str) -> Option<Id> {
    let (_, key) = recorded_by.rsplit_once(KEY)?;
    uuid::Uuid::try_parse(key).ok().map(|key| *key.as_bytes())
}

/// The first day of the month of a time, in UTC.
fn month_of(at: i64) -> Option<String> {
    time::format(at).and_then(|time| Some(format!("{}-01", time.get(..7)?)))
}

/// Adds to the table. A key that is not there is none: a role may have such a name.
fn count(table: &SmallTable, key: &Id, month: &str, used: &Used) {
    table.execute(
        "INSERT INTO immutable.api_key_usage AS u (key_id, month, events, last_event_at) \
         SELECT k.id, $2::pg_catalog.date, $3, $4 FROM immutable.api_keys k WHERE k.id OPERATOR(pg_catalog.=) $1 \
         ON CONFLICT (key_id, month) DO UPDATE SET events = u.events OPERATOR(pg_catalog.+) excluded.events, \
           last_event_at = greatest(u.last_event_at, excluded.last_event_at)",
        &[Arg::Uuid(*key), Arg::text(month), Arg::Int8(used.events), Arg::Time(used.last)],
    );
}
