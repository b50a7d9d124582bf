//! An event as it is recorded and stored: its envelope, the values that can be erased with their
//! paths, and what the column `erased` says of those that are gone.

use crate::hash::{parse_hex, Hash, Salt};
use crate::id::Id;
use crate::json::{Members, Object, Value};
use crate::target::Target;
use std::borrow::Cow;

/// Actions and target types that begin with this are reserved for the events that the log itself
/// records.
pub const RESERVED: &str = "immutable.";

/// The part of an event that stands in its document as it is, and therefore can never be erased.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The log's identity, in the first event of a lane only.
    pub log_id: Option<Id>,
    /// The id of the event.
    pub id: Id,
    /// The tenant whose event it is.
    pub tenant_id: &'a str,
    /// The number of the lane, from 0.
    pub lane: i16,
    /// The position in the lane, from 1.
    pub seq: i64,
    /// The hash of the event before it in the lane; `None` in the first event.
    pub previous_event_hash: Option<Hash>,
    /// Microseconds since 1970-01-01T00:00:00Z. When the event was recorded.
    pub created_at: i64,
    /// Microseconds since 1970-01-01T00:00:00Z. When the event happened.
    pub occurred_at: i64,
    /// The `session_user` of the connection that recorded the event.
    pub recorded_by: &'a str,
    /// What happened, such as `document.deleted`.
    pub action: &'a str,
    /// The kind of action, if one was given.
    pub action_category: Option<&'a str>,
    /// The kind of actor, if one was given.
    pub actor_type: Option<&'a str>,
    /// The kind of resource, if one was given.
    pub resource_type: Option<&'a str>,
    /// The version of the event's schema, which is the caller's, if one was given.
    pub version: Option<i32>,
}

/// What a stored event keeps so that its commitments can be computed: its salt, or after an erasure
/// the column `erased`.
#[derive(Debug, Clone)]
pub enum EventSecret {
    /// The salt of an event of which nothing is erased.
    Salt(Salt),
    /// The erased commitments and the salts of the values that are left.
    Erased(Box<Erasure>),
}

/// Why a stored row cannot come from a writer of this format. Such a row has no document, so
/// verification counts it as a hash mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub &'static str);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// The columns whose values are committed to, in canonical order.
pub const COLUMNS: [&str; 10] = [
    "actor_id",
    "actor_name",
    "idempotency_key",
    "ip_address",
    "ip_city",
    "ip_country",
    "resource_id",
    "resource_name",
    "session_id",
    "user_agent",
];

/// The index of `actor_id` in [`COLUMNS`].
pub const ACTOR_ID: usize = 0;

/// The values of an event that can be erased.
#[derive(Debug, Clone, Default)]
pub struct Content<'a> {
    /// The columns, in the order of [`COLUMNS`]; `None` where the column is NULL.
    pub columns: [Option<Cow<'a, str>>; 10],
    /// The metadata.
    pub metadata: Object<'a>,
    /// The targets in stored order, which is that of [`order`](crate::target::order).
    pub targets: Vec<Target<'a>>,
}

pub(crate) fn column_path(column: usize) -> &'static str {
    COLUMNS[column]
}

/// The beginning of the path of a metadata key. The key follows as it is.
pub const METADATA: &str = "metadata.";

/// The beginning of the path of a target. Its position follows in decimal digits, from 0.
pub const TARGETS: &str = "targets.";

pub(crate) fn metadata_path(key: &str) -> String {
    format!("{METADATA}{key}")
}

pub(crate) fn target_path(position: usize) -> String {
    format!("{TARGETS}{position}")
}

pub(crate) fn write_target_path(position: usize, out: &mut String) {
    out.push_str(TARGETS);
    out.push_str(itoa::Buffer::new().format(position));
}

/// Returns the position of the target that a path names, or `None` if the path names no target.
/// Leading zeros are not accepted.
pub fn target_position(path: &str) -> Option<usize> {
    let digits = path.strip_prefix(TARGETS)?;
    digits.parse::<usize>().ok().filter(|position| position.to_string() == digits)
}

/// Returns whether an event can have a value at this path.
pub fn is_path(path: &str) -> bool {
    COLUMNS.contains(&path) || path.starts_with(METADATA) || target_position(path).is_some()
}

/// Returns the paths of the values that an event has, in canonical order: columns, metadata keys,
/// targets. A target that `erasure` says is erased is left out.
pub fn erasable_paths(content: &Content<'_>, erasure: Option<&Erasure>) -> Vec<String> {
    let gone = |position| erasure.is_some_and(|erasure| erasure.targets.iter().any(|(at, _)| *at == position));
    let columns = content.columns.iter().zip(COLUMNS).filter(|(value, _)| value.is_some());
    let metadata = content.metadata.members().iter().map(|member| metadata_path(&member.key));
    let targets = (0..content.targets.len()).filter(|position| !gone(*position)).map(target_path);
    columns.map(|(_, column)| column.to_string()).chain(metadata).chain(targets).collect()
}

/// The column `erased` of a row: the commitments of the values that are gone, and the salts of
/// those that are left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erasure {
    /// The commitments of erased columns, in the order of [`COLUMNS`].
    pub columns: [Option<Hash>; 10],
    /// The commitments of erased metadata values, strictly ascending.
    pub metadata: Vec<Hash>,
    /// The positions and commitments of erased targets, ascending by position.
    pub targets: Vec<(usize, Hash)>,
    pub(crate) salts: Vec<(String, Salt)>,
}

