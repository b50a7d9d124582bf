//! How far a stream was delivered, who has the lease, and what failed: the rows of
//! immutable.stream_positions. The stream's lock is held, and the owner's rights are in force.

use crate::jobs::streams_table::Stored;
use crate::log::row::stored_text;
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::read::feed;
use immutable_format::id::{parse_uuid, uuid_text};
use immutable_format::{time, Id};
use pgrx::pg_sys;

/// A position as it is stored.
pub struct Position {
    pub stream_id: Id,
    pub mark: String,
    pub since: Option<i64>,
    pub fence: i64,
    pub worker: String,
    pub lease_seconds: i32,
    pub leased_until: Option<i64>,
    /// events, alerts, replay or test.
    pub pending_kind: Option<String>,
    pub pending_mark: String,
    pub pending: Vec<String>,
    pub pending_left: Vec<String>,
    pub acknowledged: Vec<String>,
    pub failures: i32,
    pub failed_at: Option<i64>,
    pub last_error: Option<String>,
    pub retry_at: Option<i64>,
    pub refused: i32,
    pub delivered: i64,
    pub delivered_at: Option<i64>,
    pub test_requested_at: Option<i64>,
    pub test_finished_at: Option<i64>,
    pub test_error: Option<String>,
}

const COLUMNS: &str =
    "p.stream_id, p.mark, p.since, p.fence, p.worker, p.lease_seconds, p.leased_until, p.pending_kind, \
     p.pending_mark, p.pending, p.pending_left, p.acknowledged, p.failures, p.failed_at, p.last_error, p.retry_at, \
     p.refused, p.delivered, p.delivered_at, p.test_requested_at, p.test_finished_at, p.test_error";

