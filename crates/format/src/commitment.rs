//! Commitments: every value that may one day have to be erased enters the hash as a salted commitment, so that it can be
//! destroyed later while the chain still verifies. The shape follows the salted disclosures of SD-JWT (RFC 9901).

use crate::json::{write_string, Members, Object, Value};
use crate::target::Target;
use crate::{parse_hex, sha256_of_each, sha256_of_text, sha256_of_two, write_hex, Hash, Salt};
use std::borrow::Cow;

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

/// The commitments of an event, as its document holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commitments {
    /// By [`COLUMNS`].
    pub columns: [Option<Hash>; 10],
    /// Strictly ascending.
    pub metadata: Vec<Hash>,
    /// By position.
    pub targets: Vec<Hash>,
}

/// The salt of one path: the first half of SHA-256 over the event's salt and the path.
pub fn leaf_salt(event_salt: &Salt, path: &str) -> Salt {
    first_half(&sha256_of_two(event_salt, path.as_bytes()))
}

fn first_half(hash: &Hash) -> Salt {
    let mut salt = Salt::default();
    salt.copy_from_slice(&hash[..16]);
    salt
}

/// SHA-256 over the canonical text of `[hex(leaf_salt), path, value]`; `value` is given as canonical text.
pub fn commitment(leaf_salt: &Salt, path: &str, value: &str) -> Hash {
    Given::Canonical(value).commitment(leaf_salt, path)
}

/// The text that a commitment is the hash of.
fn write_disclosure(leaf_salt: &Salt, path: &str, value: Given<'_>, out: &mut String) {
    out.push_str("[\"");
    write_hex(leaf_salt, out);
    out.push_str("\",");
    write_string(path, out);
    out.push(',');
    value.write(out);
    out.push(']');
}

/// Writes the disclosures of the values that are there: the texts that their commitments are the SHA-256 of, joined by
/// commas, in the order of columns, metadata keys and targets. Exactly one of `event_salt` and `erasure` is given; a
/// value that has no salt is not disclosed.
pub fn write_disclosures(
    content: &Content<'_>,
    event_salt: Option<&Salt>,
    erasure: Option<&Erasure>,
    out: &mut String,
) {
    let mut first = true;
    for_each_value(content, |_, path, value| {
        let kept = erasure.and_then(|erasure| erasure.salt(path)).copied();
        let Some(salt) = event_salt.map(|salt| leaf_salt(salt, path)).or(kept) else { return };
        if !first {
            out.push(',');
        }
        first = false;
        write_disclosure(&salt, path, value, out);
    });
}

fn column_path(column: usize) -> &'static str {
    COLUMNS[column]
}

/// What the path of a metadata key begins with; the key follows as it is.
pub const METADATA: &str = "metadata.";
/// What the path of a target begins with; its position follows in decimal digits.
pub const TARGETS: &str = "targets.";

fn metadata_path(key: &str) -> String {
    format!("{METADATA}{key}")
}

fn target_path(position: usize) -> String {
    format!("{TARGETS}{position}")
}

fn write_target_path(position: usize, out: &mut String) {
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

/// Calls `each` for the path of every value that is there, in the order of [`for_each_value`].
fn for_each_path(content: &Content<'_>, mut each: impl FnMut(&str)) {
    for (column, value) in content.columns.iter().enumerate() {
        if value.is_some() {
            each(column_path(column));
        }
    }
    let mut path = String::with_capacity(64);
    for member in content.metadata.members() {
        path.clear();
        path.push_str(METADATA);
        path.push_str(&member.key);
        each(&path);
    }
    for position in 0..content.targets.len() {
        path.clear();
        write_target_path(position, &mut path);
        each(&path);
    }
}

/// Calls `each` for every value that is there, with its path.
fn for_each_value(content: &Content<'_>, mut each: impl FnMut(Place, &str, Given<'_>)) {
    let mut path = String::with_capacity(64);
    for (column, value) in content.columns.iter().enumerate() {
        if let Some(value) = value {
            each(Place::Column(column), column_path(column), Given::Text(value));
        }
    }
    for member in content.metadata.members() {
        path.clear();
        path.push_str(METADATA);
        path.push_str(&member.key);
        each(Place::Metadata, &path, Given::Canonical(content.metadata.value(member)));
    }
    for (position, target) in content.targets.iter().enumerate() {
        path.clear();
        write_target_path(position, &mut path);
        each(Place::Target(position), &path, Given::Canonical(target.canonical()));
    }
}

