//! immutable.export_events(): events as lines that verify outside the database. Each call gives one
//! line, from a cursor that stays open between the calls, so that neither the server nor a COPY
//! ever holds more than a few of them.

use crate::access::lent::with_rights_of_owner;
use crate::log::columns::{self as c, Layout};
use crate::log::{log_identity, row};
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::encoding;
use crate::pg::memory::Memory;
use crate::pg::set::Series;
use crate::pg::spi::{self, Arg};
use crate::pg::toast::{self, readable_text};
use crate::pg::tuple::{Tuple, Values};
use crate::read::filter::{Filters, FILTERS};
use immutable_format::export::{ascii, write, ChainPosition, Header, Lanes};
use immutable_format::{time, Id};
use pgrx::pg_sys;
use pgrx::pg_sys::pg_enc::{PG_SQL_ASCII, PG_UTF8};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Most rows fetched at once.
const MOST_ROWS: i64 = 128;

/// About how many bytes of lines the rows fetched at once may make: a row may be some megabytes.
const MOST_BYTES: i64 = 1 << 20;

/// What lines are made of the events of an export.
pub trait Lines: 'static {
    /// The lines before the events.
    fn first(&mut self) -> Option<String>;

    /// The line of an event.
    fn event(&mut self, row: &Values, layout: &Layout) -> String;

    /// What is read after all events, with a line of its own for each row.
    fn later(&mut self) -> Option<Statement> {
        None
    }

    /// The line at the end.
    fn last(&mut self) -> Option<String>;
}

/// A query of events and its arguments.
pub struct Statement {
    pub text: String,
    pub arguments: Vec<Arg<'static>>,
}

/// An export that is under way.
pub struct Export {
    cursor: spi::Cursor,
    layout: Option<Layout>,
    of: Box<dyn Lines>,
    /// Whether it is read with the owner's rights.
    is_lent: bool,
    /// Lines that are made and not yet returned.
    lines: VecDeque<String>,
    /// How many rows to fetch next.
    rows: i64,
    ended: bool,
}

impl Export {
    /// Begins an export of what a query of `e.*` finds, with the caller's snapshot, and with the
    /// caller's rights or the owner's.
    pub fn begin(statement: Statement, mut of: Box<dyn Lines>, is_lent: bool) -> Export {
        let lines = of.first().into_iter().collect();
        let cursor = lent(is_lent, || open(statement));
        Export { cursor, layout: None, of, is_lent, lines, rows: 16, ended: false }
    }

    fn fetch(&mut self) {
        let Export { cursor, layout, of, is_lent, lines, rows, .. } = self;
        let mut made = 0;
        let each = |tuple: Tuple<'_>| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            let line = of.event(&tuple.values(), layout);
            made += line.len() as i64;
            lines.push_back(line);
        };
        let fetched = lent(*is_lent, || cursor.fetch(*rows, each));
        if fetched > 0 {
            self.rows = (MOST_BYTES / (made / fetched as i64).max(1)).clamp(1, MOST_ROWS);
            return;
        }
        self.cursor.close();
        match self.of.later() {
            Some(later) => {
                self.cursor = lent(self.is_lent, || open(later));
                self.fetch();
            }
            None => {
                self.lines.extend(self.of.last());
                self.ended = true;
            }
        }
    }
}

fn lent<T>(is_lent: bool, body: impl FnOnce() -> T) -> T {
    match is_lent {
        true => with_rights_of_owner(body),
        false => body(),
    }
}

fn open(statement: Statement) -> spi::Cursor {
    spi::Cursor::open(&statement.text, statement.arguments)
}

/// The query of the events that pass the filters, in the order of an export. Child tables are read
/// too: what a query of the log shows is what its export holds.
pub fn statement(filters: Filters<'_>, further: &str) -> Statement {
    let clause = filters.where_clause();
    let and = if clause.is_empty() { " WHERE " } else { " AND " };
    let and = if further.is_empty() { "" } else { and };
    Statement {
        text: format!("SELECT e.* FROM immutable.events e{clause}{and}{further} ORDER BY e.tenant_id, e.lane, e.seq"),
        arguments: filters.arguments.into_iter().map(Arg::into_owned).collect(),
    }
}

/// The names of the filters that are given, and their values as texts.
pub fn written<'c>(given: impl Fn(usize) -> Option<Datum<'c>>) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    let written = FILTERS.iter().enumerate().filter_map(|(index, (name, oid))| {
        let value = given(index)?;
        let value = match *oid {
            pg_sys::TEXTOID => Cow::Owned(text(value).to_string()),
            _ => time::format(micros(value)).map_or_else(|| infinite(micros(value)), Cow::Owned),
        };
        Some((Cow::Borrowed(*name), value))
    });
    written.collect()
}

