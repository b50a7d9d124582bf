//! The functions of verification that users call. Of a distributed log they let the nodes verify.

use crate::access::key_scope;
use crate::access::lent::{are_policies_as_made, with_rights, with_rights_of_owner};
use crate::access::proof;
use crate::log::distributed;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{timestamptz, Datum};
use crate::pg::error::Fault;
use crate::pg::memory::here;
use crate::pg::spi;
use crate::verify::message::break_json;
use crate::verify::scope::{own_tenant, Scope, MAX_LISTED};
use crate::verify::verdict::{self, Verdict};
use crate::verify::{cluster, shard_names::shard_names};
use immutable_format::json::write_string;
use immutable_format::link::Break;
use immutable_format::time;
use pgrx::{notice, pg_sys};

/// Verifies what is in scope, on this server or on all nodes, and calls `report` with every break.
fn verify(scope: &Scope, report: impl FnMut(&Break)) -> Verdict {
    let verdict = match scope.of_shard || !distributed::is() {
        true => verdict::verify(scope, report),
        false => cluster::verify(scope, report),
    };
    if let Some(why) = &verdict.why_nothing {
        notice!("nothing was verified: {why}");
    }
    verdict
}

/// Runs `body` with the rights that the caller's proof lends. At the shards there is no proof, so that whoever
/// needs one has the owner's rights there, and the scope is what the proof opens.
fn with_lent_rights<T>(body: impl FnOnce() -> T) -> T {
    match distributed::is() && proof::is_needed() && are_policies_as_made() {
        true => with_rights_of_owner(body),
        false => with_rights(body),
    }
}

sql_function!(immutable_verify_chain, pg_finfo_immutable_verify_chain, verify_chain);

/// `immutable.verify_chain(…)`: one row.
fn verify_chain(call: Call) -> Datum {
    let opened = proof::require(key_scope::Scope::Verify);
    with_lent_rights(|| {
        let listed = Scope::most_listed(call);
        summary(call, &Scope { listed, ..Scope::of(call, &opened) })
    })
}

sql_function!(immutable_verify_shard, pg_finfo_immutable_verify_shard, verify_shard);

/// `immutable.verify_shard(events, targets)`: the result of verify_chain() for a shard of events
/// and its shard of targets. Raises 42P01 or 55000 if they are not such tables.
fn verify_shard(call: Call) -> Datum {
    let oid = call.arg(0).map_or(pg_sys::InvalidOid, Datum::oid);
    let (events, targets) = shard_names(oid);
    let with_targets = call.arg(1).is_none_or(Datum::bool);
    let scope = Scope { targets: with_targets, of_shard: true, listed: MAX_LISTED, ..Scope::default() };
    spi::on_shard(events, targets, || summary(call, &scope))
}

/// The one row of verify_chain() and verify_shard().
fn summary<'c>(call: Call<'c>, scope: &Scope) -> Datum<'c> {
    let mut listed = Vec::new();
    let verdict = verify(scope, |found| {
        if listed.len() < scope.listed {
            listed.push(break_json(found, true));
        }
    });
    let (counts, reached, memory) = (&verdict.counts, &verdict.reached, call.memory());
    let columns: [Option<Datum>; 17] = [
        verdict.valid.map(Datum::from),
        Some(Datum::from(counts.events as i64)),
        Some(Datum::from(counts.chains as i64)),
        Some(Datum::from(counts.erased as i64)),
        Some(memory.jsonb(&format!("[{}]", listed.join(",")))),
        Some(Datum::from(counts.breaks as i64)),
        Some(Datum::from(counts.tenants as i64)),
        Some(Datum::from(verdict.complete)),
        counts.log_id.map(|id| memory.uuid(&id)),
        Some(Datum::from(verdict.events_total)),
        Some(Datum::from(verdict.heads_checked)),
        Some(Datum::from(verdict.anchored)),
        reached.size.map(Datum::from),
        reached.size.map(|_| memory.texts(&reached.cosigned.by)),
        reached.cosigned.at.map(timestamptz),
        reached.late.map(Datum::from),
        Some(Datum::from(counts.pruned)),
    ];
    // Of a shard, no tree says anything; and the declaration may be that of the version before.
    let mut rows = call.rows();
    let width = rows.width().min(columns.len());
    rows.put(&columns[..width]);
    call.null()
}

