//! Whether a row may enter the log. Every refusal names the field, and nothing is stored.

use crate::log::columns::{self as c, Layout, SetBy};
use crate::log::targets::{self, Malformed};
use crate::log::{captured, own_event, session_context};
use crate::pg::datum::{bytes, inet_text, micros, text, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind};
use crate::pg::tuple::Values;
use crate::settings;
use immutable_format::event::{Content, RESERVED};
use immutable_format::json::{Error, Object};
use immutable_format::target::{self, Form, Target};
use immutable_format::{limits, time};
use pgrx::pg_sys;
use std::borrow::Cow;

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

/// What was read from a row that may enter the log.
pub struct Admitted<'e> {
    pub content: Content<'e>,
    /// The tenant, a text; the empty one if none is given.
    pub tenant: Datum<'e>,
    texts: Texts<'e>,
    /// Whether the targets were normalised or sorted, and so are not stored as they were given.
    reordered: bool,
}

impl<'e> Admitted<'e> {
    /// The text of a column, unless it is NULL.
    pub fn text(&self, column: c::Column) -> Option<&'e str> {
        self.texts[column]
    }

    /// The tenant's id.
    pub fn tenant_id(&self) -> &'e str {
        self.texts[c::TENANT_ID].unwrap_or_default()
    }

    /// Puts targets and metadata into the row as they are to be stored, unless they are so already.
    pub fn set_json(&self, row: &mut Values, layout: &Layout) {
        for (column, empty) in [(c::TARGETS, "[]"), (c::METADATA, "{}")] {
            if row.get(layout, column).is_none() {
                row.set(layout, column, row.memory().jsonb(empty));
            }
        }
        if self.reordered {
            let targets: Vec<&str> = self.content.targets.iter().map(Target::canonical).collect();
            row.set(layout, c::TARGETS, row.memory().jsonb(&format!("[{}]", targets.join(","))));
        }
    }
}

/// The texts of a row, by column.
type Texts<'e> = [Option<&'e str>; c::ALL.len()];

/// Treats values that say nothing as left out, and fills in what the session says for columns that
/// are left out. An event of the log's own, and a change of a row, take nothing from the session. Raises 428C9 for a value
/// in a column that the chain sets, and what [`session_context`] raises.
pub fn complete(row: &mut Values, layout: &Layout) {
    leave_to_chain(row, layout);
    if row.get(layout, c::IDEMPOTENCY_KEY).is_some_and(|key| bytes(key).is_empty()) {
        row.unset(layout, c::IDEMPOTENCY_KEY);
    }
    if own_event::is_recording() || captured::are_appended() {
        return;
    }
    for context in &session_context::CONTEXT {
        if row.get(layout, context.column).is_none() {
            if let Some(datum) = context.datum(row.memory()) {
                row.set(layout, context.column, datum);
            }
        }
    }
}

/// Refuses a value in a column that the chain sets. NULL is not a value, nor is an empty text or
/// bytea, which an ORM gives for a column that cannot be NULL.
fn leave_to_chain(row: &mut Values, layout: &Layout) {
    for (column, (name, oid, set_by)) in c::ALL.iter().enumerate() {
        if *set_by != SetBy::Chain {
            continue;
        }
        match row.get(layout, column) {
            None => {}
            Some(datum) if matches!(*oid, pg_sys::TEXTOID | pg_sys::BYTEAOID) && bytes(datum).is_empty() => {
                row.unset(layout, column);
            }
            Some(_) => refuse_chain_column(column, name),
        }
    }
}

fn refuse_chain_column(column: c::Column, name: &str) -> ! {
    let instead = match column {
        c::CREATED_AT => " The time when it happened is occurred_at.",
        _ => "",
    };
    Fault::new(Code::ERRCODE_GENERATED_ALWAYS, format!("column {name} is set by the log, not by the caller"))
        .field(name)
        .hint(format!(
            "Leave {name} out of the INSERT, or give NULL or DEFAULT.{instead} To restore a dump, \
             SET immutable.restore = on, as a superuser or as a role with the right to SET it."
        ))
        .raise()
}

