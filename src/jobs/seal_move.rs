//! The second transaction of sealing: it copies events and their targets into a segment, and deletes them where they were.
//! Nobody waits while it copies. Only for the deletion it takes the lock that keeps erasures away.

use crate::jobs::seal_pace::Pace;
use crate::jobs::seal_prepare::timeouts;
use crate::log::own_change::by_log;
use crate::log::segment_indexes;
use crate::log::segments::{self, Segment, State};
use crate::pg::datum::{spot, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::extension::as_own_script;
use crate::pg::relation::{named, OpenRelation, Spot};
use crate::pg::spi::{self, Arg};
use crate::settings::SEAL_EVENTS;
use pgrx::pg_sys;
use std::ffi::CString;
use std::fmt::Write;

/// How many events are copied by one statement.
const CHUNK: i64 = 5_000;

/// The events of the hot table that move: that of a lane's last one stays, so the next one must be there.
const NO_TAIL: &str = "EXISTS (SELECT FROM ONLY immutable.events n \
    WHERE n.tenant_id = e.tenant_id AND n.lane = e.lane AND n.seq = e.seq + 1)";

/// The same event where it was, `h`, and in the segment that it moves to, `c`.
const SAME: &str = "c.tenant_id = h.tenant_id AND c.lane = h.lane AND c.seq = h.seq AND h.created_at >= $1 \
    AND h.created_at < $2";

/// What was erased where it was, and not yet in the copy.
const CHANGED: &str = "h.erased IS NOT NULL AND h.erased IS DISTINCT FROM c.erased";

/// What was moved.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub events: i64,
    pub targets: i64,
}

/// Moves events into a prepared segment: from the segments that it replaces, or else from the hot table, from which events
/// of earlier times then go into their segments too.
pub fn fill(segment: &Segment, known: &[Segment], paced: bool) -> Moved {
    by_log(|| {
        let mut pace = Pace::new(paced);
        let mut moves = vec![Move::copy(segment, Source::of(segment), &mut pace)];
        if segment.replaces.is_empty() {
            for older in known.iter().filter(|known| known.state == State::Sealed) {
                if has_movable(older) {
                    moves.push(Move::copy(older, Source::Hot, &mut pace));
                }
            }
        }
        as_own_script(|| finish_tables(segment, &mut pace));
        let _restored = timeouts().set();
        segments::move_events();
        for one in &mut moves {
            one.copy_erased();
            one.delete();
        }
        let mut all = Moved::default();
        for one in &moves {
            note(one.segment, one.moved);
            all.events += one.moved.events;
            all.targets += one.moved.targets;
        }
        note_emptied(&segment.replaces);
        all
    })
}

fn has_movable(segment: &Segment) -> bool {
    let mut found = false;
    let statement = format!(
        "SELECT FROM ONLY immutable.events e WHERE e.created_at >= $1 AND e.created_at < $2 AND {NO_TAIL} LIMIT 1"
    );
    spi::query_now_planned_each_time(&statement, &bounds(segment), |_| found = true);
    found
}

fn bounds(segment: &Segment) -> Vec<Arg<'static>> {
    vec![Arg::Time(segment.from), Arg::Time(segment.to)]
}

/// The names of a table's columns.
fn columns(table: &str) -> Vec<String> {
    let mut names = Vec::new();
    spi::query_now(
        &format!(
            "SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = 'immutable.{table}'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum"
        ),
        &[],
        |row| names.extend(row.at(0).map(|name| text(name).to_string())),
    );
    names
}

fn list(names: &[String], of: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{of}{name}")).collect();
    names.join(", ")
}

/// Where events come from.
enum Source {
    Hot,
    Segments(Vec<i32>),
}

impl Source {
    fn of(segment: &Segment) -> Source {
        match segment.replaces.is_empty() {
            true => Source::Hot,
            false => Source::Segments(segment.replaces.clone()),
        }
    }

    /// The names of its tables, of `events` or `event_targets`.
    fn tables(&self, of: &str) -> Vec<String> {
        match self {
            Source::Hot => vec![of.to_string()],
            Source::Segments(numbers) => numbers.iter().map(|number| format!("{of}_{number}")).collect(),
        }
    }

    /// Their rows, as an item of FROM.
    fn rows(&self, of: &str) -> String {
        let tables = self.tables(of);
        match self {
            Source::Hot => format!("ONLY immutable.{of}"),
            Source::Segments(_) => {
                let names = list(&columns(of), "");
                let each: Vec<String> =
                    tables.iter().map(|table| format!("SELECT {names} FROM ONLY immutable.{table}")).collect();
                format!("({})", each.join(" UNION ALL "))
            }
        }
    }

    /// What an event `e` must be to move.
    fn movable(&self) -> String {
        let within = "e.created_at >= $1 AND e.created_at < $2";
        match self {
            Source::Hot => format!("{within} AND {NO_TAIL}"),
            Source::Segments(_) => within.to_string(),
        }
    }
}

/// The events that go to one segment.
struct Move<'s> {
    segment: &'s Segment,
    source: Source,
    moved: Moved,
}

