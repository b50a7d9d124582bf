//! track_batch(): the answer has one element for each event, in the same order. An event that is
//! refused does not keep the others from being recorded.

use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::memory::Memory;
use crate::pg::subtransaction::{attempt, sqlstate, Refused};
use crate::settings;
use crate::write::at_shard;
use crate::write::payload::{self, not_an_object, not_json, Given};
use crate::write::track::{conflict, record, Outcome, CONFLICT_HINT};
use immutable_format::json::write_string;
use immutable_format::split::{split, Parts};
use std::cell::Cell;
use std::collections::HashMap;

const BATCH_HINT: &str = "For example [{\"actor_id\": \"user_1\", \"action\": \"document.created\"}].";

/// An element of a batch.
enum Element<'a> {
    Jsonb(Jsonb<'a>),
    Text(&'a str),
    /// A jsonb value that is not an object.
    Scalar,
}

sql_function!(immutable_track_batch, pg_finfo_immutable_track_batch, track_batch);

/// `immutable.track_batch(events jsonb)`
fn track_batch(call: Call) -> Datum {
    let events = unwrap_jsonb(Jsonb::new(required(call)));
    check_length(events.len());
    let mut elements = Vec::with_capacity(events.len());
    events.each_element(|event| {
        elements.push(match event {
            Member::Nested(event) => Element::Jsonb(event),
            _ => Element::Scalar,
        });
    });
    answer(call, &elements)
}

sql_function!(immutable_track_batch_text, pg_finfo_immutable_track_batch_text, track_batch_text);

/// `immutable.track_batch(events json)` and `immutable.track_batch(events text)`
fn track_batch_text(call: Call) -> Datum {
    let events = unwrap_text(text(required(call)));
    check_length(events.len());
    let elements: Vec<Element> = events.into_iter().map(Element::Text).collect();
    answer(call, &elements)
}

fn required(call: Call<'_>) -> Datum<'_> {
    call.arg(0).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, "events must not be NULL")
            .field("events")
            .hint(BATCH_HINT)
            .raise()
    })
}

fn not_a_batch() -> ! {
    Fault::invalid("events", "events must be a JSON array of events, or {\"events\": [...]}").hint(BATCH_HINT).raise()
}

/// The array of events: the batch itself, or the member `events` of an object that has no other.
fn unwrap_jsonb(batch: Jsonb<'_>) -> Jsonb<'_> {
    let mut inner = None;
    match batch.kind() {
        Kind::Array => return batch,
        Kind::Object if batch.len() == 1 => batch.members(|key, value| match value {
            Member::Nested(events) if key == "events" => inner = Some(events),
            _ => {}
        }),
        _ => {}
    }
    match inner {
        Some(events) if events.kind() == Kind::Array => events,
        _ => not_a_batch(),
    }
}

/// The same for a JSON text. Returns the texts of the elements.
fn unwrap_text(batch: &str) -> Vec<&str> {
    let parts = |text| split(text).unwrap_or_else(|error| not_json("events", error, BATCH_HINT));
    match parts(batch) {
        Parts::Array(elements) => return elements,
        Parts::Object(members) => {
            if let [(name, events)] = members.as_slice() {
                if let ("events", Parts::Array(elements)) = (name.as_ref(), parts(events)) {
                    return elements;
                }
            }
        }
        Parts::Other => {}
    }
    not_a_batch()
}

fn check_length(elements: usize) {
    let most = settings::MAX_BATCH.get();
    if elements > most as usize {
        Fault::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("events has {elements} elements, but at most {most} are allowed"),
        )
        .field("events")
        .hint("Send several batches, or raise immutable.max_batch.")
        .raise()
    }
}

fn answer<'c>(call: Call<'c>, elements: &[Element<'c>]) -> Datum<'c> {
    let answers = match at_shard::is_needed() {
        true => record_at_shards(elements, call.memory()),
        false => record_all(&payloads_of(elements, call.memory())),
    };
    call.memory().jsonb(&format!("{{\"events\":[{}]}}", answers.join(",")))
}

/// Records the events in these JSON texts and returns the answers.
pub fn answers_to_texts<'c>(events: &[&'c str], memory: Memory<'c>) -> Vec<String> {
    let elements: Vec<Element> = events.iter().map(|event| Element::Text(event)).collect();
    record_all(&payloads_of(&elements, memory))
}

fn payloads_of<'c>(elements: &[Element<'c>], memory: Memory<'c>) -> Vec<Result<Given<'c>, Refused>> {
    // A subtransaction that writes nothing costs no transaction id.
    elements.iter().map(|element| attempt(|| payload_of(element, memory), is_refusal)).collect()
}

