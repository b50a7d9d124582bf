//! Checks content and links. One statement, which PostgreSQL may run in parallel, checks all events
//! in the order in which they are stored, and adds up every lane. The lanes that do not add up are
//! then walked in order of seq, which shows what is wrong with them. Both see the same snapshot.

use crate::log::columns::{self as c, Layout};
use crate::log::row::{self, hash, stored_text};
use crate::pg::datum::{bytes, micros, text, uuid, Datum};
use crate::pg::error::internal;
use crate::pg::shared::Segment;
use crate::pg::spi::{self, Arg};
use crate::pg::toast::{self, readable_text};
use crate::pg::tuple::Values;
use crate::verify::basis::Basis;
use crate::verify::coverage::Coverage;
use crate::verify::run::{Counts, Left, Run};
use crate::verify::scope::{unfit, Scope, Sql};
use crate::verify::sums::columns_of_event;
use crate::verify::{budget, progress, shared};
use immutable_format::link::{Break, BreakType, Row, Walk};
use immutable_format::pruning::Begin;
use immutable_format::sum::{LaneSum, Sum};
use immutable_format::{document, sha256, Hash, Id};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// The sums over all events of a run.
#[derive(Default)]
pub struct Sums {
    /// The sum of their targets; None if they were not added up or could not be.
    pub targets: Option<Sum>,
    /// Whether there may be an erased event or an erasure record.
    pub erasures: bool,
}

/// How many bytes the lanes to be walked may take in memory. If they take more, every lane is
/// walked.
const MOST_ODD: usize = 4 << 20;

/// A lane to be walked.
struct Odd {
    tenant_id: String,
    lane: i16,
    /// Whether its links do not add up.
    links: bool,
    /// First and last seq of the rows whose content is to be checked again.
    invalid: Option<(i64, i64)>,
}

/// The lanes to be walked.
#[derive(Default)]
struct OddLanes {
    lanes: Vec<Odd>,
    /// The lanes whose tenants do not belong to the shard.
    misplaced: Vec<Break>,
    bytes: usize,
    /// Whether everything is to be walked instead.
    in_order: bool,
}

impl OddLanes {
    fn push(&mut self, lane: Odd) {
        self.bytes += size_of::<Odd>() + lane.tenant_id.len();
        self.in_order |= self.bytes > MOST_ODD;
        if !self.in_order {
            self.lanes.push(lane);
        }
    }

    fn push_misplaced(&mut self, scope: &Scope, tenant_id: &str, lane: i16, before: i64) {
        let first = before.saturating_add(1);
        let Some(found) = scope.home.and_then(|home| home.misplaced(tenant_id, lane, first)) else { return };
        self.bytes += size_of::<Break>() + found.detail.len();
        self.in_order |= self.bytes > MOST_ODD;
        if !self.in_order {
            self.misplaced.push(found);
        }
    }
}

/// Where lanes must begin.
struct Starts<'s> {
    basis: &'s Basis,
    /// The marks of an incremental run, by lane.
    marks: HashMap<(&'s str, i16), i64>,
}

impl<'s> Starts<'s> {
    fn of(scope: &'s Scope, basis: &'s Basis) -> Starts<'s> {
        let mut marks = HashMap::new();
        for mark in scope.since.iter().flat_map(|since| &since.heads) {
            let least = marks.entry((mark.tenant_id.as_str(), mark.lane)).or_insert(mark.seq);
            *least = mark.seq.min(*least);
        }
        Starts { basis, marks }
    }

    fn mark(&self, tenant_id: &str, lane: i16) -> Option<i64> {
        self.marks.get(&(tenant_id, lane)).copied()
    }
}

