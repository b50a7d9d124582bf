//! Targets: the resources an event is about besides its own. Normalised and sorted once, when the event enters; every
//! later reader takes the stored order.

use crate::json::{Members, Value};
use crate::limits;
use std::borrow::Cow;

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The element is not an object.
    NotAnObject,
    /// A member other than type, id, name and metadata.
    UnknownMember(String),
    /// `type` is missing, or not a string, or empty.
    Type,
    /// `id` or `name` is not a string.
    NotAString(&'static str),
    /// `metadata` is not an object.
    Metadata,
    /// A null member, which normalising would have dropped.
    Null,
}

/// Whether null members are dropped (an event that enters) or a violation (a stored one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Entering,
    Stored,
}

/// A target that keeps the rules, with its canonical text.
#[derive(Debug, Clone, PartialEq)]
pub struct Target<'a> {
    members: Members<'a>,
    canonical: String,
}

impl<'a> Target<'a> {
    /// Takes one element of `targets`.
    pub fn new(value: Value<'a>, form: Form) -> Result<Self, Error> {
        let Value::Object(mut members) = value else {
            return Err(Error::NotAnObject);
        };
        if form == Form::Entering {
            members.retain(|(key, value)| *value != Value::Null || !is_member(key));
        }
        for (key, value) in &members {
            match (key.as_ref(), value) {
                ("type", Value::String(text)) if form == Form::Stored || !text.is_empty() => {}
                ("type", _) => return Err(Error::Type),
                ("id" | "name" | "metadata", Value::Null) => return Err(Error::Null),
                ("id" | "name", Value::String(_)) | ("metadata", Value::Object(_)) => {}
                ("id", _) => return Err(Error::NotAString("id")),
                ("name", _) => return Err(Error::NotAString("name")),
                ("metadata", _) => return Err(Error::Metadata),
                _ => return Err(Error::UnknownMember(key.to_string())),
            }
        }
        let value = Value::Object(members);
        let canonical = value.canonical();
        let Value::Object(members) = value else {
            return Err(Error::NotAnObject);
        };
        let target = Target { members, canonical };
        if target.text("type").is_none() {
            return Err(Error::Type);
        }
        Ok(target)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.members.iter().find(|(key, _)| key == member).and_then(|(_, value)| value.as_str())
    }

    /// The type.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// The id, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// The members of its metadata, if it has any.
    pub fn metadata(&self) -> Option<&[(Cow<'a, str>, Value<'a>)]> {
        self.members.iter().find_map(|(key, value)| match value {
            Value::Object(members) if key == "metadata" => Some(members.as_slice()),
            _ => None,
        })
    }

    /// The canonical text of the whole target.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never true: a target has a type.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether nothing but the type is left, as erasing leaves it.
    pub fn is_bare(&self) -> bool {
        self.members.len() == 1
    }
}

fn is_member(key: &str) -> bool {
    matches!(key, "type" | "id" | "name" | "metadata")
}

/// The order of targets: by type, then id (none first), then canonical text, each by its UTF-8 bytes.
pub fn order(a: &Target<'_>, b: &Target<'_>) -> std::cmp::Ordering {
    (a.kind(), a.id(), a.canonical()).cmp(&(b.kind(), b.id(), b.canonical()))
}

/// Sorts by [`order`].
pub fn sort(targets: &mut [Target<'_>]) {
    targets.sort_by(order);
}

/// Reads the elements of a stored `targets` value; nothing if it is not what normalising leaves.
pub fn stored(elements: Vec<Value<'_>>) -> Option<Vec<Target<'_>>> {
    if elements.len() > limits::TARGETS {
        return None;
    }
    elements.into_iter().map(|element| Target::new(element, Form::Stored).ok()).collect()
}
