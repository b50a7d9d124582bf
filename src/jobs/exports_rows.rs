//! immutable.export_rows(): the lines of an export, from the events as they are now.

use crate::access::lent::with_rights;
use crate::access::proof::require_download;
use crate::jobs::exports_csv::Csv;
use crate::jobs::exports_pruned;
use crate::jobs::exports_table::Stored;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::Memory;
use crate::pg::time::time_of_text;
use crate::read::export::{statement, Export, Lines, Statement, Verifiable};
use crate::read::filter::{Filters, FILTERS};
use immutable_format::id::uuid_text;
use immutable_format::Id;
use pgrx::pg_sys;
use std::borrow::Cow;

/// The filters of an export, and among them the tenant that it is held to.
pub fn filters_of<'c>(export: &Stored, memory: Memory<'c>) -> Filters<'c> {
    let mut filters = Filters::of_values(memory, |index| {
        let (name, oid) = FILTERS[index];
        let value = export.filter(name)?;
        Some(match oid {
            pg_sys::TEXTOID => memory.text(value),
            _ => Datum::from(time_of_text(value)),
        })
    });
    // What makes an export gives a bound export the tenant as a filter. The row says it too.
    if export.tenant_id.as_deref().is_some_and(|tenant_id| filters.narrow_to(tenant_id).is_some()) {
        export.refuse("failed: its filters name another tenant", NEW)
    }
    filters
}

/// The condition that the pin's snapshot sees the event of this alias. A subquery reads the snapshot
/// once.
pub fn is_pinned(filters: &mut Filters<'_>, export: &Stored, alias: &str) -> String {
    let pin = filters.text(export.pin.as_deref().unwrap_or_default());
    format!("pg_catalog.pg_visible_in_snapshot({alias}.xact, (SELECT CAST(${pin} AS pg_catalog.pg_snapshot)))")
}

const NEW: &str = "Make a new one with immutable.create_export().";

/// An id as uuid prints it.
const UUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

/// The pinned events.
fn events(export: &Stored, memory: Memory<'_>) -> Statement {
    let mut filters = filters_of(export, memory);
    let is_pinned = is_pinned(&mut filters, export, "e");
    statement(filters, &is_pinned)
}

/// The records of erasures that the pin did not see and that list a pinned event. The lanes of the
/// export are whole, so that it has no filter but a tenant.
fn later_records(export: &Stored, memory: Memory<'_>) -> Statement {
    let mut filters = filters_of(export, memory);
    let (is_record_pinned, is_event_pinned) =
        (is_pinned(&mut filters, export, "e"), is_pinned(&mut filters, export, "p"));
    let further = format!(
        "e.action = 'immutable.event_erased' AND NOT {is_record_pinned} AND EXISTS ( \
           SELECT FROM immutable.event_targets t JOIN immutable.events p ON p.tenant_id = t.tenant_id \
             AND p.id = CASE WHEN immutable.text_of(t.target_id) ~ '{UUID}' THEN t.target_id::pg_catalog.uuid END \
           WHERE t.tenant_id = e.tenant_id AND t.event_id = e.id AND {is_event_pinned})"
    );
    statement(filters, &further)
}

/// What is read of an export, and as which lines.
fn begin(call: Call<'_>, make: impl FnOnce(&Stored) -> Box<dyn Lines>) -> Export {
    let id = uuid(call.required(0, "id", "Give the id that immutable.create_export() returned."));
    let opened = require_download(&id);
    let export = Stored::find(&id, &opened).unwrap_or_else(|| unknown(&id));
    export.refuse_expired();
    if let Some(why) = export.failure() {
        export.refuse(&format!("failed: {why}"), NEW)
    }
    exports_pruned::refuse(&export);
    // Row security shows a ticket nothing. It was given to somebody who could read the export, and the
    // export holds itself to its tenant.
    let is_lent = opened.ticket.is_some();
    with_rights(|| Export::begin(events(&export, call.memory()), make(&export), is_lent))
}

fn unknown(id: &Id) -> ! {
    Fault::new(Code::ERRCODE_NO_DATA_FOUND, format!("there is no export {}", uuid_text(id)))
        .field("id")
        .hint("Give the id that immutable.create_export() returned. An export is not known any more 37 days later.")
        .raise()
}

/// The lines that verify: the time is that of the pin.
fn verifiable(export: &Stored, memory: Memory<'_>) -> Box<dyn Lines> {
    let named = FILTERS.iter().filter_map(|(name, _)| Some((*name, export.filter(name)?)));
    let filters = named.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value.to_string()))).collect();
    let lines = Verifiable::new(export.created_at, filters);
    Box::new(lines.with_later_records(|| later_records(export, memory)))
}

sql_function!(immutable_export_rows, pg_finfo_immutable_export_rows, export_rows);

/// `immutable.export_rows(id, format)`
fn export_rows(call: Call<'_>) -> Datum<'_> {
    call.series(|| {
        let format = text(call.required(1, "format", FORMATS));
        match format {
            "csv" => begin(call, |_| Box::new(Csv::new(false))),
            "csv_spreadsheet" => begin(call, |_| Box::new(Csv::new(true))),
            "ndjson" => begin(call, |export| verifiable(export, call.memory())),
            _ => Fault::invalid("format", "format must be csv, csv_spreadsheet or ndjson").hint(FORMATS).raise(),
        }
    })
}

const FORMATS: &str = "csv is for programs, csv_spreadsheet for people, and ndjson for immutable-verify.";