/// Verifies the content and the links of the events in scope, and reports every break. Fills in
/// `counts`, and the rows in `coverage`. Returns the sums.
pub fn check(
    scope: &Scope,
    basis: &Basis,
    run: &mut Run,
    mut coverage: Option<&mut Coverage>,
    counts: &mut Counts,
    report: &mut impl FnMut(Break),
) -> Sums {
    let starts = Starts::of(scope, basis);
    let segment = share(scope, run, coverage.as_deref());
    let run = &*run;
    let mut sums = Sums { targets: None, erasures: true };
    let found = match counts.log_id {
        // Without an identity, the walk takes that of the first lane. With max_events, the first
        // events in order of tenant, lane and seq are meant.
        Some(log_id) if scope.max_events.is_none() => {
            add_up(scope, &starts, run, log_id, coverage.as_deref_mut(), counts, &mut sums)
        }
        _ => None,
    };
    let is_broken = Cell::new(false);
    let mut report = |found: Break| {
        is_broken.set(true);
        report(found);
    };
    match found {
        Some(OddLanes { lanes: mut odd, misplaced, .. }) => {
            misplaced.into_iter().for_each(&mut report);
            odd.sort_unstable_by(|a, b| (a.tenant_id.as_bytes(), a.lane).cmp(&(b.tenant_id.as_bytes(), b.lane)));
            let mut walk = Walk::new(counts.log_id);
            for lane in &odd {
                // After the time is up, one break is enough to say that the log is not valid.
                counts.cut |= !walk_lane(scope, &starts, lane, &mut walk, &mut report, || {
                    is_broken.get() && budget::is_over(run)
                });
            }
        }
        None => walk_all(scope, &starts, run, coverage, counts, &mut report),
    }
    if let Some(segment) = segment.filter(|_| run.progress) {
        progress::end(&segment, counts.events);
    }
    if counts.log_id.is_none() && counts.events > 0 {
        report(Break {
            kind: BreakType::MissingEvent,
            tenant_id: None,
            lane: None,
            seq: None,
            event_id: None,
            expected: None,
            actual: None,
            detail: "immutable.log has lost the log's identity".to_string(),
        });
    }
    sums
}

/// Creates the memory that the processes of the run share, if they need any.
fn share(scope: &Scope, run: &mut Run, coverage: Option<&Coverage>) -> Option<Segment> {
    if !scope.progress && coverage.is_none() {
        return None;
    }
    (run.progress, run.tree) = (scope.progress, coverage.is_some());
    let numbers = if scope.progress { progress::begin(estimate(scope)) } else { [0; 4] };
    let table = coverage.map_or(Vec::new(), Coverage::table);
    Some(shared::create(run, numbers, &table))
}

/// How many events the planner expects.
fn estimate(scope: &Scope) -> u64 {
    let mut sql = Sql::default();
    let query = format!("SELECT FROM {}", scope.from(&mut sql));
    let rows = spi::planned_rows(&query, &sql.arguments) as u64;
    scope.max_events.map_or(rows, |most| rows.min(most as u64))
}

/// Checks every event and adds up every lane. Returns the lanes to be walked; None if every lane is
/// to be walked.
fn add_up(
    scope: &Scope,
    starts: &Starts<'_>,
    run: &Run,
    log_id: Id,
    mut coverage: Option<&mut Coverage>,
    counts: &mut Counts,
    sums: &mut Sums,
) -> Option<OddLanes> {
    let mut sql = Sql::default();
    let statement = sums_of_lanes(scope, starts.basis, run, &mut sql);
    let mut tenants: HashSet<[u8; 16]> = HashSet::new();
    let mut odd = OddLanes::default();
    let mut targets = Some(Sum::default());
    let (mut erased, mut records) = (0, false);
    spi::complete(&statement, &sql.arguments, |row| {
        let Some(lane) = row.at(2).and_then(|sum| LaneSum::from_bytes(bytes(sum))) else { internal("a lane was lost") };
        counts.events += lane.events;
        counts.last_seqs = counts.last_seqs.saturating_add(lane.last.seq.max(0));
        erased += lane.erased;
        records |= lane.records;
        counts.chains += u64::from(lane.events > 0);
        targets = targets.filter(|_| !lane.odd_targets).map(|sum| sum.plus(lane.targets));
        let (Some(tenant_id), Some(number)) = (row.at(0).and_then(stored_text), row.at(1).map(Datum::i16)) else {
            odd.in_order = true; // rows without a place that could be asked for
            return;
        };
        if lane.events > 0 {
            tenants.insert(short_hash(tenant_id));
            odd.push_misplaced(scope, tenant_id, number, lane.before.seq);
        }
        if let Some(coverage) = &mut coverage {
            coverage.add_rows(tenant_id, number, lane.leaves, lane.late);
        }
        counts.passed_over |= lane.passed_over;
        let (before, begin) = (row.at(3).and_then(hash), starts.basis.begin(tenant_id, number));
        let begins = begins_rightly(&lane, starts.mark(tenant_id, number), begin.as_ref(), log_id, before);
        // Of a lane whose rows were passed over in part, only the content of the others is known.
        let links = !(lane.passed_over || begins && lane.adds_up());
        let left = begin.map(|begin| ((tenant_id.to_string(), number), left_of(&lane, &begin, links)));
        counts.left_over.extend(left);
        if links || lane.invalid().is_some() {
            odd.push(Odd { tenant_id: tenant_id.to_string(), lane: number, links, invalid: lane.invalid() });
        }
    });
    counts.cut |= counts.passed_over;
    sums.targets = targets.filter(|_| run.targets);
    sums.erasures = erased > 0 || records;
    if odd.in_order {
        (counts.events, counts.chains, counts.last_seqs) = (0, 0, 0);
        counts.left_over.clear();
        if let Some(coverage) = coverage {
            coverage.forget_rows();
        }
        return None;
    }
    counts.erased = erased;
    counts.tenants = tenants.len() as u64;
    Some(odd)
}

