//! The parts of verification that run in every process of a parallel plan: what is done with one event, and the
//! aggregates that add up lanes and targets. verify_chain() alone has a use for them; who calls them by hand gets
//! nothing out of them but bytes.

use crate::log::columns as c;
use crate::log::row::{self, in_room, stored_text};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes, bytes_datum, micros, uuid, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::toast;
use crate::verify::progress;
use crate::verify::run::{refuse, Run};
use immutable_format::json::{Build, Canonical, Value};
use immutable_format::limits;
use immutable_format::sum::{LaneSum, Seen, Sum, TargetTerms};
use immutable_format::target::{Form, Target};
use pgrx::pg_sys;

/// The action of the record of an erasure.
pub const RECORD: &str = "immutable.event_erased";

/// The columns of an event as verify_event() takes them, for the alias `e`, after its own arguments.
pub fn columns_of_event() -> String {
    let names: Vec<String> = c::ALL[..c::XACT].iter().map(|(name, _, _)| format!("e.{name}")).collect();
    names.join(", ")
}

sql_function!(immutable_verify_event, pg_finfo_immutable_verify_event, verify_event);

/// `immutable.verify_event(run, stray, <every column but xact>)`
fn verify_event(call: Call) -> Datum {
    pgrx::check_for_interrupts!();
    let run = Run::of(call, 0);
    let stray = call.arg(1).is_none_or(|stray| stray.value() != 0);
    let get = |column: c::Column| call.arg(2 + column);
    if run.progress != 0 {
        progress::count(&run);
    }
    let stored = row::read(get);
    let recomputed = stored.as_ref().ok().and_then(|stored| in_room(|room| stored.hash(room)).ok());

    let seq = get(c::SEQ).map(|seq| seq.i64());
    let previous = get(c::PREVIOUS_EVENT_HASH).map(|hash| row::hash(hash));
    let event_hash = get(c::EVENT_HASH).and_then(|hash| row::hash(hash));
    let linked = matches!((seq, previous), (Some(1), None) | (Some(2..), Some(Some(_))));
    let mut flags = 0;
    let mut flag = |is: bool, flag: u8| flags |= if is { flag } else { 0 };
    flag(recomputed.is_some() && recomputed == event_hash, Seen::VALID);
    flag(!stray && linked && event_hash.is_some(), Seen::LINKS);
    flag(get(c::ERASED).is_some(), Seen::ERASED);
    flag(get(c::ACTION).is_some_and(|action| toast::read(action) == Some(RECORD.as_bytes())), Seen::RECORD);
    let mut targets = Sum::default();
    match &stored {
        Ok(stored) if run.targets => {
            let event = &stored.envelope;
            targets = in_room(|room| {
                let mut terms = TargetTerms::new(&run.key, room);
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
        log_id: get(c::LOG_ID).map(|id| uuid(id)).unwrap_or_default(),
        targets,
        flags,
    };
    bytes_datum(&seen.to_bytes())
}

/// The context that an aggregate's state lives in.
fn aggregate_context(call: Call) -> pg_sys::MemoryContext {
    let mut context = std::ptr::null_mut();
    if pg_sys::AggCheckCallContext(call.0, &mut context) == 0 {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "this function is a part of an aggregate")
            .hint("Call immutable.verify_chain()")
            .raise()
    }
    context
}

/// Puts a state where it lives until the aggregate is done.
fn keep<T: Copy>(call: Call, state: T) -> Datum {
    let place = pg_sys::MemoryContextAlloc(aggregate_context(call), size_of::<T>()).cast::<T>();
    place.write(state);
    Datum::from(place)
}

fn state<'a, T>(call: Call, index: usize) -> Option<&'a mut T> {
    call.arg(index).map(|state| &mut *state.cast_mut_ptr::<T>())
}

sql_function!(immutable_lane_add, pg_finfo_immutable_lane_add, lane_add);

fn lane_add(call: Call) -> Datum {
    let seen = call.arg(2).and_then(|seen| Seen::from_bytes(bytes(seen))).unwrap_or_else(|| refuse("seen"));
    match state::<LaneSum>(call, 0) {
        None => keep(call, LaneSum::new(&Run::of(call, 1).key, &seen)),
        Some(lane) => {
            lane.add(&seen);
            Datum::from(std::ptr::from_mut(lane))
        }
    }
}

sql_function!(immutable_lane_merge, pg_finfo_immutable_lane_merge, lane_merge);

fn lane_merge(call: Call) -> Datum {
    match (state::<LaneSum>(call, 0), state::<LaneSum>(call, 1)) {
        (None, None) => call.null(),
        (None, Some(other)) => keep(call, *other),
        (Some(lane), other) => {
            if let Some(other) = other {
                lane.merge(other);
            }
            Datum::from(std::ptr::from_mut(lane))
        }
    }
}

sql_function!(immutable_lane_out, pg_finfo_immutable_lane_out, lane_out);

fn lane_out(call: Call) -> Datum {
    state::<LaneSum>(call, 0).map_or_else(|| call.null(), |lane| bytes_datum(&lane.to_bytes()))
}

sql_function!(immutable_lane_in, pg_finfo_immutable_lane_in, lane_in);

fn lane_in(call: Call) -> Datum {
    match call.arg(0).and_then(|lane| LaneSum::from_bytes(bytes(lane))) {
        Some(lane) => keep(call, lane),
        None => internal("the state of a lane has lost bytes"),
    }
}

/// What the rows of event_targets add up to.
#[derive(Clone, Copy, Default)]
pub struct TargetSum {
    pub sum: Sum,
    /// A row that cannot be added up, or is in a child table.
    pub odd: bool,
}

impl TargetSum {
    fn to_bytes(self) -> [u8; 33] {
        let mut bytes = [u8::from(self.odd); 33];
        bytes[1..].copy_from_slice(&self.sum.to_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<TargetSum> {
        let (odd, sum) = bytes.split_first()?;
        Some(TargetSum { odd: *odd != 0, sum: Sum::from_bytes(sum.try_into().ok()?) })
    }
}

sql_function!(immutable_targets_add, pg_finfo_immutable_targets_add, targets_add);

/// `(state, run, stray, tenant_id, event_id, position, target_type, target_id, target_name, target_metadata,
/// created_at)`
fn targets_add(call: Call) -> Datum {
    pgrx::check_for_interrupts!();
    let term = term_of_row(call);
    let added = |before: &TargetSum| match term {
        Some(term) => TargetSum { sum: before.sum.plus(term), odd: before.odd },
        None => TargetSum { odd: true, ..*before },
    };
    match state::<TargetSum>(call, 0) {
        None => keep(call, added(&TargetSum::default())),
        Some(sum) => {
            *sum = added(sum);
            Datum::from(std::ptr::from_mut(sum))
        }
    }
}

fn term_of_row(call: Call) -> Option<Sum> {
    let key = Run::of(call, 1).key;
    if call.arg(2).is_none_or(|stray| stray.value() != 0) {
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
    let (position, created_at) = (call.arg(5)?.value() as u16, micros(call.arg(10)?));
    Some(in_room(|room| {
        let mut terms = TargetTerms::new(&key, room);
        terms.add(tenant_id, &event_id, position, created_at, target.canonical());
        terms.sum()
    }))
}

sql_function!(immutable_targets_merge, pg_finfo_immutable_targets_merge, targets_merge);

fn targets_merge(call: Call) -> Datum {
    match (state::<TargetSum>(call, 0), state::<TargetSum>(call, 1)) {
        (None, None) => call.null(),
        (None, Some(other)) => keep(call, *other),
        (Some(sum), other) => {
            if let Some(other) = other {
                *sum = TargetSum { sum: sum.sum.plus(other.sum), odd: sum.odd | other.odd };
            }
            Datum::from(std::ptr::from_mut(sum))
        }
    }
}

sql_function!(immutable_targets_out, pg_finfo_immutable_targets_out, targets_out);

fn targets_out(call: Call) -> Datum {
    state::<TargetSum>(call, 0).map_or_else(|| call.null(), |sum| bytes_datum(&sum.to_bytes()))
}

sql_function!(immutable_targets_in, pg_finfo_immutable_targets_in, targets_in);

fn targets_in(call: Call) -> Datum {
    match call.arg(0).and_then(|sum| TargetSum::from_bytes(bytes(sum))) {
        Some(sum) => keep(call, sum),
        None => internal("the state of targets has lost bytes"),
    }
}
