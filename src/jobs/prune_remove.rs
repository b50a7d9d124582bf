//! Removes what a plan lets go, and records it, in the caller's transaction. The tables of a segment of which nothing stays
//! are dropped later, once no snapshot needs them: a snapshot that does not see the record must see the events.

use crate::jobs::prune_lanes::{self, Table, EVENTS, OF_LANE};
use crate::jobs::prune_plan::{Plan, What};
use crate::jobs::prune_streams;
use crate::jobs::seal_move::{delete_found, note_emptied};
use crate::jobs::seal_refused::refuse_where_seen;
use crate::log::own_change::by_log;
use crate::log::own_event::{record, LogEvent};
use crate::log::pruned::Begins;
use crate::log::segments::{self, Segment};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{in_place_of, Code, Fault};
use crate::pg::lock::Timeouts;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use immutable_format::pruning::{self, Begin};
use immutable_format::time;
use pgrx::pg_sys;
use std::collections::BTreeMap;

/// How many lanes a record names.
const RECORD_TARGETS: usize = 100;

/// What is recorded besides the lanes, and how long to wait.
pub struct Record<'r> {
    /// SHA-256 of the archive, in hex.
    pub archived: Option<&'r str>,
    /// Whether nobody asked for the pruning but a rule.
    pub unasked: bool,
    /// For how many milliseconds to wait for whoever uses what goes.
    pub wait: i32,
}

/// Removes the events of the plan, with the rights of the owner, as the only one that seals. `before` gives the time
/// before which the events of a tenant were to go.
pub fn remove(plan: &Plan, segments: &[Segment], begins: &Begins, of: &Record, before: impl Fn(&str) -> Option<i64>) {
    if plan.going.is_empty() {
        return;
    }
    refuse_where_seen();
    let erasures = records_of_erasures(plan);
    let missed = prune_streams::missed(plan, segments);
    by_log(|| {
        let whole = whole_segments(plan, segments);
        {
            let _restored = Timeouts { lock: of.wait, ..Timeouts::now() }.set();
            keep_erasures_away();
        }
        empty_segments(&whole);
        for (place, segment) in segments.iter().enumerate() {
            if !whole.iter().any(|whole| whole.number == segment.number) {
                delete_from_segment(plan, place, segment);
            }
        }
        delete(plan, Table::Left, "events", "event_targets");
    });
    record_erasures_again(&erasures, of.unasked);
    for (tenant_id, lanes) in lanes_to_record(plan, begins) {
        record_pruned(tenant_id, &lanes, plan.checkpoint_size, before(tenant_id), of);
    }
    prune_streams::note(&missed);
}

/// How many events of a table go.
fn count(plan: &Plan, table: Table) -> i64 {
    let parts = plan.going.iter().flat_map(|going| &going.parts);
    parts.filter(|part| part.table == table).map(|part| part.count).sum()
}

/// The segments whose every event goes.
fn whole_segments<'s>(plan: &Plan, segments: &'s [Segment]) -> Vec<&'s Segment> {
    let is_whole = |(place, segment): (usize, &'s Segment)| {
        let going = count(plan, Table::Segment(place));
        let mut rows = -1;
        if going > 0 && going >= segment.events {
            let table = segment.events_table();
            let statement = format!("SELECT pg_catalog.count(*) FROM ONLY immutable.{table}");
            spi::complete(&statement, &[], |row| rows = row.at(0).map_or(-1, Datum::i64));
        }
        (going == rows).then_some(segment)
    };
    segments.iter().enumerate().filter_map(is_whole).collect()
}

/// Keeps erasures away. Raises 55P03 when `lock_timeout` is over.
fn keep_erasures_away() {
    let instead = || {
        Fault::new(Code::ERRCODE_LOCK_NOT_AVAILABLE, "the events that would go are in use")
            .detail("A transaction erases values. Nothing was removed.")
            .hint("Try again once it has ended: pg_locks shows it. lock_timeout says how long to wait.")
    };
    in_place_of(Code::ERRCODE_LOCK_NOT_AVAILABLE, instead, segments::move_events);
}

