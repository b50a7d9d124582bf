//! What an erasure does to streams: a filter's value may be a person's.

use crate::jobs::streams_calls::switch_off;
use crate::jobs::streams_given::{ERASABLE, FILTER_BYTES, FILTER_LEVELS};
use crate::jobs::streams_table::{as_owner, lock, Stored};
use crate::pg::relation::named;
use crate::pg::spi::{self, Arg};
use immutable_format::json::Value;
use pgrx::pg_sys;

/// Why a stream stops.
const ERASED: &str = "a value of its filters was erased";

/// Removes erased values from the filters of streams, which stop: without the value they would have
/// other events.
pub fn forget(tenant_id: &str, erased: &[&str]) {
    if named(c"streams") == pg_sys::InvalidOid {
        return;
    }
    as_owner(|| {
        for stream in Stored::all() {
            if stream.tenant_id.as_deref().is_none_or(|only| only == tenant_id) {
                forget_in(&stream, erased);
            }
        }
    });
}

fn forget_in(stream: &Stored, erased: &[&str]) {
    let Ok(Value::Object(members)) = Value::parse(&stream.filters, FILTER_LEVELS, FILTER_BYTES) else { return };
    let is_erased = |name: &str, value: &Value| {
        ERASABLE.contains(&name) && value.as_str().is_some_and(|value| erased.contains(&value))
    };
    if !members.iter().any(|(name, value)| is_erased(name, value)) {
        return;
    }
    let left = members.into_iter().map(|(name, value)| {
        let value = if is_erased(&name, &value) { Value::Null } else { value };
        (name, value)
    });
    lock(&stream.id).acquire(true);
    spi::execute(
        "UPDATE immutable.streams s SET filters = $2 WHERE s.id OPERATOR(pg_catalog.=) $1",
        &[Arg::Uuid(stream.id), Arg::Json(Value::Object(left.collect()).canonical().into())],
    );
    switch_off(&stream.id, ERASED);
}
