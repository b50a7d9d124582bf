//! The functions that set and delete action schemas and modes. Each decision is recorded in the log.

use crate::access::decision::decide;
use crate::access::proof::{require, Opened, Scope};
use crate::access::token::parse_identity;
use crate::log::distributed;
use crate::log::own_event::LogEvent;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Jsonb;
use crate::pg::server;
use crate::pg::spi::Arg;
use crate::pg::transaction;
use crate::write::schemas::cache::MOST_PATTERNS;
use crate::write::schemas::document::{value_of, Document, BYTES, NESTING};
use crate::write::schemas::table::{modes, schemas, Mode};
use immutable_format::pattern::{Error, Pattern};
use immutable_format::sha256;
use immutable_format::{json, limits};
use pgrx::pg_sys;

/// Bytes that a description may have.
const DESCRIPTION_BYTES: usize = 4096;

const PATTERN_HINT: &str = "A pattern is an action, such as document.created, or a beginning with * at its end, \
    such as document.*; * alone stands for the actions without a dot.";

/// Opens the proof of the caller, and returns the tenant that the call is about; None for the whole
/// log. A key that is bound to a tenant sets that tenant's schemas alone, also if it names none.
fn whose(given: Option<Datum>) -> Option<String> {
    let opened = require(Scope::Admin);
    distributed::refuse("action schemas", "Check the events where the application records them.");
    held(&opened, given)
}

/// The tenant that is named, or that the proof opens.
pub fn held(opened: &Opened, given: Option<Datum>) -> Option<String> {
    let tenant_id = parse_identity("tenant_id", given).or_else(|| opened.tenant_id.clone());
    if let Some(tenant_id) = &tenant_id {
        opened.hold_to("tenant_id", tenant_id);
    }
    tenant_id
}

/// The condition that a row is one of this tenant, or of the whole log, as an index finds it.
fn is_of(tenant_id: Option<&str>) -> &'static str {
    match tenant_id {
        Some(_) => "tenant_id OPERATOR(pg_catalog.=) $1",
        None => "tenant_id IS NULL AND $1::pg_catalog.text IS NULL",
    }
}

fn required_pattern(call: Call<'_>) -> &str {
    let pattern = text(call.required(0, "pattern", PATTERN_HINT));
    let refuse = |message: String| Fault::invalid("pattern", message).hint(PATTERN_HINT).raise();
    match Pattern::parse(pattern) {
        Ok(_) => pattern,
        Err(Error::Empty) => refuse("pattern must not be empty".to_string()),
        Err(Error::Wildcard) => refuse("pattern must have * at its end alone".to_string()),
        Err(Error::Reserved) => {
            refuse("pattern must not begin with \"immutable.\": no schema applies to the log's own actions".to_string())
        }
        Err(Error::TooLong) => {
            let (bytes, most) = (pattern.len(), limits::text_bytes("action"));
            Fault::new(
                Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
                format!("pattern is too long: {bytes} bytes, at most {most}"),
            )
            .field("pattern")
            .hint("No action is longer. Bytes of UTF-8 are counted.")
            .raise()
        }
    }
}

fn optional_description(call: Call<'_>) -> Option<&str> {
    let description = text(call.arg(1)?);
    if description.len() > DESCRIPTION_BYTES {
        let bytes = description.len();
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("description is too long: {bytes} bytes, at most {DESCRIPTION_BYTES}"),
        )
        .field("description")
        .hint("Bytes of UTF-8 are counted.")
        .raise()
    }
    Some(description)
}

/// The canonical text of the schema that is given. Raises 54000 for one beyond the limits, and 22023
/// for one that the validator refuses.
fn optional_schema(call: Call<'_>) -> Option<String> {
    const FIELD: &str = "metadata_schema";
    let too_large = |message: String| -> ! {
        Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
            .field(FIELD)
            .hint("Describe what matters, and leave the rest open.")
            .raise()
    };
    let schema = match Jsonb::new(call.arg(2)?).value(NESTING, BYTES) {
        Ok(schema) => schema,
        Err(json::Error::TooDeep) => too_large(format!("metadata_schema is nested more than {NESTING} levels deep")),
        Err(_) => too_large(format!("metadata_schema is larger than {BYTES} bytes of canonical JSON")),
    };
    if server::is_stack_deep() {
        Fault::new(Code::ERRCODE_STATEMENT_TOO_COMPLEX, "metadata_schema is read too deep inside of other functions")
            .field(FIELD)
            .hint("Call immutable.set_action_schema() from fewer functions inside of each other.")
            .raise()
    }
    if let Err(why) = Document::compile(&value_of(&schema)) {
        Fault::invalid(FIELD, "metadata_schema is not a JSON Schema that can be used")
            .detail(why)
            .hint(
                "It must be a JSON Schema (draft 2020-12 unless $schema names another) that refers to nothing \
                 outside of itself, with regular expressions that need neither look-around nor backreferences.",
            )
            .raise()
    }
    Some(schema.canonical())
}

fn refuse_many(tenant_id: Option<&str>) -> ! {
    let whose = tenant_id.map_or("the log".to_string(), |tenant_id| format!("tenant \"{tenant_id}\""));
    Fault::new(
        Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("{whose} has {MOST_PATTERNS} action schemas, and more are not allowed"),
    )
    .field("pattern")
    .hint("Put * at the end of a pattern that stands for several, or delete those that are not needed.")
    .raise()
}

