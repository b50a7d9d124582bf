//! due_deliveries() and take_delivery(): what the program that delivers gets. A lease keeps others from
//! the stream; its number, the fence, keeps whoever lost it from settling anything.

use crate::jobs::pause;
use crate::jobs::streams_items::{alerts, events, replays, test, Items, Read};
use crate::jobs::streams_position::Position;
use crate::jobs::streams_table::{as_owner, lock, quoted, shown, Stored};
use crate::log::tables::events_oid;
use crate::log::{distributed, log_identity, seam};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::error::{contain, Code, Fault};
use crate::pg::relation::OpenRelation;
use crate::pg::spi;
use crate::pg::subtransaction::attempt;
use crate::pg::transaction;
use immutable_format::id::uuid_text;
use immutable_format::Id;
use pgrx::pg_sys;
use std::collections::HashMap;

/// Most items at once, and the longest lease in seconds.
const MOST_ITEMS: i32 = 1000;
const MOST_SECONDS: i32 = 600;

/// Most bytes of the name of a worker, and of what failed.
const WORKER_BYTES: usize = 255;

/// How long a stream waits whose position cannot be read, in microseconds.
const RETRY: i64 = 60_000_000;

sql_function!(immutable_due_deliveries, pg_finfo_immutable_due_deliveries, due_deliveries);

/// `immutable.due_deliveries()`
fn due_deliveries(call: Call) -> Datum {
    let (state, streams) = match place() {
        "active" => ("active", as_owner(due)),
        other => (other, Vec::new()),
    };
    call.memory().jsonb(&format!("{{\"state\":\"{state}\",\"streams\":[{}]}}", streams.join(",")))
}

/// Whether anything is delivered here.
fn place() -> &'static str {
    if transaction::is_in_recovery() {
        return "standby";
    }
    distributed::refuse("streams", "Use immutable.changes() with a tenant_id, tenant by tenant.");
    if seam::is_copy(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get()) {
        return "copy";
    }
    if pause::goes_on() {
        "active"
    } else {
        "paused"
    }
}

fn due() -> Vec<String> {
    let now = transaction::now();
    let mut held: HashMap<Id, (bool, bool)> = HashMap::new();
    spi::query_now(
        "SELECT p.stream_id, p.leased_until, p.retry_at, p.test_requested_at IS NOT NULL AND p.test_finished_at IS NULL \
         FROM immutable.stream_positions p",
        &[],
        |row| {
            let later = |place| row.at(place).is_some_and(|at| micros(at) > now);
            let is_tested = row.at(3).is_some_and(Datum::bool);
            held.insert(row.at(0).map(uuid).unwrap_or_default(), (later(1) || later(2) && !is_tested, is_tested));
        },
    );
    let json = |shown: &crate::jobs::streams_table::Shown| {
        let (is_held, is_tested) = held.get(&shown.stream.id).copied().unwrap_or_default();
        let is_due = !shown.stream.is_damaged && !is_held && (shown.stream.enabled || is_tested);
        format!(
            "{{\"id\":\"{}\",\"name\":{},\"due\":{is_due},\"state\":\"{}\",\"failures\":{},\"dead_letters\":{}}}",
            uuid_text(&shown.stream.id),
            quoted(Some(&shown.stream.name)),
            shown.state,
            shown.failures,
            shown.dead_letters
        )
    };
    shown(None).iter().map(json).collect()
}

sql_function!(immutable_take_delivery, pg_finfo_immutable_take_delivery, take_delivery);

