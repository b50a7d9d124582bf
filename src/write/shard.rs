//! The functions that do the work of track() and track_batch() at the shard of a tenant; see
//! [`at_shard`](super::at_shard). They run with the caller's rights and record as those do, so that whoever may call those
//! may call these.

use crate::access::client;
use crate::log::{distributed, session_context};
use crate::pg::call::{sql_function, texts, Call};
use crate::pg::datum::{text, Datum};
use crate::write::{batch, payload, track};

const HINT: &str = "Use immutable.track() or immutable.track_batch(), which call this function.";

sql_function!(immutable_shard_track, pg_finfo_immutable_shard_track, shard_track);

/// `immutable.shard_track(here, tenant_id, event, on_conflict, session)`
fn shard_track(call: Call<'_>) -> Datum<'_> {
    let event = text(call.required(2, "event", HINT));
    let is_answered = track::is_answered(call.arg(3));
    let answer = at_shard(call, 4, || track::answer_once(&payload::of_text(event, call.memory()), is_answered));
    call.text(&answer)
}

sql_function!(immutable_shard_track_batch, pg_finfo_immutable_shard_track_batch, shard_track_batch);

/// `immutable.shard_track_batch(here, tenant_id, events, session)`
fn shard_track_batch(call: Call<'_>) -> Datum<'_> {
    let events = texts(call.required(2, "events", HINT), "events");
    let answers = at_shard(call, 3, || batch::answers_to_texts(&events, call.memory()));
    call.memory().texts(&answers)
}

/// Runs `body` on the shard of the argument tenant_id, with the settings of the client's session, which are the argument
/// at `session`; after them comes the seal of its roles.
fn at_shard<T>(call: Call<'_>, session: usize, body: impl FnOnce() -> T) -> T {
    let tenant_id = text(call.required(1, "tenant_id", HINT));
    let session = texts(call.required(session, "session", HINT), "session");
    let seal = session.get(session_context::CONTEXT.len()).copied();
    client::with_passed(seal, || session_context::with_values(&session, || distributed::on_own_shard(tenant_id, body)))
}
