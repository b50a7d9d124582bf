//! The feed beneath alerts and deliveries: each event once, from one snapshot to the next, whatever
//! other transactions of the cluster wait for. The events that come next are those of transactions
//! that had not ended at the last snapshot and have by now. Within a lane they come in the order of
//! seq.

use crate::log::columns::{self as c, Layout};
use crate::log::row::stored_text;
use crate::log::segments::{self, Segment, State};
use crate::log::tables::events_oid;
use crate::log::{distributed, event};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::{RowBuffer, Tuple, Values};
use crate::pg::{setting, transaction};
use crate::read::feed_mark::{Mark, Place, Seen};
use crate::read::feed_runs::{first_of_lanes, in_order, joined, Run};
use pgrx::pg_sys;
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

/// How far the feed was read.
pub struct Reached {
    /// The mark for the next call.
    pub mark: String,
    /// How many events were given.
    pub events: usize,
    /// Whether there were more when the reading began.
    pub has_more: bool,
}

/// The mark behind everything that is visible now. What this transaction has recorded is not.
pub fn now() -> String {
    require_primary();
    Mark::at(current()).to_string()
}

/// The mark before every event.
pub fn beginning() -> String {
    require_primary();
    Mark::at(Seen::NOTHING).to_string()
}

/// A mark before every event that was recorded from a time on, in microseconds since 1970. Older
/// events may be behind it too.
pub fn before(at: i64) -> String {
    require_primary();
    let now = current();
    let mut first = None;
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), || {
        spi::query_now(
            "SELECT e.xact FROM immutable.events e WHERE e.created_at OPERATOR(pg_catalog.>=) $1 \
             ORDER BY e.xact LIMIT 1",
            &[Arg::Time(at)],
            |row| first = row.at(0).map(|xact| xact.i64() as u64),
        );
    });
    // What runs now may have recorded events at any time.
    let running = now.xip.first().copied().unwrap_or(now.xmax);
    let xmax = first.map_or(running, |first| first.min(running));
    Mark::at(Seen { xmax, xip: BTreeSet::new() }).to_string()
}

/// Whether a text is a mark.
pub fn is_mark(text: &str) -> bool {
    Mark::parse(text).is_some()
}

/// Calls `each` with the events behind the mark, at most `most` of them; no mark is before the first
/// event. It reads with the owner's rights. Raises XX001 for a damaged mark, 55000 for one that is
/// not of this server's past, 25006 on a standby, and 0A000 for a distributed log.
pub fn read(mark: Option<&str>, most: usize, mut each: impl FnMut(&Values, &Layout)) -> Reached {
    require_primary();
    refuse_distributed();
    let mark = mark.map_or_else(|| Mark::at(Seen::NOTHING), Mark::read);
    let now = current();
    let target = mark.target.clone().unwrap_or_else(|| now.clone());
    if !now.covers(&target) || !target.covers(&mark.given) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "a mark of the feed of events is not of this server's past",
        )
        .field("mark")
        .detail(format!("The mark is {mark}, and the server is at {now}."))
        .hint("The server was set back, or the mark is another server's. Begin with a new mark.")
        .raise()
    }
    let most = most.max(1);
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    // Bitmaps, sorts and whole tables would be chosen for ranges that the planner takes for large.
    for name in [c"enable_bitmapscan", c"enable_seqscan", c"enable_sort", c"jit"] {
        setting::for_transaction(name, c"off");
    }
    spi::as_owner(events.get(), || {
        let mut piece = Piece::find(&mark, &target, most, Tables::Hot);
        // Events that had left the hot table by then are in a segment by now.
        if segments::may_be() && may_be_in_segments(&mark) {
            piece = Piece::find(&mark, &target, most, Tables::All);
        }
        let given = piece.choose(&mark, most);
        give(&given, &mut each);
        let events = given.events;
        let mark = piece.mark(&mark, target, given);
        Reached { events, has_more: mark.target.is_some(), mark: mark.to_string() }
    })
}

