//! An event as clients send it, made into the event that the log takes.
//!
//! The published clients send what the log refuses: numbers for ids, empty texts for values that are not set,
//! members of their own, targets inside of metadata. What they mean is plain, and is done here. Everything else
//! goes to the log as it is, which says what is wrong with it.

use crate::http::problem::Problem;
use axum::http::StatusCode;
use immutable_format::json::write_string;
use immutable_format::split::{split, Parts};
use serde::de::IgnoredAny;
use serde::Serialize;
use std::borrow::Cow;

/// Members of an event that hold texts. A number for one of them is its text.
const TEXTS: [&str; 17] = [
    "actor_id",
    "action",
    "actor_name",
    "actor_type",
    "action_category",
    "resource",
    "resource_type",
    "resource_id",
    "resource_name",
    "tenant_id",
    "session_id",
    "idempotency_key",
    "occurred_at",
    "ip_address",
    "ip_country",
    "ip_city",
    "user_agent",
];

/// Those of them that must be texts: a number there is no id.
const NO_NUMBERS: [&str; 2] = ["occurred_at", "ip_address"];

/// Members of a target that hold texts.
const TARGET_TEXTS: [&str; 3] = ["type", "id", "name"];

/// The most members that are named of those that were left out. A body has room for a million of them.
const WARNINGS: usize = 20;

/// Something that was done otherwise than the client may expect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    pub(crate) field: String,
    pub(crate) message: String,
}

/// An event for the log.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) json: String,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the event of a request.
///
/// # Errors
/// 400 for what is not JSON, and 422 for what cannot be meant.
pub(crate) fn read(text: &str) -> Result<Payload, Problem> {
    let members = match split(text).map_err(|_| not_json())? {
        Parts::Object(members) => members,
        Parts::Array(elements) if elements.iter().all(|element| is_json(element)) => return Err(no_object()),
        Parts::Other if is_json(text) => return Err(no_object()),
        _ => return Err(not_json()),
    };
    let mut object = Object::default();
    let mut warnings = Vec::new();
    let (mut has_targets, mut metadata) = (false, None);
    for (name, value) in members {
        if !is_json(value) {
            return Err(not_json());
        }
        let name = name.as_ref();
        if value == "null" {
            continue;
        }
        if TEXTS.contains(&name) {
            object.add_text(name, name, value)?;
        } else if name == "metadata" {
            metadata = Some(value).filter(|value| !is_empty_array(value));
            if metadata.is_some() {
                object.add(name, value);
            }
        } else if name == "targets" {
            has_targets |= !is_empty_array(value);
            object.add(name, &targets(value, &mut warnings)?);
        } else if name == "version" {
            object.add(name, value);
        } else {
            warn(&mut warnings, unknown(name, "an event"));
        }
    }
    if let Some(lifted) = metadata.filter(|_| !has_targets).and_then(lifted) {
        object.remove_targets();
        object.add("targets", &lifted);
    }
    Ok(Payload { json: object.close(), warnings })
}

/// Keeps a warning; beyond the most that there may be, the last one says that there are more.
fn warn(warnings: &mut Vec<Warning>, warning: Warning) {
    match warnings.len() {
        0..WARNINGS => warnings.push(warning),
        WARNINGS => {
            let message = String::from("This member and others after it were left out.");
            warnings.push(Warning { message, ..warning });
        }
        _ => {}
    }
}

fn unknown(name: &str, of: &str) -> Warning {
    let field = name.chars().take(64).collect::<String>();
    let message = format!("The member \"{field}\" was left out: {of} has no such field.");
    Warning { field, message }
}

/// 400: nothing can be read.
pub(crate) fn not_json() -> Problem {
    Problem::malformed("The body is not valid JSON.")
}

fn no_object() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", "An event must be a JSON object.")
}

/// Whether a part of a text is JSON by itself. Values that no column can hold are the log's to refuse.
pub(super) fn is_json(text: &str) -> bool {
    is_plain(text) || serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether this is a string without escapes, as most are.
fn is_plain(text: &str) -> bool {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| inside.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\'))
}

fn is_empty_array(text: &str) -> bool {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|inside| inside.trim().is_empty())
}

