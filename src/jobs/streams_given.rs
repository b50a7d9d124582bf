//! What a caller gives of a stream: destination, format and filters, and which events the filters let
//! pass.

use crate::jobs::alert_conditions::{is_like, patterns, RuleType};
use crate::log::columns::{self as c, Column, Layout};
use crate::log::row::stored_text;
use crate::pg::datum::{text, Datum};
use crate::pg::error::Fault;
use crate::pg::jsonb::Reader;
use crate::pg::tuple::Values;
use immutable_format::json::Value;

/// Most bytes of a name.
pub const NAME_BYTES: usize = 255;

/// Bytes and levels of a destination.
pub const DESTINATION_BYTES: usize = 8192;
pub const DESTINATION_LEVELS: usize = 3;

/// Bytes and levels of filters: patterns in an array in an object.
pub const FILTER_BYTES: usize = 32_768;
pub const FILTER_LEVELS: usize = 3;

/// Most bytes of a filter's value: those of the longest id that an event can have.
const VALUE_BYTES: usize = 4096;

/// The types of destinations.
const TYPES: [&str; 5] = ["webhook", "splunk_hec", "datadog", "syslog", "file"];

/// How events can be written.
const FORMATS: [&str; 5] = ["json", "ocsf", "cloudevents", "cef", "leef"];

/// Members that would hold what must not be in the database.
const SECRETS: [&str; 5] = ["password", "token", "api_key", "key", "headers"];

/// Members that name a file of the program which delivers.
const FILES: [&str; 3] = ["secret", "authorization", "ca"];

/// Most bytes of a file's name.
const FILE_BYTES: usize = 64;

/// The filters of events that compare a column.
const EQUAL: [(&str, Column); 6] = [
    ("action_category", c::ACTION_CATEGORY),
    ("actor_id", c::ACTOR_ID),
    ("actor_type", c::ACTOR_TYPE),
    ("resource", c::RESOURCE_TYPE),
    ("resource_id", c::RESOURCE_ID),
    ("session_id", c::SESSION_ID),
];

/// The filters whose values an erasure may remove.
pub const ERASABLE: [&str; 3] = ["actor_id", "resource_id", "session_id"];

/// Which events or alerts a stream has.
#[derive(Default)]
pub struct Filters {
    /// The actions; `*` stands for any text. None for all.
    patterns: Option<Vec<String>>,
    equal: Vec<(Column, String)>,
    /// The type of an alert's rule.
    pub rule_type: Option<String>,
}

impl Filters {
    /// Reads the filters of a stream; 22023, with the member's name, for what means nothing.
    pub fn read(content: &str, given: &Value) -> Result<Filters, Fault> {
        let Value::Object(members) = given else {
            return Err(Fault::invalid("filters", "filters must be a JSON object")
                .hint("Leave it out, or give {}, to have everything."));
        };
        let mut filters = Filters::default();
        for (name, value) in members {
            let field = format!("filters.{}", name.chars().take(64).collect::<String>());
            let column = EQUAL.iter().find(|(known, _)| *known == &**name).map(|(_, column)| *column);
            match (content, &**name, column) {
                ("alerts", "rule_type", _) => {
                    let given = text_of(&field, value)?;
                    filters.rule_type = Some(RuleType::read(&given)?.name().to_string());
                }
                ("events", "action", _) => filters.patterns = Some(patterns(&field, value)?),
                ("events", _, Some(column)) => filters.equal.push((column, text_of(&field, value)?)),
                _ => {
                    let names = match content {
                        "alerts" => "rule_type".to_string(),
                        _ => {
                            let names: Vec<&str> = EQUAL.iter().map(|(name, _)| *name).collect();
                            format!("action, {}", names.join(", "))
                        }
                    };
                    return Err(Fault::invalid(&field, format!("{content} cannot be filtered by {field}"))
                        .hint(format!("Filters of {content} are {names}.")));
                }
            }
        }
        Ok(filters)
    }

    /// Whether an event passes. A value that cannot be read passes no filter.
    pub fn pass(&self, row: &Values, layout: &Layout) -> bool {
        let text = |column| row.get(layout, column).and_then(stored_text);
        let has_action = |patterns: &Vec<String>| {
            text(c::ACTION).is_some_and(|action| patterns.iter().any(|pattern| is_like(action, pattern)))
        };
        self.patterns.as_ref().is_none_or(has_action)
            && self.equal.iter().all(|(column, wanted)| text(*column) == Some(wanted))
    }
}

fn text_of(field: &str, value: &Value) -> Result<String, Fault> {
    let given = value.as_str().filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES);
    given.map(str::to_string).ok_or_else(|| {
        Fault::invalid(field, format!("{field} must be a string of 1 to {VALUE_BYTES} bytes"))
            .hint("Leave the filter out to have every value.")
    })
}

