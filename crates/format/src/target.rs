//! Targets: the resources an event is about besides its own. Normalised and sorted once, when the event enters; every
//! later reader takes the stored order.

use crate::json::{Object, Shape};
use crate::limits;

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
pub struct Target<'a>(Object<'a>);

impl<'a> Target<'a> {
    /// Takes one element of `targets`, if it is an object.
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

    /// What erasing leaves of it: the type.
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

    /// How many members its metadata has.
    pub fn metadata_keys(&self) -> usize {
        let metadata = self.0.members().iter().find(|member| member.key == "metadata");
        metadata.map_or(0, |metadata| match metadata.shape {
            Shape::Object(members) => members,
            _ => 0,
        })
    }

    /// The canonical text of the whole target.
    pub fn canonical(&self) -> &str {
        self.0.text()
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.0.members().len()
    }

    /// Never true: a target has a type.
    pub fn is_empty(&self) -> bool {
        self.0.members().is_empty()
    }

    /// Whether nothing but the type is left, as erasing leaves it.
    pub fn is_bare(&self) -> bool {
        self.0.members().len() == 1
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
pub fn stored(elements: Vec<Option<Object<'_>>>) -> Option<Vec<Target<'_>>> {
    if elements.len() > limits::TARGETS {
        return None;
    }
    elements.into_iter().map(|element| Target::new(element, Form::Stored).ok()).collect()
}
