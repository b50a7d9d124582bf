//! Whether a row may enter the log. Every refusal names the field; nothing is stored.

use crate::columns::{self as c, Layout, SetBy, Values};
use crate::error::{Code, Fault};
use crate::function::{micros, text};
use crate::jsonb::{Jsonb, Kind};
use crate::row::committed;
use crate::settings;
use immutable_format::commitment::Content;
use immutable_format::document::RESERVED;
use immutable_format::json::{Error, Object};
use immutable_format::target::{self, Form, Target};
use immutable_format::{limits, time};

const TEXTS: [c::Column; 14] = [
    c::TENANT_ID,
    c::ACTOR_ID,
    c::ACTOR_NAME,
    c::ACTOR_TYPE,
    c::ACTION,
    c::ACTION_CATEGORY,
    c::RESOURCE_TYPE,
    c::RESOURCE_ID,
    c::RESOURCE_NAME,
    c::SESSION_ID,
    c::IDEMPOTENCY_KEY,
    c::IP_COUNTRY,
    c::IP_CITY,
    c::USER_AGENT,
];

/// The row's content, once it has passed. `reordered` says whether the normalised targets differ from the given ones and so
/// have to be stored anew.
pub struct Entering<'a> {
    pub content: Content<'a>,
    pub reordered: bool,
}

/// Checks every column the caller sets. The chain's own columns must be left out. `own` is whether it may be the log
/// itself that writes.
pub unsafe fn entering<'a>(row: &Values, layout: &Layout, own: bool) -> Entering<'a> {
    for (column, (name, _, set_by)) in c::ALL.iter().enumerate() {
        if *set_by == SetBy::Chain && row.get(layout, column).is_some() {
            Fault::new(Code::ERRCODE_GENERATED_ALWAYS, format!("column {name} is set by the chain, not by the caller"))
                .field(name)
                .hint(format!(
                    "Leave {name} out of the INSERT. A dump is restored with immutable.restore = on, by a superuser or \
                     who was granted SET on that parameter."
                ))
                .raise()
        }
    }
    for column in [c::ACTOR_ID, c::ACTION] {
        let name = c::ALL[column].0;
        match row.get(layout, column).map(|datum| text(datum)) {
            None => Fault::new(Code::ERRCODE_NOT_NULL_VIOLATION, format!("{name} is required"))
                .field(name)
                .hint(match column {
                    c::ACTOR_ID => "Say who did it, or set immutable.actor_id for the session.",
                    _ => "Say what was done, for example document.created.",
                })
                .raise(),
            Some("") => Fault::invalid(name, format!("{name} must not be empty"))
                .hint(match column {
                    c::ACTOR_ID => "Say who did it, or set immutable.actor_id for the session.",
                    _ => "Say what was done, for example document.created.",
                })
                .raise(),
            Some(_) => {}
        }
    }
    for column in TEXTS {
        if let Some(datum) = row.get(layout, column) {
            check_length(c::ALL[column].0, text(datum));
        }
    }
    if let Some(action) = row.get(layout, c::ACTION) {
        check_reserved("action", text(action), own);
    }
    if let Some(datum) = row.get(layout, c::OCCURRED_AT) {
        if time::format(micros(datum)).is_none() {
            Fault::new(
                Code::ERRCODE_DATETIME_FIELD_OVERFLOW,
                "occurred_at must be finite and in the years 0001 to 9999 (UTC)",
            )
            .field("occurred_at")
            .hint("Leave occurred_at out for the time of recording.")
            .raise()
        }
    }
    let recording = own && row.get(layout, c::ACTION).is_some_and(|action| text(action).starts_with(RESERVED));
    let bounds = Bounds::of(recording);
    let (targets, reordered) = match row.get(layout, c::TARGETS) {
        None => (Vec::new(), false),
        Some(datum) => entering_targets(Jsonb::new(datum), own, &bounds),
    };
    let metadata = match row.get(layout, c::METADATA) {
        None => Object::default(),
        Some(datum) => entering_metadata(Jsonb::new(datum), &bounds),
    };
    let content = Content { columns: committed(|column| row.get(layout, column)), metadata, targets };
    Entering { content, reordered }
}

/// Checks the length of a text field in bytes.
fn check_length(field: &str, value: &str) {
    check_length_as(field, field, value);
}

fn check_length_as(shown: &str, field: &str, value: &str) {
    let most = limits::text_bytes(field);
    if value.len() > most {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("{shown} is too long: {} bytes, at most {most}", value.len()),
        )
        .field(shown)
        .hint("Bytes of UTF-8 are counted. What is longer belongs into metadata.")
        .raise()
    }
}

fn check_reserved(field: &str, value: &str, own: bool) {
    if value.starts_with(RESERVED) && !own {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("{field} \"{value}\" is reserved for the log itself"))
            .field(field)
            .hint(format!("Choose a name that does not begin with \"{RESERVED}\"."))
            .raise()
    }
}

/// What metadata and targets may be at most.
struct Bounds {
    targets: usize,
    keys: usize,
    bytes: usize,
    nesting: usize,
}

