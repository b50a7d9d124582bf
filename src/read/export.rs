//! immutable.export_events(): events as lines that verify outside the database. Each call gives one
//! line, from a cursor that stays open between the calls, so that neither the server nor a COPY
//! ever holds more than a few of them.

use crate::access::lent::{with_rights, with_rights_of_owner};
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::{self as c, Layout};
use crate::log::row;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::encoding;
use crate::pg::memory::Memory;
use crate::pg::set::Series;
use crate::pg::spi::{self, Arg};
use crate::pg::time::statement_start;
use crate::pg::toast::{self, readable_text};
use crate::pg::tuple::Values;
use crate::read::filter::{bound, Filters, FILTERS};
use immutable_format::export::{ascii, write, ChainPosition, Header, Lanes};
use immutable_format::time;
use pgrx::pg_sys;
use pgrx::pg_sys::pg_enc::{PG_SQL_ASCII, PG_UTF8};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Most rows fetched at once.
const MOST_ROWS: i64 = 128;

/// About how many bytes of lines the rows fetched at once may make: a row may be some megabytes.
const MOST_BYTES: i64 = 1 << 20;

/// An export that is under way.
struct Export {
    cursor: spi::Cursor,
    layout: Option<Layout>,
    /// Lines that are made and not yet returned.
    lines: VecDeque<String>,
    /// Whether they have to be ASCII.
    escaped: bool,
    /// How many rows to fetch next.
    rows: i64,
    events: u64,
    lanes: u64,
    lane: Option<(String, i16)>,
    ended: bool,
}

impl Export {
    fn begin(call: Call, opened: &Opened) -> Export {
        let mut conditions = Filters::of(call);
        if let Some(asked) = opened.tenant_id.as_ref().and_then(|own| conditions.narrow_to(own)) {
            opened.hold_to("tenant_id", &asked);
        }
        let own = opened.tenant_id.as_ref().map(|own| call.memory().text(own));
        let mut filters = Vec::new();
        for (index, (name, oid)) in FILTERS.iter().enumerate() {
            let own = own.filter(|_| *name == "tenant_id");
            let Some(value) = bound(call, index, name).or(own) else { continue };
            let value = match *oid {
                pg_sys::TEXTOID => Cow::Owned(text(value).to_string()),
                _ => time::format(micros(value)).map_or_else(|| infinite(micros(value)), Cow::Owned),
            };
            filters.push((Cow::Borrowed(*name), value));
        }
        let mut log_id = None;
        with_rights_of_owner(|| {
            spi::read("SELECT l.log_id FROM immutable.log l WHERE l.log_id IS NOT NULL LIMIT 1", &[], |row| {
                log_id = row.at(0).map(uuid);
            });
        });
        // What the server converts for the client is no longer what was hashed, and may have no
        // place in its encoding at all.
        let escaped = !matches!(encoding::of_client(), PG_UTF8 | PG_SQL_ASCII);
        let header = Header {
            created_at: statement_start(),
            log_id,
            lanes: Lanes::left_by(filters.iter().map(|(name, _)| name.as_ref())),
            escaped,
            filters,
        };
        // Child tables are read too: what a query of the log shows is what its export holds.
        let statement = format!(
            "SELECT e.* FROM immutable.events e{} ORDER BY e.tenant_id, e.lane, e.seq",
            conditions.where_clause()
        );
        Export {
            cursor: spi::Cursor::open(&statement, conditions.arguments.into_iter().map(Arg::into_owned).collect()),
            layout: None,
            lines: VecDeque::from([write::header(&header)]),
            escaped,
            rows: 16,
            events: 0,
            lanes: 0,
            lane: None,
            ended: false,
        }
    }

    fn fetch(&mut self) {
        let Export { cursor, layout, lines, events, lanes, lane, .. } = self;
        let mut made = 0;
        let fetched = cursor.fetch(self.rows, |tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            let row = tuple.values();
            let position = position(&row, layout);
            *events += 1;
            if lane
                .as_ref()
                .is_none_or(|(tenant_id, lane)| (tenant_id.as_str(), *lane) != (&position.tenant_id, position.lane))
            {
                *lanes += 1;
                *lane = Some((position.tenant_id.to_string(), position.lane));
            }
            let line = line(&row, layout, &position);
            made += line.len() as i64;
            lines.push_back(line);
        });
        if fetched == 0 {
            self.lines.push_back(write::end(self.events, self.lanes));
            self.ended = true;
        } else {
            self.rows = (MOST_BYTES / (made / fetched as i64).max(1)).clamp(1, MOST_ROWS);
        }
    }
}

fn infinite(micros: i64) -> Cow<'static, str> {
    Cow::Borrowed(if micros < 0 { "-infinity" } else { "infinity" })
}

fn position<'a>(row: &Values<'a>, layout: &Layout) -> ChainPosition<'a> {
    let get = |column| row.get(layout, column);
    ChainPosition {
        tenant_id: Cow::Borrowed(get(c::TENANT_ID).map_or("", readable_text)),
        lane: get(c::LANE).map_or(-1, Datum::i16),
        seq: get(c::SEQ).map_or(0, Datum::i64),
        id: get(c::ID).map(uuid).unwrap_or_default(),
    }
}

fn line(row: &Values, layout: &Layout, position: &ChainPosition) -> String {
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
        let line = self.lines.pop_front()?;
        Some(match self.escaped {
            true => memory.text(&ascii::escape(&line)),
            false => memory.text(&line),
        })
    }

    fn close(&mut self) {
        self.cursor.close();
    }
}

sql_function!(immutable_export_events, pg_finfo_immutable_export_events, export_events);

/// `immutable.export_events(…)`: the lines of an export, one a call. Raises 22023 for arguments
/// that mean nothing, and 0A000 where no set of rows is expected.
fn export_events(call: Call<'_>) -> Datum<'_> {
    call.series(|| {
        let opened = proof::require(Scope::Export);
        with_rights(|| Export::begin(call, &opened))
    })
}