/// A value as it is at hand.
#[derive(Clone, Copy)]
enum Given<'a> {
    Text(&'a str),
    Canonical(&'a str),
}

impl Given<'_> {
    /// Writes its canonical text.
    fn write(self, out: &mut String) {
        match self {
            Given::Text(text) => write_string(text, out),
            Given::Canonical(text) => out.push_str(text),
        }
    }

    /// Its commitment.
    fn commitment(self, leaf_salt: &Salt, path: &str) -> Hash {
        let mut text = String::new();
        write_disclosure(leaf_salt, path, self, &mut text);
        sha256_of_text(&mut text)
    }
}

#[derive(Clone, Copy)]
enum Place {
    Column(usize),
    Metadata,
    Target(usize),
}

/// Room for the texts of one event, kept from event to event.
#[derive(Debug, Default)]
pub struct Room {
    pub(crate) document: String,
    messages: Vec<u8>,
    text: String,
    ends: Vec<usize>,
    salts: Vec<Salt>,
}

impl Room {
    /// What an event takes, unless it has hundreds of values.
    const KEPT: usize = 64 * 1024;

    /// Room for messages and their ends, empty.
    pub(crate) fn messages(&mut self) -> (&mut Vec<u8>, &mut Vec<usize>) {
        self.messages.clear();
        self.ends.clear();
        (&mut self.messages, &mut self.ends)
    }

    /// Gives back what only a great event takes.
    pub fn shrink(&mut self) {
        if self.document.capacity() + self.messages.capacity() + self.text.capacity() > Self::KEPT {
            *self = Room::default();
        }
    }
}

/// Bytes of texts that are hashed together.
pub(crate) const TOGETHER: usize = 16 * 1024;

/// The commitments of an event none of whose values is erased. None needs another, so they are hashed together: first
/// all salts, then all values.
pub fn seal(content: &Content<'_>, event_salt: &Salt, room: &mut Room) -> Commitments {
    let Room { messages, text, ends, salts, .. } = room;
    messages.clear();
    text.clear();
    ends.clear();
    salts.clear();
    for_each_path(content, |path| {
        messages.extend_from_slice(event_salt);
        messages.extend_from_slice(path.as_bytes());
        ends.push(messages.len());
    });
    sha256_of_each(messages, ends, |_, hash| salts.push(first_half(&hash)));
    ends.clear();

    let mut sealed = Commitments::default();
    sealed.metadata.reserve_exact(content.metadata.members().len());
    sealed.targets.reserve_exact(content.targets.len());
    let mut columns = content.columns.iter().enumerate().filter(|(_, value)| value.is_some()).map(|(column, _)| column);
    let mut metadata = content.metadata.members().len();
    let mut take = |hash| {
        if let Some(column) = columns.next() {
            sealed.columns[column] = Some(hash);
        } else if metadata > 0 {
            metadata -= 1;
            sealed.metadata.push(hash);
        } else {
            sealed.targets.push(hash);
        }
    };
    let mut salt = salts.iter();
    for_each_value(content, |_, path, value| {
        let Some(salt) = salt.next() else { return };
        write_disclosure(salt, path, value, text);
        ends.push(text.len());
        if text.len() > TOGETHER {
            sha256_of_each(text.as_bytes(), ends, |_, hash| take(hash));
            text.clear();
            ends.clear();
        }
    });
    sha256_of_each(text.as_bytes(), ends, |_, hash| take(hash));
    sealed.metadata.sort_unstable();
    sealed
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
    salts: Vec<(String, Salt)>,
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

    fn salt(&self, path: &str) -> Option<&Salt> {
        self.salts.iter().find(|(known, _)| known == path).map(|(_, salt)| salt)
    }
}

fn hex_value(value: &Value<'_>) -> Result<Hash, Violation> {
    value.as_str().and_then(parse_hex).ok_or(Violation("erased has a malformed commitment"))
}

