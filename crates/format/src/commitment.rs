//! Commitments: every value that may have to be erased one day enters the hash as a salted
//! commitment. Such a value can be destroyed later while the chain still verifies. The form follows
//! the salted disclosures of SD-JWT (RFC 9901).

use crate::event::{column_path, write_target_path, Content, Erasure, METADATA};
use crate::hash::{sha256_of_each, sha256_of_text, sha256_of_two, write_hex, Hash, Salt, Scratch, TOGETHER};
use crate::json::write_string;

/// The commitments of an event, as its document holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commitments {
    /// The commitments of the columns, in the order of [`crate::event::COLUMNS`].
    pub columns: [Option<Hash>; 10],
    /// The commitments of the metadata values, strictly ascending, so that they do not tell which
    /// key each belongs to.
    pub metadata: Vec<Hash>,
    /// The commitments of the targets, by position.
    pub targets: Vec<Hash>,
}

/// Returns the salt of the value at `path`: the first 16 bytes of the SHA-256 of the event's salt
/// and the path.
pub fn leaf_salt(event_salt: &Salt, path: &str) -> Salt {
    first_half(&sha256_of_two(event_salt, path.as_bytes()))
}

fn first_half(hash: &Hash) -> Salt {
    let mut salt = Salt::default();
    salt.copy_from_slice(&hash[..16]);
    salt
}

/// Returns the commitment of a value: the SHA-256 of the canonical text (RFC 8785) of the array
/// `[hex(leaf_salt), path, value]`. `value` is given as canonical text.
pub fn commitment(leaf_salt: &Salt, path: &str, value: &str) -> Hash {
    ValueText::Canonical(value).commitment(leaf_salt, path)
}

/// Writes the text that a commitment is the hash of.
fn write_disclosure(leaf_salt: &Salt, path: &str, value: ValueText<'_>, out: &mut String) {
    out.push_str("[\"");
    write_hex(leaf_salt, out);
    out.push_str("\",");
    write_string(path, out);
    out.push(',');
    value.write(out);
    out.push(']');
}

/// Writes the disclosures of the values that an event has and `is_shown` chooses by their paths: the
/// texts that their commitments are the SHA-256 of, separated by commas, in the order of columns,
/// metadata keys and targets. Exactly one of `event_salt` and `erasure` is given. A value that has no
/// salt is not disclosed.
pub fn write_disclosures(
    content: &Content<'_>,
    event_salt: Option<&Salt>,
    erasure: Option<&Erasure>,
    is_shown: impl Fn(&str) -> bool,
    out: &mut String,
) {
    let mut first = true;
    for_each_value(content, |_, path, value| {
        if !is_shown(path) {
            return;
        }
        let kept = erasure.and_then(|erasure| erasure.salt(path)).copied();
        let Some(salt) = event_salt.map(|salt| leaf_salt(salt, path)).or(kept) else { return };
        if !first {
            out.push(',');
        }
        first = false;
        write_disclosure(&salt, path, value, out);
    });
}

/// Calls `each` for the path of every value that the event has, in the order of [`for_each_value`].
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

/// Calls `each` for every value that the event has, with its path: columns, metadata keys, targets.
pub(crate) fn for_each_value(content: &Content<'_>, mut each: impl FnMut(ValuePlace, &str, ValueText<'_>)) {
    let mut path = String::with_capacity(64);
    for (column, value) in content.columns.iter().enumerate() {
        if let Some(value) = value {
            each(ValuePlace::Column(column), column_path(column), ValueText::Text(value));
        }
    }
    for member in content.metadata.members() {
        path.clear();
        path.push_str(METADATA);
        path.push_str(&member.key);
        each(ValuePlace::Metadata, &path, ValueText::Canonical(content.metadata.value(member)));
    }
    for (position, target) in content.targets.iter().enumerate() {
        path.clear();
        write_target_path(position, &mut path);
        each(ValuePlace::Target(position), &path, ValueText::Canonical(target.canonical()));
    }
}

/// The text of a value, as it is or as canonical JSON.
#[derive(Clone, Copy)]
pub(crate) enum ValueText<'a> {
    Text(&'a str),
    Canonical(&'a str),
}

impl ValueText<'_> {
    /// Writes its canonical text.
    fn write(self, out: &mut String) {
        match self {
            ValueText::Text(text) => write_string(text, out),
            ValueText::Canonical(text) => out.push_str(text),
        }
    }

    /// Its commitment.
    pub(crate) fn commitment(self, leaf_salt: &Salt, path: &str) -> Hash {
        let mut text = String::new();
        write_disclosure(leaf_salt, path, self, &mut text);
        sha256_of_text(&mut text)
    }
}

/// Where in an event a value stands.
#[derive(Clone, Copy)]
pub(crate) enum ValuePlace {
    Column(usize),
    Metadata,
    Target(usize),
}

/// Returns the commitments of an event of which nothing is erased. No commitment needs another one,
/// so they are hashed together: first all salts, then all values.
pub fn seal(content: &Content<'_>, event_salt: &Salt, scratch: &mut Scratch) -> Commitments {
    let Scratch { messages, text, ends, salts, .. } = scratch;
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