/// Names of items, as one text.
fn names(text: &str) -> Vec<String> {
    text.split(' ').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

impl Position {
    fn of(row: &Values) -> Position {
        let text = |place| row.at(place).and_then(stored_text).map(str::to_string);
        let at = |place| row.at(place).map(micros);
        let all = |place| names(&text(place).unwrap_or_default());
        let number = |place| row.at(place).map_or(0, Datum::i32);
        Position {
            stream_id: row.at(0).map(uuid).unwrap_or_default(),
            mark: text(1).unwrap_or_default(),
            since: at(2),
            fence: row.at(3).map_or(0, Datum::i64),
            worker: text(4).unwrap_or_default(),
            lease_seconds: number(5),
            leased_until: at(6),
            pending_kind: text(7),
            pending_mark: text(8).unwrap_or_default(),
            pending: all(9),
            pending_left: all(10),
            acknowledged: all(11),
            failures: number(12),
            failed_at: at(13),
            last_error: text(14),
            retry_at: at(15),
            refused: number(16),
            delivered: row.at(17).map_or(0, Datum::i64),
            delivered_at: at(18),
            test_requested_at: at(19),
            test_finished_at: at(20),
            test_error: text(21),
        }
    }

    /// The position of a stream. One that came from a dump begins with what comes now.
    pub fn of_stream(stream: &Stored) -> Position {
        Position::find(&stream.id).unwrap_or_else(|| Position::begin(stream, None))
    }

    /// The position of a stream, if it has one.
    pub fn find(id: &Id) -> Option<Position> {
        let statement =
            format!("SELECT {COLUMNS} FROM immutable.stream_positions p WHERE p.stream_id OPERATOR(pg_catalog.=) $1");
        let mut found = None;
        spi::query_now(&statement, &[Arg::Uuid(*id)], |row| found = Some(Position::of(row)));
        found
    }

    /// Begins at a time, or with what comes now. What failed before is forgotten, and whoever has a lease
    /// loses it.
    pub fn begin(stream: &Stored, start: Option<i64>) -> Position {
        let mark = beginning(&stream.content, start);
        let since = start.filter(|start| *start != i64::MIN).map_or(Arg::Null(pg_sys::TIMESTAMPTZOID), Arg::Time);
        spi::execute(
            "INSERT INTO immutable.stream_positions AS p (stream_id, mark, since) VALUES ($1, $2, $3) \
             ON CONFLICT (stream_id) DO UPDATE SET mark = excluded.mark, since = excluded.since, acknowledged = ''",
            &[Arg::Uuid(stream.id), Arg::text(mark), since],
        );
        Position::go_on(&stream.id);
        Position::find(&stream.id).unwrap_or_else(|| crate::pg::error::internal("a position was not kept"))
    }

    /// Goes on at once, whatever failed, and whoever has the lease.
    pub fn go_on(id: &Id) {
        spi::execute(
            "UPDATE immutable.stream_positions p SET fence = p.fence OPERATOR(pg_catalog.+) 1, leased_until = NULL, \
               pending_kind = NULL, pending_mark = NULL, pending = '', pending_left = '', failures = 0, \
               last_error = NULL, failed_at = NULL, retry_at = NULL, refused = 0 \
             WHERE p.stream_id OPERATOR(pg_catalog.=) $1",
            &[Arg::Uuid(*id)],
        );
    }

    /// Writes what a lease changes.
    pub fn write(&self) {
        let time = |at: Option<i64>| at.map_or(Arg::Null(pg_sys::TIMESTAMPTZOID), Arg::Time);
        let all = |names: &[String]| Arg::text(names.join(" "));
        let number = |number: i32| Arg::Given(pg_sys::INT4OID, Datum::from(number));
        spi::execute(
            "UPDATE immutable.stream_positions p SET mark = $2, fence = $3, worker = $4, lease_seconds = $5, \
               leased_until = $6, pending_kind = $7, pending_mark = $8, pending = $9, pending_left = $10, \
               acknowledged = $11, failures = $12, failed_at = $13, last_error = $14, retry_at = $15, refused = $16, \
               delivered = $17, delivered_at = $18, test_finished_at = $19, test_error = $20 \
             WHERE p.stream_id OPERATOR(pg_catalog.=) $1",
            &[
                Arg::Uuid(self.stream_id),
                Arg::text(&*self.mark),
                Arg::Int8(self.fence),
                Arg::text(&*self.worker),
                number(self.lease_seconds),
                time(self.leased_until),
                Arg::maybe_text(self.pending_kind.as_deref()),
                Arg::text(&*self.pending_mark),
                all(&self.pending),
                all(&self.pending_left),
                all(&self.acknowledged),
                number(self.failures),
                time(self.failed_at),
                Arg::maybe_text(self.last_error.as_deref()),
                time(self.retry_at),
                number(self.refused),
                Arg::Int8(self.delivered),
                time(self.delivered_at),
                time(self.test_finished_at),
                Arg::maybe_text(self.test_error.as_deref()),
            ],
        );
    }

    /// Whether somebody asked for a test that was not made.
    pub fn is_test_due(&self) -> bool {
        self.test_requested_at.is_some_and(|asked| self.test_finished_at.is_none_or(|made| made < asked))
    }

    /// Gives the lease back, and what was not acknowledged with it.
    pub fn release(&mut self) {
        self.leased_until = None;
        self.pending_kind = None;
        self.pending.clear();
        self.pending_left.clear();
        self.pending_mark.clear();
    }
}

/// The mark of a stream that begins at a time, or with what comes now.
fn beginning(content: &str, start: Option<i64>) -> String {
    match (content, start) {
        ("alerts", Some(start)) => alert_mark(start.max(time::MIN) - 1, &[0xff; 16]),
        ("alerts", None) => last_alert(),
        (_, None) => feed::now(),
        (_, Some(i64::MIN)) => feed::beginning(),
        (_, Some(start)) => feed::before(start),
    }
}

/// The mark behind an alert.
pub fn alert_mark(triggered_at: i64, id: &Id) -> String {
    format!("{triggered_at}/{}", uuid_text(id))
}

/// Time and id of a mark of alerts.
pub fn parse_alert_mark(mark: &str) -> Option<(i64, Id)> {
    let (at, id) = mark.split_once('/')?;
    Some((at.parse().ok()?, parse_uuid(id)?))
}

fn last_alert() -> String {
    let mut mark = alert_mark(0, &[0; 16]);
    spi::query_now(
        "SELECT a.triggered_at, a.id FROM immutable.alerts a ORDER BY a.triggered_at DESC, a.id DESC LIMIT 1",
        &[],
        |row| {
            let (at, id) = (row.at(0).map_or(0, micros), row.at(1).map(uuid).unwrap_or_default());
            mark = alert_mark(at, &id);
        },
    );
    mark
}

/// Every stream goes on with what comes now: the log has gone on elsewhere.
pub fn begin_all() {
    for stream in Stored::all() {
        Position::begin(&stream, None);
    }
}
