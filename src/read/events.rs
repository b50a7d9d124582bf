//! What the reading functions answer: get_event(), get_events(), find_events(), with the caller's
//! rights and row security. Which statement gives a page is [`crate::read::page`]'s.

use crate::access::lent::with_rights;
use crate::access::opened::{conditions, hold};
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::{self as c, Layout};
use crate::log::event;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{any_micros, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::pg::tuple::{RowBuffer, Values};
use crate::read::probe::Order;
use crate::read::query::{page_size, Query, COUNT, CURSOR};
use crate::read::strategy::Strategy;
use crate::read::total::{total, Total};
use immutable_format::cursor::{self, PageCursor, Way};
use pgrx::pg_sys;

/// Most events of one get_events() page.
const MAX_PAGE: i32 = 100;

/// Bytes of a page's events: a jsonb array holds 256 MB.
const MAX_PAGE_BYTES: usize = 200 << 20;

/// Most events of one find_events() call: the answer is held by the backend.
const MAX_FOUND: i32 = 10_000;

/// Whether a call asks for the total; 22023 for a word that says neither.
fn is_counted(call: Call) -> bool {
    match call.arg(COUNT).map(text) {
        None | Some("auto") => true,
        Some("none") => false,
        Some(_) => Fault::invalid("count", "count must be auto or none")
            .hint("auto gives pagination.total, none leaves it out.")
            .raise(),
    }
}

/// An event of a page, and where a page begins that goes on from it.
struct Shown {
    json: String,
    cursor: PageCursor,
}

impl Shown {
    fn of(row: &Values, layout: &Layout) -> Shown {
        let cursor = PageCursor {
            created_at: row.get(layout, c::CREATED_AT).map(any_micros).unwrap_or_default(),
            id: row.get(layout, c::ID).map(uuid).unwrap_or_default(),
            tenant_id: row.get(layout, c::TENANT_ID).and_then(toast::read).unwrap_or_default().to_vec(),
        };
        Shown { json: event::json(row, layout), cursor }
    }
}

/// A page that was read.
struct Answer<'c> {
    query: Query<'c>,
    /// The events, in the order that was asked for.
    events: Vec<Shown>,
    /// Whether there are more in the direction in which it was read.
    is_cut: bool,
    strategy: Strategy,
}

impl<'c> Answer<'c> {
    fn read(query: Query<'c>, limit: usize) -> Answer<'c> {
        let mut events = Vec::new();
        let (mut layout, mut buffer) = (None, RowBuffer::default());
        // One more than a page tells whether there is another.
        let strategy = query.page(limit + 1).read(|tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            events.push(buffer.take_apart(tuple, |row| Shown::of(row, layout)));
        });
        let is_cut = events.len() > limit;
        events.truncate(limit);
        if query.way == Way::Previous {
            events.reverse();
        }
        Answer { query, events, is_cut, strategy }
    }

    /// Whether there are events after the page, and before it. Where a cursor came from there is
    /// something: the event it was made from.
    fn neighbours(&self) -> (bool, bool) {
        let is_behind = self.query.cursor.is_some() && !self.events.is_empty();
        match self.query.way {
            Way::Next => (self.is_cut, is_behind),
            Way::Previous => (is_behind, self.is_cut),
        }
    }

    /// The cursor of the page that lies this way from an event, as JSON; null if there is no such
    /// event.
    fn cursor(&self, of: Option<&Shown>, way: Way) -> String {
        let cursor = of.and_then(|shown| cursor::encode(&shown.cursor, way, &self.query.filters.fingerprint));
        cursor.map_or("null".to_string(), |cursor| format!("\"{cursor}\""))
    }

    /// The cursor of the next page, as JSON. A reader who follows the log forward needs one at its
    /// end too, to go on from when there is more. `given` is the cursor that the call came with.
    fn next_cursor(&self, has_more: bool, given: Option<&str>) -> String {
        match (self.query.order, self.events.last()) {
            (Order::OldestFirst, None) if self.query.way == Way::Previous => "null".to_string(),
            (Order::OldestFirst, None) => given.map_or("null".to_string(), |given| format!("\"{given}\"")),
            (Order::OldestFirst, last) => self.cursor(last, Way::Next),
            (Order::NewestFirst, last) => self.cursor(last.filter(|_| has_more), Way::Next),
        }
    }

