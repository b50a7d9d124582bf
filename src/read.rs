//! Pages of events: get_event(), get_events(), find_events(). The statement is built from the filters that are given, so
//! that a kept plan never has to guess which are, and runs with the caller's rights and row security.

use crate::error::{Code, Fault};
use crate::function::{micros, sql_function, text, timestamptz, uuid, uuid_datum, Call};
use crate::jsonb;
use crate::spi;
use immutable_format::cursor::{self, Place};
use immutable_format::json::write_string;
use pgrx::pg_sys::{self, Datum, Oid};

/// Most events of one get_events() page.
const MAX_PAGE: i32 = 100;
/// Most events of one find_events() call: the answer is held by the backend.
const MAX_FOUND: i32 = 10_000;

/// The filters, in the order of the functions' arguments.
pub const FILTERS: [(&str, Oid); 11] = [
    ("actor_id", pg_sys::TEXTOID),
    ("action", pg_sys::TEXTOID),
    ("resource", pg_sys::TEXTOID),
    ("resource_id", pg_sys::TEXTOID),
    ("tenant_id", pg_sys::TEXTOID),
    ("session_id", pg_sys::TEXTOID),
    ("target_type", pg_sys::TEXTOID),
    ("target_id", pg_sys::TEXTOID),
    ("search", pg_sys::TEXTOID),
    ("from_date", pg_sys::TIMESTAMPTZOID),
    ("to_date", pg_sys::TIMESTAMPTZOID),
];
const CURSOR: usize = 11;
const LIMIT: usize = 12;

/// Events as the service shows them: one row a member, from the alias `e`.
const EVENT_JSON: &str = "pg_catalog.jsonb_build_object(\
    'id', e.id, \
    'actor', pg_catalog.jsonb_build_object('id', e.actor_id, 'name', e.actor_name, 'type', e.actor_type), \
    'action', e.action, 'action_category', e.action_category, \
    'resource', pg_catalog.jsonb_build_object('type', e.resource_type, 'id', e.resource_id, 'name', e.resource_name), \
    'targets', e.targets, 'metadata', e.metadata, 'tenant_id', nullif(e.tenant_id, ''), \
    'session_id', e.session_id, 'ip_address', pg_catalog.to_json(e.ip_address), 'ip_country', e.ip_country, 'ip_city', e.ip_city, \
    'user_agent', e.user_agent, 'idempotency_key', e.idempotency_key, 'version', e.version, \
    'integrity', pg_catalog.jsonb_build_object(\
        'event_hash', pg_catalog.encode(e.event_hash, 'hex'), \
        'previous_event_hash', pg_catalog.encode(e.previous_event_hash, 'hex'), 'lane', e.lane, 'seq', e.seq), \
    'occurred_at', pg_catalog.to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
    'created_at', pg_catalog.to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')\
)::text";

/// A statement's conditions and their arguments.
#[derive(Default)]
pub struct Conditions {
    clauses: Vec<String>,
    pub types: Vec<Oid>,
    pub values: Vec<Option<Datum>>,
    /// What a cursor is bound to.
    fingerprint: String,
}

impl Conditions {
    fn argument(&mut self, oid: Oid, value: Datum) -> usize {
        self.types.push(oid);
        self.values.push(Some(value));
        self.values.len()
    }

    unsafe fn text(&mut self, value: &str) -> usize {
        self.argument(pg_sys::TEXTOID, crate::function::text_datum(value))
    }

    pub fn where_clause(&self) -> String {
        match self.clauses.len() {
            0 => String::new(),
            _ => format!(" WHERE {}", self.clauses.join(" AND ")),
        }
    }