/// The commitments of an event some of whose values are erased: recomputed where the value is still there, taken from
/// `erasure` where it is gone. A value beside its own erased commitment is a violation.
pub fn reseal(content: &Content<'_>, erasure: &Erasure) -> Result<Commitments, Violation> {
    for (position, _) in &erasure.targets {
        match content.targets.get(*position) {
            Some(target) if target.is_bare() => {}
            _ => return Err(Violation("an erased target is there")),
        }
    }
    let mut sealed = Commitments { targets: vec![Hash::default(); content.targets.len()], ..Commitments::default() };
    let mut present = 0;
    let mut unsalted = None;
    for_each_value(content, |place, path, value| {
        if let Place::Target(position) = place {
            if let Ok(erased) = erasure.targets.binary_search_by_key(&position, |(at, _)| *at) {
                sealed.targets[position] = erasure.targets[erased].1;
                return;
            }
        }
        let Some(salt) = erasure.salt(path) else {
            unsalted = Some(Violation("a value has no salt"));
            return;
        };
        present += 1;
        let hash = value.commitment(salt, path);
        match place {
            Place::Column(column) => sealed.columns[column] = Some(hash),
            Place::Metadata => sealed.metadata.push(hash),
            Place::Target(position) => sealed.targets[position] = hash,
        }
    });
    if let Some(violation) = unsalted {
        return Err(violation);
    }
    if present != erasure.salts.len() {
        return Err(Violation("erased has a salt of no value"));
    }
    for (column, erased) in erasure.columns.iter().enumerate() {
        if erased.is_some() {
            if sealed.columns[column].is_some() {
                return Err(Violation("an erased value is there"));
            }
            sealed.columns[column] = *erased;
        }
    }
    sealed.metadata.extend_from_slice(&erasure.metadata);
    sealed.metadata.sort_unstable();
    if sealed.metadata.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Violation("an erased metadata value is there"));
    }
    Ok(sealed)
}

/// The `erased` column of a row after erasing `paths` from it, and the content that is left; `None` if one of the paths
/// has no value. `erased_before` is the row's column so far, `event_salt` its salt: exactly one is there.
pub fn erase<'a>(
    content: &Content<'a>,
    event_salt: Option<&Salt>,
    erased_before: Option<&Erasure>,
    paths: &[&str],
) -> Option<(Content<'a>, Erasure)> {
    let mut erasure = erased_before.cloned().unwrap_or_default();
    let old_salts = std::mem::take(&mut erasure.salts);
    let mut left = content.clone();
    let mut gone = 0;
    let mut complete = true;
    for_each_value(content, |place, path, value| {
        let known = old_salts.iter().find(|(known, _)| known == path).map(|(_, salt)| *salt);
        let Some(salt) = event_salt.map(|salt| leaf_salt(salt, path)).or(known) else {
            // a target that was erased before keeps its place but has no salt
            complete &= matches!(place, Place::Target(_)) && !paths.contains(&path);
            return;
        };
        if !paths.contains(&path) {
            erasure.salts.push((path.to_string(), salt));
            return;
        }
        gone += 1;
        let hash = value.commitment(&salt, path);
        match place {
            Place::Column(column) => {
                erasure.columns[column] = Some(hash);
                left.columns[column] = None;
            }
            Place::Metadata => {
                erasure.metadata.push(hash);
                left.metadata.retain(|member| path.strip_prefix(METADATA) != Some(member.key.as_ref()));
            }
            Place::Target(position) => {
                erasure.targets.push((position, hash));
                left.targets[position] = content.targets[position].bare();
            }
        }
    });
    erasure.metadata.sort_unstable();
    erasure.targets.sort_unstable();
    (complete && gone == paths.len() && gone > 0).then_some((left, erasure))
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

/// A stored row keeps `actor_id` unless it is erased; of the log's own events only metadata.reason can be erased.
pub fn check_erasure(content: &Content<'_>, erasure: Option<&Erasure>, action: &str) -> Result<(), Violation> {
    let actor_erased = erasure.is_some_and(|erasure| erasure.columns[ACTOR_ID].is_some());
    if content.columns[ACTOR_ID].is_none() && !actor_erased {
        return Err(Violation("actor_id is missing"));
    }
    if let Some(erasure) = erasure {
        let own = action.starts_with(crate::document::RESERVED);
        let reason = content.metadata.members().iter().any(|member| member.key == "reason");
        if own && (reason || erasure.metadata.len() != 1 || erasure.len() != 1) {
            return Err(Violation("more than the reason is erased from an event of the log's own"));
        }
    }
    Ok(())
}
