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
    if without(stream, erased).is_none() {
        return;
    }
    lock(&stream.id).acquire(true);
    // Somebody may have given other filters, or deleted the stream, while this waited.
    let now = Stored::find(&stream.id);
    if let Some(left) = now.as_ref().and_then(|now| without(now, erased)) {
        spi::execute(
            "UPDATE immutable.streams s SET filters = $2 WHERE s.id OPERATOR(pg_catalog.=) $1",
            &[Arg::Uuid(stream.id), Arg::Json(left.canonical().into())],
        );
        switch_off(&stream.id, ERASED);
    }
}

/// The filters of a stream with null in the place of what is erased; None if they have nothing of it.
fn without<'a>(stream: &'a Stored, erased: &[&str]) -> Option<Value<'a>> {
    let Ok(Value::Object(mut members)) = Value::parse(&stream.filters, FILTER_LEVELS, FILTER_BYTES) else {
        return None;
    };
    let mut is_any = false;
    for (name, value) in &mut members {
        if ERASABLE.contains(&&**name) && value.as_str().is_some_and(|value| erased.contains(&value)) {
            *value = Value::Null;
            is_any = true;
        }
    }
    is_any.then_some(Value::Object(members))
}
