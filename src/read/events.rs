//! What the reading functions answer: get_event(), get_events(), find_events(), with the caller's rights and row
//! security. Which statement gives a page is [`page`](super::page)'s.

use crate::log::columns::{self as c, Layout};
use crate::log::event;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{any_micros, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::pg::tuple::RowBuffer;
use crate::read::filter::{Filters, FILTERS};
use crate::read::lead::through;
use crate::read::page::Page;
use crate::read::probe::{bind, is_limited, Order};
use crate::read::total::{total, Total};
use immutable_format::cursor::{self, Place, Way};
use pgrx::pg_sys;

/// Most events of one get_events() page.
const MAX_PAGE: i32 = 100;

/// Bytes of a page's events: a jsonb array holds 256 MB.
const MAX_PAGE_BYTES: usize = 200 << 20;

/// Most events of one find_events() call: the answer is held by the backend.
const MAX_FOUND: i32 = 10_000;

/// Where the functions have the arguments that are no filters.
const CURSOR: usize = FILTERS.len();

const LIMIT: usize = CURSOR + 1;

const ORDER: usize = LIMIT + 1;

const COUNT: usize = ORDER + 1;

fn page_size(call: Call, most: i32) -> i32 {
    let limit = call.arg(LIMIT).map_or(25, |limit| limit.i32());
    if !(1..=most).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {most}, not {limit}"))
            .hint("Read further pages with the cursor of the page before.")
            .raise()
    }
    limit
}

/// The order asked for.
fn order(call: Call) -> Order {
    match call.arg(ORDER).map(text) {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(_) => Fault::invalid("order", "order must be asc or desc")
            .hint("desc is newest first, asc is oldest first.")
            .raise(),
    }
}

/// Which page a call asks for: of which filters, from which place on, which way from it, in which order.
struct Asked<'c> {
    filters: Filters<'c>,
    place: Option<Place>,
    way: Way,
    order: Order,
}

