//! Events as lines of CSV (RFC 4180), with their bytes as they are.

use crate::log::columns::{self as c, Column, Layout};
use crate::log::row::{stored_address, stored_text};
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::jsonb::Reader;
use crate::pg::toast;
use crate::pg::tuple::Values;
use crate::read::export::Lines;
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Text, Value};
use immutable_format::{csv, limits, time};
use std::fmt::Write as _;

/// How a value is written; None if it cannot be read.
type Write = fn(Datum, &mut String) -> Option<()>;

/// What a cell has: the name in the first line, the column and how it is written. Texts are other
/// people's, and a spreadsheet may take one for a formula.
struct Cell {
    name: &'static str,
    column: Column,
    write: Write,
    is_text: bool,
}

const fn cell(name: &'static str, column: Column, write: Write) -> Cell {
    Cell { name, column, write, is_text: false }
}

const fn a_text(name: &'static str, column: Column) -> Cell {
    Cell { name, column, write: text, is_text: true }
}

const CELLS: [Cell; 28] = [
    cell("id", c::ID, id),
    a_text("actor_id", c::ACTOR_ID),
    a_text("actor_name", c::ACTOR_NAME),
    a_text("actor_type", c::ACTOR_TYPE),
    a_text("action", c::ACTION),
    a_text("action_category", c::ACTION_CATEGORY),
    a_text("resource", c::RESOURCE_TYPE),
    a_text("resource_id", c::RESOURCE_ID),
    a_text("resource_name", c::RESOURCE_NAME),
    cell("targets", c::TARGETS, json),
    cell("metadata", c::METADATA, json),
    a_text("tenant_id", c::TENANT_ID),
    a_text("session_id", c::SESSION_ID),
    cell("ip_address", c::IP_ADDRESS, address),
    a_text("ip_country", c::IP_COUNTRY),
    a_text("ip_city", c::IP_CITY),
    a_text("user_agent", c::USER_AGENT),
    a_text("idempotency_key", c::IDEMPOTENCY_KEY),
    cell("version", c::VERSION, |value, out| number(i64::from(value.i32()), out)),
    cell("event_hash", c::EVENT_HASH, hex),
    cell("previous_event_hash", c::PREVIOUS_EVENT_HASH, hex),
    cell("occurred_at", c::OCCURRED_AT, timestamp),
    cell("created_at", c::CREATED_AT, timestamp),
    cell("lane", c::LANE, |value, out| number(i64::from(value.i16()), out)),
    cell("seq", c::SEQ, |value, out| number(value.i64(), out)),
    a_text("recorded_by", c::RECORDED_BY),
    cell("log_id", c::LOG_ID, id),
    cell("erased", c::ERASED, erased),
];

/// The last cell: the names of the columns that cannot be read.
const UNREADABLE: &str = "unreadable";

/// The lines of an export as CSV.
pub struct Csv {
    /// Whether an apostrophe keeps a spreadsheet from taking a text for a formula.
    is_guarded: bool,
    /// Room for one value.
    value: String,
    /// How long the last line was.
    length: usize,
}

impl Csv {
    /// Lines for a program, or with guarded texts for a spreadsheet.
    pub fn new(is_guarded: bool) -> Csv {
        Csv { is_guarded, value: String::new(), length: 0 }
    }
}

impl Lines for Csv {
    fn first(&mut self) -> Option<String> {
        let names: Vec<&str> = CELLS.iter().map(|cell| cell.name).chain([UNREADABLE]).collect();
        Some(names.join(","))
    }

    fn event(&mut self, row: &Values, layout: &Layout) -> String {
        let mut line = String::with_capacity(self.length + 64);
        let mut unreadable = Vec::new();
        for cell in &CELLS {
            if let Some(datum) = row.get(layout, cell.column) {
                self.value.clear();
                match (cell.write)(datum, &mut self.value) {
                    Some(()) => csv::write_cell(&self.value, self.is_guarded && cell.is_text, &mut line),
                    None => unreadable.push(cell.name),
                }
            }
            line.push(',');
        }
        if !unreadable.is_empty() {
            csv::write_cell(&unreadable.join(" "), false, &mut line);
        }
        self.length = line.len();
        line
    }

    fn last(&mut self) -> Option<String> {
        None
    }
}

fn text(datum: Datum, out: &mut String) -> Option<()> {
    out.push_str(stored_text(datum)?);
    Some(())
}

#[allow(clippy::unnecessary_wraps)] // written like the others, some of which cannot be read
fn id(datum: Datum, out: &mut String) -> Option<()> {
    out.push_str(&uuid_text(&uuid(datum)));
    Some(())
}

#[allow(clippy::unnecessary_wraps)] // as above
fn number(number: i64, out: &mut String) -> Option<()> {
    let _ = write!(out, "{number}");
    Some(())
}

fn address(datum: Datum, out: &mut String) -> Option<()> {
    out.push_str(&stored_address(datum)?);
    Some(())
}

fn hex(datum: Datum, out: &mut String) -> Option<()> {
    out.push_str(&hex::encode(toast::read(datum)?));
    Some(())
}

fn timestamp(datum: Datum, out: &mut String) -> Option<()> {
    out.push_str(&time::format(micros(datum))?);
    Some(())
}

fn json(datum: Datum, out: &mut String) -> Option<()> {
    // Targets are an array of objects, and the bound applies to each of them.
    Reader::new(datum)?.read(&mut Text::new(out, limits::NESTING + 1)).ok()
}

/// What is erased, as a JSON array: the names of columns, `metadata` once for each key, and the
/// places of targets. The column has salts too, which say nothing to a reader.
fn erased(datum: Datum, out: &mut String) -> Option<()> {
    let Ok(Value::Object(members)) = Reader::new(datum)?.value(3, 16 * limits::CANONICAL_BYTES) else { return None };
    let (_, Value::Object(commitments)) = members.iter().find(|(name, _)| name == "commitments")? else { return None };
    let mut paths = Vec::new();
    for (name, value) in commitments {
        match value {
            Value::Array(hashes) => paths.extend(hashes.iter().map(|_| name.to_string())),
            Value::Object(places) => paths.extend(places.iter().map(|(place, _)| format!("{name}.{place}"))),
            _ => paths.push(name.to_string()),
        }
    }
    out.push('[');
    for (n, path) in paths.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(path, out);
    }
    out.push(']');
    Some(())
}
