//! immutable.create_export() and immutable.get_export().

use crate::access::decision::decide;
use crate::access::lent::are_policies_as_made;
use crate::access::proof::{require, Opened, Scope};
use crate::access::ticket;
use crate::jobs::exports_count::count_on;
use crate::jobs::exports_table::{exports, filters_json, Stored, KEPT};
use crate::log::distributed;
use crate::log::own_event::{login, LogEvent};
use crate::log::seam;
use crate::log::small_table::SmallTable;
use crate::log::snapshot;
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::lock::ObjectLock;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::{random, transaction};
use crate::read::export::written;
use crate::read::filter::{bound, Filters, FILTERS};
use crate::read::probe::asks;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::{sha256, time};
use pgrx::pg_sys;
use std::borrow::Cow;

/// Most exports at once whose events are not counted yet.
const UNFINISHED: i64 = 5;

/// Most exports at once that have not expired.
const UNEXPIRED: i64 = 1000;

/// Most bytes of a filter's value: those of the longest text that an event can have.
const FILTER_BYTES: usize = 4096;

/// For how many microseconds get_export() counts.
const COUNTING: i64 = 500_000;

/// The places of the filters among the arguments, by their index in [`FILTERS`].
const ARGUMENTS: [usize; 11] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1];

type Given = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// The filters of a call, checked, and among them the only tenant that the proof opens.
fn given(call: Call<'_>, opened: &Opened) -> Given {
    let value = |index: usize| {
        let (name, oid) = FILTERS[index];
        let value = call.arg(ARGUMENTS[index])?;
        Some(if oid == pg_sys::TEXTOID { value } else { bound(value, name) })
    };
    for (index, (name, oid)) in FILTERS.iter().enumerate() {
        let bytes = value(index).filter(|_| *oid == pg_sys::TEXTOID).map_or(0, |value| text(value).len());
        if bytes > FILTER_BYTES {
            let message = format!("{name} is too long: {bytes} bytes, at most {FILTER_BYTES}");
            Fault::new(Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION, message)
                .field(name)
                .hint("No event has a longer value.")
                .raise()
        }
    }
    // It raises the errors of filters that mean nothing.
    Filters::of_values(call.memory(), value);
    let mut given = written(value);
    if let Some(only) = &opened.tenant_id {
        match given.iter().find(|(name, _)| name == "tenant_id") {
            Some((_, tenant_id)) => opened.hold_to("tenant_id", tenant_id),
            None => given.push((Cow::Borrowed("tenant_id"), Cow::Owned(only.clone()))),
        }
    }
    given
}

/// Refuses (54000) one more export than there may be, of the tenant that the caller is bound to, or
/// of all callers who are bound to none. Others who make one wait until this transaction ends.
fn hold_to_most(table: &SmallTable, opened: &Opened, here: i64) {
    let tenant_id = opened.tenant_id.as_deref();
    let digest = sha256(&[&[u8::from(tenant_id.is_some())], tenant_id.unwrap_or_default().as_bytes()]);
    let object = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    ObjectLock { relation: table.relation().oid(), object, part: 0 }.acquire(true);
    let mut counts = (0, 0);
    table.returning(
        "SELECT count(*) FILTER (WHERE x.status IN ('pending', 'processing')), count(*) FROM immutable.exports x \
         WHERE x.tenant_id IS NOT DISTINCT FROM $1 AND x.expires_at > $2 AND x.status <> 'failed' \
         AND x.pinned_in = $3",
        &[Arg::maybe_text(tenant_id), Arg::Time(transaction::now()), Arg::Time(here)],
        |row| counts = (row.at(0).map_or(0, Datum::i64), row.at(1).map_or(0, Datum::i64)),
    );
    let (message, hint) = match counts {
        (UNFINISHED.., _) => (
            format!("{UNFINISHED} exports are not counted yet, which is the most at once"),
            "CALL immutable.run_maintenance() and immutable.get_export() count them. Try again when one is completed.",
        ),
        (_, UNEXPIRED..) => (
            format!("{UNEXPIRED} exports have not expired, which is the most at once"),
            "Each expires seven days after it was made.",
        ),
        _ => return,
    };
    Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message).hint(hint).raise()
}

/// Refuses a log that cannot have exports, or cannot have them here.
fn require_place() {
    transaction::require_writable(c"immutable.create_export()");
    distributed::refuse(
        "exports for download",
        "Use immutable.export_events(), which streams the events of all shards.",
    );
    // Events are counted with the owner's rights, and a ticket lends them.
    if !are_policies_as_made() && !sees_all() {
        Fault::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "exports for download cannot be made by a role whom further policies on immutable.events limit",
        )
        .hint("Use immutable.export_events(), which runs with the rights of its caller.")
        .raise()
    }
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    if seam::is_copy(events.get()) {
        Fault::new(
            Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "exports cannot be made of a copy of the audit log that another server feeds",
        )
        .hint("Make the export on the server where the events are recorded, or use immutable.export_events().")
        .raise()
    }
}