impl<'c> Asked<'c> {
    fn of(call: Call<'c>) -> Asked<'c> {
        let mut filters = Filters::of(call);
        filters.until_now();
        let order = order(call);
        if order == Order::OldestFirst {
            filters.fingerprint.push_str("asc");
        }
        let (place, way) = match call.arg(CURSOR).map(|cursor| cursor::decode(text(cursor), &filters.fingerprint)) {
            None => (None, Way::Next),
            Some(Ok((place, way))) => (Some(place), way),
            Some(Err(error)) => Fault::invalid(
                "cursor",
                match error {
                    cursor::Error::NotOurs => "cursor is not one that get_events() returned",
                    cursor::Error::OtherFilters => "cursor belongs to a query with other filters or another order",
                },
            )
            .hint("Pass pagination.next_cursor as it is, with the filters and the order of the page it came with.")
            .raise(),
        };
        Asked { filters, place, way, order }
    }

    /// The order to read in: towards the page from its place.
    fn reading(&self) -> Order {
        match self.way {
            Way::Next => self.order,
            Way::Previous => self.order.reversed(),
        }
    }
}

sql_function!(immutable_get_events, pg_finfo_immutable_get_events, get_events);

/// `immutable.get_events(…)`
fn get_events(call: Call<'_>) -> Datum<'_> {
    let limit = page_size(call, MAX_PAGE) as usize;
    let is_counted = match call.arg(COUNT).map(text) {
        None | Some("auto") => true,
        Some("none") => false,
        Some(_) => Fault::invalid("count", "count must be auto or none")
            .hint("auto gives pagination.total, none leaves it out.")
            .raise(),
    };
    let mut asked = Asked::of(call);
    let limited = is_limited();
    bind(&mut asked.filters, limited);
    let through = through(&asked.filters);
    let (order_asked, order) = (asked.order, asked.reading());
    let (way, fingerprint) = (asked.way, asked.filters.fingerprint.clone());
    let counted = is_counted.then(|| asked.filters.clone());
    // One more than a page tells whether there is another.
    let page = Page::new(asked.filters, asked.place.as_ref(), order, limit + 1, "e.*", false);
    let mut rows = Vec::new();
    let mut layout = None;
    let is_searched = page.read(through, limited, |tuple| {
        let row = tuple.values();
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        let place = Place {
            created_at: row.get(layout, c::CREATED_AT).map(any_micros).unwrap_or_default(),
            id: row.get(layout, c::ID).map(uuid).unwrap_or_default(),
            tenant_id: row.get(layout, c::TENANT_ID).and_then(toast::read).unwrap_or_default().to_vec(),
        };
        rows.push((event::json(&row, layout), place));
    });
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    if way == Way::Previous {
        rows.reverse();
    }
    // Where a cursor came from, there is something: the row it was made from.
    let came = asked.place.is_some();
    let (has_more, has_previous) = match way {
        Way::Next => (is_cut, came && !rows.is_empty()),
        Way::Previous => (came && !rows.is_empty(), is_cut),
    };
    let cursor = |there: bool, row: Option<&(String, Place)>, way| {
        let cursor = row.filter(|_| there).and_then(|(_, place)| cursor::encode(place, way, &fingerprint));
        cursor.map_or("null".to_string(), |cursor| format!("\"{cursor}\""))
    };
    // Whoever follows the log forward goes on from its end when there is more.
    let next = match (order_asked, rows.is_empty()) {
        (Order::OldestFirst, true) if way == Way::Previous => "null".to_string(),
        (Order::OldestFirst, true) => {
            call.arg(CURSOR).map_or("null".to_string(), |given| format!("\"{}\"", text(given)))
        }
        (Order::OldestFirst, false) => cursor(true, rows.last(), Way::Next),
        (Order::NewestFirst, _) => cursor(has_more, rows.last(), Way::Next),
    };
    let previous = cursor(has_previous, rows.first(), Way::Previous);
    let total = counted.map(|filters| match !came && !is_cut {
        true => Total { events: rows.len() as i64, exact: true },
        false => {
            let total = total(filters, through.lead, limited, is_searched);
            // Who estimates does not know the page, and what it shows is there.
            let seen = (rows.len() + usize::from(is_cut)) as i64;
            Total { events: if total.exact { total.events } else { total.events.max(seen) }, ..total }
        }
    });
    let total = match total {
        None => "\"total\":null,\"total_relation\":null".to_string(),
        Some(Total { events, exact }) => {
            format!("\"total\":{events},\"total_relation\":\"{}\"", if exact { "eq" } else { "estimate" })
        }
    };
    let events: Vec<&str> = rows.iter().map(|(event, _)| event.as_str()).collect();
    if events.iter().map(|event| event.len()).sum::<usize>() > MAX_PAGE_BYTES {
        Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("{} events are too large for one page", events.len()))
            .field("limit")
            .hint("Ask for fewer events a page.")
            .raise()
    }
    call.memory().jsonb(&format!(
        "{{\"data\":[{}],\"pagination\":{{\"has_more\":{has_more},\"next_cursor\":{next},\
         \"previous_cursor\":{previous},{total}}}}}",
        events.join(",")
    ))
}

sql_function!(immutable_find_events, pg_finfo_immutable_find_events, find_events);

/// `immutable.find_events(…)`
fn find_events(call: Call<'_>) -> Datum<'_> {
    let limit = page_size(call, MAX_FOUND) as usize;
    let mut asked = Asked::of(call);
    let limited = is_limited();
    bind(&mut asked.filters, limited);
    let through = through(&asked.filters);
    let (order, reverse) = (asked.reading(), asked.way == Way::Previous);
    let page = Page::new(asked.filters, asked.place.as_ref(), order, limit, "e.*", reverse);
    let mut set = call.rows();
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    page.read(through, limited, |tuple| {
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        buffer.take_apart(tuple, |row| event::check(tuple, row, layout));
        set.put_tuple(tuple);
    });
    call.null()
}

sql_function!(immutable_get_event, pg_finfo_immutable_get_event, get_event);

/// `immutable.get_event(id, tenant_id)`
fn get_event(call: Call<'_>) -> Datum<'_> {
    let Some(id) = call.arg(0) else { return call.null() };
    let mut statement = "SELECT e.* FROM immutable.events e WHERE e.id = $1".to_string();
    let mut arguments = vec![Arg::Given(pg_sys::UUIDOID, id)];
    if let Some(tenant_id) = call.arg(1) {
        statement.push_str(" AND e.tenant_id = $2");
        arguments.push(Arg::Given(pg_sys::TEXTOID, tenant_id));
    }
    statement.push_str(" LIMIT 2");
    let mut found = Vec::new();
    spi::stream_planned_once(&statement, &arguments, |tuple| {
        found.push(event::json(&tuple.values(), &Layout::of_events(tuple.descriptor())));
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
