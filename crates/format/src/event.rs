//! An event as it is recorded and stored: its envelope, the values of it that can be erased with their paths, and what
//! its column `erased` says.

use crate::hash::{parse_hex, Hash, Salt};
use crate::id::Id;
use crate::json::{Members, Object, Value};
use crate::target::Target;
use std::borrow::Cow;

/// Actions and target types that begin with this belong to the log itself.
pub const RESERVED: &str = "immutable.";

/// What of an event is written into its document as it is, and so can never be erased.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The log's identity, in the first event of a lane.
    pub log_id: Option<Id>,
    pub id: Id,
    pub tenant_id: &'a str,
    pub lane: i16,
    pub seq: i64,
    pub previous_event_hash: Option<Hash>,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub occurred_at: i64,
    pub recorded_by: &'a str,
    pub action: &'a str,
    pub action_category: Option<&'a str>,
    pub actor_type: Option<&'a str>,
    pub resource_type: Option<&'a str>,
    pub version: Option<i32>,
}

/// A stored event's secret: its salt, or what its erasure left.
#[derive(Debug, Clone)]
pub enum EventSecret {
    Salt(Salt),
    Erased(Box<Erasure>),
}

/// A stored row that no writer of this format can have left: it has no document, so it counts as a hash mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub &'static str);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Columns whose values are committed to, in canonical order.
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

/// The place of actor_id in [`COLUMNS`].
pub const ACTOR_ID: usize = 0;

/// The values of an event that can be erased.
#[derive(Debug, Clone, Default)]
pub struct Content<'a> {
    /// By [`COLUMNS`]; `None` where the column is NULL.
    pub columns: [Option<Cow<'a, str>>; 10],
    /// The metadata.
    pub metadata: Object<'a>,
    /// In stored order.
    pub targets: Vec<Target<'a>>,
}

pub(crate) fn column_path(column: usize) -> &'static str {
    COLUMNS[column]
}

/// What the path of a metadata key begins with; the key follows as it is.
pub const METADATA: &str = "metadata.";

/// What the path of a target begins with; its position follows in decimal digits.
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

/// The target that a path names, written the one way it is written.
pub fn target_position(path: &str) -> Option<usize> {
    let digits = path.strip_prefix(TARGETS)?;
    digits.parse::<usize>().ok().filter(|position| position.to_string() == digits)
}

/// Whether an event can have a value at this path.
pub fn is_path(path: &str) -> bool {
    COLUMNS.contains(&path) || path.starts_with(METADATA) || target_position(path).is_some()
}

/// The paths of the values that are there, in canonical order of columns, then metadata, then targets.
pub fn paths(content: &Content<'_>, erasure: Option<&Erasure>) -> Vec<String> {
    let gone = |position| erasure.is_some_and(|erasure| erasure.targets.iter().any(|(at, _)| *at == position));
    let columns = content.columns.iter().zip(COLUMNS).filter(|(value, _)| value.is_some());
    let metadata = content.metadata.members().iter().map(|member| metadata_path(&member.key));
    let targets = (0..content.targets.len()).filter(|position| !gone(*position)).map(target_path);
    columns.map(|(_, column)| column.to_string()).chain(metadata).chain(targets).collect()
}

/// What the column `erased` of a row says: the commitments of what is gone, the salts of what is still there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erasure {
    /// By [`COLUMNS`].
    pub columns: [Option<Hash>; 10],
    /// Strictly ascending.
    pub metadata: Vec<Hash>,
    /// Position and commitment, by position.
    pub targets: Vec<(usize, Hash)>,
    pub(crate) salts: Vec<(String, Salt)>,
}

impl Erasure {
    /// Reads the column `erased`, which has the two members `commitments` (at least one) and `salts`, and no other.
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

    /// Whether everything `older` had erased is erased here too, under the same commitments.
    pub fn includes(&self, older: &Erasure) -> bool {
        let columns = self.columns.iter().zip(&older.columns);
        columns.into_iter().all(|(new, old)| old.is_none() || new == old)
            && older.metadata.iter().all(|hash| self.metadata.contains(hash))
            && older.targets.iter().all(|target| self.targets.contains(target))
    }

    /// The commitments of what is erased here and was not in `older`.
    pub fn beyond(&self, older: Option<&Erasure>) -> Vec<Hash> {
        let nothing = Erasure::default();
        let older = older.unwrap_or(&nothing);
        let columns = self.columns.iter().zip(&older.columns).filter(|(_, old)| old.is_none());
        let metadata = self.metadata.iter().filter(|hash| older.metadata.binary_search(hash).is_err());
        let targets = self.targets.iter().filter(|target| !older.targets.contains(target));
        let columns = columns.filter_map(|(new, _)| *new);
        columns.chain(metadata.copied()).chain(targets.map(|(_, hash)| *hash)).collect()
    }

    /// How many values are erased.
    pub fn len(&self) -> usize {
        self.columns.iter().flatten().count() + self.metadata.len() + self.targets.len()
    }

    /// Never true of one that [`Erasure::new`] took.
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
    /// The value of the column `erased`.
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