impl Move<'_> {
    /// Copies the events of the segment's time, chunk by chunk in the order of their lanes.
    fn copy<'s>(segment: &'s Segment, source: Source, pace: &mut Pace) -> Move<'s> {
        let mut one = Move { segment, source, moved: Moved::default() };
        let names = columns("events");
        let (into, from) = (segment.events_table(), one.source.rows("events"));
        let mut after: Option<Place> = None;
        for end in one.ends() {
            let mut given = bounds(segment);
            let mut conditions = format!("(e.tenant_id, e.lane, e.seq) <= {}", end.give(&mut given));
            if let Some(after) = &after {
                let _ = write!(conditions, " AND (e.tenant_id, e.lane, e.seq) > {}", after.give(&mut given));
            }
            let statement = format!(
                "INSERT INTO immutable.{into} ({}) SELECT {} FROM {from} e WHERE {} AND {conditions} \
                 ORDER BY e.tenant_id, e.lane, e.seq",
                list(&names, ""),
                list(&names, "e."),
                one.source.movable(),
            );
            one.moved.events += spi::affected(&statement, &given);
            after = Some(end);
            pace.pause();
        }
        one.moved.targets = one.copy_targets();
        pace.pause();
        one
    }

    /// The last event of each chunk.
    fn ends(&self) -> Vec<Place> {
        // Few events come too late for their segment.
        let most = if self.segment.state == State::Sealed { i64::from(SEAL_EVENTS.get()) } else { i64::MAX };
        let statement = format!(
            "SELECT p.tenant_id, p.lane, p.seq FROM (SELECT e.tenant_id, e.lane, e.seq, \
               pg_catalog.row_number() OVER (ORDER BY e.tenant_id, e.lane, e.seq) AS n, pg_catalog.count(*) OVER () AS of \
             FROM {} e WHERE {}) p \
             WHERE p.n <= $3 AND (p.n % {CHUNK} = 0 OR p.n = p.of OR p.n = $3) ORDER BY p.n",
            self.source.rows("events"),
            self.source.movable(),
        );
        let mut given = bounds(self.segment);
        given.push(Arg::Int8(most));
        places(&statement, &given)
    }

    /// Copies the targets of the events that were copied and are still where they were.
    fn copy_targets(&self) -> i64 {
        self.copy_targets_of("true", &bounds(self.segment))
    }

    /// The same for some of the events.
    fn copy_targets_of(&self, condition: &str, given: &[Arg]) -> i64 {
        let names = columns("event_targets");
        let statement = format!(
            "INSERT INTO immutable.{} ({}) SELECT {} FROM {} h JOIN ONLY immutable.{} c ON {SAME} \
             JOIN {} t ON t.tenant_id = h.tenant_id AND t.event_id = h.id \
             WHERE {condition} ORDER BY c.tenant_id, c.lane, c.seq, t.position",
            self.segment.targets_table(),
            list(&names, ""),
            list(&names, "t."),
            self.source.rows("events"),
            self.segment.events_table(),
            self.source.rows("event_targets"),
        );
        spi::affected(&statement, given)
    }

    /// Copies again what was erased since it was copied.
    fn copy_erased(&mut self) {
        let (events, targets) = (self.segment.events_table(), self.segment.targets_table());
        let (from, given) = (self.source.rows("events"), bounds(self.segment));
        let changed = format!("{from} h JOIN ONLY immutable.{events} c ON {SAME} AND {CHANGED}");
        let again = places(&format!("SELECT h.tenant_id, h.lane, h.seq FROM {changed}"), &given);
        if again.is_empty() {
            return;
        }
        let of_targets = format!(
            "SELECT t.ctid FROM ONLY immutable.{targets} t JOIN ({changed}) \
             ON t.tenant_id = h.tenant_id AND t.event_id = h.id"
        );
        // An erasure may take targets away.
        self.moved.targets -= delete_found(&targets, &of_targets, &given);
        delete_found(&events, &format!("SELECT c.ctid FROM {changed}"), &given);
        let names = columns("events");
        for place in again {
            let mut given = bounds(self.segment);
            let one = format!("(h.tenant_id, h.lane, h.seq) = {}", place.give(&mut given));
            let statement = format!(
                "INSERT INTO immutable.{events} ({}) SELECT {} FROM {from} h \
                 WHERE h.created_at >= $1 AND h.created_at < $2 AND {one}",
                list(&names, ""),
                list(&names, "h."),
            );
            spi::affected(&statement, &given);
            self.moved.targets += self.copy_targets_of(&one, &given);
        }
    }

    /// Deletes where they were what the segment has now. The rows go without triggers, and without the foreign key's
    /// check for each: their targets go with them.
    fn delete(&self) {
        let (events, given) = (self.segment.events_table(), bounds(self.segment));
        let mut deleted = Moved::default();
        for (targets_of, events_of) in self.source.tables("event_targets").iter().zip(self.source.tables("events")) {
            let (targets, rows) = match self.source {
                Source::Hot => (
                    format!(
                        "SELECT t.ctid FROM ONLY immutable.{targets_of} t JOIN ONLY immutable.{events_of} h \
                         ON t.tenant_id = h.tenant_id AND t.event_id = h.id JOIN ONLY immutable.{events} c ON {SAME}"
                    ),
                    format!("SELECT h.ctid FROM ONLY immutable.{events_of} h JOIN ONLY immutable.{events} c ON {SAME}"),
                ),
                Source::Segments(_) => {
                    let all = "created_at >= $1 AND created_at < $2";
                    (
                        format!("SELECT ctid FROM ONLY immutable.{targets_of} WHERE {all}"),
                        format!("SELECT ctid FROM ONLY immutable.{events_of} WHERE {all}"),
                    )
                }
            };
            deleted.targets += delete_found(targets_of, &targets, &given);
            deleted.events += delete_found(&events_of, &rows, &given);
        }
        if deleted != self.moved {
            self.refuse(deleted);
        }
    }

    fn refuse(&self, deleted: Moved) -> ! {
        let (number, Moved { events, targets }) = (self.segment.number, self.moved);
        Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("segment {number} would not have the events that leave"))
            .detail(format!(
                "{events} events and {targets} targets were copied, {} and {} would be deleted.",
                deleted.events, deleted.targets
            ))
            .hint("Nothing was changed. SELECT * FROM immutable.verify_breaks() shows what is wrong with the log.")
            .raise()
    }
}

