//! The second transaction of sealing: it copies events and their targets into a segment, and deletes them where they were.
//! Nobody waits while it copies. Only for the deletion it takes the lock that keeps erasures away.

use crate::jobs::seal_late::{by_indexes, late, NO_TAIL};
use crate::jobs::seal_pace::Pace;
use crate::jobs::seal_wait::timeouts;
use crate::log::own_change::by_log;
use crate::log::segment_indexes;
use crate::log::segments::{self, Segment, State};
use crate::pg::datum::{spot, text};
use crate::pg::error::{Code, Fault};
use crate::pg::extension::as_own_script;
use crate::pg::relation::{named, OpenRelation, Spot};
use crate::pg::spi::{self, Arg, Cursor};
use crate::pg::subtransaction::attempt;
use crate::pg::tuple::Values;
use crate::settings::SEAL_EVENTS;
use pgrx::pg_sys;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write;

/// How many events are copied by one statement.
const CHUNK: i64 = 5_000;

/// The same event where it was, `h`, and in the segment that it moves to, `c`.
const SAME: &str = "c.tenant_id = h.tenant_id AND c.lane = h.lane AND c.seq = h.seq AND h.created_at >= $1 \
    AND h.created_at < $2";

/// What was erased where it was, and not yet in the copy.
const CHANGED: &str = "h.erased IS NOT NULL AND h.erased IS DISTINCT FROM c.erased";

/// What was moved, and what could not be.
#[derive(Default, Clone, Copy)]
pub struct Moved {
    pub events: i64,
    pub targets: i64,
    pub unreadable: i64,
}

/// Moves events into a prepared segment: from the segments that it replaces, or else from the hot table, from which events
/// of earlier times then go into their segments too. An event whose stored bytes are damaged stays where it was.
///
/// Segments are merged whole or not at all: where an event of one is damaged, that is noted, and None is returned.
pub fn fill(segment: &Segment, known: &[Segment], paced: bool) -> Option<Moved> {
    let of_hot = segment.replaces.is_empty();
    let is_careful = of_hot && known.iter().any(|segment| segment.unreadable > 0);
    // To look for the damaged ones takes a subtransaction for each chunk.
    let filled = if is_careful { None } else { attempt(|| fill_with(segment, known, paced, false), is_damage).ok() };
    if filled.is_some() || !of_hot && by_log(|| note_damaged(segment, paced)) {
        return filled;
    }
    Some(fill_with(segment, known, paced, true))
}

/// Notes which of the segments that shall be replaced have events that cannot be read. Returns whether there are any.
fn note_damaged(segment: &Segment, paced: bool) -> bool {
    let mut are_there = false;
    for number in &segment.replaces {
        let mut one = Move::of(segment, Source::Segments(vec![*number]));
        let copied = attempt(|| by_indexes(|| one.copy(false, &mut Pace::new(paced))), is_damage);
        if copied.is_err() {
            are_there = true;
            let noted = "UPDATE immutable.segments s SET unreadable = 1 WHERE s.segment = $1";
            spi::affected(noted, &[Arg::Int8(i64::from(*number))]);
        }
    }
    are_there
}

/// Whether an error may be due to an event's stored bytes.
fn is_damage(code: Code, _: bool) -> bool {
    use Code::{ERRCODE_CHECK_VIOLATION, ERRCODE_DATA_CORRUPTED, ERRCODE_INTERNAL_ERROR, ERRCODE_NOT_NULL_VIOLATION};
    matches!(
        code,
        ERRCODE_CHECK_VIOLATION | ERRCODE_DATA_CORRUPTED | ERRCODE_INTERNAL_ERROR | ERRCODE_NOT_NULL_VIOLATION
    )
}