/// An object that is being written.
#[derive(Default)]
struct Object {
    json: String,
    /// Where the member targets is, which is empty if it is there.
    targets: Option<(usize, usize)>,
}

impl Object {
    fn add(&mut self, name: &str, value: &str) {
        let start = self.json.len();
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        write_string(name, &mut self.json);
        self.json.push(':');
        self.json.push_str(value);
        if name == "targets" {
            self.targets = Some((start, self.json.len()));
        }
    }

    /// Adds a text; `shown` is the field's name in errors. An empty text says that there is none.
    fn add_text(&mut self, name: &str, shown: &str, value: &str) -> Result<(), Problem> {
        match value.as_bytes().first() {
            Some(b'"') if value == "\"\"" => Ok(()),
            Some(b'"') => {
                self.add(name, value);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') if !NO_NUMBERS.contains(&name) => {
                self.add(name, &format!("\"{value}\""));
                Ok(())
            }
            _ => Err(Problem::invalid(shown, format!("The {shown} field must be a string."))),
        }
    }

    /// Takes the empty targets out again.
    fn remove_targets(&mut self) {
        if let Some((start, end)) = self.targets.take() {
            self.json.replace_range(start..end, "");
            if self.json.starts_with(',') {
                self.json.replace_range(..1, "{");
            }
        }
    }

    fn close(mut self) -> String {
        if self.json.is_empty() {
            self.json.push('{');
        }
        self.json.push('}');
        self.json
    }
}

/// Targets with texts for ids, and without what a target does not have.
fn targets<'t>(text: &'t str, warnings: &mut Vec<Warning>) -> Result<Cow<'t, str>, Problem> {
    let Ok(Parts::Array(elements)) = split(text) else { return Ok(Cow::Borrowed(text)) };
    let mut out = String::from("[");
    for (n, element) in elements.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        match split(element) {
            Ok(Parts::Object(members)) => out.push_str(&target(n, members, warnings)?),
            _ => out.push_str(element),
        }
    }
    out.push(']');
    Ok(Cow::Owned(out))
}

fn target(n: usize, members: Vec<(Cow<str>, &str)>, warnings: &mut Vec<Warning>) -> Result<String, Problem> {
    let mut object = Object::default();
    for (name, value) in members {
        let name = name.as_ref();
        let empty = value == "null" || (name == "metadata" && is_empty_array(value));
        if TARGET_TEXTS.contains(&name) && !empty {
            object.add_text(name, &format!("targets[{n}].{name}"), value)?;
        } else if name == "metadata" && !empty {
            object.add(name, value);
        } else if !empty {
            let mut warning = unknown(name, "a target");
            warning.field = format!("targets[{n}].{}", warning.field);
            warn(warnings, warning);
        }
    }
    Ok(object.close())
}

