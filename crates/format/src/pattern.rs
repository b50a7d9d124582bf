//! Patterns of actions, as action schemas have them, and which of many is the most specific that
//! matches an action.
//!
//! A pattern is an action (`document.created`), a beginning with `*` at the end (`document.*`), or
//! `*` alone, which matches every action of a single segment, one without a dot.

use crate::event::RESERVED;
use crate::limits::text_bytes;
use std::collections::HashMap;

/// A pattern that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// The action itself.
    Exact(&'a str),
    /// Every action that begins so.
    Prefix(&'a str),
    /// Every action without a dot.
    SingleSegment,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It is empty.
    Empty,
    /// It has more bytes than an action may have.
    TooLong,
    /// It has `*` elsewhere than at the end, or more than one.
    Wildcard,
    /// It would match actions of the log's own alone, which no schema applies to.
    Reserved,
}

impl<'a> Pattern<'a> {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Why the text is no pattern.
    pub fn parse(text: &'a str) -> Result<Pattern<'a>, Error> {
        let (beginning, is_open) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.len() > text_bytes("action") {
            return Err(Error::TooLong);
        }
        if beginning.contains('*') {
            return Err(Error::Wildcard);
        }
        if beginning.starts_with(RESERVED) {
            return Err(Error::Reserved);
        }
        Ok(match (beginning, is_open) {
            ("", _) => Pattern::SingleSegment,
            (action, false) => Pattern::Exact(action),
            (beginning, true) => Pattern::Prefix(beginning),
        })
    }

    /// Whether the action matches.
    #[must_use]
    pub fn matches(&self, action: &str) -> bool {
        match self {
            Pattern::Exact(exact) => *exact == action,
            Pattern::Prefix(beginning) => action.starts_with(beginning),
            Pattern::SingleSegment => !action.contains('.'),
        }
    }

    /// How specific the pattern is. Of two that match an action, the more specific one is greater:
    /// the action itself, then the longer beginning, then `*`.
    #[must_use]
    pub fn specificity(&self) -> usize {
        match self {
            Pattern::Exact(_) => usize::MAX,
            Pattern::Prefix(beginning) => beginning.len(),
            Pattern::SingleSegment => 0,
        }
    }
}

/// A beginning in the sorted list.
#[derive(Debug)]
struct Beginning {
    text: Box<str>,
    number: usize,
    /// The place of the longest other beginning that this one begins with.
    parent: Option<usize>,
}

/// Many patterns, each with a number. Finding the one for an action takes a hash and a binary
/// search.
#[derive(Debug, Default)]
pub struct Patterns {
    exact: HashMap<Box<str>, usize>,
    beginnings: Vec<Beginning>,
    single_segment: Option<usize>,
}

impl Patterns {
    /// Collects patterns, which get their numbers in this order, from 0.
    pub fn new<'a>(patterns: impl IntoIterator<Item = Pattern<'a>>) -> Patterns {
        let mut all = Patterns::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            match pattern {
                Pattern::Exact(action) => {
                    all.exact.insert(action.into(), number);
                }
                Pattern::Prefix(beginning) => {
                    all.beginnings.push(Beginning { text: beginning.into(), number, parent: None });
                }
                Pattern::SingleSegment => all.single_segment = Some(number),
            }
        }
        all.beginnings.sort_by(|a, b| a.text.cmp(&b.text));
        // What a text begins with is sorted before it, and all between the two begin with it too.
        for place in 1..all.beginnings.len() {
            let mut candidate = Some(place - 1);
            while let Some(at) = candidate {
                if all.beginnings[place].text.starts_with(&*all.beginnings[at].text) {
                    break;
                }
                candidate = all.beginnings[at].parent;
            }
            all.beginnings[place].parent = candidate;
        }
        all
    }

    /// The number of the most specific pattern that matches the action, and how specific it is.
    #[must_use]
    pub fn find(&self, action: &str) -> Option<(usize, usize)> {
        if let Some(number) = self.exact.get(action) {
            return Some((*number, usize::MAX));
        }
        let after = self.beginnings.partition_point(|beginning| &*beginning.text <= action);
        let mut candidate = after.checked_sub(1);
        while let Some(place) = candidate {
            let beginning = &self.beginnings[place];
            if action.starts_with(&*beginning.text) {
                return Some((beginning.number, beginning.text.len()));
            }
            candidate = beginning.parent;
        }
        self.single_segment.filter(|_| !action.contains('.')).map(|number| (number, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Pattern, Patterns};
    use proptest::prelude::*;

    #[test]
    fn a_star_ends_a_pattern() {
        assert_eq!(Pattern::parse("document.created"), Ok(Pattern::Exact("document.created")));
        assert_eq!(Pattern::parse("document.*"), Ok(Pattern::Prefix("document.")));
        assert_eq!(Pattern::parse("doc*"), Ok(Pattern::Prefix("doc")));
        assert_eq!(Pattern::parse("*"), Ok(Pattern::SingleSegment));
        for text in ["*.created", "document.*.created", "**", "a.**"] {
            assert_eq!(Pattern::parse(text), Err(Error::Wildcard), "{text}");
        }
        assert_eq!(Pattern::parse(""), Err(Error::Empty));
        assert_eq!(Pattern::parse(&"a".repeat(255)), Ok(Pattern::Exact(&"a".repeat(255))));
        assert_eq!(Pattern::parse(&"a".repeat(256)), Err(Error::TooLong));
        assert_eq!(Pattern::parse("immutable.*"), Err(Error::Reserved));
        assert_eq!(Pattern::parse("immutable.ddl"), Err(Error::Reserved));
        assert_eq!(Pattern::parse("imm*"), Ok(Pattern::Prefix("imm")));
    }

    #[test]
    fn a_star_alone_matches_a_single_segment() {
        let patterns = Patterns::new([Pattern::SingleSegment]);
        assert_eq!(patterns.find("login"), Some((0, 0)));
        assert_eq!(patterns.find("user.login"), None);
    }

    #[test]
    fn the_most_specific_pattern_counts() {
        let texts = ["*", "a*", "a.b*", "a.b.c", "a.bc*", "b.*"];
        let patterns = Patterns::new(texts.iter().map(|text| Pattern::parse(text).unwrap()));
        for (action, expected) in [
            ("a.b.c", Some("a.b.c")),
            ("a.b.d", Some("a.b*")),
            ("a.bcd", Some("a.bc*")),
            ("a.c", Some("a*")),
            ("a", Some("a*")),
            ("c", Some("*")),
            ("c.d", None),
            ("b.", Some("b.*")),
            ("b", Some("*")),
        ] {
            assert_eq!(patterns.find(action).map(|(number, _)| texts[number]), expected, "{action}");
        }
    }

    proptest! {
        #[test]
        fn finding_is_what_trying_each_pattern_would_find(
            texts in proptest::collection::hash_set("[ab.é]{0,5}\\*?", 0..40),
            actions in proptest::collection::vec("[ab.é]{1,7}", 1..40),
        ) {
            let parsed: Vec<Pattern> = texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let patterns = Patterns::new(parsed.iter().copied());
            for action in &actions {
                let matching = parsed.iter().enumerate().filter(|(_, pattern)| pattern.matches(action));
                let expected = matching.max_by_key(|(_, pattern)| pattern.specificity());
                prop_assert_eq!(patterns.find(action), expected.map(|(number, pattern)| (number, pattern.specificity())));
            }
        }
    }
}
