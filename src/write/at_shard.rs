//! track() and track_batch() in a log that Citus has distributed, on the client's node. Citus runs an INSERT on the node of
//! the tenant, so that here nobody sees what the chain's trigger saw, and no error has its field. That is why the rest of
//! the work is done there, by the functions of [`shard`](super::shard), in the caller's transaction and with its rights.

use crate::access::client;
use crate::log::tables::is_on_shard;
use crate::log::{distributed, session_context};
use crate::pg::call::texts;
use crate::pg::datum::text;
use crate::pg::error::internal;
use crate::pg::spi::Arg;
use crate::settings;
use crate::write::payload::{self, Given, TENANT_ID};

/// Whether the events that are recorded now go to shards. At the shard itself they do not.
pub fn is_needed() -> bool {
    distributed::is() && !is_on_shard()
}

/// The tenant of an event: the one that it names, or else the session's.
pub fn tenant_of(given: &Given) -> String {
    let named = given[TENANT_ID].map(|tenant| text(tenant).to_string());
    let set = || settings::TENANT_ID.get().and_then(|tenant| tenant.into_string().ok());
    named.or_else(set).unwrap_or_default()
}

/// Repeats the call for an event whose key is in use, and returns its answer. Citus has noted that the transaction writes
/// to the shard, because the INSERT was sent there before.
pub fn repeat(given: &Given, on_conflict: &str) -> String {
    let arguments = [Arg::text(payload::json_of(given)), Arg::text(on_conflict), Arg::Texts(session())];
    let mut answer = None;
    distributed::at_tenant(&tenant_of(given), "shard_track", &arguments, |row| {
        answer = row.values().at(0).map(|answer| text(answer).to_string());
    });
    answer.unwrap_or_else(|| unanswered())
}

/// Records events of one tenant, given as JSON texts, and returns the answers.
pub fn record(tenant_id: &str, events: Vec<String>) -> Vec<String> {
    let count = events.len();
    distributed::will_write_at(tenant_id);
    let arguments = [Arg::Texts(events), Arg::Texts(session())];
    let mut answers = Vec::with_capacity(count);
    distributed::at_tenant(tenant_id, "shard_track_batch", &arguments, |row| {
        let given = row.values().at(0).map_or_else(Vec::new, |given| texts(given, "answers"));
        answers.extend(given.into_iter().map(str::to_string));
    });
    if answers.len() != count {
        unanswered()
    }
    answers
}

/// What the shard must know of this session: its settings, and the seal of its roles.
fn session() -> Vec<String> {
    let mut session = session_context::values();
    session.extend(client::seal());
    session
}

fn unanswered() -> ! {
    internal("the shard has not answered for each event")
}