/// Deletes every event and target of these segments.
fn empty_segments(whole: &[&Segment]) {
    for segment in whole {
        for table in [segment.targets_oid(), segment.events_oid()] {
            OpenRelation::table(table, pg_sys::RowExclusiveLock).get().delete_all();
        }
    }
    let numbers: Vec<i32> = whole.iter().map(|segment| segment.number).collect();
    note_emptied(&numbers);
}

fn delete_from_segment(plan: &Plan, place: usize, segment: &Segment) {
    let (events, targets) = (segment.events_table(), segment.targets_table());
    let Some((gone, targets)) = delete(plan, Table::Segment(place), &events, &targets) else { return };
    spi::execute(
        &format!(
            "UPDATE immutable.segments s SET events = s.events - $2, targets = s.targets - $3, \
               first_xact = (SELECT e.xact FROM ONLY immutable.{events} e ORDER BY e.xact LIMIT 1), \
               last_xact = (SELECT e.xact FROM ONLY immutable.{events} e ORDER BY e.xact DESC LIMIT 1) \
             WHERE s.segment = $1"
        ),
        &[Arg::Int8(i64::from(segment.number)), Arg::Int8(gone), Arg::Int8(targets)],
    );
}

/// Deletes what goes from a table of events, and their targets. Returns how many of both; None if nothing does.
fn delete(plan: &Plan, from: Table, events: &str, targets: &str) -> Option<(i64, i64)> {
    let expected = count(plan, from);
    if expected == 0 {
        return None;
    }
    let concerned = plan.going.iter().filter_map(|going| {
        let last = going.parts.iter().filter(|part| part.table == from).map(|part| part.last).max()?;
        Some((&going.key, last))
    });
    let given = prune_lanes::given(concerned);
    let targets = delete_found(
        targets,
        &format!(
            "SELECT t.ctid FROM {EVENTS} JOIN ONLY immutable.{events} e ON {OF_LANE} AND e.seq <= p.seq \
               JOIN ONLY immutable.{targets} t ON t.tenant_id = e.tenant_id AND t.event_id = e.id"
        ),
        &given,
    );
    let gone = delete_found(
        events,
        &format!("SELECT e.ctid FROM {EVENTS} JOIN ONLY immutable.{events} e ON {OF_LANE} AND e.seq <= p.seq"),
        &given,
    );
    if gone != expected {
        Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("immutable.{events} does not have the events that would go"))
            .detail(format!("By their numbers {expected} events would go, and {gone} are there."))
            .hint("Nothing was removed. SELECT * FROM immutable.verify_breaks() shows what is wrong with the log.")
            .raise()
    }
    Some((gone, targets))
}

/// What a record of an erasure that goes says of one event: the tenant, the event's id, and the target.
struct Erased {
    tenant_id: String,
    id: String,
    target: String,
}

/// What the records of erasures say that go.
fn records_of_erasures(plan: &Plan) -> Vec<Erased> {
    let mut found = Vec::new();
    let given = prune_lanes::given(plan.going.iter().map(|going| (&going.key, going.begin.seq)));
    let statement = format!(
        "SELECT r.tenant_id, t.t ->> 'id', t.t::pg_catalog.text FROM ( \
           SELECT e.tenant_id, CASE WHEN immutable.is_readable(e.targets) THEN e.targets END AS targets \
           FROM {EVENTS} JOIN immutable.events e ON {OF_LANE} AND e.seq <= p.seq \
           WHERE e.action = 'immutable.event_erased' OFFSET 0) r, \
           LATERAL pg_catalog.jsonb_path_query( \
             r.targets, 'lax $[*] ? (@.type == \"immutable.event\" && @.id.type() == \"string\")') t(t) \
         WHERE t.t ->> 'id' ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'"
    );
    spi::complete(&statement, &given, |row| {
        let word = |place| row.at(place).map_or("", text).to_string();
        found.push(Erased { tenant_id: word(0), id: word(1), target: word(2) });
    });
    found
}

