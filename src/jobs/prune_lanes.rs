//! What a pruning finds in the tables: which events of each lane are older than their rule says, and in which tables.

use crate::jobs::retention::Rules;
use crate::log::pruned::Begins;
use crate::log::row::hash;
use crate::log::segments::{Segment, State};
use crate::pg::datum::{any_micros, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use immutable_format::pruning::Begin;
use immutable_format::{time, Hash};
use std::collections::{BTreeMap, HashMap};

/// Before all events.
const FIRST: i64 = i64::MIN.wrapping_add(946_684_800_000_000);

/// Before which time the events of each tenant may go, in microseconds since 1970.
pub struct Cuts {
    /// The one tenant that a call names.
    pub tenant_id: Option<String>,
    default: Option<i64>,
    own: HashMap<String, Option<i64>>,
}

impl Cuts {
    /// The cuts that the rules give at some time. `round` makes a cut earlier.
    pub fn of(rules: &Rules, now: i64, tenant_id: Option<&str>, round: fn(now: i64, cut: i64) -> i64) -> Cuts {
        let cut = |tenant: &str| rules.rule_of(tenant).keep.map(|keep| round(now, keep.before(now)));
        let mut own: HashMap<String, Option<i64>> = rules.own.keys().map(|own| (own.clone(), cut(own))).collect();
        own.entry(String::new()).or_insert(None);
        let default = rules.default.as_ref().and_then(|stored| stored.rule.keep);
        let default = default.map(|keep| round(now, keep.before(now)));
        Cuts { tenant_id: tenant_id.map(str::to_string), default, own }
    }

    pub fn cut_of(&self, tenant_id: &str) -> Option<i64> {
        self.own.get(tenant_id).copied().unwrap_or(self.default)
    }

    /// The earliest and the latest of them; None if all events are kept for ever.
    fn bounds(&self) -> Option<(i64, i64)> {
        let cuts: Vec<Option<i64>> = match &self.tenant_id {
            Some(tenant_id) => vec![self.cut_of(tenant_id)],
            None => self.own.values().copied().chain([self.default]).collect(),
        };
        let cuts = || cuts.iter().copied().flatten();
        cuts().min().zip(cuts().max())
    }

    /// The tables and conditions that select the events `e` of a table, and the arguments.
    fn select(&self, all_before: bool) -> (String, Vec<Arg<'static>>) {
        if let Some(tenant_id) = &self.tenant_id {
            let cut = self.cut_of(tenant_id).unwrap_or(FIRST);
            let given = vec![Arg::text(tenant_id.clone()), Arg::Time(cut)];
            return ("e WHERE e.tenant_id = $1 AND e.created_at < $2".to_string(), given);
        }
        let mut own: Vec<(&String, &Option<i64>)> = self.own.iter().collect();
        own.sort();
        let cuts = own.iter().map(|(_, cut)| cut.map_or(String::new(), printed)).collect();
        let tenants = own.iter().map(|(tenant_id, _)| (*tenant_id).clone()).collect();
        let given = vec![
            Arg::Texts(tenants),
            Arg::Texts(cuts),
            self.default.map_or(Arg::Null(pgrx::pg_sys::TIMESTAMPTZOID), Arg::Time),
        ];
        let cut = "CASE WHEN r.tenant_id IS NULL THEN $3 ELSE nullif(r.cut, '')::pg_catalog.timestamptz END";
        let condition = if all_before { format!("{cut} IS NOT NULL") } else { format!("e.created_at < {cut}") };
        let tables = "e LEFT JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) r(tenant_id, cut) \
             ON r.tenant_id COLLATE \"C\" = e.tenant_id";
        (format!("{tables} WHERE {condition}"), given)
    }
}

/// A time as PostgreSQL reads it whatever the session's settings are.
fn printed(micros: i64) -> String {
    time::format(micros).unwrap_or_else(|| "-infinity".to_string())
}

/// A table of events: the hot one, or that of a segment, by its place among the segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    Segment(usize),
    /// Of the hot table, what is older than the end of the segments: no segment takes it any more.
    Left,
    Hot,
}