sql_function!(immutable_set_action_schema, pg_finfo_immutable_set_action_schema, set_action_schema);

/// `immutable.set_action_schema(pattern, description, metadata_schema, tenant_id)`
fn set_action_schema(call: Call) -> Datum {
    let tenant_id = whose(call.arg(3));
    let tenant_id = tenant_id.as_deref();
    let pattern = required_pattern(call);
    let (description, schema) = (optional_description(call), optional_schema(call));
    let table = schemas(pg_sys::RowExclusiveLock);
    let mut others = 0;
    table.returning(
        &format!(
            "SELECT count(*) FROM immutable.action_schemas WHERE {} AND pattern OPERATOR(pg_catalog.<>) $2",
            is_of(tenant_id)
        ),
        &[Arg::maybe_text(tenant_id), Arg::text(pattern)],
        |row| others = row.at(0).map_or(0, Datum::i64),
    );
    if others >= MOST_PATTERNS as i64 {
        refuse_many(tenant_id)
    }
    let mut id = None;
    table.returning(
        "INSERT INTO immutable.action_schemas AS s (tenant_id, pattern, description, metadata_schema, created_at, \
             created_by) VALUES ($1, $2, $3, $4, $5, session_user) \
         ON CONFLICT (tenant_id, pattern) DO UPDATE SET description = excluded.description, \
             metadata_schema = excluded.metadata_schema, created_at = excluded.created_at, \
             created_by = excluded.created_by RETURNING id",
        &[
            Arg::maybe_text(tenant_id),
            Arg::text(pattern),
            Arg::maybe_text(description),
            schema.as_deref().map_or(Arg::Null(pg_sys::JSONBOID), |schema| Arg::Json(schema.into())),
            Arg::Time(transaction::now()),
        ],
        |row| id = row.at(0).map(uuid),
    );
    let digest = schema.map(|schema| hex::encode(sha256(&[schema.as_bytes()])));
    record("immutable.action_schema_set", tenant_id, Some(pattern), &[("metadata_schema_sha256", digest.as_deref())]);
    id.map_or_else(|| call.null(), |id| call.memory().uuid(&id))
}

sql_function!(immutable_delete_action_schema, pg_finfo_immutable_delete_action_schema, delete_action_schema);

/// `immutable.delete_action_schema(pattern, tenant_id)`
fn delete_action_schema(call: Call) -> Datum {
    let tenant_id = whose(call.arg(1));
    let tenant_id = tenant_id.as_deref();
    // A row that was damaged may have any pattern.
    let pattern = text(call.required(0, "pattern", PATTERN_HINT));
    let deleted = schemas(pg_sys::RowExclusiveLock).execute(
        &format!(
            "DELETE FROM immutable.action_schemas WHERE {} AND pattern OPERATOR(pg_catalog.=) $2 RETURNING 1",
            is_of(tenant_id)
        ),
        &[Arg::maybe_text(tenant_id), Arg::text(pattern)],
    );
    if deleted > 0 {
        record("immutable.action_schema_deleted", tenant_id, Some(pattern), &[]);
    }
    Datum::from(deleted > 0)
}

sql_function!(immutable_set_action_schema_mode, pg_finfo_immutable_set_action_schema_mode, set_action_schema_mode);

/// `immutable.set_action_schema_mode(mode, tenant_id)`
fn set_action_schema_mode(call: Call) -> Datum {
    let tenant_id = whose(call.arg(1));
    let tenant_id = tenant_id.as_deref();
    let mode = call.arg(0).map(|mode| {
        Mode::of(text(mode)).unwrap_or_else(|| {
            Fault::invalid("mode", "mode must be strict or permissive")
                .hint("NULL removes what was set: a tenant is as the log, and the log is permissive.")
                .raise()
        })
    });
    let table = modes(pg_sys::RowExclusiveLock);
    match mode {
        Some(mode) => table.execute(
            "INSERT INTO immutable.action_schema_modes AS m (tenant_id, mode, set_at, set_by) \
             VALUES ($1, $2, $3, session_user) ON CONFLICT (tenant_id) DO UPDATE SET mode = excluded.mode, \
                 set_at = excluded.set_at, set_by = excluded.set_by",
            &[Arg::maybe_text(tenant_id), Arg::text(mode.name()), Arg::Time(transaction::now())],
        ),
        None => table.execute(
            &format!("DELETE FROM immutable.action_schema_modes WHERE {}", is_of(tenant_id)),
            &[Arg::maybe_text(tenant_id)],
        ),
    };
    record("immutable.action_schema_mode_set", tenant_id, None, &[("mode", mode.map(Mode::name))]);
    call.void()
}

/// Records a decision. It has no tenant, even if it is about one.
fn record(action: &str, tenant_id: Option<&str>, pattern: Option<&str>, more: &[(&str, Option<&str>)]) {
    let mut metadata: Vec<(&str, &str)> = Vec::new();
    metadata.extend(tenant_id.map(|tenant_id| ("tenant_id", tenant_id)));
    metadata.extend(more.iter().filter_map(|(name, value)| value.map(|value| (*name, value))));
    decide(&LogEvent {
        action,
        resource_type: Some(if pattern.is_some() { "action_schema" } else { "action_schema_mode" }),
        resource_id: pattern,
        metadata: &metadata,
        ..LogEvent::default()
    });
}