/// The targets that a client has put into metadata, because its method takes metadata alone. They stay there too.
/// Only what is made as targets are is taken for targets.
fn lifted(metadata: &str) -> Option<String> {
    if !metadata.contains("\"targets\"") {
        return None;
    }
    let Ok(Parts::Object(members)) = split(metadata) else { return None };
    let (_, given) = members.into_iter().find(|(name, _)| name == "targets")?;
    let Ok(Parts::Array(elements)) = split(given) else { return None };
    let is_target = |element: &str| {
        let Ok(Parts::Object(members)) = split(element) else { return false };
        let has_type = members.iter().any(|(name, value)| name == "type" && value.len() > 2 && value.starts_with('"'));
        has_type && members.iter().all(|(name, _)| name == "metadata" || TARGET_TEXTS.contains(&name.as_ref()))
    };
    if elements.is_empty() || !elements.iter().all(|element| is_target(element)) {
        return None;
    }
    targets(given, &mut Vec::new()).ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shaped(text: &str) -> Result<(String, Vec<String>), (u16, Vec<String>)> {
        match read(text) {
            Ok(payload) => Ok((payload.json, payload.warnings.into_iter().map(|warning| warning.field).collect())),
            Err(problem) => Err((problem.status.as_u16(), problem.body.errors.into_keys().collect())),
        }
    }

    fn becomes(text: &str, json: &str) {
        assert_eq!(shaped(text), Ok((json.to_owned(), vec![])), "{text}");
    }

    #[test]
    fn what_clients_mean_is_done() {
        becomes(r#"{"actor_id":7,"action":"a.b"}"#, r#"{"actor_id":"7","action":"a.b"}"#);
        becomes(r#" { "actor_id" : "u" , "resource" : "" , "version" : 0 } "#, r#"{"actor_id":"u","version":0}"#);
        becomes(r#"{"actor_name":null,"metadata":[],"targets":[]}"#, r#"{"targets":[]}"#);
        becomes(r#"{"metadata":{"a":[1, 2]}}"#, r#"{"metadata":{"a":[1, 2]}}"#);
        becomes("{}", "{}");
        becomes(
            r#"{"targets":[{"type":"t","id":7,"name":null,"metadata":[]}]}"#,
            r#"{"targets":[{"type":"t","id":"7"}]}"#,
        );
        becomes(r#"{"targets":"x"}"#, r#"{"targets":"x"}"#);
    }

    #[test]
    fn targets_in_metadata_are_lifted_if_they_are_targets() {
        becomes(
            r#"{"targets":[],"actor_id":"u","metadata":{"targets":[{"type":"t","id":1}],"x":1}}"#,
            r#"{"actor_id":"u","metadata":{"targets":[{"type":"t","id":1}],"x":1},"targets":[{"type":"t","id":"1"}]}"#,
        );
        for no in [
            r#"{"metadata":{"targets":["t"]}}"#,
            r#"{"metadata":{"targets":[{"id":"1"}]}}"#,
            r#"{"metadata":{"targets":[{"type":"t","x":"1"}]}}"#,
            r#"{"metadata":{"targets":[]}}"#,
            r#"{"targets":[{"type":"t"}],"metadata":{"targets":[{"type":"u"}]}}"#,
            r#"{"metadata":{"a":{"targets":[{"type":"u"}]}}}"#,
            r#"{"metadata":{"targets":[{"type":"t","id":true}]}}"#,
        ] {
            becomes(no, no);
        }
    }

    #[test]
    fn unknown_members_are_left_out_with_a_warning() {
        let said = shaped(r#"{"actor_id":"u","user":{"a":1},"targets":[{"type":"t","kind":"x"}]}"#);
        let json = r#"{"actor_id":"u","targets":[{"type":"t"}]}"#;
        assert_eq!(said, Ok((json.to_owned(), vec!["user".to_owned(), "targets[0].kind".to_owned()])));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let field = |text: &str, field: &str| assert_eq!(shaped(text), Err((422, vec![field.to_owned()])), "{text}");
        field(r#"{"actor_id":true}"#, "actor_id");
        field(r#"{"actor_id":{"id":1}}"#, "actor_id");
        field(r#"{"resource":["document"]}"#, "resource");
        field(r#"{"occurred_at":1700000000}"#, "occurred_at");
        field(r#"{"targets":[{"type":"t"},{"type":false}]}"#, "targets[1].type");
        for no_object in ["[]", "[1]", "\"x\"", "7", "null"] {
            assert_eq!(shaped(no_object), Err((422, vec![])), "{no_object}");
        }
        for no_json in
            ["", "{", "{\"a\":NaN}", "{\"x\":01}", "nonsense", "{\"a\":1}}", "[NaN]", "{\"a\":\"\u{1}\"}", "{'a':1}"]
        {
            assert_eq!(shaped(no_json), Err((400, vec![])), "{no_json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_json_again(text in "\\PC{0,80}", names in prop::collection::vec("[a-z_]{1,9}|targets|metadata|actor_id", 0..5)) {
            let value = serde_json::Value::String(text.clone()).to_string();
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{value}")).collect();
            for text in [text, format!("{{{}}}", members.join(",")), format!("{{\"targets\":[{{{}}}]}}", members.join(","))] {
                if let Ok(payload) = read(&text) {
                    prop_assert!(serde_json::from_str::<IgnoredAny>(&payload.json).is_ok(), "{}", payload.json);
                }
            }
        }
    }
}
