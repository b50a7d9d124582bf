//! Writes the lines of an export, as the server sends them.

use super::{ChainPosition, Header};
use crate::commitment::write_disclosures;
use crate::event::{Content, EventSecret};
use crate::id::{uuid_text, Id};
use crate::json::{write_string, Value};
use crate::time;

fn hex_or_null(hash: Option<&[u8]>, out: &mut String) {
    match hash {
        Some(hash) => {
            out.push('"');
            out.push_str(&hex::encode(hash));
            out.push('"');
        }
        None => out.push_str("null"),
    }
}

fn text_or_null(text: Option<&str>, out: &mut String) {
    match text {
        Some(text) => write_string(text, out),
        None => out.push_str("null"),
    }
}

/// Returns the first line, without its line feed, as are all lines here.
pub fn header(header: &Header<'_>) -> String {
    let mut out = String::from("{\"immutable_export\":1,\"created_at\":");
    text_or_null(time::format(header.created_at).as_deref(), &mut out);
    out.push_str(",\"log_id\":");
    text_or_null(header.log_id.as_ref().map(uuid_text).as_deref(), &mut out);
    out.push_str(",\"lanes\":");
    write_string(header.lanes.name(), &mut out);
    if header.escaped {
        out.push_str(",\"escaped\":true");
    }
    out.push_str(",\"filters\":{");
    for (n, (name, value)) in header.filters.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(name, &mut out);
        out.push(':');
        write_string(value, &mut out);
    }
    out.push_str("}}");
    out
}

/// Returns the line of an event that has a document.
pub fn event(document: &str, event_hash: Option<&[u8]>, content: &Content<'_>, secret: &EventSecret) -> String {
    event_showing(document, event_hash, content, secret, |_| true)
}

/// Returns the line of an event that has a document, with the disclosures alone whose paths
/// `is_shown` chooses.
pub fn event_showing(
    document: &str,
    event_hash: Option<&[u8]>,
    content: &Content<'_>,
    secret: &EventSecret,
    is_shown: impl Fn(&str) -> bool,
) -> String {
    let mut out = String::with_capacity(document.len() + 2048);
    out.push_str("{\"document\":");
    out.push_str(document);
    out.push_str(",\"event_hash\":");
    hex_or_null(event_hash, &mut out);
    out.push_str(",\"disclosures\":[");
    match secret {
        EventSecret::Salt(salt) => write_disclosures(content, Some(salt), None, is_shown, &mut out),
        EventSecret::Erased(erasure) => write_disclosures(content, None, Some(erasure), is_shown, &mut out),
    }
    out.push_str("]}");
    out
}

/// Returns the line of a row that has no document; `why` says why not.
pub fn no_document(
    position: &ChainPosition<'_>,
    log_id: Option<Id>,
    previous_event_hash: Option<&[u8]>,
    event_hash: Option<&[u8]>,
    why: &str,
) -> String {
    let mut out = String::from("{\"no_document\":{\"event_hash\":");
    hex_or_null(event_hash, &mut out);
    out.push_str(",\"id\":");
    write_string(&uuid_text(&position.id), &mut out);
    out.push_str(",\"lane\":");
    out.push_str(itoa::Buffer::new().format(position.lane));
    out.push_str(",\"log_id\":");
    text_or_null(log_id.as_ref().map(uuid_text).as_deref(), &mut out);
    out.push_str(",\"previous_event_hash\":");
    hex_or_null(previous_event_hash, &mut out);
    out.push_str(",\"seq\":");
    out.push_str(itoa::Buffer::new().format(position.seq));
    out.push_str(",\"tenant_id\":");
    write_string(&position.tenant_id, &mut out);
    out.push_str(",\"why\":");
    Value::String(why.into()).write(&mut out);
    out.push_str("}}");
    out
}

/// Returns the line of a record of erasures that is newer than the events of the export, from the
/// line of the record's event.
pub fn later_record(event: &str) -> String {
    format!("{{\"later_record\":{event}}}")
}

/// Returns the last line, with the numbers of events and lanes.
pub fn end(events: u64, lanes: u64) -> String {
    format!("{{\"immutable_export_end\":1,\"events\":{events},\"lanes\":{lanes}}}")
}
