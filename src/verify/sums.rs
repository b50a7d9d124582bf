//! The functions of verification that run in every process of a parallel plan: the check of one
//! event, and the aggregates that add up lanes and targets. Only verify_chain() has a use for them.
//! A user who calls them directly gets nothing but bytes.

use crate::log::columns as c;
use crate::log::row::{self, stored_text, with_scratch};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, micros, uuid, Datum};
use crate::pg::error::internal;
use crate::pg::jsonb::Reader;
use crate::pg::toast;
use crate::verify::run::{refuse, Run};
use crate::verify::{budget, coverage, progress};
use immutable_format::json::{Build, Canonical, Value};
use immutable_format::limits;
use immutable_format::sum::{leaf_term, LaneSum, Seen, Sum, TargetTerms};
use immutable_format::target::{Form, Target};
use immutable_format::tlog::tree::leaf_hash;

/// The action of the record of an erasure.
pub const RECORD: &str = "immutable.event_erased";

/// The columns of an event as verify_event() takes them, for the alias `e`, after its own
/// arguments.
pub fn columns_of_event() -> String {
    let names: Vec<String> = c::ALL[..c::XACT].iter().map(|(name, _, _)| format!("e.{name}")).collect();
    names.join(", ")
}

sql_function!(immutable_verify_event, pg_finfo_immutable_verify_event, verify_event);

/// `immutable.verify_event(run, stray, <every column but xact>)`
fn verify_event(call: Call) -> Datum {
    pgrx::check_for_interrupts!();
    let run = Run::of(call, 0);
    let stray = call.arg(1).is_none_or(Datum::bool);
    let get = |column: c::Column| call.arg(2 + column);
    let seq = get(c::SEQ).map(Datum::i64);
    let mut buffer = [0; Seen::BYTES];
    if budget::is_over(&run) {
        return call.memory().bytes(Seen::passed_over(seq.unwrap_or(0)).write(&mut buffer));
    }
    if run.progress {
        progress::count(&run);
    }
    let stored = row::read(get);
    let recomputed = stored.as_ref().ok().and_then(|stored| with_scratch(|scratch| stored.hash(scratch)).ok());

    let previous = get(c::PREVIOUS_EVENT_HASH).map(row::hash);
    let event_hash = get(c::EVENT_HASH).and_then(row::hash);
    let linked = matches!((seq, previous), (Some(1), None) | (Some(2..), Some(Some(_))));
    let mut flags = 0;
    let mut flag = |is: bool, flag: u8| flags |= if is { flag } else { 0 };
    flag(recomputed.is_some() && recomputed == event_hash, Seen::VALID);
    flag(!stray && linked && event_hash.is_some(), Seen::LINKS);
    flag(get(c::ERASED).is_some(), Seen::ERASED);
    flag(get(c::ACTION).is_some_and(|action| toast::read(action) == Some(RECORD.as_bytes())), Seen::RECORD);
    let mut leaf = Sum::default();
    if run.tree {
        let (covered, late) = covered(&run, get);
        flag(late, Seen::LATE);
        if let Some(hash) = recomputed.filter(|_| covered) {
            leaf = leaf_term(&run.key, &leaf_hash(&hash));
            flag(true, Seen::COVERED);
        }
    }
    let mut targets = Sum::default();
    match &stored {
        Ok(stored) if run.targets => {
            let event = &stored.envelope;
            targets = with_scratch(|scratch| {
                let mut terms = TargetTerms::new(&run.key, scratch);
                for (position, target) in stored.content.targets.iter().enumerate() {
                    terms.add(event.tenant_id, &event.id, position as u16, event.created_at, target.canonical());
                }
                terms.sum()
            });
        }
        Ok(_) => {}
        Err(_) => flag(true, Seen::ODD_TARGETS),
    }
    let seen = Seen {
        seq: seq.unwrap_or(0),
        event_hash: event_hash.unwrap_or_default(),
        previous_event_hash: previous.flatten().unwrap_or_default(),
        log_id: get(c::LOG_ID).map(uuid).unwrap_or_default(),
        targets,
        flags,
        leaf,
    };
    call.memory().bytes(seen.write(&mut buffer))
}

/// Whether the tree covers the row, and whether the row is late. Raises 22023 for a run whose shared
/// memory is not there.
fn covered<'a>(run: &Run, get: impl Fn(c::Column) -> Option<Datum<'a>>) -> (bool, bool) {
    let (lane, seq) = (get(c::LANE).map(Datum::i16), get(c::SEQ).map(Datum::i64));
    let created_at = get(c::CREATED_AT).map_or(i64::MAX, micros);
    match (get(c::TENANT_ID).and_then(stored_text), lane, seq) {
        (Some(tenant_id), Some(lane), Some(seq)) => {
            coverage::of_row(run, tenant_id, lane, seq, created_at).unwrap_or_else(|| refuse("run"))
        }
        _ => (false, false),
    }
}

sql_function!(immutable_lane_add, pg_finfo_immutable_lane_add, lane_add);

