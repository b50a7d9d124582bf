//! How many events there are, and how many pass filters, by what the planner and the segments know of the tables. It is
//! made of everybody's events: only a caller who sees all of them may learn it.

use crate::access::lent::with_rights_of_owner;
use crate::log::segments::{self, Segment, State};
use crate::pg::spi;
use crate::read::filter::Filters;

/// What part of the events the planner takes to have such a target.
const WITH_TARGET: f64 = 0.5;

/// The segments that hold events. Planning a statement of all of them would take longer than the page.
fn sealed() -> Vec<Segment> {
    let mut segments = if segments::may_be() { segments::seen() } else { Vec::new() };
    segments.retain(|segment| segment.state == State::Sealed && segment.events > 0);
    segments
}

/// How many rows the planner expects of one table alone.
fn planned(table: &str, conditions: &str) -> i64 {
    with_rights_of_owner(|| spi::planned_rows(&format!("SELECT FROM ONLY immutable.{table} e{conditions}"), &[]))
}

/// How many events there are.
pub fn of_all() -> i64 {
    let sealed = sealed();
    if sealed.is_empty() {
        return spi::planned_rows("SELECT FROM immutable.events e", &[]);
    }
    sealed.iter().map(|segment| segment.events).sum::<i64>().saturating_add(planned("events", ""))
}

/// How many events of any tenant pass the filters. In segments they are the same part of each as of the largest one.
pub fn of_passing(filters: &Filters) -> i64 {
    let sealed = sealed();
    let Some(largest) = sealed.iter().max_by_key(|segment| segment.events) else {
        return spi::planned_rows(&format!("SELECT FROM immutable.events e{}", filters.where_literally()), &[]);
    };
    let of_columns = filters.columns_literally();
    let part = match of_columns.is_empty() {
        true => 1.0,
        false => {
            let table = largest.events_table();
            planned(&table, &of_columns) as f64 / planned(&table, "").max(1) as f64
        }
    };
    let bounds = filters.bounds();
    let in_time: f64 = sealed.iter().map(|segment| segment.events as f64 * part_between(segment, bounds)).sum();
    let hot = planned("events", &filters.times_and_columns_literally()) as f64;
    let with_target = if filters.has_target() { WITH_TARGET } else { 1.0 };
    ((in_time * part + hot) * with_target) as i64
}

/// What part of a segment's time lies between two bounds. The first segment's time has no beginning, and counts as whole
/// if its end is asked for.
fn part_between(segment: &Segment, [first, last]: [Option<i64>; 2]) -> f64 {
    let from = first.map_or(segment.from, |first| first.max(segment.from));
    let to = last.map_or(segment.to, |last| last.min(segment.to));
    if to <= from {
        return 0.0;
    }
    let whole = segment.to.saturating_sub(segment.from) as f64;
    (to.saturating_sub(from) as f64 / whole.max(1.0)).min(1.0)
}