/// The filters that an argument gives, as JSON.
pub fn filters(content: &str, given: Option<Datum>) -> String {
    let given = match given.map(Reader::new) {
        None => Ok(Value::Object(Vec::new())),
        Some(None) => Ok(Value::Null),
        Some(Some(reader)) => reader.value(FILTER_LEVELS, FILTER_BYTES),
    };
    let given = given.unwrap_or_else(|_| {
        Fault::invalid("filters", "filters are too large or too deeply nested")
            .hint("Members are texts, or an array of texts.")
            .raise()
    });
    Filters::read(content, &given).unwrap_or_else(|fault| fault.raise());
    given.canonical()
}

/// The names of the filters that JSON has, as a JSON array.
pub fn names(filters: &str) -> String {
    let given = Value::parse(filters, FILTER_LEVELS, FILTER_BYTES).unwrap_or(Value::Null);
    let Value::Object(members) = given else { return "[]".to_string() };
    Value::Array(members.into_iter().map(|(name, _)| Value::String(name)).collect()).canonical()
}

/// The name that an argument gives; 22023 for one that is empty or too long.
pub fn name(given: Datum) -> String {
    let name = text(given);
    if name.trim().is_empty() || name.len() > NAME_BYTES {
        Fault::invalid("name", format!("name must have 1 to {NAME_BYTES} bytes, and not only spaces"))
            .hint("Name what the stream goes to.")
            .raise()
    }
    name.to_string()
}

/// The format that an argument gives.
pub fn format(given: Datum) -> String {
    one_of("format", text(given), &FORMATS)
}

/// The content that an argument gives.
pub fn content(given: Datum) -> String {
    one_of("content", text(given), &["events", "alerts"])
}

fn one_of(field: &str, given: &str, known: &[&str]) -> String {
    if !known.contains(&given) {
        Fault::invalid(field, format!("{field} must be {}", known.join(", ")))
            .hint("docs/deliveries.md says what each is for.")
            .raise()
    }
    given.to_string()
}

/// The destination that an argument gives, as JSON. Which further members a type has, the program
/// that delivers knows.
pub fn destination(given: Datum) -> String {
    let read = Reader::new(given).map(|reader| reader.value(DESTINATION_LEVELS, DESTINATION_BYTES));
    let Some(Ok(given)) = read else {
        Fault::invalid("destination", "destination is too large or too deeply nested")
            .hint("It is an object of a few texts, such as {\"type\": \"webhook\", \"url\": \"https://...\"}.")
            .raise()
    };
    if !member(&given, "type").is_some_and(|kind| TYPES.contains(&kind)) {
        let message = format!("the type of a destination must be {}", TYPES.join(", "));
        Fault::invalid("destination.type", message).hint("docs/deliveries.md says what each type needs.").raise()
    }
    refuse_secrets(&given);
    given.canonical()
}

fn member<'v>(given: &'v Value, name: &str) -> Option<&'v str> {
    let Value::Object(members) = given else { return None };
    members
        .iter()
        .find(|(known, _)| known == name)
        .and_then(|(_, value)| value.as_str())
        .filter(|text| !text.is_empty())
}

/// Refuses what would put a secret into the database, or lead out of the directory of secrets.
fn refuse_secrets(given: &Value) {
    let hint = "Put the secret into a file of the directory that immutable-server gets as --secrets-dir, and give \
                the file's name as \"secret\".";
    let Value::Object(members) = given else { return };
    for (name, value) in members {
        let field = format!("destination.{}", name.chars().take(64).collect::<String>());
        if SECRETS.contains(&&**name) {
            Fault::invalid(&field, format!("{field} must not be given, because it would be a secret in the database"))
                .hint(hint)
                .raise()
        }
        let is_name = |name: &str| {
            name.len() <= FILE_BYTES
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        if FILES.contains(&&**name) && !value.as_str().is_some_and(is_name) {
            Fault::invalid(&field, format!("{field} must be the name of a file, without a directory"))
                .hint(hint)
                .raise()
        }
        if &**name == "url" {
            let has_user = value.as_str().is_some_and(|url| host(url).contains('@'));
            let is_http = value.as_str().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://"));
            if !is_http || has_user {
                Fault::invalid(&field, format!("{field} must begin with https:// or http://, without a user"))
                    .hint(hint)
                    .raise()
            }
        }
    }
}

/// Scheme, host and port of an address.
fn host(url: &str) -> &str {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url[from..].find(['/', '?', '#', '\\']).map_or(url.len(), |at| from + at);
    &url[..end]
}

/// What an event of the log says of a destination: its type, and where it is. A path may be a secret.
pub fn told(destination: &str) -> (String, Option<String>) {
    let given = Value::parse(destination, DESTINATION_LEVELS, DESTINATION_BYTES).unwrap_or(Value::Null);
    let to = ["url", "address", "host", "site", "directory"]
        .iter()
        .find_map(|name| member(&given, name).map(|to| (*name, to)));
    let to = to.map(|(name, to)| if name == "directory" { to } else { host(to) }.to_string());
    (member(&given, "type").unwrap_or_default().to_string(), to)
}