/// Whether segments may have events of transactions that the mark does not know.
fn may_be_in_segments(mark: &Mark) -> bool {
    let first = mark.given.xip.first().copied().unwrap_or(mark.given.xmax).min(mark.given.xmax);
    let has = |segment: &Segment| segment.xacts.is_some_and(|(_, last)| last >= first);
    segments::now().iter().any(|segment| segment.state == State::Sealed && has(segment))
}

/// Where the feed looks for events. What is new is in the hot table, unless it was sealed before anybody read it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    Hot,
    All,
}

impl Tables {
    /// The statement, which names the hot table, for these tables.
    fn in_statement(self, statement: &str) -> String {
        match self {
            Tables::Hot => statement.to_string(),
            Tables::All => statement.replace("FROM ONLY ", "FROM ").replace("JOIN ONLY ", "JOIN "),
        }
    }
}

fn require_primary() {
    if transaction::is_in_recovery() {
        Fault::new(Code::ERRCODE_READ_ONLY_SQL_TRANSACTION, "the feed of events cannot be read on a standby")
            .detail("A standby does not know which transactions of the primary run.")
            .hint("Read it on the primary, or call immutable.changes().")
            .raise()
    }
}

/// What is visible now. A transaction's own snapshot does not say that the transaction itself runs.
fn current() -> Seen {
    let (mut seen, mut own) = (None, None);
    spi::query_now(
        "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, \
           pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text",
        &[],
        |row| {
            seen = row.at(0).and_then(|snapshot| Seen::parse(text(snapshot)));
            own = row.at(1).and_then(|own| text(own).parse::<u64>().ok());
        },
    );
    let mut seen = seen.unwrap_or_else(|| internal("PostgreSQL gave no snapshot"));
    seen.xip.extend(own.filter(|own| *own < seen.xmax));
    seen
}

/// What one call looks at: everything that is not given, of transactions up to `upto`.
struct Piece {
    runs: Vec<Run>,
    /// The last transaction that was looked at.
    upto: u64,
    /// Whether transactions behind it are left for later.
    is_limited: bool,
    /// Transactions that wait for one behind `upto`.
    blocked: BTreeSet<u64>,
}

/// What one call gives.
#[derive(Default)]
struct Given {
    runs: Vec<Run>,
    /// Transactions of which everything is given by now.
    whole: BTreeSet<u64>,
    /// Where the piece ends within a transaction.
    place: Option<Place>,
    events: usize,
}

impl Piece {
    fn find(mark: &Mark, target: &Seen, most: usize, tables: Tables) -> Piece {
        let mut runs = Vec::new();
        let late: Vec<u64> = mark.given.xip.iter().copied().filter(|xact| target.has(*xact)).collect();
        runs_of(&late, tables, &mut runs);
        let mut new = Vec::new();
        let is_limited = new_runs(&mark.given, target, most, tables, &mut new) > most;
        let mut upto = target.xmax.saturating_sub(1);
        if is_limited {
            // The last transaction may not be there as a whole.
            let last = new.iter().map(|run| run.xact).max().unwrap_or(upto);
            new.retain(|run| run.xact != last);
            upto = last.saturating_sub(1);
            if new.is_empty() {
                runs_of(&[last], tables, &mut new);
                upto = last;
            }
        }
        runs.append(&mut new);
        if let Some(place) = &mark.place {
            behind(&mut runs, place);
        }
        let mut piece = Piece { runs, upto, is_limited, blocked: BTreeSet::new() };
        if is_limited {
            piece.blocked = blocked(&piece.runs, upto, target);
        }
        piece
    }