/// The lines that verify outside of the database.
pub struct Verifiable {
    header: Header<'static>,
    /// What is read after the events.
    later: Option<Statement>,
    /// Whether that is read now.
    is_later: bool,
    events: u64,
    lanes: u64,
    lane: Option<(String, i16)>,
}

impl Verifiable {
    /// The lines of an export that was made at a time, in microseconds since 1970, with filters.
    pub fn new(created_at: i64, filters: Vec<(Cow<'static, str>, Cow<'static, str>)>) -> Verifiable {
        let log_id = log_identity::known();
        // What the server converts for the client is no longer what was hashed, and may have no
        // place in its encoding at all.
        let escaped = !matches!(encoding::of_client(), PG_UTF8 | PG_SQL_ASCII);
        let lanes = Lanes::left_by(filters.iter().map(|(name, _)| name.as_ref()));
        let header = Header { created_at, log_id, lanes, escaped, filters };
        Verifiable { header, later: None, is_later: false, events: 0, lanes: 0, lane: None }
    }

    /// Adds the records of erasures that a query finds, if the lanes are whole: only then are
    /// erasures compared with their records.
    pub fn with_later_records(mut self, later: impl FnOnce() -> Statement) -> Verifiable {
        self.later = (self.header.lanes == Lanes::Whole).then(later);
        self
    }

    /// The first line.
    pub fn header(&self) -> String {
        self.sent(write::header(&self.header))
    }

    /// The line of an event that another node has made.
    pub fn of_another_node(&mut self, tenant_id: &str, lane: i16, line: String) -> String {
        self.count(&ChainPosition { tenant_id: Cow::Borrowed(tenant_id), lane, seq: 0, id: Id::default() });
        self.sent(line)
    }

    /// The last line.
    pub fn end(&self) -> String {
        self.sent(write::end(self.events, self.lanes))
    }

    fn sent(&self, line: String) -> String {
        match self.header.escaped {
            true => ascii::escape(&line).into_owned(),
            false => line, // as it is, without a copy
        }
    }

    fn count(&mut self, position: &ChainPosition) {
        self.events += 1;
        let lane = self.lane.as_ref().map(|(tenant_id, lane)| (tenant_id.as_str(), *lane));
        if lane != Some((&position.tenant_id, position.lane)) {
            self.lanes += 1;
            self.lane = Some((position.tenant_id.to_string(), position.lane));
        }
    }
}

impl Lines for Verifiable {
    fn first(&mut self) -> Option<String> {
        Some(self.header())
    }

    fn event(&mut self, row: &Values, layout: &Layout) -> String {
        let position = position(row, layout);
        let line = line(row, layout, &position);
        match self.is_later {
            true => self.sent(write::later_record(&line)),
            false => {
                self.count(&position);
                self.sent(line)
            }
        }
    }

    fn later(&mut self) -> Option<Statement> {
        self.is_later = true;
        self.later.take()
    }

    fn last(&mut self) -> Option<String> {
        Some(self.end())
    }
}

fn infinite(micros: i64) -> Cow<'static, str> {
    Cow::Borrowed(if micros < 0 { "-infinity" } else { "infinity" })
}

/// The place of an event's row.
pub fn position<'a>(row: &Values<'a>, layout: &Layout) -> ChainPosition<'a> {
    let get = |column| row.get(layout, column);
    ChainPosition {
        tenant_id: Cow::Borrowed(get(c::TENANT_ID).map_or("", readable_text)),
        lane: get(c::LANE).map_or(-1, Datum::i16),
        seq: get(c::SEQ).map_or(0, Datum::i64),
        id: get(c::ID).map(uuid).unwrap_or_default(),
    }
}

/// The line of an event, as UTF-8.
pub fn line(row: &Values, layout: &Layout, position: &ChainPosition) -> String {
    let hash = |column| row.get(layout, column).and_then(toast::read);
    let event_hash = hash(c::EVENT_HASH);
    let stored = row::read(|column| row.get(layout, column)).and_then(|stored| Ok((stored.document()?, stored)));
    match stored {
        Ok((document, stored)) => write::event(&document, event_hash, &stored.content, &stored.secret),
        Err(violation) => {
            let log_id = row.get(layout, c::LOG_ID).map(uuid);
            write::no_document(position, log_id, hash(c::PREVIOUS_EVENT_HASH), event_hash, violation.0)
        }
    }
}

impl Series for Export {
    fn next<'c>(&mut self, memory: Memory<'c>) -> Option<Datum<'c>> {
        if self.lines.is_empty() && !self.ended {
            self.fetch();
        }
        self.lines.pop_front().map(|line| memory.text(&line))
    }

    fn close(&mut self) {
        self.cursor.close();
    }
}