/// Whether no policy keeps events from the caller.
fn sees_all() -> bool {
    asks(
        "NOT pg_catalog.row_security_active('immutable.events'::pg_catalog.regclass) OR ( \
         SELECT pg_catalog.count(*) FILTER (WHERE p.polname = 'auditor_select' \
             AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true') = 2 AND pg_catalog.bool_and(p.polpermissive) \
         FROM pg_catalog.pg_policy p \
         WHERE p.polrelid IN ('immutable.events'::pg_catalog.regclass, 'immutable.event_targets'::pg_catalog.regclass) \
         AND p.polcmd IN ('r', '*') \
         AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r WHERE r = 0 OR pg_catalog.pg_has_role(r, 'USAGE')))",
    )
}

/// The snapshot of now, without this transaction.
fn pin() -> String {
    let mut now = None;
    spi::query_now("SELECT CAST(pg_catalog.pg_current_snapshot() AS pg_catalog.text)", &[], |row| {
        now = row.at(0).and_then(|snapshot| snapshot::without(text(snapshot), transaction::full_id()));
    });
    now.unwrap_or_else(|| internal("a snapshot is malformed"))
}

sql_function!(immutable_create_export, pg_finfo_immutable_create_export, create_export);

/// `immutable.create_export(…)`
fn create_export(call: Call<'_>) -> Datum<'_> {
    let opened = require(Scope::Export);
    require_place();
    let given = given(call, &opened);
    let created_at = transaction::now();
    let id = random::id(created_at);
    // It comes first, because it notes a seam. If the export is refused, it is rolled back.
    record(&uuid_text(&id), &opened, &given);
    let here = seam::written_here_since().unwrap_or_else(|| internal("the log is not written here"));
    let table = exports(pg_sys::RowExclusiveLock);
    hold_to_most(&table, &opened, here);
    let filters = filters_json(given.iter().map(|(name, value)| (&**name, Some(&**value))));
    table.execute(
        "INSERT INTO immutable.exports (id, tenant_id, filters, pin, pinned_in, created_at, expires_at, created_by) \
         VALUES ($1, $2, $3, CAST($4 AS pg_catalog.pg_snapshot), $5, $6, $7, $8)",
        &[
            Arg::Uuid(id),
            Arg::maybe_text(opened.tenant_id.as_deref()),
            Arg::Json(filters.into()),
            Arg::text(pin()),
            Arg::Time(here),
            Arg::Time(created_at),
            Arg::Time(created_at + KEPT),
            Arg::text(login()),
        ],
    );
    let id = uuid_text(&id);
    call.memory().jsonb(&format!("{{\"data\":{{\"id\":\"{id}\",\"status\":\"pending\"}},\"id\":\"{id}\"}}"))
}

/// Records that the export was made, with the names of its filters: their values may be a person's,
/// and could not be erased.
fn record(id: &str, opened: &Opened, given: &Given) {
    let mut names = String::from("[");
    for (n, (name, _)) in given.iter().enumerate() {
        if n > 0 {
            names.push(',');
        }
        write_string(name, &mut names);
    }
    names.push(']');
    decide(&LogEvent {
        tenant_id: opened.tenant_id.as_deref().unwrap_or_default(),
        action: "immutable.export_created",
        resource_type: Some("export"),
        resource_id: Some(id),
        metadata_json: &[("filters", &names)],
        ..LogEvent::default()
    });
}

sql_function!(immutable_get_export, pg_finfo_immutable_get_export, get_export);

/// `immutable.get_export(id)`
fn get_export(call: Call<'_>) -> Datum<'_> {
    let opened = require(Scope::Export);
    let Some(id) = call.arg(0).map(uuid) else { return call.null() };
    let Some(mut export) = Stored::find(&id, &opened) else { return call.null() };
    export.refuse_expired();
    if export.is_unfinished() && export.failure().is_none() && transaction::may_update() {
        count_on(&exports(pg_sys::RowExclusiveLock), &export, COUNTING);
        match Stored::find(&id, &opened) {
            Some(counted) => export = counted,
            None => return call.null(),
        }
    }
    call.memory().jsonb(&json(&export, &opened))
}

/// The export in the service's form.
fn json(export: &Stored, opened: &Opened) -> String {
    let failure = export.failure();
    let status = if failure.is_some() { "failed" } else { &export.status };
    let is_completed = status == "completed";
    let (ticket, ticket_expires_at) = match is_completed {
        true => {
            let (ticket, expires_at) = ticket::mint(&export.id, export.only_tenant(), opened.key.as_ref());
            (Some(ticket), Some(expires_at.saturating_mul(1_000_000)))
        }
        false => (None, None),
    };
    let filters = filters_json(export.filters.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    let total_rows = if is_completed { export.counted.to_string() } else { "null".to_string() };
    format!(
        "{{\"data\":{{\"id\":\"{}\",\"status\":{},\"filters\":{filters},\"total_rows\":{total_rows},\
         \"file_size\":null,\"download_url\":null,\"ticket\":{},\"ticket_expires_at\":{},\"error_message\":{},\
         \"created_at\":{},\"expires_at\":{}}}}}",
        uuid_text(&export.id),
        quoted(Some(status)),
        quoted(ticket.as_deref()),
        moment(ticket_expires_at),
        quoted(failure),
        moment(Some(export.created_at)),
        moment(Some(export.expires_at)),
    )
}

fn quoted(text: Option<&str>) -> String {
    let mut json = String::new();
    match text {
        Some(text) => write_string(text, &mut json),
        None => json.push_str("null"),
    }
    json
}

/// A time as the service's answers have it.
fn moment(micros: Option<i64>) -> String {
    quoted(micros.and_then(time::format).as_deref())
}