    /// Chooses what to give.
    fn choose(&self, mark: &Mark, most: usize) -> Given {
        let mut order = in_order(self.runs.clone(), &self.blocked);
        if !self.is_limited {
            // Rows that somebody changed could wait for each other. They must not stop the feed.
            let ordered: HashSet<u64> = order.iter().map(|(xact, _)| *xact).collect();
            let rest: Vec<Run> = self.runs.iter().filter(|run| !ordered.contains(&run.xact)).cloned().collect();
            for run in rest {
                order.push((run.xact, vec![run]));
            }
        }
        if let Some(place) = &mark.place {
            // The transaction that was begun goes on.
            order.sort_by_key(|(xact, _)| *xact != place.xact);
        }
        let mut given = Given::default();
        'piece: for (xact, runs) in order {
            for mut run in runs {
                let left = most - given.events;
                if left == 0 {
                    break 'piece;
                }
                let count = (run.last - run.first + 1).max(0) as usize;
                if count > left {
                    run.last = run.first + left as i64 - 1;
                }
                given.events += count.min(left);
                given.place = Some(Place { xact, tenant_id: run.tenant_id.clone(), lane: run.lane, seq: run.last });
                given.runs.push(run);
                if count > left {
                    break 'piece;
                }
            }
            given.whole.insert(xact);
            given.place = None;
        }
        given
    }

    /// The mark behind what is given.
    fn mark(&self, before: &Mark, target: Seen, given: Given) -> Mark {
        let left: BTreeSet<u64> =
            self.runs.iter().map(|run| run.xact).filter(|xact| !given.whole.contains(xact)).collect();
        if !self.is_limited && left.is_empty() {
            return Mark::at(target);
        }
        // The mark stays short: transactions behind the last one that was given are looked at again.
        let last = given.whole.last().copied().max(given.place.as_ref().map(|place| place.xact));
        let xmax = last.unwrap_or(self.upto).saturating_add(1).max(before.given.xmax).min(target.xmax);
        let left = left.into_iter().filter(|xact| *xact < xmax);
        let running = target.xip.iter().copied().filter(|xact| *xact < xmax);
        let given_now = Seen { xmax, xip: left.chain(running).collect() };
        Mark { given: given_now, target: Some(target), place: given.place }
    }
}

/// Cuts from the transaction of the place what was given.
fn behind(runs: &mut Vec<Run>, place: &Place) {
    runs.retain_mut(|run| {
        if run.xact != place.xact {
            return true;
        }
        let (at, last) = ((&*run.tenant_id, run.lane), (&*place.tenant_id, place.lane));
        if at == last {
            run.first = run.first.max(place.seq + 1);
        }
        at >= last && run.first <= run.last
    });
}

/// Reads runs as the statements below select them, and returns the number of their events. A tenant that cannot be read
/// is left out: nobody could look its events up.
fn take_runs(statement: &str, given: &[Arg], runs: &mut Vec<Run>) -> usize {
    let mut events = 0;
    spi::query_now_planned_each_time(statement, given, |row| {
        events += row.at(5).map_or(0, Datum::i64) as usize;
        let Some(tenant_id) = row.at(1).and_then(stored_text) else { return };
        runs.push(Run {
            xact: row.at(0).map_or(0, |xact| xact.i64() as u64),
            tenant_id: tenant_id.to_string(),
            lane: row.at(2).map_or(0, Datum::i16),
            first: row.at(3).map_or(0, Datum::i64),
            last: row.at(4).map_or(0, Datum::i64),
        });
    });
    events
}

/// What these transactions recorded.
fn runs_of(xacts: &[u64], tables: Tables, runs: &mut Vec<Run>) {
    if xacts.is_empty() {
        return;
    }
    let statement =
        "SELECT e.xact, e.tenant_id, e.lane, pg_catalog.min(e.seq), pg_catalog.max(e.seq), pg_catalog.count(*) \
         FROM pg_catalog.unnest($1::pg_catalog.text[]) x JOIN ONLY immutable.events e \
           ON e.xact OPERATOR(pg_catalog.=) x::pg_catalog.xid8 \
         GROUP BY e.xact, e.tenant_id, e.lane";
    take_runs(&tables.in_statement(statement), &[Arg::Texts(xacts.iter().map(u64::to_string).collect())], runs);
}

