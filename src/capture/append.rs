//! Recording the changes when the transaction commits, or is prepared. No lane is held before that.
//!
//! It happens in a callback, after deferred triggers: these may change tracked tables too, SET CONSTRAINTS cannot make it
//! earlier, and it comes before what other extensions do elsewhere at the commit. A second callback records what those
//! have changed here.

use crate::capture::buffer::{self, Change, Context, Kept, Notice, Reader, Record};
use crate::log::own_event::{record_for, Cause, LogEvent};
use crate::log::{captured, lane};
use crate::pg::datum::{timestamptz, Datum};
use crate::pg::error::internal;
use crate::pg::memory::Memory;
use crate::pg::relation::{named, OpenRelation, Relation};
use crate::pg::setting::switched_off;
use crate::pg::spi::{self, Given};
use crate::pg::transaction::{self, write_before_commit};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::collections::BTreeSet;
use std::ffi::CStr;

/// Called once, when the library is loaded.
pub fn register_callbacks() {
    transaction::before_commit(record_last);
    transaction::before_commit(record_first);
    buffer::before_keeping(|| transaction::come_first_before_commit(record_first));
}

fn record_first(is_prepared: bool) {
    record(is_prepared, false);
}

fn record_last(is_prepared: bool) {
    record(is_prepared, true);
    buffer::close();
}

/// Records what is kept, unless the log itself was dropped.
fn record(is_prepared: bool, is_last: bool) {
    if buffer::is_empty() {
        return;
    }
    buffer::take(is_last, |kept| {
        let events = named(c"events");
        if events == pg_sys::InvalidOid {
            return;
        }
        switched_off(&settings::RESTORE, || {
            write_before_commit(is_prepared, || {
                let events = OpenRelation::table(events, pg_sys::RowExclusiveLock);
                take_lanes(events.get(), kept);
                append(events.get(), kept);
            });
        });
    });
}

/// Takes the lanes of all tenants, in one order, so that two transactions do not wait for each other. Beyond the limit of
/// locks, a transaction takes one for all.
fn take_lanes(events: Relation<'_>, kept: &Kept) {
    let most = settings::MAX_CHAINS_PER_TRANSACTION.get() as usize;
    let mut numbers = BTreeSet::new();
    let mut are_more = false;
    let mut add = |number| {
        numbers.insert(number);
        if numbers.len() > most {
            numbers.pop_last();
            are_more = true;
        }
    };
    let mut of_context = lane::tenant_number("");
    let mut reader = kept.read();
    while let Some(record) = reader.next() {
        match record {
            Record::Context(context) => of_context = lane::tenant_number(&context.tenant_id),
            Record::Change(Change { tenant_id, .. }) => add(tenant_id.map_or(of_context, lane::tenant_number)),
            Record::Notice(..) => add(lane::tenant_number("")),
        }
    }
    if are_more && settings::LANES.get() == 1 {
        lane::acquire_all(events.oid());
    }
    for number in numbers {
        lane::acquire(events.oid(), number, false);
    }
}

/// How many rows, and how many bytes of JSON, are inserted at once, at the most.
const ROWS: usize = 1000;
const BYTES: usize = 4 << 20;

/// The columns of the rows that are inserted.
const COLUMNS: [(&CStr, Oid); 13] = [
    (c"tenant_id", pg_sys::TEXTOID),
    (c"actor_id", pg_sys::TEXTOID),
    (c"actor_name", pg_sys::TEXTOID),
    (c"actor_type", pg_sys::TEXTOID),
    (c"action", pg_sys::TEXTOID),
    (c"resource_type", pg_sys::TEXTOID),
    (c"resource_id", pg_sys::TEXTOID),
    (c"targets", pg_sys::JSONBOID),
    (c"metadata", pg_sys::JSONBOID),
    (c"session_id", pg_sys::TEXTOID),
    (c"ip_address", pg_sys::INETOID),
    (c"user_agent", pg_sys::TEXTOID),
    (c"occurred_at", pg_sys::TIMESTAMPTZOID),
];

