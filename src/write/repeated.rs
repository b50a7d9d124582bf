//! Whether a call with an idempotency key that is already in use repeats the event that has the
//! key, or would have recorded another event.

use crate::log::targets;
use crate::pg::datum::{inet_text, micros, text, Datum};
use crate::pg::jsonb::Reader;
use crate::pg::tuple::Values;
use crate::write::payload::{Given, FIELDS};
use immutable_format::event::{Erasure, COLUMNS};
use immutable_format::json::Object;
use immutable_format::limits::{CANONICAL_BYTES, NESTING};
use immutable_format::target::{self, Form, Target};
use pgrx::pg_sys;

/// The event that has the key, as track() selects it: `erased`, then the columns of [`FIELDS`].
pub struct Original<'a> {
    values: &'a Values<'a>,
    first: usize,
    erasure: Option<Erasure>,
    /// Whether triggers that are not the extension's may have added to what was given.
    filled_in: bool,
}

impl<'a> Original<'a> {
    /// The event in a row whose column `erased` is at `first`, counted from 0, followed by the
    /// columns of [`FIELDS`]. `filled_in` says whether triggers that are not the extension's may
    /// have added to what was given.
    pub fn new(values: &'a Values<'a>, first: usize, filled_in: bool) -> Original<'a> {
        let mut original = Original { values, first: first + 1, erasure: None, filled_in };
        let erased = values.at(first).and_then(Reader::new);
        let erased = erased.and_then(|erased| erased.value(3, 16 * CANONICAL_BYTES).ok());
        original.erasure = erased.and_then(|erased| Erasure::new(&erased).ok());
        original
    }

    fn get(&self, field: usize) -> Option<Datum<'a>> {
        self.values.at(self.first + field)
    }

    /// Whether the column had a value that is erased.
    fn is_erased(&self, column: &str) -> bool {
        let place = COLUMNS.iter().position(|known| *known == column);
        matches!((&self.erasure, place), (Some(erasure), Some(place)) if erasure.columns[place].is_some())
    }

    /// The names of the fields in which the event given differs from this one. Fields that another
    /// connection may fill in otherwise (the time of the call, and what the session says of itself)
    /// count only if the call gives them; all others count as they would be recorded. What is
    /// erased cannot be compared. `entered` is what would have been recorded: a trigger that is not
    /// the extension's and changes what is given has changed the original in the same way.
    pub fn differing(&self, given: &Given, entered: &Given) -> Vec<&'static str> {
        let mut differing = Vec::new();
        for (field, (name, column, _)) in FIELDS.iter().enumerate() {
            let counts = match *name {
                "tenant_id" | "idempotency_key" => false,
                "actor_id" | "actor_name" | "actor_type" | "session_id" | "ip_address" | "user_agent"
                | "occurred_at" => given[field].is_some(),
                _ => given[field].is_some() || !self.filled_in,
            };
            let (given, entered) = (given[field], entered[field]);
            let is_same = || match *column {
                "metadata" => self.is_same_metadata(given, entered, self.get(field)).unwrap_or(false),
                _ => self.is_same(field, column, given) || self.is_same(field, column, entered),
            };
            if counts && !is_same() {
                differing.push(*name);
            }
        }
        differing
    }

    fn is_same(&self, field: usize, column: &str, given: Option<Datum>) -> bool {
        match (column, given, self.get(field)) {
            ("targets", given, stored) => self.are_same_targets(given, stored).unwrap_or(false),
            (_, None, None) => true,
            (_, Some(given), Some(stored)) => match FIELDS[field].2 {
                pg_sys::INT4OID => given.i32() == stored.i32(),
                pg_sys::TIMESTAMPTZOID => micros(given) == micros(stored),
                pg_sys::INETOID => inet_text(given) == inet_text(stored),
                _ => text(given) == text(stored),
            },
            (column, _, None) => self.is_erased(column),
            (_, None, Some(_)) => false,
        }
    }

    fn is_same_metadata(&self, given: Option<Datum>, entered: Option<Datum>, stored: Option<Datum>) -> Option<bool> {
        let (given, entered, stored) = (object(given)?, object(entered)?, object(stored)?);
        let erased = self.erasure.as_ref().map_or(0, |erasure| erasure.metadata.len());
        let (mut missing, mut same) = (0, 0);
        for member in given.members() {
            match (value_of(&stored, &member.key), value_of(&entered, &member.key)) {
                // A trigger removes it.
                (None, None) => {}
                (None, Some(_)) => missing += 1,
                (Some(known), entered) if known == given.value(member) || entered == Some(known) => same += 1,
                (Some(_), _) => return Some(false),
            }
        }
        // The names of erased keys are gone too, so the missing keys may be the erased ones.
        Some(match self.filled_in {
            true => missing <= erased,
            false => missing == erased && same == stored.members().len(),
        })
    }

    fn are_same_targets(&self, given: Option<Datum>, stored: Option<Datum>) -> Option<bool> {
        let (mut given, stored) = (targets_of(given, Form::Entering)?, targets_of(stored, Form::Stored)?);
        target::sort(&mut given);
        let is_erased = |position: usize| {
            self.erasure.as_ref().is_some_and(|erasure| erasure.targets.iter().any(|(at, _)| *at == position))
        };
        let mut pairs = given.iter().zip(&stored).enumerate();
        let same = pairs.all(|(position, (given, stored))| match is_erased(position) {
            true => given.kind() == stored.kind(),
            false => given.canonical() == stored.canonical(),
        });
        Some(same && given.len() == stored.len())
    }
}

/// The object in a jsonb, empty for NULL; nothing if the value is not an object.
fn object(datum: Option<Datum<'_>>) -> Option<Object<'_>> {
    let Some(datum) = datum else { return Some(Object::default()) };
    Reader::new(datum)?.object(NESTING, CANONICAL_BYTES).ok()?
}

/// The canonical text of an object's member.
fn value_of<'o>(object: &'o Object<'_>, key: &str) -> Option<&'o str> {
    object.members().iter().find(|member| member.key == key).map(|member| object.value(member))
}

fn targets_of(datum: Option<Datum<'_>>, form: Form) -> Option<Vec<Target<'_>>> {
    let Some(datum) = datum else { return Some(Vec::new()) };
    targets::parse(datum, form, targets::LARGEST, |_, _, _| {}).ok()
}