    fn total(&self) -> Total {
        let Answer { query, events, is_cut, strategy } = self;
        if query.cursor.is_none() && !is_cut {
            return Total { events: events.len() as i64, exact: true };
        }
        let is_searched = *strategy == Strategy::SearchIndex;
        let total = total(query.filters.clone(), query.plan.lead, query.is_limited, is_searched);
        // An estimate knows nothing of the page, but the events of the page are there.
        let seen = (events.len() + usize::from(*is_cut)) as i64;
        Total { events: if total.exact { total.events } else { total.events.max(seen) }, ..total }
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
}

sql_function!(immutable_get_events, pg_finfo_immutable_get_events, get_events);

/// `immutable.get_events(…)`: a page of events as jsonb. Raises 22023 for arguments that mean
/// nothing, and 54000 for a page that is too large.
fn get_events(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    with_rights(|| page(call, &opened))
}

fn page<'c>(call: Call<'c>, opened: &Opened) -> Datum<'c> {
    let limit = page_size(call, MAX_PAGE);
    let is_counted = is_counted(call);
    let answer = Answer::read(Query::of(call, opened), limit);
    let (has_more, has_previous) = answer.neighbours();
    let next = answer.next_cursor(has_more, call.arg(CURSOR).map(text));
    let previous = answer.cursor(answer.events.first().filter(|_| has_previous), Way::Previous);
    let total = match is_counted.then(|| answer.total()) {
        None => "\"total\":null,\"total_relation\":null".to_string(),
        Some(Total { events, exact }) => {
            format!("\"total\":{events},\"total_relation\":\"{}\"", if exact { "eq" } else { "estimate" })
        }
    };
    let data = answer.data();
    call.memory().jsonb(&format!(
        "{{\"data\":{data},\"pagination\":{{\"has_more\":{has_more},\"next_cursor\":{next},\
         \"previous_cursor\":{previous},{total}}}}}"
    ))
}

sql_function!(immutable_find_events, pg_finfo_immutable_find_events, find_events);

/// `immutable.find_events(…)`: a page of events as rows. Raises 22023 for arguments that mean
/// nothing, and XX001 for an event that cannot be read.
fn find_events(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let limit = page_size(call, MAX_FOUND);
    let mut set = call.rows();
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    with_rights(|| {
        Query::of(call, &opened).page_in_order(limit).read(|tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            buffer.take_apart(tuple, |row| event::check(tuple, row, layout));
            set.put_tuple(tuple);
        });
    });
    call.null()
}

sql_function!(immutable_get_event, pg_finfo_immutable_get_event, get_event);

/// `immutable.get_event(id, tenant_id)`: one event as jsonb, NULL if there is none. Raises 21000
/// where several tenants have one with this id and none is named.
fn get_event(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let Some(id) = call.arg(0) else { return call.null() };
    let mut statement = "SELECT e.* FROM immutable.events e WHERE e.id = $1".to_string();
    let mut arguments = vec![Arg::Given(pg_sys::UUIDOID, id)];
    if let Some(tenant_id) = call.arg(1) {
        hold(&opened, tenant_id);
        statement.push_str(" AND e.tenant_id = $2");
        arguments.push(Arg::Given(pg_sys::TEXTOID, tenant_id));
    }
    statement.push_str(&conditions(&opened, &mut arguments));
    statement.push_str(" LIMIT 2");
    let mut found = Vec::new();
    with_rights(|| {
        spi::stream_planned_once(&statement, &arguments, |tuple| {
            found.push(event::json(&tuple.values(), &Layout::of_events(tuple.descriptor())));
        });
    });
    match found.as_slice() {
        [] => call.null(),
        [event] => call.memory().jsonb(&format!("{{\"data\":{event}}}")),
        _ => Fault::new(Code::ERRCODE_CARDINALITY_VIOLATION, "events of several tenants have this id")
            .field("tenant_id")
            .hint("Name the tenant: immutable.get_event(id, tenant_id).")
            .raise(),
    }
}
