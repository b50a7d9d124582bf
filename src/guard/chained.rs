//! The form of a chained event. The chain's trigger makes it, a restored row and an erasure are held to it by their hash;
//! a row that comes without the chain's trigger is compared with it here.

use crate::log::columns::{self as c, Column, Layout};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind};
use crate::pg::relation::Relation;
use crate::pg::tuple::Values;

/// The first column of a row that has not the form of a chained event. Whether the hash matches is left to verification.
fn misfit<'a>(get: impl Fn(Column) -> Option<Datum<'a>>) -> Option<Column> {
    let length = |column| get(column).map(|datum| bytes(datum).len());
    let kind = |column| get(column).map(|datum| Jsonb::new(datum).kind());
    let seq = get(c::SEQ).map_or(0, Datum::i64);
    let (is_first, is_erased) = (seq == 1, get(c::ERASED).is_some());
    let form = [
        (c::LANE, get(c::LANE).is_some_and(|lane| lane.i16() >= 0)),
        (c::SEQ, seq >= 1),
        (c::EVENT_HASH, length(c::EVENT_HASH) == Some(32)),
        (c::PREVIOUS_EVENT_HASH, length(c::PREVIOUS_EVENT_HASH) == (!is_first).then_some(32)),
        (c::LOG_ID, get(c::LOG_ID).is_some() == is_first),
        (c::SALT, length(c::SALT) == (!is_erased).then_some(16)),
        (c::ACTOR_ID, is_erased || get(c::ACTOR_ID).is_some()),
        (c::TARGETS, kind(c::TARGETS) == Some(Kind::Array)),
        (c::METADATA, kind(c::METADATA) == Some(Kind::Object)),
    ];
    form.into_iter().find(|(_, fits)| !fits).map(|(column, _)| column)
}

/// Refuses a row that has not the form of a chained event (23514).
pub fn hold(relation: Relation, layout: &Layout, row: &Values) {
    let Some(column) = misfit(|column| row.get(layout, column)) else { return };
    let (name, table) = (c::ALL[column].0, relation.name());
    Fault::new(
        Code::ERRCODE_CHECK_VIOLATION,
        format!("row for {table} has not the form of a chained event: its {name} is not what the chain sets"),
    )
    .field(name)
    .hint("With session_replication_role = replica nothing chains a row. SET session_replication_role = origin.")
    .raise()
}

sql_function!(immutable_is_chained, pg_finfo_immutable_is_chained, is_chained);

/// The arguments of `immutable.is_chained()`.
const ARGUMENTS: [Column; 10] = [
    c::LANE,
    c::SEQ,
    c::PREVIOUS_EVENT_HASH,
    c::EVENT_HASH,
    c::LOG_ID,
    c::SALT,
    c::ERASED,
    c::ACTOR_ID,
    c::TARGETS,
    c::METADATA,
];

/// The CHECK of a table that version 0.3 has made. Shards keep it.
fn is_chained(call: Call) -> Datum {
    let place = |column| ARGUMENTS.iter().position(|argument| *argument == column);
    Datum::from(misfit(|column| place(column).and_then(|place| call.arg(place))).is_none())
}