sql_function!(immutable_verify_breaks, pg_finfo_immutable_verify_breaks, verify_breaks);

/// `immutable.verify_breaks(…)`: one row for each break.
fn verify_breaks(call: Call) -> Datum {
    let opened = proof::require(key_scope::Scope::Verify);
    let mut most = Scope::most_rows(call);
    let listed = usize::try_from(most).unwrap_or(usize::MAX);
    let scope = Scope { listed, ..Scope::of(call, &opened) };
    let mut rows = call.rows();
    let report = |found: &Break| {
        if most == 0 {
            return;
        }
        most -= 1;
        here(|memory| {
            rows.put(&[
                found.tenant_id.as_ref().map(|tenant_id| memory.text(tenant_id)),
                found.lane.map(Datum::from),
                found.seq.map(Datum::from),
                found.event_id.map(|id| memory.uuid(&id)),
                Some(memory.text(found.kind.name())),
                found.expected.as_ref().map(|hash| memory.bytes(hash)),
                found.actual.as_ref().map(|hash| memory.bytes(hash)),
                Some(memory.text(&found.detail)),
            ]);
        });
    };
    with_lent_rights(|| verify(&scope, report));
    call.null()
}

sql_function!(immutable_verify, pg_finfo_immutable_verify, verify_as_service);

/// `immutable.verify(from_date, to_date, limit, max_seconds)`: the answer for an API, with how much
/// of the log it covers. Raises 22023 for a limit below 1, and for a negative time.
fn verify_as_service(call: Call) -> Datum {
    let opened = proof::require(key_scope::Scope::Verify);
    let limit = call.arg(2).map(|limit| i64::from(limit.i32()));
    if limit.is_some_and(|limit| limit < 1) {
        Fault::invalid("limit", "limit must be at least 1").hint("Leave limit out to verify every event.").raise()
    }
    let max_seconds = call.new_arg(3).map(Datum::f64);
    if max_seconds.is_some_and(|seconds| seconds.is_nan() || seconds < 0.0) {
        Fault::invalid("max_seconds", "max_seconds must not be negative").hint("Use NULL for any time.").raise()
    }
    let scope = Scope {
        tenant_id: own_tenant(call, &opened, None),
        from_date: call.arg(0),
        to_date: call.arg(1),
        max_events: limit,
        targets: true,
        max_seconds,
        listed: MAX_LISTED,
        ..Scope::default()
    };
    let mut listed = Vec::new();
    let list = |found: &Break| {
        if listed.len() < scope.listed {
            listed.push(break_json(found, false));
        }
    };
    let verdict = with_lent_rights(|| verify(&scope, list));
    call.memory().jsonb(&service_json(&verdict, &listed))
}

/// The answer of immutable.verify().
fn service_json(verdict: &Verdict, breaks: &[String]) -> String {
    let (counts, reached) = (&verdict.counts, &verdict.reached);
    let null = || "null".to_string();
    let mut names = null();
    if reached.size.is_some() {
        let mut quoted = Vec::new();
        for name in &reached.cosigned.by {
            let mut out = String::new();
            write_string(name, &mut out);
            quoted.push(out);
        }
        names = format!("[{}]", quoted.join(","));
    }
    let cosigned_at = reached.cosigned.at.and_then(time::format).map_or_else(null, |at| format!("\"{at}\""));
    let members = [
        ("valid", verdict.valid.map_or_else(null, |valid| valid.to_string())),
        ("events_checked", counts.events.to_string()),
        ("events_total", verdict.events_total.to_string()),
        ("complete", verdict.complete.to_string()),
        ("heads_checked", verdict.heads_checked.to_string()),
        ("anchored", verdict.anchored.to_string()),
        ("checkpoint_size", reached.size.map_or_else(null, |size| size.to_string())),
        ("cosigned_by", names),
        ("cosigned_at", cosigned_at),
        ("recorded_late", reached.late.map_or_else(null, |late| late.to_string())),
        ("pruned", counts.pruned.to_string()),
        ("breaks", format!("[{}]", breaks.join(","))),
    ];
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{\"data\":{{{}}}}}", members.join(","))
}