/// What transactions recorded that the mark does not know and the target sees, in the order of their
/// IDs, up to one event more than `most`. Returns the number of events.
fn new_runs(given: &Seen, target: &Seen, most: usize, tables: Tables, runs: &mut Vec<Run>) -> usize {
    let statement =
        "SELECT e.xact, e.tenant_id, e.lane, pg_catalog.min(e.seq), pg_catalog.max(e.seq), pg_catalog.count(*) \
         FROM (SELECT e.xact, e.tenant_id, e.lane, e.seq FROM ONLY immutable.events e \
           WHERE e.xact OPERATOR(pg_catalog.>=) $1::pg_catalog.text::pg_catalog.xid8 \
             AND e.xact OPERATOR(pg_catalog.<) $2::pg_catalog.text::pg_catalog.xid8 \
             AND NOT (e.xact OPERATOR(pg_catalog.=) ANY ($3::pg_catalog.text[]::pg_catalog.xid8[])) \
           ORDER BY e.xact LIMIT $4) e \
         GROUP BY e.xact, e.tenant_id, e.lane";
    let running = target.xip.iter().map(u64::to_string).collect();
    let arguments = [
        Arg::text(given.xmax.to_string()),
        Arg::text(target.xmax.to_string()),
        Arg::Texts(running),
        Arg::Int8(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)),
    ];
    take_runs(&tables.in_statement(statement), &arguments, runs)
}

/// The transactions of runs that follow, in their lane, a transaction behind `upto` which the target sees.
fn blocked(runs: &[Run], upto: u64, target: &Seen) -> BTreeSet<u64> {
    let firsts = first_of_lanes(runs);
    let tenants: Vec<String> = firsts.iter().map(|run| run.tenant_id.clone()).collect();
    let lanes: Vec<Datum> = firsts.iter().map(|run| Datum::from(run.lane)).collect();
    let seqs: Vec<Datum> = firsts.iter().map(|run| Datum::from(run.first - 1)).collect();
    let mut blocked = BTreeSet::new();
    here(|memory| {
        let lanes = memory.array(&lanes, pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT);
        let seqs = memory.array(&seqs, pg_sys::INT8OID, 8, true, pg_sys::TYPALIGN_DOUBLE);
        spi::query_now_planned_each_time(
            "SELECT r.n, e.xact FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
               pg_catalog.unnest($2::pg_catalog.int2[]), pg_catalog.unnest($3::pg_catalog.int8[])) \
               WITH ORDINALITY r(tenant_id, lane, seq, n) \
             CROSS JOIN LATERAL (SELECT e.xact FROM immutable.events e \
               WHERE e.tenant_id OPERATOR(pg_catalog.=) r.tenant_id AND e.lane OPERATOR(pg_catalog.=) r.lane \
                 AND e.seq OPERATOR(pg_catalog.=) r.seq OFFSET 0) e",
            &[Arg::Texts(tenants), Arg::Given(pg_sys::INT2ARRAYOID, lanes), Arg::Given(pg_sys::INT8ARRAYOID, seqs)],
            |row| {
                let xact = row.at(1).map_or(0, |xact| xact.i64() as u64);
                let run = firsts.get(row.at(0).map_or(0, Datum::i64).wrapping_sub(1) as usize);
                blocked.extend(run.filter(|_| xact > upto && target.has(xact)).map(|run| run.xact));
            },
        );
    });
    blocked
}

/// The events of runs, in their order. A subquery that is sorted cannot become part of another kind of
/// join, so the runs come in their order.
const EVENTS_OF_RUNS: &str = "SELECT e.* FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
       pg_catalog.unnest($2::pg_catalog.int2[]), pg_catalog.unnest($3::pg_catalog.int8[]), \
       pg_catalog.unnest($4::pg_catalog.int8[])) r(tenant_id, lane, first, last) \
     CROSS JOIN LATERAL (SELECT e.* FROM ONLY immutable.events e \
       WHERE e.tenant_id OPERATOR(pg_catalog.=) r.tenant_id AND e.lane OPERATOR(pg_catalog.=) r.lane \
         AND e.seq OPERATOR(pg_catalog.>=) r.first AND e.seq OPERATOR(pg_catalog.<=) r.last ORDER BY e.seq) e";

