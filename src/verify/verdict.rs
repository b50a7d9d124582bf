//! Verification: reads the rows and reports every break. It relies on nothing that was computed
//! before. It reads child tables too, because inheritance could add rows to the log.
//!
//! [`scope`](super::scope) reads the arguments; [`lanes`] checks content and links, with the help
//! of [`sums`](super::sums) in every process of a parallel plan; [`targets`], [`erasures`] and
//! [`heads`] check the rest.

use crate::access::key_scope;
use crate::access::lent::with_rights;
use crate::access::proof;
use crate::log::log_identity;
use crate::log::tables::Events;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::verify::checkpoint::Reached;
use crate::verify::run::{Counts, Run};
use crate::verify::scope::{own_tenant, Scope, MAX_LISTED};
use crate::verify::{checkpoint, erasures, heads, lanes, targets};
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::link::Break;
use immutable_format::time;
use pgrx::{notice, pg_sys};

/// Verifies what is in scope and calls `report` with every break.
fn verify(scope: &Scope, mut report: impl FnMut(&Break)) -> Verdict {
    let mut counts = Counts { log_id: log_identity::known(), ..Counts::default() };
    let mut breaks = 0;
    let mut report = |found: Break| {
        breaks += 1;
        report(&found);
    };
    let mut run = Run::new(scope);
    let mut tree = checkpoint::read(scope, &run, counts.log_id, &mut report);
    let coverage = tree.as_mut().map(|tree| &mut tree.coverage);
    let sums = lanes::check(scope, &mut run, coverage, &mut counts, &mut report);
    targets::check(scope, &mut counts, &run, &sums, &mut report);
    erasures::check(scope, &mut counts, &run, &sums, &mut report);
    heads::check(scope, &mut report);
    let reached = tree.map(|tree| tree.conclude(&run, &counts, &mut report)).unwrap_or_default();
    counts.breaks = breaks;
    Verdict::of(scope, counts, reached)
}

/// The result of a run, and how much of the log it covers.
struct Verdict {
    counts: Counts,
    /// Whether there is no break; None if nothing was checked.
    valid: Option<bool>,
    /// Whether everything in the log, or of the tenant, was checked.
    complete: bool,
    /// How many events the log or the tenant has: those that were checked, if that was all of them,
    /// or else the sum of the last seq of each lane.
    events_total: i64,
    /// The saved heads and marks that were compared.
    heads_checked: i64,
    /// Whether heads or a checkpoint that the caller gave confirm the log.
    anchored: bool,
    /// How far the checkpoint reaches that was compared.
    reached: Reached,
}

impl Verdict {
    fn of(scope: &Scope, counts: Counts, reached: Reached) -> Verdict {
        let every_event = !counts.cut && !scope.is_range() && scope.since.is_none();
        let events_total = match scope.since {
            _ if every_event => counts.events as i64,
            // The last seqs are known from the run, so that its cost depends only on what is new.
            Some(_) if counts.last_seqs > 0 => counts.last_seqs,
            _ => numbered(scope),
        };
        let marks = scope.since.iter().flat_map(|since| &since.heads);
        let heads_checked = scope.heads.iter().chain(marks).filter(|head| head.is_in(scope)).count() as i64;
        let nothing = counts.events == 0 && counts.breaks == 0 && heads_checked == 0;
        let why_nothing = match nothing {
            true if counts.passed_over => Some("the time was up before the first event".to_string()),
            true => scope.why_nothing(events_total, counts.log_id.is_some()),
            false => None,
        };
        if let Some(why) = &why_nothing {
            notice!("nothing was verified: {why}");
        }
        let valid = why_nothing.is_none().then_some(counts.breaks == 0);
        Verdict {
            valid,
            complete: every_event && scope.targets && why_nothing.is_none(),
            events_total,
            heads_checked,
            anchored: valid == Some(true) && (heads_checked > 0 || reached.anchored),
            counts,
            reached,
        }
    }
}

/// How many events there are, by the last seq of each lane.
fn numbered(scope: &Scope) -> i64 {
    let mut total = 0;
    spi::read(
        "SELECT LEAST(coalesce(pg_catalog.sum(h.seq), 0), 9223372036854775807)::pg_catalog.int8 \
         FROM immutable.heads($1) h WHERE h.seq > 0",
        &[Arg::given(pg_sys::TEXTOID, scope.tenant_id)],
        |row| total = row.at(0).map_or(0, Datum::i64),
    );
    total
}