    /// Reads the filters of a call.
    pub unsafe fn of(call: Call) -> Conditions {
        let mut conditions = Conditions::default();
        let mut target = Vec::new();
        for (index, (name, oid)) in FILTERS.iter().enumerate() {
            let Some(value) = call.arg(index) else { continue };
            conditions.fingerprint.push_str(name);
            conditions.fingerprint.push('=');
            match *oid {
                pg_sys::TEXTOID => write_string(text(value), &mut conditions.fingerprint),
                _ => conditions.fingerprint.push_str(&micros(value).to_string()),
            }
            conditions.fingerprint.push(';');
            match *name {
                "action" => conditions.action(text(value)),
                "search" => conditions.search(text(value)),
                "target_type" | "target_id" => {
                    let n = conditions.argument(*oid, value);
                    target.push(format!("t.{name} = ${n}"));
                }
                _ => {
                    let n = conditions.argument(*oid, value);
                    conditions.clauses.push(match *name {
                        "resource" => format!("e.resource_type = ${n}"),
                        "from_date" => format!("e.created_at >= ${n}"),
                        "to_date" => format!("e.created_at <= ${n}"),
                        column => format!("e.{column} = ${n}"),
                    });
                }
            }
        }
        if !target.is_empty() {
            conditions.clauses.push(format!(
                "EXISTS (SELECT FROM immutable.event_targets t \
                 WHERE t.tenant_id = e.tenant_id AND t.event_id = e.id AND {})",
                target.join(" AND ")
            ));
        }
        conditions
    }

    /// `document.*`: a `*` stands for any text, anywhere and as often as wanted; everything else for itself.
    unsafe fn action(&mut self, pattern: &str) {
        let Some((prefix, rest)) = pattern.split_once('*') else {
            let n = self.text(pattern);
            self.clauses.push(format!("e.action = ${n}"));
            return;
        };
        // A range, unlike LIKE, can use the index below a row security policy.
        if let Some(end) = end_of_prefix(prefix) {
            let (from, to) = (self.text(prefix), self.text(&end));
            self.clauses.push(format!("e.action >= ${from} AND e.action < ${to}"));
        }
        if !rest.is_empty() || end_of_prefix(prefix).is_none() {
            let like: Vec<String> = pattern.split('*').map(escape_like).collect();
            let n = self.text(&like.join("%"));
            self.clauses.push(format!("e.action LIKE ${n}"));
        }
    }

    unsafe fn search(&mut self, needle: &str) {
        let n = self.text(&format!("%{}%", escape_like(needle)));
        let columns = ["e.actor_name", "e.action", "e.resource_name", "e.metadata::text"];
        self.clauses.push(format!("({})", columns.map(|column| format!("{column} ILIKE ${n}")).join(" OR ")));
    }

    unsafe fn after(&mut self, place: &Place) {
        let created_at = self.argument(pg_sys::TIMESTAMPTZOID, timestamptz(place.created_at));
        let id = self.argument(pg_sys::UUIDOID, uuid_datum(&place.id));
        self.clauses.push(format!("(e.created_at, e.id) < (${created_at}, ${id})"));
    }
}

/// `%`, `_` and `\` taken literally.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The least text, in byte order, after every text with this prefix.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back().filter(char::is_ascii)?;
    let next = char::from_u32(u32::from(last) + 1).filter(char::is_ascii)?;
    Some(format!("{}{next}", &prefix[..prefix.len() - 1]))
}

unsafe fn page_size(call: Call, most: i32) -> i32 {
    let limit = call.arg(LIMIT).map_or(25, |limit| limit.value() as i32);
    if !(1..=most).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {most}, not {limit}"))
            .hint("Read further pages with the cursor of the page before.")
            .raise()
    }
    limit
}

/// The place that the call's cursor stands for, if there is one.
unsafe fn start(call: Call, conditions: &Conditions) -> Option<Place> {
    let cursor = call.arg(CURSOR)?;
    let message = match cursor::decode(text(cursor), &conditions.fingerprint) {
        Ok(place) => return Some(place),
        Err(cursor::Error::NotOurs) => "cursor is not one that get_events() returned",
        Err(cursor::Error::OtherFilters) => "cursor belongs to a query with other filters",
    };
    Fault::invalid("cursor", message)
        .hint("Pass pagination.next_cursor as it is, with the filters of the page it came with.")
        .raise()
}

sql_function!(immutable_get_events, pg_finfo_immutable_get_events, get_events);

