//! An event as JSON, as get_events() and other functions show it.

use crate::log::columns::{self as c, Layout};
use crate::log::row::{stored_address, stored_text};
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::toast::{self, readable_text};
use crate::pg::tuple::{Tuple, Values};
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Text};
use immutable_format::{limits, time};
use pgrx::pg_sys;
use std::fmt::Write;

/// The event in a row of `e.*`, as JSON. A value that cannot be read is null, and `unreadable`
/// names its column: one damaged event must not keep a page from showing the others.
pub fn json(row: &Values, layout: &Layout) -> String {
    let mut shown = Shown { row, layout, out: String::with_capacity(1024), unreadable: Vec::new() };
    shown.member("{\"id\":", c::ID, |datum, out| quoted(&uuid_text(&uuid(datum)), out));
    shown.member(",\"actor\":{\"id\":", c::ACTOR_ID, text);
    shown.member(",\"name\":", c::ACTOR_NAME, text);
    shown.member(",\"type\":", c::ACTOR_TYPE, text);
    shown.member("},\"action\":", c::ACTION, text);
    shown.member(",\"action_category\":", c::ACTION_CATEGORY, text);
    shown.member(",\"resource\":{\"type\":", c::RESOURCE_TYPE, text);
    shown.member(",\"id\":", c::RESOURCE_ID, text);
    shown.member(",\"name\":", c::RESOURCE_NAME, text);
    shown.member("},\"targets\":", c::TARGETS, json_value);
    shown.member(",\"metadata\":", c::METADATA, json_value);
    shown.member(",\"tenant_id\":", c::TENANT_ID, |datum, out| match stored_text(datum)? {
        "" => plain("null", out),
        tenant_id => quoted(tenant_id, out),
    });
    shown.member(",\"session_id\":", c::SESSION_ID, text);
    shown.member(",\"ip_address\":", c::IP_ADDRESS, |datum, out| quoted(&stored_address(datum)?, out));
    shown.member(",\"ip_country\":", c::IP_COUNTRY, text);
    shown.member(",\"ip_city\":", c::IP_CITY, text);
    shown.member(",\"user_agent\":", c::USER_AGENT, text);
    shown.member(",\"idempotency_key\":", c::IDEMPOTENCY_KEY, text);
    shown.member(",\"version\":", c::VERSION, |datum, out| plain(&datum.i32().to_string(), out));
    shown.member(",\"integrity\":{\"event_hash\":", c::EVENT_HASH, hash);
    shown.member(",\"previous_event_hash\":", c::PREVIOUS_EVENT_HASH, hash);
    shown.member(",\"lane\":", c::LANE, |datum, out| plain(&datum.i16().to_string(), out));
    shown.member(",\"seq\":", c::SEQ, |datum, out| plain(&datum.i64().to_string(), out));
    shown.member("},\"occurred_at\":", c::OCCURRED_AT, timestamp);
    shown.member(",\"created_at\":", c::CREATED_AT, timestamp);
    shown.finish()
}

/// Raises XX001, with the column and the event's place, for a row that must not be passed to
/// PostgreSQL's own functions, because they would crash the server or raise an error that does not
/// name the row. Values that are stored in the row itself, and are not jsonb, are safe for them.
pub fn check(tuple: Tuple<'_>, row: &Values, layout: &Layout) {
    for column in [c::METADATA, c::TARGETS, c::ERASED] {
        if let Some(datum) = row.get(layout, column) {
            if !Reader::new(datum).is_some_and(Reader::is_sound) {
                unreadable(row, layout, column);
            }
        }
    }
    for column in if tuple.has_external() { 0..c::ALL.len() } else { 0..0 } {
        let is_varlena = matches!(c::ALL[column].1, pg_sys::TEXTOID | pg_sys::BYTEAOID | pg_sys::INETOID);
        let datum = row.get(layout, column).filter(|_| is_varlena);
        if datum.is_some_and(|datum| toast::read(datum).is_none()) {
            unreadable(row, layout, column);
        }
    }
}

fn unreadable(row: &Values, layout: &Layout, column: c::Column) -> ! {
    let column = c::ALL[column].0;
    let id = row.get(layout, c::ID).map(|id| uuid_text(&uuid(id))).unwrap_or_default();
    Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("{column} of event {id} cannot be read"))
        .field(column)
        .detail(place(row, layout))
        .hint(
            "The value is damaged, or a part of it is lost. immutable.verify_breaks() lists \
             every such event, and immutable.get_events() shows the event's other values.",
        )
        .raise()
}

/// Where an event is, as a sentence.
pub fn place(row: &Values, layout: &Layout) -> String {
    let get = |column| row.get(layout, column);
    let tenant_id = get(c::TENANT_ID).map_or("", readable_text);
    let lane = get(c::LANE).map_or(-1, Datum::i16);
    let seq = get(c::SEQ).map_or(0, Datum::i64);
    format!("The event is in tenant \"{tenant_id}\", lane {lane}, seq {seq}.")
}

struct Shown<'a> {
    row: &'a Values<'a>,
    layout: &'a Layout,
    out: String,
    unreadable: Vec<&'static str>,
}

impl Shown<'_> {
    fn member(&mut self, name: &str, column: c::Column, write: fn(Datum, &mut String) -> Option<()>) {
        self.out.push_str(name);
        let Some(datum) = self.row.get(self.layout, column) else { return self.out.push_str("null") };
        let before = self.out.len();
        if write(datum, &mut self.out).is_none() {
            self.out.truncate(before);
            self.out.push_str("null");
            self.unreadable.push(c::ALL[column].0);
        }
    }

    fn finish(mut self) -> String {
        if !self.unreadable.is_empty() {
            let _ = write!(self.out, ",\"unreadable\":[\"{}\"]", self.unreadable.join("\",\""));
        }
        self.out.push('}');
        self.out
    }
}

#[allow(clippy::unnecessary_wraps)] // written like the others, some of which cannot be read
fn plain(text: &str, out: &mut String) -> Option<()> {
    out.push_str(text);
    Some(())
}

#[allow(clippy::unnecessary_wraps)] // as above
fn quoted(text: &str, out: &mut String) -> Option<()> {
    write_string(text, out);
    Some(())
}

fn text(datum: Datum, out: &mut String) -> Option<()> {
    quoted(stored_text(datum)?, out)
}

fn hash(datum: Datum, out: &mut String) -> Option<()> {
    quoted(&hex::encode(toast::read(datum)?), out)
}

fn timestamp(datum: Datum, out: &mut String) -> Option<()> {
    quoted(&time::format(micros(datum))?, out)
}

fn json_value(datum: Datum, out: &mut String) -> Option<()> {
    // Targets are an array of objects, and the bound applies to each of them.
    let mut text = Text::new(out, limits::NESTING + 1);
    Reader::new(datum)?.read(&mut text).ok()
}
