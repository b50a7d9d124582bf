//! Alerts: rules that are evaluated over the feed, behind the writers' backs.

use crate::jobs::alert_piece::Piece;
use crate::jobs::step::Done;
use crate::jobs::{alert_mark, alert_rules};
use crate::log::alert_state;
use crate::log::small_table::SmallTable;
use crate::log::tables::events_oid;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::read::feed;
use pgrx::pg_sys;

/// Most events that are evaluated in one transaction.
const MOST_EVENTS: usize = 25_000;

/// Evaluates the next events, in this transaction: the alerts, what is remembered of the actors, and
/// the mark behind the events are written together. While another transaction evaluates, changes the
/// rules or erases an actor, there is nothing to do.
pub fn step() -> Done {
    if !alert_state::lock().is_some_and(|lock| lock.acquire(false)) {
        return Done::NOTHING;
    }
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), evaluate)
}

fn evaluate() -> Done {
    let rules = alert_rules::enabled();
    let Some(mark) = alert_mark::read() else {
        if !rules.is_empty() {
            // The rules were restored from a dump.
            alert_mark::begin();
        }
        return Done::NOTHING;
    };
    if rules.is_empty() {
        alert_mark::forget();
        return Done::NOTHING;
    }
    let mut piece = Piece::default();
    let reached = feed::read(Some(&mark), MOST_EVENTS, |row, layout| piece.take(row, layout));
    let alerts = piece.evaluate(&rules);
    if reached.mark != mark {
        alert_mark::write(&reached.mark);
    }
    let did = (reached.events > 0).then(|| format!("{{\"events\":{},\"alerts\":{alerts}}}", reached.events));
    Done { did, has_more: reached.has_more }
}

/// Goes on with the events behind the mark. `table` has the owner of all tables. What is remembered of
/// the actors stays.
pub fn set_mark(table: &SmallTable, mark: &str) {
    if alert_state::lock().is_some_and(|lock| lock.acquire(true)) {
        // There is none where the rules come from a dump.
        table.execute(
            "INSERT INTO immutable.alert_feed (mark) VALUES ($1) \
             ON CONFLICT (singleton) DO UPDATE SET mark = excluded.mark",
            &[Arg::text(mark)],
        );
    }
}
