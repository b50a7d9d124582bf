//! The answer of get_events(): the events of a page, the cursors beside it, and the total.

use crate::log::columns::{self as c, Layout};
use crate::log::event;
use crate::pg::datum::{any_micros, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::toast;
use crate::pg::tuple::{RowBuffer, Values};
use crate::read::probe::Order;
use crate::read::query::{Asked, Query};
use crate::read::strategy::Strategy;
use crate::read::total::{total, Total};
use immutable_format::cursor::{self, PageCursor, Way};

/// Bytes of a page's events: a jsonb array holds 256 MB.
const MAX_PAGE_BYTES: usize = 200 << 20;

/// An event of a page, and where a page begins that goes on from it.
pub struct Shown {
    pub json: String,
    pub cursor: PageCursor,
}

/// The place of a row of `e.*` in the order of pages.
pub fn place(row: &Values, layout: &Layout) -> PageCursor {
    PageCursor {
        created_at: row.get(layout, c::CREATED_AT).map(any_micros).unwrap_or_default(),
        id: row.get(layout, c::ID).map(uuid).unwrap_or_default(),
        tenant_id: row.get(layout, c::TENANT_ID).and_then(toast::read).unwrap_or_default().to_vec(),
    }
}

/// What was read for a page.
pub struct Rows {
    /// The events in the order in which they were read. One more than the page has tells that there are more.
    pub events: Vec<Shown>,
    pub total: Option<Total>,
}

impl Rows {
    /// Reads a page of `limit` events, and counts the total if that is asked for.
    pub fn read(query: &Query, limit: usize, is_counted: bool) -> Rows {
        let mut events = Vec::new();
        let (mut layout, mut buffer) = (None, RowBuffer::default());
        let strategy = query.page(limit + 1).read(|tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            events.push(
                buffer.take_apart(tuple, |row| Shown { cursor: place(row, layout), json: event::json(row, layout) }),
            );
        });
        let total = is_counted.then(|| total_of(query, events.len(), events.len() > limit, strategy));
        Rows { events, total }
    }
}

/// How many texts an event of a page is sent as from its shard: itself, and the three parts of its place.
const TEXTS: usize = 4;

/// What was read, as a shard sends it: the total and whether it is exact, then the events. Numbers are written in decimal and
/// bytes in hex.
pub fn texts_of(Rows { events, total }: Rows) -> Vec<String> {
    let mut texts = match total {
        Some(Total { events, exact }) => vec![events.to_string(), exact.to_string()],
        None => vec![String::new(); 2],
    };
    for Shown { json, cursor } in events {
        let PageCursor { created_at, id, tenant_id } = cursor;
        texts.extend([json, created_at.to_string(), hex::encode(id), hex::encode(tenant_id)]);
    }
    texts
}

/// The events and the total that a shard has sent.
pub fn rows_of(texts: &[Option<Datum>]) -> (Vec<Shown>, Option<Total>) {
    let texts: Vec<&str> = texts.iter().map(|sent| sent.map_or("", text)).collect();
    let [events, exact, sent @ ..] = texts.as_slice() else { return (Vec::new(), None) };
    let total = events.parse().ok().map(|events| Total { events, exact: *exact == "true" });
    let shown = sent.chunks_exact(TEXTS).map(|event| Shown {
        json: event[0].to_string(),
        cursor: PageCursor {
            created_at: event[1].parse().unwrap_or_default(),
            id: hex::decode(event[2]).ok().and_then(|id| id.try_into().ok()).unwrap_or_default(),
            tenant_id: hex::decode(event[3]).unwrap_or_default(),
        },
    });
    (shown.collect(), total)
}

fn total_of(query: &Query, read: usize, is_cut: bool, strategy: Strategy) -> Total {
    if query.asked.cursor.is_none() && !is_cut {
        return Total { events: read as i64, exact: true };
    }
    let is_searched = strategy == Strategy::SearchIndex;
    let total = total(query, is_searched);
    // An estimate knows nothing of the page, but the events of the page are there.
    Total { events: if total.exact { total.events } else { total.events.max(read as i64) }, ..total }
}

/// A page as it is shown.
pub struct Answer<'c> {
    asked: Asked<'c>,
    /// The events, in the order that was asked for.
    events: Vec<Shown>,
    /// Whether there are more in the direction in which it was read.
    is_cut: bool,
    total: Option<Total>,
}

impl<'c> Answer<'c> {
    /// The page of `limit` events that these rows are.
    pub fn of(asked: Asked<'c>, rows: Rows, limit: usize) -> Answer<'c> {
        let Rows { mut events, total } = rows;
        let is_cut = events.len() > limit;
        events.truncate(limit);
        if asked.way == Way::Previous {
            events.reverse();
        }
        Answer { asked, events, is_cut, total }
    }

    /// Whether there are events after the page, and before it. Where a cursor came from there is
    /// something: the event it was made from.
    fn neighbours(&self) -> (bool, bool) {
        let is_behind = self.asked.cursor.is_some() && !self.events.is_empty();
        match self.asked.way {
            Way::Next => (self.is_cut, is_behind),
            Way::Previous => (is_behind, self.is_cut),
        }
    }

    /// The cursor of the page that lies this way from an event, as JSON; null if there is no such
    /// event.
    fn cursor(&self, of: Option<&Shown>, way: Way) -> String {
        let cursor = of.and_then(|shown| cursor::encode(&shown.cursor, way, &self.asked.filters.fingerprint));
        cursor.map_or("null".to_string(), |cursor| format!("\"{cursor}\""))
    }

    /// The cursor of the next page, as JSON. A reader who follows the log forward needs one at its
    /// end too, to go on from when there is more. `given` is the cursor that the call came with.
    fn next_cursor(&self, has_more: bool, given: Option<&str>) -> String {
        match (self.asked.order, self.events.last()) {
            (Order::OldestFirst, None) if self.asked.way == Way::Previous => "null".to_string(),
            (Order::OldestFirst, None) => given.map_or("null".to_string(), |given| format!("\"{given}\"")),
            (Order::OldestFirst, last) => self.cursor(last, Way::Next),
            (Order::NewestFirst, last) => self.cursor(last.filter(|_| has_more), Way::Next),
        }
    }

    /// The events as a JSON array; 54000 where they are too large for one.
    fn data(&self) -> String {
        let events: Vec<&str> = self.events.iter().map(|shown| shown.json.as_str()).collect();
        if events.iter().map(|event| event.len()).sum::<usize>() > MAX_PAGE_BYTES {
            let message = format!("{} events are too large for one page", events.len());
            Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
                .field("limit")
                .hint("Ask for fewer events per page.")
                .raise()
        }
        format!("[{}]", events.join(","))
    }

    /// The answer as JSON. `given` is the cursor that the call came with.
    pub fn json(&self, given: Option<&str>) -> String {
        let (has_more, has_previous) = self.neighbours();
        let next = self.next_cursor(has_more, given);
        let previous = self.cursor(self.events.first().filter(|_| has_previous), Way::Previous);
        let total = match &self.total {
            None => "\"total\":null,\"total_relation\":null".to_string(),
            Some(Total { events, exact }) => {
                format!("\"total\":{events},\"total_relation\":\"{}\"", if *exact { "eq" } else { "estimate" })
            }
        };
        let data = self.data();
        format!(
            "{{\"data\":{data},\"pagination\":{{\"has_more\":{has_more},\"next_cursor\":{next},\
             \"previous_cursor\":{previous},{total}}}}}"
        )
    }
}