/// What is left of a lane of which events were pruned. `is_odd` says that its links do not add up.
fn left_of(lane: &LaneSum, begin: &Begin, is_odd: bool) -> Left {
    let still = (!is_odd && !lane.passed_over).then(|| (lane.last.seq.min(begin.seq) - lane.before.seq).max(0));
    Left { last: lane.last.seq, still }
}

/// Whether a lane begins where it must: at its mark, with the log's identity, after the event before the range, or where
/// a record of a pruning says. Before that, events can be there still, and the others go on from them.
fn begins_rightly(lane: &LaneSum, mark: Option<i64>, begin: Option<&Begin>, log_id: Id, before: Option<Hash>) -> bool {
    match (mark, lane.before.seq) {
        (None | Some(..=1), 0) => lane.log_id == log_id,
        (_, seq) if begin.is_some_and(|begin| seq < begin.seq) => true,
        (_, seq) if begin.is_some_and(|begin| seq == begin.seq) => {
            begin.is_some_and(|begin| begin.event_hash == lane.before.hash)
        }
        (Some(mark), before) if mark > 1 => before == mark - 1,
        _ => before == Some(lane.before.hash),
    }
}

/// The statement that checks every event and adds up every lane. A row has tenant, lane, sum, and
/// the hash of the event that the first one of a range must follow.
fn sums_of_lanes<'c>(scope: &Scope<'c>, basis: &Basis, run: &Run, sql: &mut Sql<'c>) -> String {
    let argument = sql.argument(Arg::Bytes(run.to_bytes().to_vec().into()));
    let from = scope.from(sql);
    // The hash of the event that the first one of a range must follow, and whether there is one.
    let before = match scope.from_date {
        None => "NULL::pg_catalog.bytea".to_string(),
        Some(_) => format!(
            "CASE WHEN g.first > 1 THEN (SELECT p.event_hash FROM immutable.events p \
             WHERE p.tenant_id = g.tenant_id AND p.lane = g.lane AND p.seq = g.first - 1 AND NOT {} LIMIT 1) END",
            basis.stray_event("p")
        ),
    };
    let stray = basis.stray_event("e");
    // OFFSET keeps PostgreSQL from merging the subquery, so that only the few bytes of its result
    // are spilled to disk, not the events. If it were written as 0, it would still be an expression
    // when PostgreSQL decides whether the subquery can run in parallel.
    format!(
        "SELECT g.tenant_id, g.lane, g.sum, {before} FROM ( \
           SELECT x.tenant_id, x.lane, pg_catalog.min(x.seq) AS first, \
                  immutable.verify_lane({argument}, x.seen) AS sum \
           FROM (SELECT e.tenant_id, e.lane, e.seq, immutable.verify_event({argument}, {stray}, {}) AS seen \
                 FROM {from} OFFSET pg_catalog.int8 '0') x \
           GROUP BY x.tenant_id, x.lane OFFSET pg_catalog.int8 '0') g",
        columns_of_event()
    )
}

