//! Reads the members of a JSON object, each of them once, and refuses those that nobody asked for.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most bytes of a text, if its member names no other limit.
const TEXT: usize = 255;

/// The members of an object that are not read yet.
pub(crate) struct Members<'a> {
    object: &'a Map<String, Value>,
    /// What to call the object in a sentence.
    path: &'static str,
    known: BTreeSet<&'static str>,
}

impl<'a> Members<'a> {
    /// The members of this value, which has to be an object. `path` is what stands before a member in a sentence.
    ///
    /// # Errors
    /// A sentence, as for everything below.
    pub(crate) fn of(value: &'a Value, path: &'static str) -> Result<Members<'a>, String> {
        let object =
            value.as_object().ok_or_else(|| format!("{} is not a JSON object.", path.trim_end_matches('.')))?;
        Ok(Members { object, path, known: BTreeSet::new() })
    }

    fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: &str) -> String {
        format!("{}{name} {what}.", self.path)
    }

    /// A text of at most `max` bytes, without control characters.
    pub(crate) fn text_up_to(&mut self, name: &'static str, max: usize) -> Result<Option<String>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| self.wrong(name, "is not a text"))?;
        if text.is_empty() || text.len() > max {
            return Err(self.wrong(name, &format!("does not have 1 to {max} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(self.wrong(name, "has a control character"));
        }
        Ok(Some(text.to_owned()))
    }

    /// A text, which may be missing.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        self.text_up_to(name, TEXT)
    }

    /// A text that has to be there.
    pub(crate) fn required(&mut self, name: &'static str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// The name of a file in a directory of the program.
    pub(crate) fn file_name(&mut self, name: &'static str) -> Result<Option<String>, String> {
        let text = self.text(name)?;
        match &text {
            Some(text) if !is_file_name(text) => Err(self.wrong(name, FILE_NAME)),
            _ => Ok(text),
        }
    }

    /// The name of a secret that has to be there.
    pub(crate) fn secret(&mut self, name: &'static str) -> Result<String, String> {
        self.file_name(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, "is neither true nor false")),
        }
    }

    pub(crate) fn number(
        &mut self,
        name: &'static str,
        default: u64,
        range: &RangeInclusive<u64>,
    ) -> Result<u64, String> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| {
                self.wrong(name, &format!("is not a whole number from {} to {}", range.start(), range.end()))
            }),
        }
    }

    /// The time that a receiver has to answer.
    pub(crate) fn timeout(&mut self) -> Result<Duration, String> {
        self.number("timeout", 15, &(1..=15)).map(Duration::from_secs)
    }

    /// An object of texts.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<(&'a str, &'a str)>, String> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let object = value.as_object().filter(|object| object.len() <= 200);
        let object = object.ok_or_else(|| self.wrong(name, "is not a JSON object of at most 200 members"))?;
        let texts = object.iter().map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        texts.collect::<Option<_>>().ok_or_else(|| self.wrong(name, "has a member that is not a text"))
    }

    /// A member that is an object of its own.
    pub(crate) fn object(&mut self, name: &'static str, path: &'static str) -> Result<Option<Members<'a>>, String> {
        self.get(name).map(|value| Members::of(value, path)).transpose()
    }

    /// Refuses the members that were not asked for.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.object.keys().find(|name| !self.known.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<&str> = self.known.into_iter().collect();
                Err(format!("{}{} is not known; the members are {}.", self.path, shown(name), known.join(", ")))
            }
        }
    }
}

const FILE_NAME: &str = "is not a name of 1 to 64 letters, digits, dots, hyphens and underscores that begins with a \
                         letter or a digit";

/// Whether a text is the name of a file, and neither a path nor hidden.
pub(crate) fn is_file_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|char: char| char.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_'))
}

/// A name that somebody else chose, for a sentence.
fn shown(name: &str) -> String {
    name.chars().take(64).filter(|char| !char.is_control()).collect()
}