/// Sends the events to the shards of their tenants, those of a tenant together and in their order, and returns the answers
/// to all.
fn record_at_shards<'c>(elements: &[Element<'c>], memory: Memory<'c>) -> Vec<String> {
    let mut answers = vec![String::new(); elements.len()];
    let mut tenants: Vec<(String, Vec<usize>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (n, event) in payloads_of(elements, memory).iter().enumerate() {
        match event {
            Err(refused) => answers[n] = error_json(refused),
            Ok(given) => {
                let tenant_id = at_shard::tenant_of(given);
                let at = *known.entry(tenant_id).or_insert_with_key(|tenant_id| {
                    tenants.push((tenant_id.clone(), Vec::new()));
                    tenants.len() - 1
                });
                tenants[at].1.push(n);
            }
        }
    }
    for (tenant_id, places) in tenants {
        pgrx::check_for_interrupts!();
        let events = places.iter().map(|n| text_of(&elements[*n])).collect();
        for (n, answer) in places.iter().zip(at_shard::record(&tenant_id, events)) {
            answers[*n] = answer;
        }
    }
    answers
}

fn text_of(element: &Element) -> String {
    match element {
        Element::Jsonb(event) => event.text(),
        Element::Text(event) => event.to_string(),
        Element::Scalar => String::new(),
    }
}

fn payload_of<'c>(element: &Element<'c>, memory: Memory<'c>) -> Given<'c> {
    match element {
        Element::Jsonb(event) => payload::of_jsonb(*event, memory),
        Element::Text(event) => payload::of_text(event, memory),
        Element::Scalar => not_an_object(),
    }
}

/// The answers to all events. The events share one subtransaction, because once a transaction has
/// more than 64 of them, every snapshot of the server has to look for them on disk. Only if an
/// event is refused are those before it recorded once more, without it; those after it share the
/// next subtransaction.
fn record_all(events: &[Result<Given, Refused>]) -> Vec<String> {
    let mut answers = Vec::with_capacity(events.len());
    let mut end = events.len();
    let mut again = None;
    while answers.len() < events.len() {
        pgrx::check_for_interrupts!();
        let first = answers.len();
        match record_together(&events[first..end]) {
            Ok(recorded) => {
                answers.extend(recorded);
                end = events.len();
            }
            Err((at, _)) if at > 0 => end = first + at,
            // As in record_once(): what an index refuses that REINDEX CONCURRENTLY is building, ON
            // CONFLICT finds the second time.
            Err((_, refused)) if refused.code == Code::ERRCODE_UNIQUE_VIOLATION && again != Some(first) => {
                again = Some(first);
            }
            Err((_, refused)) => {
                answers.push(error_json(&refused));
                end = events.len();
            }
        }
    }
    answers
}

/// Records all events and returns the answers. If one is refused, nothing is recorded; the error is
/// its position and why.
fn record_together(events: &[Result<Given, Refused>]) -> Result<Vec<String>, (usize, Refused)> {
    let at = Cell::new(0);
    let recorded = || {
        let mut answers = Vec::with_capacity(events.len());
        for (n, event) in events.iter().enumerate() {
            at.set(n);
            answers.push(match event {
                Ok(given) => answer_json(&record(given)),
                Err(refused) => error_json(refused),
            });
        }
        answers
    };
    attempt(recorded, is_refusal).map_err(|refused| (at.get(), refused))
}

/// Whether an error is about this one event: bad data, a violated key, a limit. A missing right is
/// about the event if the error names a field (a reserved action), but not if the caller may not
/// write at all. Anything else (a lost connection, a cancelled statement, a full disk, a
/// serialization failure, a deadlock) ends the whole batch.
fn is_refusal(code: Code, names_field: bool) -> bool {
    let state = sqlstate(code);
    matches!(&state[..2], "22" | "23") || (names_field && matches!(state.as_str(), "42501" | "54000" | "428C9"))
}

fn answer_json(outcome: &Outcome) -> String {
    let mut json = outcome.json();
    if let Outcome::Conflict(id, differing) = outcome {
        json.pop();
        json.push(',');
        let refused = Refused {
            code: Code::ERRCODE_UNIQUE_VIOLATION,
            message: conflict(id, differing),
            field: Some("idempotency_key".to_string()),
            hint: Some(CONFLICT_HINT.to_string()),
        };
        write_error(&refused, &mut json);
        json.push('}');
    }
    json
}

fn error_json(refused: &Refused) -> String {
    let mut json = String::from("{\"status\":\"error\",");
    write_error(refused, &mut json);
    json.push('}');
    json
}

fn write_error(refused: &Refused, json: &mut String) {
    let Refused { code, message, field, hint } = refused;
    let code = sqlstate(*code);
    let members =
        [("code", Some(&code)), ("message", Some(message)), ("field", field.as_ref()), ("hint", hint.as_ref())];
    json.push_str("\"error\":{");
    for (n, (name, value)) in members.into_iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        write_string(name, json);
        json.push(':');
        match value {
            Some(value) => write_string(value, json),
            None => json.push_str("null"),
        }
    }
    json.push('}');
}