/// `immutable.take_delivery(stream_id, worker, limit, lease_seconds)`
fn take_delivery(call: Call<'_>) -> Datum<'_> {
    let id = uuid(call.required(0, "stream_id", "immutable.due_deliveries() lists the streams."));
    let worker = text(call.required(1, "worker", "Give a name that no other program has."));
    if worker.is_empty() || worker.len() > WORKER_BYTES {
        Fault::invalid("worker", format!("worker must have 1 to {WORKER_BYTES} bytes")).raise()
    }
    let number = |index, name: &str, default, most| {
        let given = call.arg(index).map_or(default, Datum::i32);
        if !(1..=most).contains(&given) {
            Fault::invalid(name, format!("{name} must be from 1 to {most}, not {given}"))
                .hint("Leave it out for what is usual.")
                .raise()
        }
        given
    };
    let limit = number(2, "limit", 100, MOST_ITEMS);
    let lease_seconds = number(3, "lease_seconds", 30, MOST_SECONDS);
    transaction::require_writable(c"immutable.take_delivery()");
    if !lock(&id).acquire(false) || place() != "active" {
        return call.null();
    }
    let ask = Ask { id, worker, limit: limit as usize, lease_seconds };
    match as_owner(|| ask.take()) {
        None => call.null(),
        Some(json) => call.memory().jsonb(&json),
    }
}

/// What a program asks for.
struct Ask<'c> {
    id: Id,
    worker: &'c str,
    limit: usize,
    lease_seconds: i32,
}

impl Ask<'_> {
    fn take(&self) -> Option<String> {
        let stream = Stored::find(&self.id).filter(|stream| !stream.is_damaged)?;
        let mut position = Position::of_stream(&stream);
        let now = transaction::now();
        if position.leased_until.is_some_and(|until| until > now) && position.worker != self.worker {
            return None;
        }
        if position.is_test_due() {
            return Some(self.lease(&stream, position, "test", test(&stream)));
        }
        if !stream.enabled || position.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let replayed = replays(&stream, self.limit);
        if !replayed.names.is_empty() {
            return Some(self.lease(&stream, position, "replay", replayed));
        }
        let Read { items, before, behind, acknowledged, left, has_moved } = self.read(&stream, &mut position)?;
        let is_empty = items.names.is_empty();
        (position.mark, position.acknowledged) = (before, acknowledged);
        if !is_empty {
            (position.pending_mark, position.pending_left) = (behind, left);
            return Some(self.lease(
                &stream,
                position,
                if stream.content == "alerts" { "alerts" } else { "events" },
                items,
            ));
        }
        if has_moved || position.leased_until.is_some() {
            position.release();
            position.write();
        }
        None
    }

    /// Reads what comes next. A position that cannot be read is a failure of the stream.
    fn read(&self, stream: &Stored, position: &mut Position) -> Option<Read> {
        let read = || {
            let Some(filters) = stream.filters() else {
                Fault::new(Code::ERRCODE_DATA_CORRUPTED, "the filters of the stream are damaged").raise()
            };
            match &*stream.content {
                "alerts" => alerts(stream, &filters, &position.mark, &position.acknowledged, self.limit),
                _ => events(stream, &filters, &position.mark, position.since, &position.acknowledged, self.limit),
            }
        };
        let is_ours = |code: Code, _: bool| {
            matches!(code, Code::ERRCODE_DATA_CORRUPTED | Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
        };
        match attempt(|| contain(read), is_ours) {
            Ok(read) => Some(read),
            Err(refused) => {
                let now = transaction::now();
                position.release();
                position.failures = position.failures.saturating_add(3);
                (position.failed_at, position.retry_at) = (Some(now), Some(now + RETRY));
                position.last_error = Some(format!("{}: give immutable.update_stream() a start", refused.message));
                position.write();
                None
            }
        }
    }

    /// Begins a lease of these items, and says what the program gets.
    fn lease(&self, stream: &Stored, mut position: Position, kind: &str, items: Items) -> String {
        position.fence += 1;
        position.worker = self.worker.to_string();
        position.lease_seconds = self.lease_seconds;
        position.leased_until = Some(transaction::now() + i64::from(self.lease_seconds) * 1_000_000);
        position.pending_kind = Some(kind.to_string());
        position.pending = items.names;
        position.write();
        let log_id = log_identity::known().map(|id| uuid_text(&id));
        format!(
            "{{\"fence\":{},\"kind\":\"{kind}\",\"failures\":{},\"log_id\":{},\"stream\":{{\"id\":\"{}\",\"name\":{},\
             \"destination\":{},\"format\":{}}},\"items\":[{}]}}",
            position.fence,
            position.failures,
            quoted(log_id),
            uuid_text(&stream.id),
            quoted(Some(&stream.name)),
            stream.destination,
            quoted(Some(&stream.format)),
            items.json.join(",")
        )
    }
}
