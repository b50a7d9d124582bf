//! immutable.export_events(): events as lines that verify outside the database. One line a call, from a cursor that
//! stays open between the calls, so that neither the server nor a COPY ever holds more than a few of them.

use crate::log::columns::{self as c, Layout};
use crate::log::row;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, text_datum, uuid, Datum};
use crate::pg::toast::readable_text;
use crate::pg::tuple::Values;
use crate::pg::{spi, toast};
use crate::read::filter::{bound, Filters, FILTERS};
use immutable_format::export::{ascii, write, Header, Lanes, Place};
use immutable_format::time;
use pgrx::pg_sys;
use pgrx::pg_sys::pg_enc::{PG_SQL_ASCII, PG_UTF8};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Most rows fetched at once, and about how many bytes of lines they may make: a row may be some megabytes.
const MOST_ROWS: i64 = 128;

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
    fn begin(call: Call) -> Export {
        let conditions = Filters::of(call);
        let mut filters = Vec::new();
        for (index, (name, oid)) in FILTERS.iter().enumerate() {
            let Some(value) = bound(call, index, name) else { continue };
            let value = match *oid {
                pg_sys::TEXTOID => Cow::Owned(text(value).to_string()),
                _ => time::format(micros(value)).map_or_else(|| infinite(micros(value)), Cow::Owned),
            };
            filters.push((Cow::Borrowed(*name), value));
        }
        let mut log_id = None;
        spi::read("SELECT l.log_id FROM immutable.log l WHERE l.log_id IS NOT NULL LIMIT 1", &[], &[], |row| {
            log_id = Some(uuid(row.values[0]))
        });
        // What the server converts for the client is no longer what was hashed, and may have no place in its encoding at all.
        let escaped = !matches!(pg_sys::pg_get_client_encoding() as pg_sys::pg_enc::Type, PG_UTF8 | PG_SQL_ASCII);
        let header = Header {
            created_at: micros(Datum::from(pg_sys::GetCurrentStatementStartTimestamp())),
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
            cursor: spi::Cursor::open(&statement, &conditions.types, &conditions.values),
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

    fn next(&mut self) -> Option<String> {
        if self.lines.is_empty() && !self.ended {
            self.fetch();
        }
        let line = self.lines.pop_front()?;
        Some(match self.escaped {
            true => ascii::escape(&line).into_owned(),
            false => line,
        })
    }

    fn fetch(&mut self) {
        let Export { cursor, layout, lines, events, lanes, lane, .. } = self;
        let mut made = 0;
        let fetched = cursor.fetch(self.rows, |tuple, descriptor| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(descriptor));
            let row = Values::of(tuple, descriptor);
            let place = place(&row, layout);
            *events += 1;
            if lane
                .as_ref()
                .is_none_or(|(tenant_id, lane)| (tenant_id.as_str(), *lane) != (&place.tenant_id, place.lane))
            {
                *lanes += 1;
                *lane = Some((place.tenant_id.to_string(), place.lane));
            }
            let line = line(&row, layout, &place);
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

fn place<'a>(row: &Values, layout: &Layout) -> Place<'a> {
    let get = |column| row.get(layout, column);
    Place {
        tenant_id: Cow::Borrowed(get(c::TENANT_ID).map_or("", |datum| readable_text(datum))),
        lane: get(c::LANE).map_or(-1, |lane| lane.i16()),
        seq: get(c::SEQ).map_or(0, |seq| seq.i64()),
        id: get(c::ID).map(|id| uuid(id)).unwrap_or_default(),
    }
}

fn line(row: &Values, layout: &Layout, place: &Place) -> String {
    let hash = |column| row.get(layout, column).and_then(|datum| toast::read(datum));
    let event_hash = hash(c::EVENT_HASH);
    let stored = row::read(|column| row.get(layout, column)).and_then(|stored| Ok((stored.document()?, stored)));
    match stored {
        Ok((document, stored)) => write::event(&document, event_hash, &stored.content, &stored.secret),
        Err(violation) => {
            let log_id = row.get(layout, c::LOG_ID).map(|id| uuid(id));
            write::no_document(place, log_id, hash(c::PREVIOUS_EVENT_HASH), event_hash, violation.0)
        }
    }
}

/// Called when the query that calls the function ends, also before the last line. After an error it is not called, and
/// the transaction has ended the cursor.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn shut_down(export: Datum) {
    let export: *mut Export = export.cast_mut_ptr();
    (*export).cursor.close();
}

sql_function!(immutable_export_events, pg_finfo_immutable_export_events, export_events);

/// `immutable.export_events(…)`: one line a call.
fn export_events(call: Call) -> Datum {
    let info = (*call.0).resultinfo.cast::<pg_sys::ReturnSetInfo>();
    if (*(*call.0).flinfo).fn_extra.is_null() {
        // Raises 0A000 where no set is expected.
        let context = pg_sys::init_MultiFuncCall(call.0);
        let before = pg_sys::MemoryContextSwitchTo((*context).multi_call_memory_ctx);
        let export = Export::begin(call);
        pg_sys::MemoryContextSwitchTo(before);
        // Dropped with the context, which an error does not outlive.
        let export = pgrx::PgMemoryContexts::For((*context).multi_call_memory_ctx).leak_and_drop_on_delete(export);
        (*context).user_fctx = export.cast();
        pg_sys::RegisterExprContextCallback((*info).econtext, Some(shut_down), Datum::from(export));
    }
    let context = pg_sys::per_MultiFuncCall(call.0);
    let export = (*context).user_fctx.cast::<Export>();
    match (*export).next() {
        Some(line) => {
            (*info).isDone = pg_sys::ExprDoneCond::ExprMultipleResult;
            text_datum(&line)
        }
        None => {
            (*export).cursor.close();
            pg_sys::UnregisterExprContextCallback((*info).econtext, Some(shut_down), Datum::from(export));
            pg_sys::end_MultiFuncCall(call.0, context);
            (*info).isDone = pg_sys::ExprDoneCond::ExprEndResult;
            call.null()
        }
    }
}