/// `immutable.get_events(…)`
unsafe fn get_events(call: Call) -> Datum {
    let limit = page_size(call, MAX_PAGE) as usize;
    let mut conditions = Conditions::of(call);
    let start = start(call, &conditions);
    let mut total = 0;
    let count = format!("SELECT pg_catalog.count(*) FROM immutable.events e{}", conditions.where_clause());
    spi::read(&count, &conditions.types, &conditions.values, |row| total = row.values[0].value() as i64);
    if let Some(place) = &start {
        conditions.after(place);
    }
    let statement = format!(
        "SELECT {EVENT_JSON}, e.created_at, e.id FROM immutable.events e{} \
         ORDER BY e.created_at DESC, e.id DESC LIMIT {}",
        conditions.where_clause(),
        limit + 1 // one more than a page tells whether there is another
    );
    let mut events = Vec::new();
    let mut places = Vec::new();
    spi::read(&statement, &conditions.types, &conditions.values, |row| {
        events.push(text(row.values[0]).to_string());
        places.push(Place { created_at: micros(row.values[1]), id: uuid(row.values[2]) });
    });
    let has_more = events.len() > limit;
    events.truncate(limit);
    let next = has_more.then(|| places.get(limit - 1)).flatten();
    let next = next.and_then(|place| cursor::encode(place, &conditions.fingerprint));
    let next = next.map_or("null".to_string(), |cursor| format!("\"{cursor}\""));
    let page = format!(
        "{{\"data\":[{}],\"pagination\":{{\"has_more\":{has_more},\"next_cursor\":{next},\"total\":{total}}}}}",
        events.join(",")
    );
    jsonb::datum(&page)
}

sql_function!(immutable_find_events, pg_finfo_immutable_find_events, find_events);

/// `immutable.find_events(…)`
unsafe fn find_events(call: Call) -> Datum {
    let limit = page_size(call, MAX_FOUND);
    let mut conditions = Conditions::of(call);
    if let Some(place) = start(call, &conditions) {
        conditions.after(&place);
    }
    let statement = format!(
        "SELECT e.* FROM immutable.events e{} ORDER BY e.created_at DESC, e.id DESC LIMIT {limit}",
        conditions.where_clause(),
    );
    let set = result_set(call);
    spi::stream(&statement, &conditions.types, &conditions.values, |tuple, _| {
        pg_sys::tuplestore_puttuple((*set).setResult, tuple);
    });
    call.null()
}

/// Makes ready for a set of rows, whose size work_mem does not bound: it goes to disk.
pub unsafe fn result_set(call: Call) -> *mut pg_sys::ReturnSetInfo {
    pg_sys::InitMaterializedSRF(call.0, 0);
    (*call.0).resultinfo.cast()
}

sql_function!(immutable_get_event, pg_finfo_immutable_get_event, get_event);

/// `immutable.get_event(id, tenant_id)`
unsafe fn get_event(call: Call) -> Datum {
    let Some(id) = call.arg(0) else { return call.null() };
    let mut conditions = Conditions::default();
    let n = conditions.argument(pg_sys::UUIDOID, id);
    conditions.clauses.push(format!("e.id = ${n}"));
    if let Some(tenant_id) = call.arg(1) {
        let n = conditions.argument(pg_sys::TEXTOID, tenant_id);
        conditions.clauses.push(format!("e.tenant_id = ${n}"));
    }
    let statement = format!("SELECT {EVENT_JSON} FROM immutable.events e{} LIMIT 2", conditions.where_clause());
    let mut found = Vec::new();
    spi::read(&statement, &conditions.types, &conditions.values, |row| found.push(text(row.values[0]).to_string()));
    match found.as_slice() {
        [] => call.null(),
        [event] => jsonb::datum(&format!("{{\"data\":{event}}}")),
        _ => Fault::new(Code::ERRCODE_CARDINALITY_VIOLATION, "events of several tenants have this id")
            .field("tenant_id")
            .hint("Name the tenant: immutable.get_event(id, tenant_id).")
            .raise(),
    }
}