/// The same of the hot table if it has so many of them, and nothing otherwise: some may have been sealed since the runs
/// were found.
fn events_if_hot() -> String {
    format!(
        "WITH hot AS MATERIALIZED ({EVENTS_OF_RUNS}) SELECT h.* FROM hot h \
         WHERE (SELECT pg_catalog.count(*) FROM hot) OPERATOR(pg_catalog.=) $5"
    )
}

/// Calls `each` with the events of what was chosen.
fn give(given: &Given, each: &mut impl FnMut(&Values, &Layout)) {
    if given.runs.is_empty() {
        return;
    }
    let runs = joined(given.runs.iter().cloned());
    // An event that somebody changed could lie in the run of another transaction.
    let xacts: HashSet<u64> = given.runs.iter().map(|run| run.xact).collect();
    let tenants: Vec<String> = runs.iter().map(|run| run.tenant_id.clone()).collect();
    let lanes: Vec<Datum> = runs.iter().map(|run| Datum::from(run.lane)).collect();
    let seqs = [|run: &Run| run.first, |run: &Run| run.last];
    let seqs: [Vec<Datum>; 2] = seqs.map(|seq| runs.iter().map(|run| Datum::from(seq(run))).collect());
    here(|memory| {
        let lanes = memory.array(&lanes, pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT);
        let [first, last] = seqs.map(|seqs| memory.array(&seqs, pg_sys::INT8OID, 8, true, pg_sys::TYPALIGN_DOUBLE));
        let mut arguments = vec![
            Arg::Texts(tenants),
            Arg::Given(pg_sys::INT2ARRAYOID, lanes),
            Arg::Given(pg_sys::INT8ARRAYOID, first),
            Arg::Given(pg_sys::INT8ARRAYOID, last),
        ];
        let (mut layout, mut buffer, found) = (None, RowBuffer::default(), Cell::new(false));
        let mut take = |tuple: Tuple<'_>| {
            found.set(true);
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            buffer.take_apart(tuple, |row| {
                let xact = row.get(layout, c::XACT).map_or(0, |xact| xact.i64() as u64);
                if xacts.contains(&xact) {
                    each(row, layout);
                }
            });
        };
        if !segments::may_be() {
            return spi::stream_now(EVENTS_OF_RUNS, &arguments, take);
        }
        arguments.push(Arg::Int8(runs.iter().map(|run| (run.last - run.first + 1).max(0)).sum()));
        spi::stream_now(&events_if_hot(), &arguments, &mut take);
        arguments.pop();
        if !found.get() {
            spi::stream_now(&Tables::All.in_statement(EVENTS_OF_RUNS), &arguments, take);
        }
    });
}

/// Most events of one call.
const MOST_EVENTS: i32 = 10_000;

/// Refuses (0A000) a distributed log, whose transactions have no common order.
fn refuse_distributed() {
    distributed::refuse("feeds", "Use immutable.changes() with a tenant_id, tenant by tenant.");
}

sql_function!(immutable_feed, pg_finfo_immutable_feed, feed);

/// `immutable.feed(mark, limit)`
fn feed(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let limit = call.arg(1).map_or(1000, Datum::i32);
    if !(1..=MOST_EVENTS).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {MOST_EVENTS}, not {limit}"))
            .hint("Call again with the mark that came with the events.")
            .raise()
    }
    let mut events = Vec::new();
    let reached = match call.arg(0) {
        None => Reached { mark: now(), events: 0, has_more: false },
        Some(mark) => {
            let mark = Some(text(mark)).filter(|mark| !mark.is_empty());
            read(mark, limit as usize, |row, layout| events.push(event::json(row, layout)))
        }
    };
    let (events, mark, has_more) = (events.join(","), reached.mark, reached.has_more);
    call.memory().jsonb(&format!("{{\"data\":[{events}],\"mark\":\"{mark}\",\"has_more\":{has_more}}}"))
}
