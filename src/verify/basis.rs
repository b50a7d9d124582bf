//! What a run knows of the log before it reads events: which tables hold them, and where the lanes begin of which events
//! were pruned.
//!
//! All statements of a run have one snapshot, and the tables that it needs have to stay until the run ends. So the run
//! locks them first. A table that was dropped since the snapshot was taken is no break: the snapshot is too old.

use crate::log::pruned::{self, Begins};
use crate::log::segments::{self, Segment, State};
use crate::log::tables::events_oid;
use crate::pg::datum::{micros, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, OpenRelation, Seen};
use crate::pg::spi;
use crate::verify::scope::Scope;
use crate::verify::survey::log_break;
use immutable_format::link::{Break, BreakType};
use immutable_format::pruning::Begin;
use pgrx::pg_sys::{self, Oid};
use std::collections::HashSet;

/// What a run knows of the log.
#[derive(Default)]
pub struct Basis {
    segments: Vec<Segment>,
    begins: Begins,
}

impl Basis {
    /// Keeps the tables of the log in their place until the transaction ends, and reports those that are not there or
    /// not where they must be. Raises 40001 if one was dropped since the snapshot was taken.
    pub fn hold(scope: &Scope, report: &mut impl FnMut(Break)) -> Basis {
        let segments = if spi::is_on_shard() { Vec::new() } else { segments::seen() };
        if !segments.is_empty() {
            check_tables(&segments, report);
        }
        let begins = pruned::begins(scope.tenant_id.map(text));
        Basis { segments, begins }
    }

    /// An SQL expression: whether the row of events that has this alias is in none of the log's own tables.
    pub fn stray_event(&self, alias: &str) -> String {
        segments::stray(&self.segments, alias, "events")
    }

    /// The same for a row of event_targets.
    pub fn stray_target(&self, alias: &str) -> String {
        segments::stray(&self.segments, alias, "event_targets")
    }

    /// The columns that a walk reads, for the alias `e`. The last one names the table that holds the row, if that is
    /// none of the log's own.
    pub fn walked(&self) -> String {
        format!("e.*, CASE WHEN {} THEN e.tableoid::pg_catalog.regclass::text END", self.stray_event("e"))
    }

    /// Where a lane begins, if events of it were pruned.
    pub fn begin(&self, tenant_id: &str, lane: i16) -> Option<Begin> {
        match self.begins.is_empty() {
            true => None,
            false => self.begins.get(&(tenant_id.to_string(), lane)).copied(),
        }
    }

    /// Where all lanes begin of which events were pruned, in the order of tenant and lane.
    pub fn begins(&self) -> Vec<(&str, &Begin)> {
        let mut begins: Vec<_> =
            self.begins.iter().map(|((tenant_id, _), begin)| (tenant_id.as_str(), begin)).collect();
        begins.sort_unstable_by_key(|(tenant_id, begin)| (tenant_id.as_bytes(), begin.lane));
        begins
    }
}

/// Locks the tables of the segments, and reports what is wrong with them.
fn check_tables(segments: &[Segment], report: &mut impl FnMut(Break)) {
    let (mut missing, mut there) = (Vec::new(), Vec::new());
    for segment in segments {
        for (name, oid, parent) in [
            (segment.events_table(), segment.events_oid(), "immutable.events"),
            (segment.targets_table(), segment.targets_oid(), "immutable.event_targets"),
        ] {
            // The lock is kept until the transaction ends.
            match OpenRelation::open(oid, pg_sys::AccessShareLock) {
                Some(_) => there.push((segment, name, oid, parent)),
                None => missing.push((segment, name)),
            }
        }
    }
    if !missing.is_empty() {
        let now = known_now();
        for (segment, name) in missing {
            report_missing(segment, &name, now.contains(&segment.number), report);
        }
    }
    let children = children();
    for (segment, name, oid, parent) in there {
        if !children.contains(&(oid.to_u32(), parent.to_string())) {
            let number = segment.number;
            let detail = format!("the table immutable.{name} of segment {number} is not below {parent}");
            report(log_break(BreakType::ChainBreak, detail));
        } else if parent == "immutable.events" && segment.state == State::Sealed {
            check_times(segment, report);
        }
    }
}

/// The numbers of the segments that immutable.segments has by now, whatever the transaction's snapshot is.
fn known_now() -> HashSet<i32> {
    let mut numbers = HashSet::new();
    if let Some(table) = OpenRelation::read(named(c"segments")) {
        table.get().rows(None, Seen::Now, &[], |tuple| {
            numbers.extend(tuple.values().at(0).map(Datum::i32));
            true
        });
    }
    numbers
}

/// A table of a segment is not there. `is_known` says whether immutable.segments still has the segment.
fn report_missing(segment: &Segment, name: &str, is_known: bool, report: &mut impl FnMut(Break)) {
    let number = segment.number;
    if is_known {
        let detail = format!("the table immutable.{name} of segment {number} is missing");
        report(log_break(BreakType::MissingEvent, detail));
    } else if segment.state == State::Sealed {
        Fault::new(
            Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("segment {number}, which this transaction's snapshot needs, was removed since"),
        )
        .hint("Nothing is wrong with the log: its events were pruned. Run the transaction again.")
        .raise()
    }
}

/// The tables below those of the log, now: each with its parent.
fn children() -> HashSet<(u32, String)> {
    let mut children = HashSet::new();
    spi::query_now(
        "SELECT i.inhrelid, p.name FROM (VALUES ('immutable.events'), ('immutable.event_targets')) p(name) \
         JOIN pg_catalog.pg_inherits i ON i.inhparent = p.name::pg_catalog.regclass",
        &[],
        |row| {
            let child = row.at(0).map_or(pg_sys::InvalidOid, Datum::oid);
            children.insert((Oid::to_u32(child), row.at(1).map_or("", text).to_string()));
        },
    );
    children
}

/// Reports events that are not of their segment's time. A reader who asks for a time would miss them.
fn check_times(segment: &Segment, report: &mut impl FnMut(Break)) {
    let statement = format!(
        "SELECT pg_catalog.min(e.created_at), pg_catalog.max(e.created_at) FROM ONLY immutable.{} e",
        segment.events_table()
    );
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    let mut is_outside = false;
    spi::as_owner(events.get(), || {
        spi::read(&statement, &[], |row| {
            let of = |column| row.at(column).map(micros);
            is_outside =
                of(0).is_some_and(|first| first < segment.from) || of(1).is_some_and(|last| last >= segment.to);
        });
    });
    if is_outside {
        let detail = format!("segment {} has events that are not of its time", segment.number);
        report(log_break(BreakType::ChainBreak, detail));
    }
}