/// Checks every column that the caller sets, and reads what it checks. `by_log` says whether the
/// log itself may be writing. Refusals name the field: 23502, 22023, 22001, 22008, 22021, 42501 or
/// 54000.
pub fn admit<'e>(row: &Values<'e>, layout: &Layout, by_log: bool) -> Admitted<'e> {
    let texts = entering_texts(row, layout);
    let action = texts[c::ACTION].unwrap_or_default();
    let recording = by_log && action.starts_with(RESERVED);
    if texts[c::TENANT_ID].is_none_or(str::is_empty)
        && settings::REQUIRE_TENANT.get()
        && !recording
        && !captured::are_appended()
    {
        refuse_no_tenant()
    }
    check_reserved("action", action, by_log);
    if row.get(layout, c::OCCURRED_AT).is_some_and(|datum| time::format(micros(datum)).is_none()) {
        refuse_time()
    }
    let bounds = Bounds::of(recording || captured::are_appended());
    let (targets, reordered) = match row.get(layout, c::TARGETS) {
        None => (Vec::new(), false),
        Some(datum) => entering_targets(datum, by_log, &bounds),
    };
    let metadata = match row.get(layout, c::METADATA) {
        None => Object::default(),
        Some(datum) => entering_metadata(Jsonb::new(datum), &bounds),
    };
    let columns = c::COMMITTED.map(|column| match column {
        c::IP_ADDRESS => row.get(layout, column).map(|address| Cow::Owned(inet_text(address))),
        _ => texts[column].map(Cow::Borrowed),
    });
    let tenant = row.get(layout, c::TENANT_ID).unwrap_or_else(|| row.memory().text(""));
    Admitted { content: Content { columns, metadata, targets }, tenant, texts, reordered }
}

/// Reads the texts that the caller sets, and checks them.
fn entering_texts<'e>(row: &Values<'e>, layout: &Layout) -> Texts<'e> {
    let mut texts = [None; c::ALL.len()];
    for column in TEXTS {
        texts[column] = row.get(layout, column).map(text);
    }
    for column in [c::ACTOR_ID, c::ACTION] {
        check_required(column, texts[column]);
    }
    for column in TEXTS {
        if let Some(text) = texts[column] {
            check_text(column, text);
        }
    }
    texts
}

fn refuse_time() -> ! {
    Fault::new(Code::ERRCODE_DATETIME_FIELD_OVERFLOW, "occurred_at must be finite and in the years 0001 to 9999 (UTC)")
        .field("occurred_at")
        .hint("Leave occurred_at out for the time of recording.")
        .raise()
}

fn check_required(column: c::Column, value: Option<&str>) {
    let name = c::ALL[column].0;
    let (code, message) = match value {
        None => (Code::ERRCODE_NOT_NULL_VIOLATION, format!("{name} is required")),
        Some("") => (Code::ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} must not be empty")),
        Some(_) => return,
    };
    let hint = match column {
        // If it had been left out, the session's would have been taken.
        c::ACTOR_ID if value.is_some() && session_context::is_set(column) => {
            "Say who did it, or leave actor_id out to use the value of immutable.actor_id."
        }
        c::ACTOR_ID => "Say who did it, or set immutable.actor_id for the session.",
        _ => "Say what was done, for example document.created.",
    };
    Fault::new(code, message).field(name).hint(hint).raise()
}

fn refuse_no_tenant() -> ! {
    Fault::new(Code::ERRCODE_NOT_NULL_VIOLATION, "tenant_id is required: immutable.require_tenant is on")
        .field("tenant_id")
        .hint(
            "Give the event its tenant, or set immutable.tenant_id in the same transaction: SET LOCAL, or \
             set_config('immutable.tenant_id', ..., true).",
        )
        .raise()
}

fn check_text(column: c::Column, value: &str) {
    let name = c::ALL[column].0;
    // No text has a NUL; see datum::text().
    if value == "\u{0}" {
        session_context::refuse_encoding(column)
    }
    check_length(name, name, value, || session_context::source_of(column, value));
}

/// Checks the length of a text field in bytes. `source` says which setting the value comes from.
fn check_length(shown: &str, field: &str, value: &str, source: impl FnOnce() -> Option<&'static str>) {
    let most = limits::text_bytes(field);
    if value.len() > most {
        Fault::new(
            Code::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            format!("{shown} is too long: {} bytes, at most {most}", value.len()),
        )
        .field(shown)
        .hint(match source() {
            Some(setting) => {
                format!("The value comes from the setting {setting}. Shorten it there. Bytes of UTF-8 are counted.")
            }
            None => "Bytes of UTF-8 are counted. Shorten the value; the full text can go into \
                metadata."
                .to_string(),
        })
        .raise()
    }
}

fn check_reserved(field: &str, value: &str, by_log: bool) {
    if value.starts_with(RESERVED) && !by_log {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("{field} \"{value}\" is reserved for the log itself"))
            .field(field)
            .hint(format!("Choose a name that does not begin with \"{RESERVED}\"."))
            .raise()
    }
}