fn fill_with(segment: &Segment, known: &[Segment], paced: bool, is_careful: bool) -> Moved {
    by_log(|| {
        let mut pace = Pace::new(paced);
        // Its snapshot keeps the rows that are found in their places.
        let snapshot = Cursor::open_now("SELECT", Vec::new());
        let of_hot = segment.replaces.is_empty();
        let mut moves = vec![Move::of(segment, Source::of(segment))];
        if of_hot {
            moves.extend(late(known).into_iter().map(|late| Move::of(late, Source::Hot)));
        }
        for one in &mut moves {
            by_indexes(|| one.copy(is_careful && of_hot, &mut pace));
        }
        as_own_script(|| finish_tables(segment, &mut pace));
        let _restored = timeouts().set();
        segments::move_events();
        for one in &mut moves {
            by_indexes(|| one.copy_erased());
            one.delete();
        }
        snapshot.close();
        let mut all = Moved::default();
        for one in &moves {
            note(one.segment, one.moved);
            all.events += one.moved.events;
            all.targets += one.moved.targets;
            all.unreadable += one.moved.unreadable;
        }
        note_emptied(&segment.replaces);
        all
    })
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

    /// Their rows, as an item of FROM.
    fn rows(&self, of: &str) -> String {
        match self {
            Source::Hot => format!("ONLY immutable.{of}"),
            Source::Segments(numbers) => {
                let names = list(&columns(of), "");
                let each: Vec<String> = numbers
                    .iter()
                    .map(|number| format!("SELECT tableoid, ctid, {names} FROM ONLY immutable.{of}_{number}"))
                    .collect();
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

/// Where rows are: the table, and the place in it.
type Places = BTreeMap<u32, Vec<Spot>>;

/// What one statement has copied.
#[derive(Default)]
struct Chunk {
    events: Places,
    targets: Places,
    copied: Moved,
    last: Option<Place>,
}

/// The events that go to one segment.
struct Move<'s> {
    segment: &'s Segment,
    source: Source,
    moved: Moved,
    /// Where the rows were that have been copied.
    events: Places,
    targets: Places,
}

impl Move<'_> {
    fn of(segment: &Segment, source: Source) -> Move<'_> {
        Move { segment, source, moved: Moved::default(), events: Places::new(), targets: Places::new() }
    }

    /// Copies the events of the segment's time and their targets, chunk by chunk in the order of their lanes.
    fn copy(&mut self, is_careful: bool, pace: &mut Pace) {
        // Few events come too late for their segment.
        let all = if self.segment.state == State::Sealed { i64::from(SEAL_EVENTS.get()) } else { i64::MAX };
        let (mut after, mut most) = (None::<Place>, CHUNK);
        while self.moved.events < all {
            let limit = most.min(all - self.moved.events);
            let copied = match is_careful {
                true => attempt(|| self.chunk(after.as_ref(), limit), is_damage).ok(),
                false => Some(self.chunk(after.as_ref(), limit)),
            };
            match copied {
                Some(Chunk { last: None, .. }) => break,
                Some(chunk) => {
                    after = self.keep(chunk);
                    most = (most * 2).min(CHUNK);
                }
                None if most > 1 => most = (most / 8).max(1),
                None => {
                    after = self.next(after.as_ref());
                    self.moved.unreadable += 1;
                }
            }
            pace.pause();
        }
    }

    /// The conditions for events that are copied next, behind a place.
    fn behind(&self, after: Option<&Place>, given: &mut Vec<Arg<'static>>) -> String {
        let mut conditions = self.source.movable();
        if let Some(after) = after {
            let _ = write!(conditions, " AND (e.tenant_id, e.lane, e.seq) > {}", after.give(given));
        }
        conditions
    }

    fn chunk(&self, after: Option<&Place>, most: i64) -> Chunk {
        let mut given = bounds(self.segment);
        let conditions = self.behind(after, &mut given);
        self.copy_where(&format!("{conditions} ORDER BY e.tenant_id, e.lane, e.seq LIMIT {most}"), &given)
    }

    /// The first event behind a place.
    fn next(&self, after: Option<&Place>) -> Option<Place> {
        let mut given = bounds(self.segment);
        let (conditions, rows) = (self.behind(after, &mut given), self.source.rows("events"));
        let statement = format!(
            "SELECT e.tenant_id, e.lane, e.seq FROM {rows} e WHERE {conditions} \
             ORDER BY e.tenant_id, e.lane, e.seq LIMIT 1"
        );
        places(&statement, &given).pop()
    }

    /// Copies events and their targets in one statement, so that both are of the same snapshot.
    fn copy_where(&self, conditions: &str, given: &[Arg]) -> Chunk {
        let (events, targets) = (columns("events"), columns("event_targets"));
        let (of_events, of_targets) = (list(&events, ""), list(&targets, ""));
        let statement = format!(
            "WITH e AS MATERIALIZED (SELECT e.tableoid AS of, e.ctid AS spot, {} FROM {} e WHERE {conditions}), \
               copied AS (INSERT INTO immutable.{} ({of_events}) SELECT {of_events} FROM e), \
               t AS MATERIALIZED (SELECT t.tableoid AS of, t.ctid AS spot, {} FROM e \
                 JOIN {} t ON t.tenant_id = e.tenant_id AND t.event_id = e.id), \
               copied_targets AS (INSERT INTO immutable.{} ({of_targets}) SELECT {of_targets} FROM t) \
             SELECT e.of, e.spot, e.tenant_id, e.lane, e.seq FROM e \
             UNION ALL SELECT t.of, t.spot, NULL, NULL, NULL FROM t",
            list(&events, "e."),
            self.source.rows("events"),
            self.segment.events_table(),
            list(&targets, "t."),
            self.source.rows("event_targets"),
            self.segment.targets_table(),
        );
        let mut chunk = Chunk::default();
        spi::query_now_planned_each_time(&statement, given, |row| {
            let Some((of, at)) = row.at(0).map(|of| of.oid().to_u32()).zip(row.at(1).map(spot)) else { return };
            match place(row, 2) {
                Some(place) => {
                    chunk.events.entry(of).or_default().push(at);
                    chunk.copied.events += 1;
                    chunk.last = Some(place);
                }
                None => {
                    chunk.targets.entry(of).or_default().push(at);
                    chunk.copied.targets += 1;
                }
            }
        });
        chunk
    }

    /// Remembers what was copied. Returns the last event of it.
    fn keep(&mut self, chunk: Chunk) -> Option<Place> {
        for (kept, new) in [(&mut self.events, chunk.events), (&mut self.targets, chunk.targets)] {
            for (table, spots) in new {
                kept.entry(table).or_default().extend(spots);
            }
        }
        self.moved.events += chunk.copied.events;
        self.moved.targets += chunk.copied.targets;
        chunk.last
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
        self.moved.events -= delete_found(&events, &format!("SELECT c.ctid FROM {changed}"), &given);
        for place in again {
            let mut given = bounds(self.segment);
            let one = format!("(e.tenant_id, e.lane, e.seq) = {}", place.give(&mut given));
            let chunk = self.copy_where(&format!("e.created_at >= $1 AND e.created_at < $2 AND {one}"), &given);
            self.keep(chunk);
        }
    }

    /// Deletes where they were what the segment has now. The rows go without triggers, and without the foreign key's
    /// check for each: their targets go with them. A row that was erased meanwhile is in another place by now, which is
    /// known too.
    fn delete(&mut self) {
        let mut deleted = Moved::default();
        for (count, places) in [(&mut deleted.targets, &mut self.targets), (&mut deleted.events, &mut self.events)] {
            for (table, spots) in places {
                spots.sort_unstable();
                spots.dedup();
                *count += OpenRelation::table((*table).into(), pg_sys::RowExclusiveLock).get().delete_at(spots);
            }
        }
        if (deleted.events, deleted.targets) != (self.moved.events, self.moved.targets) {
            self.refuse(deleted);
        }
    }

    fn refuse(&self, deleted: Moved) -> ! {
        let (number, Moved { events, targets, .. }) = (self.segment.number, self.moved);
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
    OpenRelation::table(named(&name), pg_sys::RowExclusiveLock).get().delete_at(&spots)
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

/// The place that a row says, from a column on.
fn place(row: &Values, at: usize) -> Option<Place> {
    Some(Place { tenant_id: text(row.at(at)?).to_string(), lane: row.at(at + 1)?.i16(), seq: row.at(at + 2)?.i64() })
}

/// The places that a statement finds.
fn places(statement: &str, given: &[Arg]) -> Vec<Place> {
    let mut found = Vec::new();
    spi::query_now_planned_each_time(statement, given, |row| found.extend(place(row, 0)));
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
           held = s.held + $2, unreadable = $4, \
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
        &[
            Arg::Int8(i64::from(segment.number)),
            Arg::Int8(moved.events),
            Arg::Int8(moved.targets),
            Arg::Int8(moved.unreadable),
        ],
    );
}

/// Notes that segments have no events any more.
pub fn note_emptied(numbers: &[i32]) {
    for number in numbers {
        spi::affected(
            "UPDATE immutable.segments s SET state = 'emptied', events = 0, targets = 0, held = 0, unreadable = 0, \
               emptied_by = pg_catalog.pg_current_xact_id() WHERE s.segment = $1",
            &[Arg::Int8(i64::from(*number))],
        );
    }
}