/// The events of a lane in one table that are older than the rule says.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub table: Table,
    pub first: i64,
    pub last: i64,
    pub count: i64,
}

/// A lane that has such events.
#[derive(Default)]
pub struct Lane {
    pub parts: Vec<Part>,
    /// The last event that the hot table has of the lane.
    pub tail: Option<i64>,
    /// The last event that the newest checkpoint covers.
    pub covered: i64,
    /// The last event that an earlier pruning removed.
    pub begin: Option<Begin>,
}

/// The lanes, by tenant and number.
pub type Lanes = BTreeMap<(String, i16), Lane>;

/// The key of a lane among the columns of a row.
fn key(row: &Values) -> (String, i16) {
    (row.at(0).map_or("", text).to_string(), row.at(1).map_or(0, Datum::i16))
}

/// Finds the lanes, as the active snapshot has them.
pub fn find(cuts: &Cuts, segments: &[Segment], begins: &Begins) -> Lanes {
    let mut lanes = Lanes::new();
    let Some((earliest, latest)) = cuts.bounds() else { return lanes };
    let sealed = |segment: &&Segment| segment.state == State::Sealed;
    let end = segments.iter().filter(sealed).map(|segment| segment.to).max().unwrap_or(FIRST);
    for (place, segment) in segments.iter().enumerate().filter(|(_, segment)| sealed(segment) && segment.from < latest)
    {
        let (tables, given) = cuts.select(segment.to <= earliest);
        let statement = format!(
            "SELECT e.tenant_id, e.lane, pg_catalog.min(e.seq), pg_catalog.max(e.seq), pg_catalog.count(*) \
             FROM ONLY immutable.{} {tables} GROUP BY e.tenant_id, e.lane",
            segment.events_table()
        );
        add_parts(&mut lanes, &statement, &given, |_| Table::Segment(place));
    }
    let (tables, mut given) = cuts.select(false);
    given.push(Arg::Time(end));
    let statement = format!(
        "SELECT e.tenant_id, e.lane, pg_catalog.min(e.seq), pg_catalog.max(e.seq), pg_catalog.count(*), \
           e.created_at < ${} AS is_left \
         FROM ONLY immutable.events {tables} GROUP BY e.tenant_id, e.lane, is_left",
        given.len()
    );
    let of = |row: &Values| if row.at(5).is_some_and(Datum::bool) { Table::Left } else { Table::Hot };
    add_parts(&mut lanes, &statement, &given, of);
    add_tails(&mut lanes);
    for (key, lane) in &mut lanes {
        lane.begin = begins.get(key).copied();
        lane.parts.sort_by_key(|part| part.first);
    }
    lanes
}

fn add_parts(lanes: &mut Lanes, statement: &str, given: &[Arg], table: impl Fn(&Values) -> Table) {
    let number = |row: &Values, place| row.at(place).map_or(0, Datum::i64);
    spi::complete(statement, given, |row| {
        let part = Part { table: table(row), first: number(row, 2), last: number(row, 3), count: number(row, 4) };
        lanes.entry(key(row)).or_default().parts.push(part);
    });
}

/// The arguments of a statement about lanes and their events, and the table `p` of them.
pub const EVENTS: &str = "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2::pg_catalog.int2[]), \
    pg_catalog.unnest($3::pg_catalog.int8[])) p(tenant_id, lane, seq)";

/// The condition that an event `e` is of the lane `p`.
pub const OF_LANE: &str = "e.tenant_id = p.tenant_id COLLATE \"C\" AND e.lane = p.lane";

