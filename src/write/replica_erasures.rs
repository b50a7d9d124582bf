//! Erasures that a replication brings in. The publisher's UPDATE says which row to change, and reaches a row of the hot
//! table alone, on both sides. An event of a segment, at the publisher or here, is erased when the record of the erasure
//! arrives: the record lists the commitments to what was erased, and here the values are that have these.

use crate::log::columns::{self as c, Layout};
use crate::log::rewriting::{Home, Homes};
use crate::log::row::{hash, read, Stored};
use crate::log::segments;
use crate::pg::datum::{text, Datum};
use crate::pg::jsonb::Jsonb;
use crate::pg::relation::Relation;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use immutable_format::erasure::erase;
use immutable_format::event::{erasable_paths, EventSecret};
use immutable_format::id::parse_uuid;
use immutable_format::json::Value;
use immutable_format::limits::{CANONICAL_BYTES, NESTING};
use immutable_format::{document, parse_hex, Hash, Id};
use std::collections::HashSet;

/// The action of a record.
const RECORD: &str = "immutable.event_erased";

/// Whether a row is a record of an erasure.
pub fn is_record(row: &Values, layout: &Layout) -> bool {
    row.get(layout, c::ACTION).map(text) == Some(RECORD)
}

/// Erases here what a record lists and what is still here. An event that is not here is passed over, and so is one that
/// does not match its hash: verification reports both.
pub fn follow(events: Relation, layout: &Layout, record: &Values) {
    let Some(tenant_id) = record.get(layout, c::TENANT_ID).map(text) else { return };
    let listed = record.get(layout, c::TARGETS).map_or_else(Vec::new, listed);
    if listed.is_empty() {
        return;
    }
    segments::keep_in_place();
    let homes = Homes::now();
    spi::as_owner(events, || {
        for (id, commitments) in &listed {
            erase_from(&homes, tenant_id, id, commitments);
        }
    });
}

/// The events that a record lists, with the commitments to what is erased from each.
fn listed(given: Datum) -> Vec<(Id, HashSet<Hash>)> {
    let Ok(Value::Array(targets)) = Jsonb::new(given).value(NESTING, 16 * CANONICAL_BYTES) else { return Vec::new() };
    let of_target = |target: &Value| {
        let id = member(target, "id")?.as_str().and_then(parse_uuid)?;
        let Value::Array(list) = member(member(target, "metadata")?, "commitments")? else { return None };
        Some((id, list.iter().filter_map(|hex| parse_hex::<32>(hex.as_str()?)).collect()))
    };
    targets.iter().filter_map(of_target).collect()
}

fn member<'v>(object: &'v Value, key: &str) -> Option<&'v Value<'v>> {
    let Value::Object(members) = object else { return None };
    members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn erase_from(homes: &Homes, tenant_id: &str, id: &Id, commitments: &HashSet<Hash>) {
    let mut found: Option<(Home, Vec<String>)> = None;
    spi::stream_now_planned_once(
        "SELECT e.tableoid AS home, e.* FROM immutable.events e WHERE e.tenant_id = $1 AND e.id = $2",
        &[Arg::text(tenant_id), Arg::Uuid(*id)],
        |tuple| {
            let (row, layout) = (tuple.values(), Layout::of_events(tuple.descriptor()));
            let home = row.at(0).and_then(|table| homes.of(table.oid()));
            let paths = read(|column| row.get(&layout, column)).ok().map(|event| {
                let is_sound = event.document().is_ok_and(|document| {
                    Some(document::hash(&document)) == row.get(&layout, c::EVENT_HASH).and_then(hash)
                });
                if is_sound {
                    paths(&event, commitments)
                } else {
                    Vec::new()
                }
            });
            found = home.zip(paths).filter(|(_, paths)| !paths.is_empty()).or(found.take());
        },
    );
    if let Some((home, paths)) = found {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        home.erase(tenant_id, Arg::Uuid(*id), &paths);
    }
}

/// The paths of the event whose values have one of the commitments.
fn paths(event: &Stored<'_>, commitments: &HashSet<Hash>) -> Vec<String> {
    let salt = match &event.secret {
        EventSecret::Salt(salt) => Some(salt),
        EventSecret::Erased(_) => None,
    };
    let before = event.erasure();
    let is_listed = |path: &String| {
        let erased = erase(&event.content, salt, before, &[path.as_str()]);
        erased.is_some_and(|(_, erasure)| erasure.beyond(before).iter().any(|hash| commitments.contains(hash)))
    };
    erasable_paths(&event.content, before).into_iter().filter(is_listed).collect()
}