/// It gives every column that has a setting, so that no setting of the session is used.
const INSERT: &str =
    "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, \
        resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, \
        ip_country, ip_city, user_agent, version, occurred_at) \
    SELECT c.tenant_id, c.actor_id, c.actor_name, c.actor_type, c.action, NULL, c.resource_type, c.resource_id, NULL, \
        c.targets, c.metadata, c.session_id, NULL, c.ip_address, NULL, NULL, c.user_agent, NULL, c.occurred_at \
    FROM immutable_captured c";

/// What is still to be recorded.
struct Rest<'k> {
    reader: Reader<'k>,
    /// That of the changes that come next.
    context: Context,
    /// An event that comes next, and who caused it.
    notice: Option<(Notice, Cause)>,
    is_over: bool,
}

/// Records everything in the order in which it came.
fn append(events: Relation<'_>, kept: &Kept) {
    let mut rest = Rest { reader: kept.read(), context: Context::default(), notice: None, is_over: false };
    while !rest.is_over {
        captured::appending(|| {
            spi::as_owner(events, || {
                spi::execute_with(INSERT, c"immutable_captured", &COLUMNS, |rows| rest.fill(rows));
            });
        });
        if let Some((notice, cause)) = rest.notice.take() {
            record_notice(&notice, &cause);
        }
    }
}

impl Rest<'_> {
    /// Puts the next changes: up to an event of the log's own, and not too many.
    fn fill(&mut self, rows: &mut Given) {
        let (mut count, mut bytes) = (0, 0);
        while count < ROWS && bytes < BYTES {
            pgrx::check_for_interrupts!();
            match self.reader.next() {
                None => {
                    self.is_over = true;
                    return;
                }
                Some(Record::Context(context)) => self.context = context,
                Some(Record::Notice(notice, [actor_id, actor_type, recorded_by])) => {
                    let cause = Cause { actor_id, actor_type: actor_type.into(), recorded_by };
                    self.notice = Some((notice, cause));
                    return;
                }
                Some(Record::Change(change)) => {
                    rows.put(|memory| row(memory, &self.context, &change));
                    count += 1;
                    bytes += change.metadata.len() + change.targets.len();
                }
            }
        }
    }
}

/// The row of a change, in the order of [`COLUMNS`].
fn row<'m>(memory: Memory<'m>, context: &Context, change: &Change<'_>) -> [Option<Datum<'m>>; COLUMNS.len()] {
    let text = |text: &str| Some(memory.text(text));
    let maybe = |text: Option<&str>| text.map(|text| memory.text(text));
    [
        text(change.tenant_id.unwrap_or(&context.tenant_id)),
        text(&context.actor_id),
        maybe(context.actor_name.as_deref()),
        maybe(Some(&*context.actor_type).filter(|kind| !kind.is_empty())),
        text(&format!("{}.{}", context.resource_type, change.operation.done())),
        text(&context.resource_type),
        maybe(change.resource_id),
        Some(memory.jsonb(change.targets)),
        Some(memory.jsonb(change.metadata)),
        maybe(context.session_id.as_deref()),
        context.ip_address.as_deref().map(|address| memory.inet(address)),
        maybe(context.user_agent.as_deref()),
        Some(timestamptz(context.occurred_at)),
    ]
}

/// Records an event of the log's own about a table.
fn record_notice(notice: &Notice, cause: &Cause) {
    let metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&notice.metadata)
        .unwrap_or_else(|_| internal("the metadata of a notice is no JSON object"));
    let metadata: Vec<(&str, String)> = metadata.iter().map(|(key, value)| (&**key, value.to_string())).collect();
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(key, json)| (*key, &**json)).collect();
    let event = LogEvent {
        action: &notice.action,
        resource_type: Some("table"),
        resource_id: Some(&notice.table),
        metadata_json: &metadata,
        ..LogEvent::default()
    };
    record_for(&event, cause);
}