/// Deletes the rows of a table whose places a statement finds, without triggers and without looking for what refers to
/// them. Returns how many there were.
pub fn delete_found(table: &str, statement: &str, given: &[Arg]) -> i64 {
    let mut spots: Vec<Spot> = Vec::new();
    spi::query_now_planned_each_time(statement, given, |row| spots.extend(row.at(0).map(spot)));
    spots.sort_unstable();
    let name = CString::new(table).unwrap_or_default();
    OpenRelation::table(named(&name), pg_sys::RowExclusiveLock).get().delete_at(&spots);
    spots.len() as i64
}

/// The place of an event in the order of a segment.
struct Place {
    tenant_id: String,
    lane: i16,
    seq: i64,
}

impl Place {
    /// Adds it to the arguments of a statement, and returns the expression for it.
    fn give(&self, given: &mut Vec<Arg<'static>>) -> String {
        let next = given.len() + 1;
        given.extend([Arg::text(self.tenant_id.clone()), Arg::Int2(self.lane), Arg::Int8(self.seq)]);
        format!("(${}::pg_catalog.text COLLATE \"C\", ${}, ${})", next, next + 1, next + 2)
    }
}

/// The places that a statement finds.
fn places(statement: &str, given: &[Arg]) -> Vec<Place> {
    let mut found = Vec::new();
    spi::query_now_planned_each_time(statement, given, |row| {
        found.push(Place {
            tenant_id: row.at(0).map_or("", text).to_string(),
            lane: row.at(1).map_or(0, Datum::i16),
            seq: row.at(2).map_or(0, Datum::i64),
        });
    });
    found
}

/// Makes the indexes of a new segment, its foreign key and its statistics.
fn finish_tables(segment: &Segment, pace: &mut Pace) {
    for statement in segment_indexes::statements(segment.number) {
        spi::execute(&statement, &[]);
        pace.pause();
    }
    let (events, targets) = (segment.events_table(), segment.targets_table());
    let reference = format!(
        "ALTER TABLE immutable.{targets} ADD FOREIGN KEY (event_id, tenant_id) REFERENCES immutable.{events} (id, tenant_id)"
    );
    spi::execute(&reference, &[]);
    for table in [events, targets] {
        spi::execute(&format!("ANALYZE immutable.{table}"), &[]);
        pace.pause();
    }
    for statement in segment_indexes::further(segment.number) {
        spi::execute(&statement, &[]);
        pace.pause();
    }
}

/// Notes what a segment has now.
fn note(segment: &Segment, moved: Moved) {
    let statement = format!(
        "UPDATE immutable.segments s SET state = 'sealed', events = s.events + $2, targets = s.targets + $3, \
           sealed_at = coalesce(s.sealed_at, pg_catalog.clock_timestamp()), \
           left_behind = (SELECT pg_catalog.count(*) FROM ONLY immutable.events e \
             WHERE e.created_at >= s.created_from AND e.created_at < s.created_to), \
           first_xact = x.first, last_xact = x.last \
         FROM (SELECT (SELECT c.xact FROM ONLY immutable.{0} c ORDER BY c.xact LIMIT 1) AS first, \
                      (SELECT c.xact FROM ONLY immutable.{0} c ORDER BY c.xact DESC LIMIT 1) AS last) x \
         WHERE s.segment = $1",
        segment.events_table()
    );
    spi::affected(
        &statement,
        &[Arg::Int8(i64::from(segment.number)), Arg::Int8(moved.events), Arg::Int8(moved.targets)],
    );
}

/// Notes that segments have no events any more.
fn note_emptied(numbers: &[i32]) {
    for number in numbers {
        spi::affected(
            "UPDATE immutable.segments s SET state = 'emptied', events = 0, targets = 0, \
               emptied_by = pg_catalog.pg_current_xact_id() WHERE s.segment = $1",
            &[Arg::Int8(i64::from(*number))],
        );
    }
}