/// A short hash of a tenant's name, to count tenants in little memory.
fn short_hash(tenant_id: &str) -> [u8; 16] {
    let hash: Hash = sha256(&[tenant_id.as_bytes()]);
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}

/// Walks one lane, until `ends` says so. Rows whose content was found to be valid are not hashed
/// again. Returns whether it walked to the end.
fn walk_lane(
    scope: &Scope,
    starts: &Starts<'_>,
    odd: &Odd,
    walk: &mut Walk,
    report: &mut impl FnMut(Break),
    ends: impl Fn() -> bool,
) -> bool {
    if ends() {
        return false;
    }
    let (statement, arguments) = walk_statement(scope, starts, odd);
    let (mut layout, mut goes_on) = (None, true);
    spi::stream_while(&statement, &arguments, |tuple| {
        let values = tuple.values();
        let layout =
            layout.get_or_insert_with(|| Layout::of(tuple.descriptor()).unwrap_or_else(|column| unfit(column)));
        let invalid = |seq| odd.invalid.is_some_and(|(first, last)| (first..=last).contains(&seq));
        let row = read(&values, layout, invalid);
        if walk.begins_lane(row.tenant_id, row.lane) {
            let before = match odd.links {
                true => before(scope, starts, &row),
                false => row.previous_event_hash.map(|hash| (row.seq - 1, hash.to_vec())),
            };
            walk.begin_lane(row.tenant_id, row.lane, before, starts.basis.begin(row.tenant_id, row.lane));
        }
        walk.push(&row, &mut *report);
        goes_on = !ends();
        goes_on
    });
    goes_on
}

/// The statement that selects the rows of a lane to be walked, and its arguments.
fn walk_statement<'s>(scope: &Scope<'s>, starts: &Starts<'_>, odd: &'s Odd) -> (String, Vec<Arg<'s>>) {
    let mut sql = Sql::default();
    let mut conditions = scope.conditions("e", &mut sql);
    let mut condition = |clause: String| {
        conditions.push_str(if conditions.is_empty() { " WHERE " } else { " AND " });
        conditions.push_str(&clause);
    };
    condition(format!("e.tenant_id = {}", sql.argument(Arg::text(&odd.tenant_id))));
    condition(format!("e.lane = {}", sql.argument(Arg::Int2(odd.lane))));
    if let Some(mark) = starts.mark(&odd.tenant_id, odd.lane) {
        condition(format!("e.seq >= {}", sql.argument(Arg::Int8(mark))));
    }
    // If the links add up, only the rows from the first to the last invalid one are read again.
    if let (false, Some((first, last))) = (odd.links, odd.invalid) {
        let first = sql.argument(Arg::Int8(first));
        let last = sql.argument(Arg::Int8(last));
        condition(format!("e.seq BETWEEN {first} AND {last}"));
    }
    let (walked, stray) = (starts.basis.walked(), starts.basis.stray_event("e"));
    (format!("SELECT {walked} FROM immutable.events e{conditions} ORDER BY e.seq, {stray}, e.id"), sql.arguments)
}

