//! get_alerts(): a page of alerts, with the events that raised them as they are now.

use crate::access::proof::{self, Scope};
use crate::access::token::parse_identity;
use crate::jobs::alert_conditions::RuleType;
use crate::log::columns::{self as c, Column, Layout};
use crate::log::distributed;
use crate::log::row::{stored_address, stored_text};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{any_micros, micros, text, uuid, Datum};
use crate::pg::error::Fault;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::{RowBuffer, Values};
use crate::read::filter::where_all;
use crate::read::time_bound::TimeBound;
use immutable_format::cursor::{self, PageCursor, Way};
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::time;
use pgrx::pg_sys;
use std::fmt::Write;

/// Most alerts of a page.
const MOST_PAGE: i32 = 100;

/// How far alerts are counted.
const MOST_COUNTED: i64 = 10_000;

/// The columns of an alert, which are selected behind those of its event.
pub const COLUMNS: &str =
    "a.id, a.rule_id, a.rule_name, a.rule_type, a.tenant_id, a.event_id, a.reason, a.notified_at, \
     a.triggered_at";
pub const WIDTH: usize = 9;

/// Which alerts a call asks for.
struct Query<'c> {
    clauses: Vec<String>,
    arguments: Vec<Arg<'c>>,
    /// What binds a cursor to the filters.
    filters: String,
}

impl<'c> Query<'c> {
    fn of(call: Call<'c>) -> Query<'c> {
        let opened = proof::require(Scope::Read);
        let mut query = Query { clauses: Vec::new(), arguments: Vec::new(), filters: "alerts;".to_string() };
        if let Some(given) = call.arg(0) {
            let rule_type = RuleType::read(text(given)).unwrap_or_else(|fault| fault.raise());
            query.add("rule_type", "a.rule_type OPERATOR(pg_catalog.=)", Arg::text(rule_type.name()), rule_type.name());
        }
        let [from, to] = [1, 2].map(|index| call.arg(index).map(TimeBound::of));
        let bounds = [("from_date", ">=", from.map(|from| from.first)), ("to_date", "<=", to.map(|to| to.last))];
        for (name, comparison, at) in bounds {
            if let Some(at) = at {
                let condition = format!("a.triggered_at OPERATOR(pg_catalog.{comparison})");
                query.add(name, &condition, Arg::Given(pg_sys::TIMESTAMPTZOID, Datum::from(at)), &at.to_string());
            }
        }
        if let Some(tenant_id) = parse_identity("tenant_id", call.arg(5)) {
            opened.hold_to("tenant_id", &tenant_id);
            query.add("tenant_id", "a.tenant_id OPERATOR(pg_catalog.=)", Arg::text(tenant_id.clone()), &tenant_id);
        } else if let Some(tenant_id) = opened.tenant_id {
            query.add("proof", "a.tenant_id OPERATOR(pg_catalog.=)", Arg::text(tenant_id.clone()), &tenant_id);
        }
        if let Some(actor_id) = opened.actor_id {
            // Row security does this too, but not for every role.
            query.clauses.push("a.is_of_actor".to_string());
            let of_actor = "EXISTS (SELECT FROM immutable.events e WHERE e.id OPERATOR(pg_catalog.=) a.event_id \
                 AND e.tenant_id OPERATOR(pg_catalog.=) a.tenant_id AND e.actor_id OPERATOR(pg_catalog.=)";
            query.add("actor", of_actor, Arg::text(actor_id.clone()), &actor_id);
            if let Some(clause) = query.clauses.last_mut() {
                clause.push(')');
            }
        }
        query
    }

    fn add(&mut self, name: &str, condition: &str, argument: Arg<'c>, value: &str) {
        self.arguments.push(argument);
        self.clauses.push(format!("{condition} ${}", self.arguments.len()));
        self.filters.push_str(name);
        self.filters.push('=');
        write_string(value, &mut self.filters);
        self.filters.push(';');
    }

    /// How many alerts there are, and whether these are all.
    fn total(&self) -> (i64, bool) {
        let statement = format!(
            "SELECT pg_catalog.count(*) FROM (SELECT FROM immutable.alerts a{} LIMIT {}) a",
            where_all(&self.clauses),
            MOST_COUNTED + 1
        );
        let mut total = 0;
        spi::read(&statement, &self.arguments, |row| total = row.at(0).map_or(0, Datum::i64));
        (total.min(MOST_COUNTED), total <= MOST_COUNTED)
    }

    /// Goes on behind a page.
    fn continue_at(&mut self, given: &str) {
        let (place, way) =
            cursor::decode(given, &cursor::fingerprint(&self.filters)).unwrap_or_else(|_| refuse_cursor());
        if way != Way::Next {
            refuse_cursor()
        }
        self.arguments.extend([Arg::Time(place.created_at), Arg::Uuid(place.id)]);
        let count = self.arguments.len();
        self.clauses.push(format!("(a.triggered_at, a.id) OPERATOR(pg_catalog.<) (${}, ${count})", count - 1));
    }
}

fn refuse_cursor() -> ! {
    Fault::invalid("cursor", "cursor is not one that get_alerts() returned for these filters")
        .hint("Pass pagination.next_cursor unchanged, with the filters of the page that it came with.")
        .raise()
}

sql_function!(immutable_get_alerts, pg_finfo_immutable_get_alerts, get_alerts);

/// `immutable.get_alerts(rule_type, from_date, to_date, limit, cursor, tenant_id)`
fn get_alerts(call: Call<'_>) -> Datum<'_> {
    distributed::refuse("alerts", "Watch the events with immutable.changes() and a tenant_id, tenant by tenant.");
    let limit = call.arg(3).map_or(25, Datum::i32);
    if !(1..=MOST_PAGE).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {MOST_PAGE}, not {limit}"))
            .hint("Read further pages with the cursor of the previous page.")
            .raise()
    }
    let mut query = Query::of(call);
    let (total, is_all) = query.total();
    if let Some(given) = call.arg(4) {
        query.continue_at(text(given));
    }
    let statement = format!(
        "SELECT e.*, {COLUMNS} FROM immutable.alerts a LEFT JOIN immutable.events e \
           ON e.id OPERATOR(pg_catalog.=) a.event_id AND e.tenant_id OPERATOR(pg_catalog.=) a.tenant_id{} \
         ORDER BY a.triggered_at DESC, a.id DESC LIMIT {}",
        where_all(&query.clauses),
        limit + 1
    );
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    let (mut alerts, mut last, mut has_more) = (Vec::new(), None, false);
    spi::stream(&statement, &query.arguments, |tuple| {
        if alerts.len() == limit as usize {
            has_more = true;
            return;
        }
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        buffer.take_apart(tuple, |row| {
            alerts.push(json(row, layout));
            last = Some(place(row, layout));
        });
    });
    let next = last
        .filter(|_| has_more)
        .and_then(|last| cursor::encode(&last, Way::Next, &cursor::fingerprint(&query.filters)));
    let next = next.map_or("null".to_string(), |next| format!("\"{next}\""));
    call.memory().jsonb(&format!(
        "{{\"data\":[{}],\"pagination\":{{\"has_more\":{has_more},\"next_cursor\":{next},\"total\":{total},\
         \"total_relation\":\"{}\"}}}}",
        alerts.join(","),
        if is_all { "eq" } else { "gte" }
    ))
}

/// A column of the alert.
pub fn at<'m>(row: &Values<'m>, layout: &Layout, place: usize) -> Option<Datum<'m>> {
    row.at(layout.width - WIDTH + place)
}

