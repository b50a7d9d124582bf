//! What the reading functions answer: get_event(), get_events(), find_events(), with the caller's
//! rights and row security. Which statement gives a page is [`crate::read::page`]'s.

use crate::access::lent::with_rights;
use crate::access::opened::{conditions, hold};
use crate::access::proof::{self, Opened, Scope};
use crate::log::columns::Layout;
use crate::log::{distributed, event};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::set::Rows as Set;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::RowBuffer;
use crate::read::answer::{Answer, Rows};
use crate::read::query::{page_size, Asked, Query, COUNT, CURSOR};
use crate::read::shards;
use pgrx::pg_sys;

/// Most events of one get_events() page.
const MAX_PAGE: i32 = 100;

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

sql_function!(immutable_get_events, pg_finfo_immutable_get_events, get_events);

/// `immutable.get_events(…)`: a page of events as jsonb. Raises 22023 for arguments that mean
/// nothing, and 54000 for a page that is too large.
fn get_events(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    with_rights(|| {
        let limit = page_size(call, MAX_PAGE);
        let is_counted = is_counted(call);
        let answer = page(Asked::of(call), &opened, limit, is_counted);
        call.memory().jsonb(&answer.json(call.arg(CURSOR).map(text)))
    })
}

fn page<'c>(asked: Asked<'c>, opened: &Opened, limit: usize, is_counted: bool) -> Answer<'c> {
    if distributed::is() {
        let rows = shards::page(&asked, opened, limit, is_counted);
        return Answer::of(asked, rows, limit);
    }
    let query = Query::of(asked, opened);
    let rows = Rows::read(&query, limit, is_counted);
    Answer::of(query.asked, rows, limit)
}

sql_function!(immutable_find_events, pg_finfo_immutable_find_events, find_events);

/// `immutable.find_events(…)`: a page of events as rows. Raises 22023 for arguments that mean
/// nothing, and XX001 for an event that cannot be read.
fn find_events(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let limit = page_size(call, MAX_FOUND);
    let mut set = call.rows();
    with_rights(|| {
        let asked = Asked::of(call);
        match distributed::is() {
            true => shards::find(&asked, &opened, limit, &mut set),
            false => put_events(&Query::of(asked, &opened), limit, &mut set),
        }
    });
    call.null()
}

/// Puts the page into the set. Raises XX001 for an event that cannot be read.
pub fn put_events(query: &Query, limit: usize, set: &mut Set<'_>) {
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    query.page_in_order(limit).read(|tuple| {
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        buffer.take_apart(tuple, |row| event::check(tuple, row, layout));
        set.put_tuple(tuple);
    });
}

sql_function!(immutable_get_event, pg_finfo_immutable_get_event, get_event);

/// `immutable.get_event(id, tenant_id)`: one event as jsonb, NULL if there is none. Raises 21000
/// where several tenants have one with this id and none is named.
fn get_event(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Read);
    let Some(id) = call.arg(0) else { return call.null() };
    let tenant_id = call.arg(1);
    if let Some(tenant_id) = tenant_id {
        hold(&opened, tenant_id);
    }
    let found = with_rights(|| match distributed::is() {
        true => shards::events_of_id(id, tenant_id, &opened),
        false => events_of_id(id, tenant_id, &opened),
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

/// The events with this id, two at most, as JSON.
pub fn events_of_id(id: Datum, tenant_id: Option<Datum>, opened: &Opened) -> Vec<String> {
    let mut statement = "SELECT e.* FROM immutable.events e WHERE e.id = $1".to_string();
    let mut arguments = vec![Arg::Given(pg_sys::UUIDOID, id)];
    if let Some(tenant_id) = tenant_id {
        statement.push_str(" AND e.tenant_id = $2");
        arguments.push(Arg::Given(pg_sys::TEXTOID, tenant_id));
    }
    statement.push_str(&conditions(opened, &mut arguments));
    statement.push_str(" LIMIT 2");
    let mut found = Vec::new();
    spi::stream_planned_once(&statement, &arguments, |tuple| {
        found.push(event::json(&tuple.values(), &Layout::of_events(tuple.descriptor())));
    });
    found
}