/// The arguments for [`EVENTS`].
pub fn given<'k>(events: impl Iterator<Item = (&'k (String, i16), i64)>) -> [Arg<'static>; 3] {
    let (mut tenants, mut lanes, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
    for ((tenant_id, lane), seq) in events {
        tenants.push(tenant_id.clone());
        lanes.push(lane.to_string());
        seqs.push(seq.to_string());
    }
    [Arg::Texts(tenants), Arg::Texts(lanes), Arg::Texts(seqs)]
}

fn add_tails(lanes: &mut Lanes) {
    let statement = format!(
        "SELECT p.tenant_id, p.lane, t.seq FROM {EVENTS}, LATERAL (SELECT e.seq FROM ONLY immutable.events e \
           WHERE {OF_LANE} ORDER BY e.seq DESC LIMIT 1) t"
    );
    let arguments = given(lanes.keys().map(|key| (key, 0)));
    spi::complete(&statement, &arguments, |row| {
        if let Some(lane) = lanes.get_mut(&key(row)) {
            lane.tail = row.at(2).map(Datum::i64);
        }
    });
}

/// How many events the newest signed checkpoint covers; notes for each lane how far it does. Raises 55000 if there is
/// none.
pub fn add_coverage(lanes: &mut Lanes) -> i64 {
    let mut size = None;
    let newest =
        "SELECT pg_catalog.max(n.size) FROM immutable.tree_notes n JOIN immutable.tree t ON t.origin = n.origin \
        AND n.size <= t.size";
    spi::complete(newest, &[], |row| size = row.at(0).map(Datum::i64));
    let Some(size) = size.filter(|size| *size > 0) else {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the log has no signed checkpoint: no event can go")
            .detail("Events are removed only where a checkpoint goes on proving what they were.")
            .hint(
                "CALL immutable.checkpoint() once begins the tree; immutable.run_maintenance() then makes checkpoints.",
            )
            .raise()
    };
    let statement = format!(
        "SELECT p.tenant_id, p.lane, r.seq FROM {EVENTS}, LATERAL ( \
           SELECT r.first_seq + least(r.count, $4 - r.first_index) - 1 AS seq FROM immutable.tree_runs r \
           WHERE r.tenant_id = p.tenant_id COLLATE \"C\" AND r.lane = p.lane AND r.first_index < $4 \
           ORDER BY r.first_seq DESC LIMIT 1) r"
    );
    let mut arguments = given(lanes.keys().map(|key| (key, 0))).to_vec();
    arguments.push(Arg::Int8(size));
    spi::complete(&statement, &arguments, |row| {
        if let Some(lane) = lanes.get_mut(&key(row)) {
            lane.covered = row.at(2).map_or(0, Datum::i64);
        }
    });
    size
}

/// What is known of an event.
#[derive(Clone, Copy)]
pub struct Event {
    pub created_at: i64,
    pub hash: Option<Hash>,
    pub previous: Option<Hash>,
}

/// Reads events of these lanes and seqs from a table, or with `immutable.events` from all.
pub fn read<'k>(
    table: &str,
    events: impl Iterator<Item = (&'k (String, i16), i64)>,
    found: &mut HashMap<(String, i16, i64), Event>,
) {
    let arguments = given(events);
    if matches!(&arguments[0], Arg::Texts(tenants) if tenants.is_empty()) {
        return;
    }
    let statement = format!(
        "SELECT p.tenant_id, p.lane, p.seq, e.created_at, e.event_hash, e.previous_event_hash \
         FROM {EVENTS}, LATERAL (SELECT * FROM {table} e WHERE {OF_LANE} AND e.seq = p.seq OFFSET 0) e"
    );
    spi::complete(&statement, &arguments, |row| {
        let (tenant_id, lane) = key(row);
        let event = Event {
            created_at: row.at(3).map_or(0, any_micros),
            hash: row.at(4).and_then(hash),
            previous: row.at(5).and_then(hash),
        };
        found.insert((tenant_id, lane, row.at(2).map_or(0, Datum::i64)), event);
    });
}