/// One break as JSON: with all members, or only with those of immutable.verify().
fn break_json(found: &Break, in_full: bool) -> String {
    let mut json = String::from("{");
    let mut member = |name: &str, value: Option<String>, quoted: bool| {
        if json.len() > 1 {
            json.push(',');
        }
        write_string(name, &mut json);
        json.push(':');
        match value {
            None => json.push_str("null"),
            Some(value) if quoted => write_string(&value, &mut json),
            Some(value) => json.push_str(&value),
        }
    };
    if in_full {
        member("tenant_id", found.tenant_id.clone(), true);
        member("lane", found.lane.map(|lane| lane.to_string()), false);
        member("seq", found.seq.map(|seq| seq.to_string()), false);
    }
    member("event_id", found.event_id.map(|id| uuid_text(&id)), true);
    member("type", Some(found.kind.name().to_string()), true);
    member("expected_hash", found.expected.as_ref().map(hex::encode), true);
    member("actual_hash", found.actual.as_ref().map(hex::encode), true);
    if in_full {
        member("detail", Some(found.detail.clone()), true);
    }
    json.push('}');
    json
}

sql_function!(immutable_verify_chain, pg_finfo_immutable_verify_chain, verify_chain);

/// `immutable.verify_chain(…)`: one row.
fn verify_chain(call: Call) -> Datum {
    let opened = proof::require(key_scope::Scope::Verify);
    with_rights(|| summary(call, &Scope::of(call, &opened), Scope::most_listed(call)))
}

sql_function!(immutable_verify_shard, pg_finfo_immutable_verify_shard, verify_shard);

/// `immutable.verify_shard(events, targets)`: the result of verify_chain() for a shard of events
/// and its shard of targets. Raises 42P01 or 55000 if they are not such tables.
fn verify_shard(call: Call) -> Datum {
    let oid = call.arg(0).map_or(pg_sys::InvalidOid, Datum::oid);
    let (events, targets) = shard_names(oid);
    let with_targets = call.arg(1).is_none_or(Datum::bool);
    let scope = Scope { targets: with_targets, of_shard: true, ..Scope::default() };
    spi::on_shard(events, targets, || summary(call, &scope, MAX_LISTED))
}

/// The quoted names of a table of events and of the table of targets that refers to it. Raises
/// 42P01 and 55000 if there are no such tables, and 22023 for a name with an apostrophe.
fn shard_names(oid: pg_sys::Oid) -> (String, String) {
    let open = |oid| {
        OpenRelation::open(oid, pg_sys::AccessShareLock).unwrap_or_else(|| {
            Fault::new(Code::ERRCODE_UNDEFINED_TABLE, "events must be a table of events").field("events").raise()
        })
    };
    let relation = open(oid);
    let targets = Events::of(relation.get()).targets.unwrap_or_else(|| {
        let message = format!("no table of event targets refers to {}", relation.get().name());
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field("events").raise()
    });
    let [events, targets] = [relation, open(targets)].map(|relation| {
        let name = relation.get().qualified_name();
        if name.contains('\'') {
            Fault::invalid("events", format!("the name {name} contains an apostrophe")).raise()
        }
        name
    });
    (events, targets)
}

/// The one row of verify_chain() and verify_shard().
fn summary<'c>(call: Call<'c>, scope: &Scope, most: usize) -> Datum<'c> {
    let mut listed = Vec::new();
    let verdict = verify(scope, |found| {
        if listed.len() < most {
            listed.push(break_json(found, true));
        }
    });
    let (counts, reached, memory) = (&verdict.counts, &verdict.reached, call.memory());
    let columns: [Option<Datum>; 16] = [
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
    let (scope, mut most) = (Scope::of(call, &opened), Scope::most_rows(call));
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
    with_rights(|| verify(&scope, report));
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
        ..Scope::default()
    };
    let mut listed = Vec::new();
    let list = |found: &Break| {
        if listed.len() < MAX_LISTED {
            listed.push(break_json(found, false));
        }
    };
    let verdict = with_rights(|| verify(&scope, list));
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
        ("breaks", format!("[{}]", breaks.join(","))),
    ];
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{\"data\":{{{}}}}}", members.join(","))
}
