//! The targets of an event, read from the jsonb that holds them. This is the only place that reads
//! them.

use crate::pg::datum::Datum;
use crate::pg::jsonb::{nested_members, Reader};
use immutable_format::target::{self, Form, Target};
use immutable_format::{json, limits};

/// How many targets there may be, how many levels deep each may be nested, and how many bytes its
/// canonical text may have.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub count: usize,
    pub nesting: usize,
    pub bytes: usize,
}

/// The bounds of the format, which no setting can exceed.
pub const LARGEST: Bounds = Bounds { count: limits::TARGETS, nesting: limits::NESTING, bytes: limits::CANONICAL_BYTES };

/// Why a jsonb holds no targets.
pub enum Malformed {
    /// Its bytes cannot be read.
    Unreadable,
    NotAnArray,
    /// It is an array, of this many elements.
    TooMany(usize),
    /// The element at this position cannot be read, or is too large.
    Element(usize, json::Error),
    /// The element at this position is not a target.
    Target(usize, target::Error),
}

/// The targets in a jsonb, in their order. `each` is called with each target as soon as it is read,
/// with its position, counted from 0, and whether it was kept unchanged: normalising leaves out
/// members that are null.
pub fn parse<'m>(
    targets: Datum<'m>,
    form: Form,
    bounds: Bounds,
    mut each: impl FnMut(usize, &Target<'m>, bool),
) -> Result<Vec<Target<'m>>, Malformed> {
    let reader = Reader::new(targets).ok_or(Malformed::Unreadable)?;
    let count = reader.array_len().ok_or(Malformed::NotAnArray)?;
    if count > bounds.count {
        return Err(Malformed::TooMany(count));
    }
    let elements = reader.objects(bounds.nesting, bounds.bytes);
    let elements = elements.map_err(|(position, error)| Malformed::Element(position, error))?;
    let mut parsed = Vec::with_capacity(elements.len());
    for (position, element) in elements.into_iter().enumerate() {
        let members = element.as_ref().map_or(0, |element| element.members().len());
        let target = Target::new(element, form).map_err(|error| Malformed::Target(position, error))?;
        each(position, &target, target.len() == members);
        parsed.push(target);
    }
    Ok(parsed)
}

/// A target as event_targets keeps it.
pub struct Derived<'m> {
    pub target: Target<'m>,
    /// Its metadata, a jsonb.
    pub metadata: Option<Datum<'m>>,
}

/// The targets of a stored event, for event_targets; empty if they are malformed, which only a
/// superuser can cause.
pub fn derived(targets: Datum<'_>) -> Vec<Derived<'_>> {
    let parsed = parse(targets, Form::Stored, LARGEST, |_, _, _| {}).unwrap_or_default();
    let metadata = nested_members(targets, "metadata");
    parsed.into_iter().zip(metadata).map(|(target, metadata)| Derived { target, metadata }).collect()
}