/// The limits of metadata and targets.
struct Bounds {
    targets: usize,
    keys: usize,
    bytes: usize,
    nesting: usize,
}

impl Bounds {
    /// The limits that are set. For an event of the log's own, and for a change of a row, they are the format's, because
    /// no setting may keep an erasure from being recorded, or a row from being changed.
    fn of(are_those_of_format: bool) -> Bounds {
        let set = |setting: i32| setting as usize;
        match are_those_of_format {
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

/// What to do about a limit: something that everybody can do, and what the setting allows.
fn limit_hint(instead: &str, setting: &str, set: usize, most: usize) -> String {
    match set < most {
        true => format!("{instead} The limit is the setting {setting}, which a superuser can raise to {most}."),
        false => format!("{instead} No setting allows more."),
    }
}

fn refuse_size(field: &str, error: Error, bounds: &Bounds) -> ! {
    let (nesting, bytes) = (bounds.nesting, bounds.bytes);
    let (message, hint) = match error {
        Error::TooDeep => (
            format!("{field} is nested more than {nesting} levels deep"),
            limit_hint("Put the deeper levels into a string.", "immutable.max_nesting", nesting, limits::NESTING),
        ),
        _ => (
            format!("{field} is larger than {bytes} bytes of canonical JSON"),
            limit_hint(
                "Store the data elsewhere, and record its location and its SHA-256.",
                "immutable.max_metadata_bytes",
                bytes,
                limits::CANONICAL_BYTES,
            ),
        ),
    };
    Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message).field(field).hint(hint).raise()
}

fn check_keys(field: &str, keys: usize, bounds: &Bounds) {
    let most = bounds.keys;
    if keys > most {
        Fault::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{field} has {keys} keys, but at most {most} are allowed"),
        )
        .field(field)
        .hint(limit_hint(
            "Keys of nested objects are not counted. Put some keys into one.",
            "immutable.max_metadata_keys",
            most,
            limits::METADATA_KEYS,
        ))
        .raise()
    }
}

fn entering_metadata<'e>(metadata: Jsonb<'e>, bounds: &Bounds) -> Object<'e> {
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

/// The targets as they are to be stored, and whether they differ from those given.
fn entering_targets<'e>(given: Datum<'e>, by_log: bool, bounds: &Bounds) -> (Vec<Target<'e>>, bool) {
    let mut reordered = false;
    let check = |position, target: &Target, is_whole: bool| {
        reordered |= !is_whole;
        check_target(position, target, by_log, bounds);
    };
    let most = targets::Bounds { count: bounds.targets, nesting: bounds.nesting, bytes: bounds.bytes };
    let parsed = targets::parse(given, Form::Entering, most, check);
    let mut targets = parsed.unwrap_or_else(|malformed| refuse_targets(malformed, bounds));
    if !targets.is_sorted_by(|a, b| target::order(a, b).is_le()) {
        target::sort(&mut targets);
        reordered = true;
    }
    (targets, reordered)
}

fn check_target(n: usize, target: &Target, by_log: bool, bounds: &Bounds) {
    let field = |member: &str| format!("targets[{n}].{member}");
    check_reserved(&field("type"), target.kind(), by_log);
    check_length(&field("type"), "target.type", target.kind(), || None);
    check_length(&field("id"), "target.id", target.id().unwrap_or_default(), || None);
    check_length(&field("name"), "target.name", target.name().unwrap_or_default(), || None);
    check_keys(&field("metadata"), target.metadata_keys(), bounds);
}

fn refuse_targets(malformed: Malformed, bounds: &Bounds) -> ! {
    match malformed {
        Malformed::NotAnArray => Fault::invalid("targets", "targets must be a JSON array")
            .hint("For example [{\"type\": \"folder\", \"id\": \"folder_1\", \"name\": \"Reports\"}].")
            .raise(),
        Malformed::TooMany(count) => {
            let most = bounds.targets;
            Fault::new(
                Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("targets has {count} elements, but at most {most} are allowed"),
            )
            .field("targets")
            .hint(limit_hint("Record several events.", "immutable.max_targets", most, limits::TARGETS))
            .raise()
        }
        Malformed::Element(n, error) => refuse_size(&format!("targets[{n}]"), error, bounds),
        Malformed::Target(n, error) => refuse_target(n, error),
        Malformed::Unreadable => internal("the targets of a new event cannot be read"),
    }
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
                .hint("A target has type, id, name and metadata. Put anything else into its metadata.")
                .raise()
        }
    }
}