impl Erasure {
    /// Reads the column `erased`: an object with the members `commitments`, which has at least one
    /// member, and `salts`, and no other.
    ///
    /// # Errors
    ///
    /// A [`Violation`] names what is wrong with the value.
    pub fn new(value: &Value<'_>) -> Result<Self, Violation> {
        let bad = Violation("erased is not {commitments, salts}");
        let Value::Object(members) = value else {
            return Err(bad);
        };
        let [(first, Value::Object(commitments)), (second, Value::Object(salts))] = members.as_slice() else {
            return Err(bad);
        };
        if first != "commitments" || second != "salts" {
            return Err(bad);
        }
        if commitments.is_empty() {
            return Err(Violation("erased has no commitment"));
        }
        let mut erasure = Erasure::default();
        for (key, value) in commitments {
            match (key.as_ref(), value) {
                ("metadata", Value::Array(hashes)) if !hashes.is_empty() => {
                    for hash in hashes {
                        erasure.metadata.push(hex_value(hash)?);
                    }
                    if erasure.metadata.windows(2).any(|pair| pair[0] >= pair[1]) {
                        return Err(Violation("erased metadata commitments do not ascend"));
                    }
                }
                ("targets", Value::Object(targets)) if !targets.is_empty() => {
                    for (position, hash) in targets {
                        let number = position.parse::<usize>().ok().filter(|n| n.to_string() == *position);
                        let number = number.ok_or(Violation("erased has a target without a position"))?;
                        erasure.targets.push((number, hex_value(hash)?));
                    }
                    erasure.targets.sort_unstable();
                }
                (key, value) => {
                    let column = COLUMNS.iter().position(|column| *column == key);
                    let column = column.ok_or(Violation("erased has a commitment of an unknown path"))?;
                    erasure.columns[column] = Some(hex_value(value)?);
                }
            }
        }
        for (path, salt) in salts {
            let salt = salt.as_str().and_then(parse_hex::<16>);
            erasure.salts.push((path.to_string(), salt.ok_or(Violation("erased has a malformed salt"))?));
        }
        Ok(erasure)
    }

    /// Returns whether everything that `older` had erased is erased here too, under the same
    /// commitments.
    pub fn includes(&self, older: &Erasure) -> bool {
        let columns = self.columns.iter().zip(&older.columns);
        columns.into_iter().all(|(new, old)| old.is_none() || new == old)
            && older.metadata.iter().all(|hash| self.metadata.contains(hash))
            && older.targets.iter().all(|target| self.targets.contains(target))
    }

    /// Returns the commitments of what is erased here and was not in `older`.
    pub fn beyond(&self, older: Option<&Erasure>) -> Vec<Hash> {
        let nothing = Erasure::default();
        let older = older.unwrap_or(&nothing);
        let columns = self.columns.iter().zip(&older.columns).filter(|(_, old)| old.is_none());
        let metadata = self.metadata.iter().filter(|hash| older.metadata.binary_search(hash).is_err());
        let targets = self.targets.iter().filter(|target| !older.targets.contains(target));
        let columns = columns.filter_map(|(new, _)| *new);
        columns.chain(metadata.copied()).chain(targets.map(|(_, hash)| *hash)).collect()
    }

    /// Returns how many values are erased.
    pub fn len(&self) -> usize {
        self.columns.iter().flatten().count() + self.metadata.len() + self.targets.len()
    }

    /// Returns whether nothing is erased, which is never true of an erasure that [`Erasure::new`]
    /// read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn salt(&self, path: &str) -> Option<&Salt> {
        self.salts.iter().find(|(known, _)| known == path).map(|(_, salt)| salt)
    }
}

fn hex_value(value: &Value<'_>) -> Result<Hash, Violation> {
    value.as_str().and_then(parse_hex).ok_or(Violation("erased has a malformed commitment"))
}

impl Erasure {
    /// Returns the value of the column `erased`, which [`Erasure::new`] reads.
    pub fn to_value(&self) -> Value<'static> {
        let text = |hash: &[u8]| Value::String(hex::encode(hash).into());
        let mut commitments: Members<'static> = Vec::new();
        for (column, hash) in self.columns.iter().enumerate() {
            if let Some(hash) = hash {
                commitments.push((COLUMNS[column].into(), text(hash)));
            }
        }
        if !self.metadata.is_empty() {
            commitments.push(("metadata".into(), Value::Array(self.metadata.iter().map(|h| text(h)).collect())));
        }
        if !self.targets.is_empty() {
            let targets = self.targets.iter().map(|(n, hash)| (n.to_string().into(), text(hash))).collect();
            commitments.push(("targets".into(), sorted(targets)));
        }
        let salts = self.salts.iter().map(|(path, salt)| (path.clone().into(), text(salt))).collect();
        Value::Object(vec![("commitments".into(), sorted(commitments)), ("salts".into(), sorted(salts))])
    }
}

fn sorted(mut members: Members<'static>) -> Value<'static> {
    members.sort_by(|a, b| crate::json::key_order(&a.0, &b.0));
    Value::Object(members)
}