impl Bounds {
    /// The settings', or for an event of the log's own the format's: no setting shall keep an erasure from being recorded.
    fn of(recording: bool) -> Bounds {
        let set = |setting: i32| setting as usize;
        match recording {
            true => Bounds {
                targets: limits::TARGETS,
                keys: limits::METADATA_KEYS,
                bytes: limits::CANONICAL_BYTES,
                nesting: limits::NESTING,
            },
            false => Bounds {
                targets: set(settings::MAX_TARGETS.get()),
                keys: set(settings::MAX_METADATA_KEYS.get()),
                bytes: set(settings::MAX_METADATA_BYTES.get()),
                nesting: set(settings::MAX_NESTING.get()),
            },
        }
    }
}

fn refuse_size(field: &str, error: Error, bounds: &Bounds) -> ! {
    let (nesting, bytes) = (bounds.nesting, bounds.bytes);
    let (message, setting) = match error {
        Error::TooDeep => (format!("{field} is nested more than {nesting} levels deep"), "immutable.max_nesting"),
        _ => (format!("{field} is larger than {bytes} bytes of canonical JSON"), "immutable.max_metadata_bytes"),
    };
    Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
        .field(field)
        .hint(format!("The limit is the setting {setting}."))
        .raise()
}

fn check_keys(field: &str, keys: usize, bounds: &Bounds) {
    let most = bounds.keys;
    if keys > most {
        Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("{field} has {keys} keys, at most {most}"))
            .field(field)
            .hint("The limit is the setting immutable.max_metadata_keys.")
            .raise()
    }
}

unsafe fn entering_metadata<'a>(metadata: Jsonb, bounds: &Bounds) -> Object<'a> {
    if metadata.kind() != Kind::Object {
        Fault::invalid("metadata", "metadata must be a JSON object").hint("For example {\"size\": 1024}.").raise()
    }
    check_keys("metadata", metadata.len(), bounds);
    match metadata.object(bounds.nesting, bounds.bytes) {
        Ok(Some(object)) => object,
        Ok(None) => {
            Fault::invalid("metadata", "metadata must be a JSON object").hint("For example {\"size\": 1024}.").raise()
        }
        Err(error) => refuse_size("metadata", error, bounds),
    }
}

unsafe fn entering_targets<'a>(targets: Jsonb, own: bool, bounds: &Bounds) -> (Vec<Target<'a>>, bool) {
    if targets.kind() != Kind::Array {
        Fault::invalid("targets", "targets must be a JSON array")
            .hint("For example [{\"type\": \"folder\", \"id\": \"folder_1\", \"name\": \"Reports\"}].")
            .raise()
    }
    let most = bounds.targets;
    if targets.len() > most {
        Fault::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("targets has {} elements, at most {most}", targets.len()),
        )
        .field("targets")
        .hint("The limit is the setting immutable.max_targets.")
        .raise()
    }
    let elements = match targets.objects(bounds.nesting, bounds.bytes) {
        Ok(elements) => elements,
        Err((n, error)) => refuse_size(&format!("targets[{n}]"), error, bounds),
    };
    let mut taken: Vec<Target<'a>> = Vec::with_capacity(elements.len());
    let mut reordered = false;
    for (n, element) in elements.into_iter().enumerate() {
        let given = element.as_ref().map_or(0, |object| object.members().len());
        let target = Target::new(element, Form::Entering).unwrap_or_else(|error| refuse_target(n, error));
        reordered |= given != target.len();
        let field = |member: &str| format!("targets[{n}].{member}");
        check_reserved(&field("type"), target.kind(), own);
        check_length_as(&field("type"), "target.type", target.kind());
        check_length_as(&field("id"), "target.id", target.id().unwrap_or_default());
        check_length_as(&field("name"), "target.name", target.name().unwrap_or_default());
        check_keys(&field("metadata"), target.metadata_keys(), bounds);
        taken.push(target);
    }
    if !taken.is_sorted_by(|a, b| target::order(a, b).is_le()) {
        target::sort(&mut taken);
        reordered = true;
    }
    (taken, reordered)
}

fn refuse_target(n: usize, error: target::Error) -> ! {
    let at = |member: &str| format!("targets[{n}]{member}");
    match error {
        target::Error::NotAnObject => Fault::invalid(&at(""), format!("targets[{n}] must be a JSON object"))
            .hint("For example {\"type\": \"folder\", \"id\": \"folder_1\", \"name\": \"Reports\"}.")
            .raise(),
        target::Error::Type => Fault::invalid(
            &at(".type"),
            format!("targets[{n}].type is required and must be a string that is not empty"),
        )
        .hint("For example {\"type\": \"folder\", \"id\": \"folder_1\", \"name\": \"Reports\"}.")
        .raise(),
        target::Error::NotAString(member) => {
            Fault::invalid(&at(&format!(".{member}")), format!("targets[{n}].{member} must be a string"))
                .hint("Write it in quotes, or leave it out.")
                .raise()
        }
        target::Error::Metadata | target::Error::Null => {
            Fault::invalid(&at(".metadata"), format!("targets[{n}].metadata must be a JSON object"))
                .hint("For example {\"size\": 1024}.")
                .raise()
        }
        target::Error::UnknownMember(member) => {
            let shown: String = member.chars().take(64).collect();
            Fault::invalid(&at(""), format!("targets[{n}] has an unknown member \"{shown}\""))
                .hint("A target has type, id, name and metadata; put anything else into its metadata.")
                .raise()
        }
    }
}
