//! Targets: the resources that an event is about besides its own. They are normalised and sorted
//! once, when the event enters; every later reader takes the stored order.

use crate::json::{Object, Shape};
use crate::limits;

/// Why a target was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The element is not an object.
    NotAnObject,
    /// A member other than `type`, `id`, `name` and `metadata`.
    UnknownMember(String),
    /// `type` is missing, is not a string, or is empty.
    Type,
    /// `id` or `name` is not a string.
    NotAString(&'static str),
    /// `metadata` is not an object.
    Metadata,
    /// A member is null, which normalising would have dropped.
    Null,
}

/// Whether null members are dropped or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An event that enters: null members are dropped.
    Entering,
    /// A stored event: a null member is a violation.
    Stored,
}

/// A target that keeps the rules, with its canonical text (RFC 8785).
#[derive(Debug, Clone, PartialEq)]
pub struct Target<'a>(Object<'a>);

impl<'a> Target<'a> {
    /// Takes one element of `targets`; `object` is `None` if the element is not an object.
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the rule which the element breaks.
    pub fn new(object: Option<Object<'a>>, form: Form) -> Result<Self, Error> {
        let mut object = object.ok_or(Error::NotAnObject)?;
        if form == Form::Entering {
            object.retain(|member| member.shape != Shape::Null || !is_member(&member.key));
        }
        let mut has_type = false;
        for member in object.members() {
            match (member.key.as_ref(), &member.shape) {
                ("type", Shape::String(text)) if form == Form::Stored || !text.is_empty() => has_type = true,
                ("type", _) => return Err(Error::Type),
                ("id" | "name" | "metadata", Shape::Null) => return Err(Error::Null),
                ("id" | "name", Shape::String(_)) | ("metadata", Shape::Object(_)) => {}
                ("id", _) => return Err(Error::NotAString("id")),
                ("name", _) => return Err(Error::NotAString("name")),
                ("metadata", _) => return Err(Error::Metadata),
                (key, _) => return Err(Error::UnknownMember(key.to_string())),
            }
        }
        match has_type {
            true => Ok(Target(object)),
            false => Err(Error::Type),
        }
    }

    /// Returns what erasing leaves of the target: its type.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut object = self.0.clone();
        object.retain(|member| member.key == "type");
        Target(object)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.0.members().iter().find(|known| known.key == member).and_then(|known| match &known.shape {
            Shape::String(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// Returns the type.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// Returns the id, if the target has one.
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// Returns the name, if the target has one.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// Returns how many members the metadata has.
    pub fn metadata_keys(&self) -> usize {
        let metadata = self.0.members().iter().find(|member| member.key == "metadata");
        metadata.map_or(0, |metadata| match metadata.shape {
            Shape::Object(members) => members,
            _ => 0,
        })
    }

    /// Returns the canonical text of the whole target (RFC 8785).
    pub fn canonical(&self) -> &str {
        self.0.text()
    }

    /// Returns how many members the target has.
    pub fn len(&self) -> usize {
        self.0.members().len()
    }

    /// Returns whether the target has no members, which is never true: a target has a type.
    pub fn is_empty(&self) -> bool {
        self.0.members().is_empty()
    }

    /// Returns whether nothing but the type is left, as after an erasure.
    pub fn is_bare(&self) -> bool {
        self.0.members().len() == 1
    }
}

fn is_member(key: &str) -> bool {
    matches!(key, "type" | "id" | "name" | "metadata")
}

/// Compares two targets as they are stored: by type, then id (none first), then canonical text,
/// each by its UTF-8 bytes.
pub fn order(a: &Target<'_>, b: &Target<'_>) -> std::cmp::Ordering {
    (a.kind(), a.id(), a.canonical()).cmp(&(b.kind(), b.id(), b.canonical()))
}

/// Sorts targets by [`order`].
pub fn sort(targets: &mut [Target<'_>]) {
    targets.sort_by(order);
}

/// Reads the elements of a stored `targets` value, each of which is `None` if it is not an object.
/// Returns `None` if normalising cannot have left such a value.
pub fn stored(elements: Vec<Option<Object<'_>>>) -> Option<Vec<Target<'_>>> {
    if elements.len() > limits::TARGETS {
        return None;
    }
    elements.into_iter().map(|element| Target::new(element, Form::Stored).ok()).collect()
}