fn lane_add(call: Call) -> Datum {
    let seen = call.arg(2).and_then(|seen| Seen::from_bytes(bytes(seen))).unwrap_or_else(|| refuse("seen"));
    call.advance(|| LaneSum::new(&Run::of(call, 1).key, &seen), |lane| lane.add(&seen))
}

sql_function!(immutable_lane_merge, pg_finfo_immutable_lane_merge, lane_merge);

fn lane_merge(call: Call) -> Datum {
    match call.state::<LaneSum>(1) {
        Some(other) => call.advance(|| other, |lane| lane.merge(&other)),
        None => call.arg(0).unwrap_or_else(|| call.null()),
    }
}

sql_function!(immutable_lane_out, pg_finfo_immutable_lane_out, lane_out);

fn lane_out(call: Call) -> Datum {
    call.state::<LaneSum>(0).map_or_else(|| call.null(), |lane| call.memory().bytes(&lane.to_bytes()))
}

sql_function!(immutable_lane_in, pg_finfo_immutable_lane_in, lane_in);

fn lane_in(call: Call) -> Datum {
    match call.arg(0).and_then(|lane| LaneSum::from_bytes(bytes(lane))) {
        Some(lane) => call.keep(lane),
        None => internal("the state of a lane has lost bytes"),
    }
}

/// The sum of rows of event_targets.
#[derive(Clone, Copy, Default)]
pub struct TargetSum {
    pub sum: Sum,
    /// Whether a row could not be added up, or is in a child table.
    pub odd: bool,
}

impl TargetSum {
    fn to_bytes(self) -> [u8; 33] {
        let mut bytes = [u8::from(self.odd); 33];
        bytes[1..].copy_from_slice(&self.sum.to_bytes());
        bytes
    }

    /// The sum in bytes that an aggregate returned; None for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<TargetSum> {
        let (odd, sum) = bytes.split_first()?;
        Some(TargetSum { odd: *odd != 0, sum: Sum::from_bytes(sum.try_into().ok()?) })
    }
}

sql_function!(immutable_targets_add, pg_finfo_immutable_targets_add, targets_add);

/// `(state, run, stray, tenant_id, event_id, position, target_type, target_id, target_name,
/// target_metadata, created_at)`
fn targets_add(call: Call) -> Datum {
    pgrx::check_for_interrupts!();
    let term = term_of_row(call);
    let added = |before: &TargetSum| match term {
        Some(term) => TargetSum { sum: before.sum.plus(term), odd: before.odd },
        None => TargetSum { odd: true, ..*before },
    };
    call.advance(|| added(&TargetSum::default()), |sum| *sum = added(sum))
}

fn term_of_row(call: Call) -> Option<Sum> {
    let run = Run::of(call, 1);
    let key = run.key;
    if budget::is_over(&run) || call.arg(2).is_none_or(Datum::bool) {
        return None;
    }
    // The members in canonical order.
    let mut build = Canonical::new(limits::NESTING, limits::CANONICAL_BYTES);
    build.begin_object().ok()?;
    for (name, index) in [("id", 7), ("metadata", 9), ("name", 8), ("type", 6)] {
        let Some(datum) = call.arg(index) else { continue };
        build.key(name.into()).ok()?;
        match name {
            "metadata" => Reader::new(datum)?.read(&mut build).ok()?,
            _ => build.scalar(Value::String(stored_text(datum)?.into())).ok()?,
        }
    }
    build.end().ok()?;
    let target = Target::new(build.object(), Form::Stored).ok()?;
    let (tenant_id, event_id) = (stored_text(call.arg(3)?)?, uuid(call.arg(4)?));
    let (position, created_at) = (call.arg(5)?.i16() as u16, micros(call.arg(10)?));
    Some(with_scratch(|scratch| {
        let mut terms = TargetTerms::new(&key, scratch);
        terms.add(tenant_id, &event_id, position, created_at, target.canonical());
        terms.sum()
    }))
}

sql_function!(immutable_targets_merge, pg_finfo_immutable_targets_merge, targets_merge);

fn targets_merge(call: Call) -> Datum {
    let plus = |sum: &TargetSum, other: TargetSum| TargetSum { sum: sum.sum.plus(other.sum), odd: sum.odd | other.odd };
    match call.state::<TargetSum>(1) {
        Some(other) => call.advance(|| other, |sum| *sum = plus(sum, other)),
        None => call.arg(0).unwrap_or_else(|| call.null()),
    }
}

sql_function!(immutable_targets_out, pg_finfo_immutable_targets_out, targets_out);

fn targets_out(call: Call) -> Datum {
    call.state::<TargetSum>(0).map_or_else(|| call.null(), |sum| call.memory().bytes(&sum.to_bytes()))
}

sql_function!(immutable_targets_in, pg_finfo_immutable_targets_in, targets_in);

fn targets_in(call: Call) -> Datum {
    match call.arg(0).and_then(|sum| TargetSum::from_bytes(bytes(sum))) {
        Some(sum) => call.keep(sum),
        None => internal("the state of targets has lost bytes"),
    }
}