/// Walks everything in scope in the order of tenant, lane and seq.
fn walk_all(
    scope: &Scope,
    starts: &Starts<'_>,
    run: &Run,
    mut coverage: Option<&mut Coverage>,
    counts: &mut Counts,
    report: &mut impl FnMut(Break),
) {
    let mut walk = Walk::new(counts.log_id);
    let mut sql = Sql::default();
    let from = scope.from(&mut sql);
    // One more event than is checked shows whether events were left out.
    let limit = scope.max_events.map_or(String::new(), |most| format!(" LIMIT {}", most.saturating_add(1)));
    let (walked, stray) = (starts.basis.walked(), starts.basis.stray_event("e"));
    let statement = format!("SELECT {walked} FROM {from} ORDER BY e.tenant_id, e.lane, e.seq, {stray}, e.id{limit}");
    let mut layout = None;
    spi::stream_while(&statement, &sql.arguments, |tuple| {
        let is_over = budget::is_over(run);
        if is_over || scope.max_events.is_some_and(|most| walk.events >= most as u64) {
            counts.cut = true;
            counts.passed_over |= is_over;
            return false;
        }
        if run.progress {
            progress::count(run);
        }
        let values = tuple.values();
        let layout =
            layout.get_or_insert_with(|| Layout::of(tuple.descriptor()).unwrap_or_else(|column| unfit(column)));
        counts.erased += u64::from(values.get(layout, c::ERASED).is_some());
        let row = read(&values, layout, |_| true);
        if walk.begins_lane(row.tenant_id, row.lane) {
            let begin = starts.basis.begin(row.tenant_id, row.lane);
            walk.begin_lane(row.tenant_id, row.lane, before(scope, starts, &row), begin);
            let misplaced = scope.home.and_then(|home| home.misplaced(row.tenant_id, row.lane, row.seq));
            misplaced.into_iter().for_each(&mut *report);
        }
        if let Some(coverage) = &mut coverage {
            let created_at = values.get(layout, c::CREATED_AT).map_or(i64::MAX, micros);
            coverage.add_row((row.tenant_id, row.lane, row.seq), created_at, row.recomputed.as_ref().ok());
        }
        walk.push(&row, &mut *report);
        if let Some(begin) = walk.begin() {
            let left = Left { last: walk.last().0, still: None };
            counts.left_over.insert((row.tenant_id.to_string(), begin.lane), left);
        }
        true
    });
    counts.events = walk.events;
    counts.chains = walk.lanes;
    counts.tenants = walk.tenants;
}

/// A row for the walk. Its content is checked if `doubtful` is true for its seq.
pub fn read<'a>(values: &Values<'a>, layout: &Layout, doubtful: impl Fn(i64) -> bool) -> Row<'a> {
    let get = |column| values.get(layout, column);
    let stray = layout.width - 1;
    let seq = get(c::SEQ).map_or(0, Datum::i64);
    let hash_in = |column| get(column).and_then(toast::read);
    let event_hash = hash_in(c::EVENT_HASH);
    let recomputed = match event_hash.and_then(|hash| Hash::try_from(hash).ok()) {
        Some(hash) if !doubtful(seq) => Ok(hash),
        _ => {
            let document = row::read(get).and_then(|stored| stored.document());
            document.map(|document| document::hash(&document)).map_err(|violation| violation.0)
        }
    };
    Row {
        tenant_id: get(c::TENANT_ID).map_or("", readable_text),
        lane: get(c::LANE).map_or(-1, Datum::i16),
        seq,
        id: get(c::ID).map(uuid).unwrap_or_default(),
        log_id: get(c::LOG_ID).map(uuid),
        previous_event_hash: hash_in(c::PREVIOUS_EVENT_HASH),
        event_hash,
        recomputed,
        stray: values.at(stray).map(text),
    }
}

/// The event that the first row of a lane must follow, if not all of the lane is in scope.
fn before(scope: &Scope, starts: &Starts<'_>, row: &Row<'_>) -> Option<(i64, Vec<u8>)> {
    match starts.mark(row.tenant_id, row.lane) {
        // The marked event itself is in scope; those before it are not read.
        Some(mark) if mark > 1 => {
            let hash = row.previous_event_hash.filter(|_| row.seq == mark);
            Some((mark - 1, hash.map_or(Vec::new(), <[u8]>::to_vec)))
        }
        _ if scope.from_date.is_some() && row.seq > 1 => Some(predecessor(starts.basis, row)),
        _ => None,
    }
}

/// The stored event that the first one of a range must follow. If it is missing, there is no hash
/// to compare.
fn predecessor(basis: &Basis, row: &Row<'_>) -> (i64, Vec<u8>) {
    let mut found = None;
    let statement = format!(
        "SELECT e.event_hash FROM immutable.events e \
         WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3 AND NOT {}",
        basis.stray_event("e")
    );
    spi::read(&statement, &[Arg::text(row.tenant_id), Arg::Int2(row.lane), Arg::Int8(row.seq - 1)], |before| {
        found = Some(before.at(0).and_then(toast::read).unwrap_or_default().to_vec());
    });
    found.map_or((row.seq - 2, Vec::new()), |hash| (row.seq - 1, hash))
}