/// Records again what was erased of events that stay, where the record has gone: a value that is erased and in no record
/// is a break.
fn record_erasures_again(erasures: &[Erased], unasked: bool) {
    let mut left: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut stay = Vec::new();
    let column = |of: fn(&Erased) -> &String| Arg::Texts(erasures.iter().map(|erased| of(erased).clone()).collect());
    if !erasures.is_empty() {
        spi::query_now_planned_each_time(
            "SELECT p.n FROM ROWS FROM (pg_catalog.unnest($1), \
               pg_catalog.unnest($2::pg_catalog.uuid[])) WITH ORDINALITY p(tenant_id, id, n) \
             WHERE EXISTS (SELECT FROM immutable.events e WHERE e.tenant_id = p.tenant_id COLLATE \"C\" AND e.id = p.id)",
            &[column(|erased| &erased.tenant_id), column(|erased| &erased.id)],
            |row| stay.extend(row.at(0).and_then(|n| usize::try_from(n.i64() - 1).ok())),
        );
    }
    for erased in stay.into_iter().filter_map(|n| erasures.get(n)) {
        left.entry(&erased.tenant_id).or_default().push(&erased.target);
    }
    for (tenant_id, targets) in left {
        for targets in targets.chunks(RECORD_TARGETS) {
            record(&LogEvent {
                tenant_id,
                action: "immutable.event_erased",
                targets: &format!("[{}]", targets.join(",")),
                metadata: &[("reason", "recorded again: retention removes the record of this erasure")],
                unasked,
                ..LogEvent::default()
            });
        }
    }
}

/// Where the lanes begin now of each tenant whose events go, those of earlier prunings included, and how many events of
/// each go.
fn lanes_to_record<'p>(plan: &'p Plan, begins: &Begins) -> BTreeMap<&'p str, BTreeMap<i16, (Begin, i64)>> {
    let mut tenants: BTreeMap<&str, BTreeMap<i16, (Begin, i64)>> = BTreeMap::new();
    for going in &plan.going {
        tenants.entry(&going.key.0).or_default().insert(going.key.1, (going.begin, going.events));
    }
    for ((tenant_id, lane), begin) in begins {
        if let Some(lanes) = tenants.get_mut(tenant_id.as_str()) {
            lanes.entry(*lane).or_insert((*begin, 0));
        }
    }
    tenants
}

/// Records where the lanes of a tenant begin now, so that the newest records suffice.
fn record_pruned(
    tenant_id: &str,
    lanes: &BTreeMap<i16, (Begin, i64)>,
    checkpoint_size: i64,
    before: Option<i64>,
    of: &Record,
) {
    let lanes: Vec<&(Begin, i64)> = lanes.values().collect();
    let (size, before) = (checkpoint_size.to_string(), before.and_then(time::format).unwrap_or_default());
    let mut words = vec![("before", before.as_str())];
    words.extend(of.archived.map(|archived| ("archived", archived)));
    for lanes in lanes.chunks(RECORD_TARGETS) {
        let targets: Vec<String> = lanes.iter().map(|(begin, _)| begin.target()).collect();
        let events = lanes.iter().map(|(_, events)| events).sum::<i64>().to_string();
        record(&LogEvent {
            tenant_id,
            action: pruning::ACTION,
            targets: &format!("[{}]", targets.join(",")),
            metadata: &words,
            metadata_json: &[("events", &events), ("checkpoint_size", &size)],
            unasked: of.unasked,
            ..LogEvent::default()
        });
    }
}

/// How many events the plan removes.
pub fn events(plan: &Plan) -> i64 {
    plan.sums.iter().filter(|((_, what), _)| *what == What::Pruned).map(|(_, sum)| sum.events).sum()
}
