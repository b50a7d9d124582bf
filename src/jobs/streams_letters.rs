//! Dead letters: what a receiver refused for good. They have ids, and no value of an event.

use crate::jobs::step::Done;
use crate::jobs::streams_calls::{require_operator, ID};
use crate::jobs::streams_table::{as_owner, lock, notify, quoted, Stored};
use crate::log::own_event::{record, LogEvent};
use crate::log::row::stored_text;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::error::Fault;
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::pg::{random, transaction};
use immutable_format::id::{parse_uuid, uuid_text};
use immutable_format::{time, Id};
use pgrx::pg_sys;

/// How long dead letters are kept, in microseconds: 30 days.
const KEPT: i64 = 30 * 24 * 3600 * 1_000_000;

/// Most dead letters of an answer, and most that are removed in one transaction.
const MOST: i32 = 1000;
const MOST_REMOVED: usize = 10_000;

/// A new dead letter.
pub struct Letter {
    pub stream_id: Id,
    pub content: &'static str,
    pub tenant_id: String,
    pub item_id: Id,
}

impl Letter {
    /// Keeps it. The owner's rights are in force.
    pub fn write(&self, error: &str, now: i64) {
        spi::execute(
            "INSERT INTO immutable.dead_letters (id, stream_id, content, tenant_id, item_id, error, attempts, died_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7)",
            &[
                Arg::Uuid(random::id(now)),
                Arg::Uuid(self.stream_id),
                Arg::text(self.content),
                Arg::text(&*self.tenant_id),
                Arg::Uuid(self.item_id),
                Arg::text(error),
                Arg::Time(now),
            ],
        );
    }
}

/// A dead letter was taken after all.
pub fn delivered_again(id: &str) {
    let Some(id) = parse_uuid(id) else { return };
    spi::execute("DELETE FROM immutable.dead_letters d WHERE d.id OPERATOR(pg_catalog.=) $1", &[Arg::Uuid(id)]);
}

/// A dead letter was refused again.
pub fn refused_again(id: &str, error: &str, now: i64) {
    let Some(id) = parse_uuid(id) else { return };
    spi::execute(
        "UPDATE immutable.dead_letters d SET error = $2, attempts = d.attempts OPERATOR(pg_catalog.+) 1, died_at = $3, \
           replay_at = NULL WHERE d.id OPERATOR(pg_catalog.=) $1",
        &[Arg::Uuid(id), Arg::text(error), Arg::Time(now)],
    );
}

/// Removes those that are too old, in this transaction.
pub fn step() -> Done {
    if named(c"dead_letters") == pg_sys::InvalidOid {
        return Done::NOTHING;
    }
    let mut removed = 0;
    as_owner(|| {
        let statement = format!(
            "DELETE FROM immutable.dead_letters d WHERE d.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT o.id \
               FROM immutable.dead_letters o WHERE o.died_at OPERATOR(pg_catalog.<) $1 LIMIT {MOST_REMOVED})) \
             RETURNING d.id"
        );
        spi::query_now(&statement, &[Arg::Time(transaction::now() - KEPT)], |_| removed += 1);
    });
    Done { did: (removed > 0).then(|| removed.to_string()), has_more: removed == MOST_REMOVED }
}

sql_function!(immutable_get_dead_letters, pg_finfo_immutable_get_dead_letters, get_dead_letters);

/// `immutable.get_dead_letters(stream_id, limit, after)`
fn get_dead_letters(call: Call) -> Datum {
    require_operator();
    let limit = call.arg(1).map_or(100, Datum::i32);
    if !(1..=MOST).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {MOST}, not {limit}"))
            .hint("Read further ones with the id of the last one as after.")
            .raise()
    }
    let statement = format!(
        "SELECT d.id, d.stream_id, d.content, d.tenant_id, d.item_id, d.error, d.attempts, d.died_at, d.replay_at \
         FROM immutable.dead_letters d WHERE ($1 IS NULL OR d.stream_id OPERATOR(pg_catalog.=) $1) \
           AND ($2 IS NULL OR d.id OPERATOR(pg_catalog.>) $2) ORDER BY d.id LIMIT {}",
        limit + 1
    );
    let given = [0, 2].map(|index| call.arg(index).map_or(Arg::Null(pg_sys::UUIDOID), |id| Arg::Uuid(uuid(id))));
    let mut letters = Vec::new();
    as_owner(|| spi::query_now(&statement, &given, |row| letters.push(json(row))));
    let has_more = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    call.memory().jsonb(&format!("{{\"data\":[{}],\"has_more\":{has_more}}}", letters.join(",")))
}

fn json(row: &Values) -> String {
    let id = |place| quoted(row.at(place).map(|id| uuid_text(&uuid(id))));
    let text = |place| quoted(row.at(place).and_then(stored_text));
    let at = |place| quoted(row.at(place).and_then(|at| time::format(micros(at))));
    let tenant_id = quoted(row.at(3).and_then(stored_text).filter(|tenant_id| !tenant_id.is_empty()));
    format!(
        "{{\"id\":{},\"stream_id\":{},\"content\":{},\"tenant_id\":{tenant_id},\"item_id\":{},\"error\":{},\
         \"attempts\":{},\"died_at\":{},\"replay_at\":{}}}",
        id(0),
        id(1),
        text(2),
        id(4),
        text(5),
        row.at(6).map_or(0, Datum::i32),
        at(7),
        at(8)
    )
}

sql_function!(immutable_replay_dead_letters, pg_finfo_immutable_replay_dead_letters, replay_dead_letters);

/// `immutable.replay_dead_letters(stream_id, ids)`
fn replay_dead_letters(call: Call) -> Datum {
    require_operator();
    let id = uuid(call.required(0, "stream_id", ID));
    transaction::require_writable(c"immutable.replay_dead_letters()");
    let mut count = 0_i64;
    as_owner(|| {
        Stored::required(&id);
        lock(&id).acquire(true);
        let ids = call.arg(1).map_or(Arg::Null(pg_sys::UUIDARRAYOID), |ids| Arg::Given(pg_sys::UUIDARRAYOID, ids));
        spi::query_now(
            "UPDATE immutable.dead_letters d SET replay_at = $3 WHERE d.stream_id OPERATOR(pg_catalog.=) $1 \
               AND ($2 IS NULL OR d.id OPERATOR(pg_catalog.=) ANY ($2)) RETURNING d.id",
            &[Arg::Uuid(id), ids, Arg::Time(transaction::now())],
            |_| count += 1,
        );
    });
    let counted = count.to_string();
    record(&LogEvent {
        action: "immutable.dead_letters_replayed",
        resource_type: Some("stream"),
        resource_id: Some(&uuid_text(&id)),
        metadata_json: &[("dead_letters", &counted)],
        ..LogEvent::default()
    });
    notify();
    Datum::from(count)
}