fn place(row: &Values, layout: &Layout) -> PageCursor {
    PageCursor {
        created_at: at(row, layout, 8).map(any_micros).unwrap_or_default(),
        id: at(row, layout, 0).map(uuid).unwrap_or_default(),
        tenant_id: Vec::new(),
    }
}

/// What JSON has for a value, null for none and for one that cannot be read.
fn quoted(text: Option<impl AsRef<str>>) -> String {
    text.map_or("null".to_string(), |text| {
        let mut out = String::new();
        write_string(text.as_ref(), &mut out);
        out
    })
}

/// The alert of a row, as get_alerts() shows it.
pub fn json(row: &Values, layout: &Layout) -> String {
    let text = |place| quoted(at(row, layout, place).and_then(stored_text));
    let id = |place| quoted(at(row, layout, place).map(|id| uuid_text(&uuid(id))));
    let time = |place| quoted(at(row, layout, place).and_then(|at| time::format(micros(at))));
    format!(
        "{{\"id\":{},\"rule_id\":{},\"rule_name\":{},\"rule_type\":{},\"reason\":{},\"event_id\":{},\"event\":{},\
         \"notified_at\":{},\"triggered_at\":{}}}",
        id(0),
        id(1),
        text(2),
        text(3),
        text(6),
        id(5),
        event(row, layout),
        time(7),
        time(8)
    )
}

/// The members of an event that are texts.
const TEXTS: [(&str, Column); 10] = [
    ("action", c::ACTION),
    ("action_category", c::ACTION_CATEGORY),
    ("actor_id", c::ACTOR_ID),
    ("actor_name", c::ACTOR_NAME),
    ("actor_type", c::ACTOR_TYPE),
    ("resource_type", c::RESOURCE_TYPE),
    ("resource_id", c::RESOURCE_ID),
    ("resource_name", c::RESOURCE_NAME),
    ("ip_country", c::IP_COUNTRY),
    ("ip_city", c::IP_CITY),
];

/// The event as an alert shows it; null if it is gone.
fn event(row: &Values, layout: &Layout) -> String {
    let get = |column| row.get(layout, column);
    let Some(id) = get(c::ID) else { return "null".to_string() };
    let mut out = format!("{{\"id\":\"{}\"", uuid_text(&uuid(id)));
    for (name, column) in TEXTS {
        let _ = write!(out, ",\"{name}\":{}", quoted(get(column).and_then(stored_text)));
    }
    let tenant_id = get(c::TENANT_ID).and_then(stored_text).filter(|tenant_id| !tenant_id.is_empty());
    let time = |column| quoted(get(column).and_then(|at| time::format(micros(at))));
    let _ = write!(
        out,
        ",\"ip_address\":{},\"tenant_id\":{},\"occurred_at\":{},\"created_at\":{}}}",
        quoted(get(c::IP_ADDRESS).and_then(stored_address)),
        quoted(tenant_id),
        time(c::OCCURRED_AT),
        time(c::CREATED_AT)
    );
    out
}
