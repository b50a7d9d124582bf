//! What the action schemas are, and which recorded events do not fit them.

use crate::access::proof::{require, Scope};
use crate::log::distributed;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::error::Fault;
use crate::pg::jsonb::Reader;
use crate::pg::memory::here;
use crate::pg::spi::{self, Arg};
use crate::pg::toast::readable_text;
use crate::pg::tuple::Values;
use crate::write::schemas::admission::{judge, mode};
use crate::write::schemas::cache;
use crate::write::schemas::setting::held;
use crate::write::schemas::table::{schemas, Mode};
use immutable_format::event::RESERVED;
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Text};
use immutable_format::limits::NESTING;
use immutable_format::time;
use pgrx::pg_sys;
use std::fmt::Write;

sql_function!(immutable_get_action_schemas, pg_finfo_immutable_get_action_schemas, get_action_schemas);

/// `immutable.get_action_schemas(tenant_id)`
fn get_action_schemas(call: Call) -> Datum {
    let opened = require(Scope::Read);
    let tenant_id = held(&opened, call.arg(0));
    let mut json = String::from("{\"mode\":");
    match mode_for(tenant_id.as_deref()) {
        Ok(mode) => write_string(mode.name(), &mut json),
        Err(()) => json.push_str("null"),
    }
    json.push_str(",\"data\":[");
    let mut separator = "";
    // NULL lists the schemas of all tenants.
    let condition = match &tenant_id {
        Some(_) => "WHERE s.tenant_id IS NULL OR s.tenant_id OPERATOR(pg_catalog.=) $1",
        None => "WHERE $1::pg_catalog.text IS NULL",
    };
    let table = schemas(pg_sys::AccessShareLock);
    let statement = format!(
        "SELECT s.id, s.tenant_id, s.pattern, s.description, s.metadata_schema, s.created_at, s.created_by \
         FROM immutable.action_schemas s {condition} ORDER BY s.tenant_id NULLS FIRST, s.pattern"
    );
    spi::as_owner(table.relation(), || {
        spi::read(&statement, &[Arg::maybe_text(tenant_id.as_deref())], |row| {
            json.push_str(separator);
            separator = ",";
            write_row(row, &mut json);
        });
    });
    json.push_str("]}");
    call.memory().jsonb(&json)
}

/// The mode for a tenant, or of the log.
fn mode_for(tenant_id: Option<&str>) -> Result<Mode, ()> {
    match tenant_id {
        Some(tenant_id) => mode(&[cache::own(None), cache::own(Some(tenant_id))]),
        None => cache::own(None).mode.unwrap_or(Ok(Mode::Permissive)),
    }
}

/// A value that cannot be read is null, because one damaged row must not hide the others.
fn write_row(row: &Values, json: &mut String) {
    let mut member = |name: &str, value: Option<String>| {
        json.push_str(name);
        match value {
            Some(value) => json.push_str(&value),
            None => json.push_str("null"),
        }
    };
    let quoted = |place| {
        row.at(place).map(readable_text).map(|text| {
            let mut quoted = String::new();
            write_string(text, &mut quoted);
            quoted
        })
    };
    member("{\"id\":", row.at(0).map(|id| format!("\"{}\"", uuid_text(&uuid(id)))));
    member(",\"tenant_id\":", quoted(1));
    member(",\"pattern\":", quoted(2));
    member(",\"description\":", quoted(3));
    member(",\"metadata_schema\":", row.at(4).and_then(json_text));
    let created_at = row.at(5).and_then(|created_at| time::format(micros(created_at)));
    member(",\"created_at\":", created_at.map(|time| format!("\"{time}\"")));
    member(",\"created_by\":", quoted(6));
    json.push('}');
}

fn json_text(datum: Datum) -> Option<String> {
    let mut json = String::new();
    Reader::new(datum)?.read(&mut Text::new(&mut json, NESTING)).ok()?;
    Some(json)
}

/// Most events that one call returns.
const MOST: i32 = 1000;

sql_function!(immutable_unmatched_events, pg_finfo_immutable_unmatched_events, unmatched_events);

/// `immutable.unmatched_events(from_date, to_date, limit)`. It reads with the caller's rights.
fn unmatched_events(call: Call) -> Datum {
    distributed::refuse("action schemas", "Check the events where the application records them.");
    let opened = require(Scope::Read);
    let most = call.arg(2).map_or(100, Datum::i32);
    if !(1..=MOST).contains(&most) {
        Fault::invalid("limit", format!("limit must be from 1 to {MOST}, not {most}"))
            .hint("Go on with from_date => created_at of the last event.")
            .raise()
    }
    let bounds = [call.arg(0), call.arg(1)].map(|bound| Arg::given(pg_sys::TIMESTAMPTZOID, bound));
    let mut arguments = bounds.to_vec();
    let mut conditions = String::from("e.action NOT LIKE $3");
    arguments.push(Arg::text(format!("{RESERVED}%")));
    if call.arg(0).is_some() {
        conditions.push_str(" AND e.created_at OPERATOR(pg_catalog.>=) $1");
    }
    if call.arg(1).is_some() {
        conditions.push_str(" AND e.created_at OPERATOR(pg_catalog.<=) $2");
    }
    // Row security does this too, but not for every role.
    for (column, value) in [("tenant_id", &opened.tenant_id), ("actor_id", &opened.actor_id)] {
        if let Some(value) = value {
            arguments.push(Arg::text(value.as_str()));
            let _ = write!(conditions, " AND e.{column} OPERATOR(pg_catalog.=) ${}", arguments.len());
        }
    }
    let statement = format!(
        "SELECT e.id, e.tenant_id, e.action, e.created_at, e.metadata, e.erased IS NOT NULL \
         FROM immutable.events e WHERE {conditions} ORDER BY e.created_at, e.id"
    );
    let mut found = call.rows();
    let mut left = most;
    spi::stream_while(&statement, &arguments, |tuple| {
        let row = tuple.values();
        if let Some((field, message)) = misfit(&row) {
            here(|memory| {
                let words = [memory.text(field), memory.text(&message)].map(Some);
                found.put(&[row.at(0), row.at(1), row.at(2), row.at(3), words[0], words[1]]);
            });
            left -= 1;
        }
        left > 0
    });
    call.null()
}

/// How a recorded event does not fit what is set now. From an event that was erased, metadata may be
/// missing, so that it is not judged.
fn misfit(row: &Values) -> Option<(&'static str, String)> {
    let (tenant_id, action) = (row.at(1).map_or("", text), row.at(2).map_or("", text));
    let is_erased = row.at(5).is_some_and(Datum::bool);
    let schemas = cache::of_tenant(tenant_id)?;
    let misfit = judge(&schemas, action, || row.at(4).and_then(Reader::new))?;
    (misfit.field == "action" || !is_erased).then_some((misfit.field, misfit.message))
}
