//! Finds the values of an event that are about a person, so that they can be erased.

use crate::event::{erasable_paths, target_position, Content, Erasure, COLUMNS, METADATA, RESERVED, TARGETS};
use crate::json::Value;
use crate::limits;
use crate::target::Target;
use crate::word::{mentions, Variants};

/// A person who is to be erased, and how far.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    /// All ids of the person: at least one, and none of them empty.
    pub ids: Vec<&'a str>,
    /// Top-level metadata keys that are erased as well, from every event that is about the person.
    pub metadata_keys: Vec<&'a str>,
    /// The paths that are erased from the events whose actor the person is; `None` erases
    /// everything.
    pub actor_paths: Option<Vec<&'a str>>,
}

/// Why a value is about the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The value is an id of the person, and nothing else.
    Exact,
    /// An id is in the value, as a word.
    Within,
    /// The value stands beside an id: in an event whose actor or resource the person is, or under
    /// one of the metadata keys.
    Beside,
    /// The value looks like an id, but is written differently. It is not erased.
    Variant,
}

impl Found {
    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Found::Exact => "exact",
            Found::Within => "within",
            Found::Beside => "beside",
            Found::Variant => "variant",
        }
    }
}

/// A value that is about the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The path of the value.
    pub path: String,
    /// Why it is about the person.
    pub found: Found,
}

/// The one path that can be erased from an event that the log itself recorded.
pub const REASON: &str = "metadata.reason";

/// A value that can be erased.
enum Part<'c> {
    Column(&'static str, &'c str),
    /// A key of the metadata with its value, as JSON.
    Member(&'c str, &'c str),
    Target(&'c Target<'c>),
}

/// Columns that hold ids. A longer text in one of them is the id of somebody else.
const IDS: [&str; 2] = ["actor_id", "resource_id"];

impl Subject<'_> {
    /// Returns what to erase from an event, among the values that it has; nothing if the event is
    /// not about the person. `erasure` is what the event has lost so far.
    pub fn hits(&self, content: &Content<'_>, erasure: Option<&Erasure>, action: &str) -> Vec<Hit> {
        let own = action.starts_with(RESERVED);
        let parts: Vec<(String, Part<'_>)> = parts(content, erasure);
        let found: Vec<Option<Found>> = parts.iter().map(|(_, part)| self.found(part)).collect();
        let (is_actor, is_resource) = (self.is(content, "actor_id"), self.is(content, "resource_id"));
        if found.iter().all(Option::is_none) {
            return Vec::new();
        }
        let goes = |path: &str, found: Option<Found>| {
            // The log keeps the record of who erased what. Only a reason that names the person is
            // erased.
            if own {
                return found.filter(|_| path == REASON);
            }
            let found = found.filter(|_| !self.keeps(path, is_actor));
            let key = path.strip_prefix(METADATA);
            let is_beside = is_actor && self.actor_paths.as_ref().is_none_or(|paths| paths.contains(&path))
                || is_resource && path == "resource_name"
                || key.is_some_and(|key| self.metadata_keys.contains(&key));
            found.or(is_beside.then_some(Found::Beside))
        };
        let hits = parts.into_iter().zip(found).filter_map(|((path, _), found)| {
            let found = goes(&path, found)?;
            Some(Hit { path, found })
        });
        hits.collect()
    }

    /// Returns what looks like the person and is not erased, so that somebody can look at it.
    pub fn variants(
        &self,
        variants: &Variants<'_>,
        content: &Content<'_>,
        erasure: Option<&Erasure>,
        action: &str,
    ) -> Vec<Hit> {
        let own = action.starts_with(RESERVED);
        let hits = self.hits(content, erasure, action);
        let is_actor = self.is(content, "actor_id");
        let stays = |path: &str| {
            hits.iter().all(|hit| hit.path != path) && !self.keeps(path, is_actor) && (!own || path == REASON)
        };
        let parts = parts(content, erasure).into_iter();
        let like = parts.filter(|(path, part)| stays(path) && are_in_part(variants, part));
        like.map(|(path, _)| Hit { path, found: Found::Variant }).collect()
    }

    fn is(&self, content: &Content<'_>, column: &str) -> bool {
        let mut columns = COLUMNS.iter().zip(&content.columns);
        columns.any(|(name, value)| *name == column && value.as_deref().is_some_and(|id| self.ids.contains(&id)))
    }

    /// Whether the path stays because `actor_paths` does not name it.
    fn keeps(&self, path: &str, is_actor: bool) -> bool {
        let is_actors = COLUMNS.contains(&path) && !matches!(path, "resource_id" | "resource_name");
        is_actor && is_actors && self.actor_paths.as_ref().is_some_and(|paths| !paths.contains(&path))
    }

    fn found(&self, part: &Part<'_>) -> Option<Found> {
        match part {
            Part::Column(name, value) if IDS.contains(name) => self.ids.contains(value).then_some(Found::Exact),
            Part::Column("ip_address", value) => {
                let exact = self.ids.contains(value).then_some(Found::Exact);
                exact.or_else(|| self.ids.contains(&address(value)).then_some(Found::Within))
            }
            Part::Column(_, value) => self.found_in(value),
            Part::Member(key, value) => {
                // The value was written under these bounds. A value that is not JSON is searched as
                // a text.
                let value = match Value::parse(value, limits::NESTING, limits::CANONICAL_BYTES) {
                    Ok(value) => self.found_in_value(&value),
                    Err(_) => self.found_in(value),
                };
                either(self.found_in(key), value)
            }
            Part::Target(target) => {
                let id = target.id().filter(|id| self.ids.contains(id)).map(|_| Found::Exact);
                let name = target.name().and_then(|name| self.found_in(name));
                id.or(name).or_else(|| self.found_in_value(&metadata_of(target)?).map(|_| Found::Within))
            }
        }
    }

    fn found_in(&self, text: &str) -> Option<Found> {
        if self.ids.contains(&text) {
            return Some(Found::Exact);
        }
        self.ids.iter().any(|id| mentions(text, id)).then_some(Found::Within)
    }

    /// Searches strings and the names of members. A number is never an id.
    fn found_in_value(&self, value: &Value<'_>) -> Option<Found> {
        match value {
            Value::String(text) => self.found_in(text),
            _ => any_text(value, &mut |text| self.found_in(text).is_some(), &mut |_| false).then_some(Found::Within),
        }
    }
}

/// An address without its netmask. It is compared as a whole, because any number could be a part of
/// it.
fn address(text: &str) -> &str {
    text.split_once('/').map_or(text, |(address, _)| address)
}

fn either(a: Option<Found>, b: Option<Found>) -> Option<Found> {
    match (a, b) {
        (Some(Found::Exact), _) | (_, None) => a,
        _ => b,
    }
}

fn are_in_part(variants: &Variants<'_>, part: &Part<'_>) -> bool {
    let are_in = |value: &Value<'_>| {
        any_text(value, &mut |text| variants.are_in(text), &mut |number| variants.are_number(number))
    };
    match part {
        Part::Column("ip_address", value) => variants.are(value) || variants.are(address(value)),
        Part::Column(_, value) => variants.are_in(value),
        Part::Member(key, value) => {
            let parsed = Value::parse(value, limits::NESTING, limits::CANONICAL_BYTES);
            variants.are_in(key) || parsed.map_or_else(|_| variants.are_in(value), |value| are_in(&value))
        }
        Part::Target(target) => {
            let texts = [target.id(), target.name()];
            texts.into_iter().flatten().any(|text| variants.are_in(text))
                || metadata_of(target).is_some_and(|metadata| are_in(&metadata))
        }
    }
}

/// The values that are there, with their paths, in the order of [`erasable_paths`].
fn parts<'c>(content: &'c Content<'_>, erasure: Option<&Erasure>) -> Vec<(String, Part<'c>)> {
    let columns = COLUMNS.iter().zip(&content.columns);
    let mut columns = columns.filter_map(|(name, value)| Some(Part::Column(name, value.as_deref()?)));
    let metadata = &content.metadata;
    let mut members = metadata.members().iter().map(|member| Part::Member(&member.key, metadata.value(member)));
    let part = |path: String| {
        let part = if path.starts_with(TARGETS) {
            Part::Target(content.targets.get(target_position(&path)?)?)
        } else if path.starts_with(METADATA) {
            members.next()?
        } else {
            columns.next()?
        };
        Some((path, part))
    };
    erasable_paths(content, erasure).into_iter().filter_map(part).collect()
}

fn metadata_of<'t>(target: &'t Target<'_>) -> Option<Value<'t>> {
    if target.metadata_keys() == 0 {
        return None;
    }
    match Value::parse(target.canonical(), limits::NESTING, limits::CANONICAL_BYTES) {
        Ok(Value::Object(members)) => {
            members.into_iter().find(|(name, _)| name == "metadata").map(|(_, metadata)| metadata)
        }
        _ => None,
    }
}

/// Whether a string or the name of a member passes `text`, or a number `number`, anywhere in a
/// value. It is nested no deeper than the bounds it was read with, and so is the recursion.
fn any_text(value: &Value<'_>, text: &mut impl FnMut(&str) -> bool, number: &mut impl FnMut(&str) -> bool) -> bool {
    match value {
        Value::String(string) => text(string),
        Value::Number(digits) => number(digits),
        Value::Array(items) => items.iter().any(|item| any_text(item, text, number)),
        Value::Object(members) => members.iter().any(|(key, value)| text(key) || any_text(value, text, number)),
        Value::Null | Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Subject};
    use crate::erasure::erase;
    use crate::event::{erasable_paths, Content, Erasure, COLUMNS};
    use crate::json::Object;
    use crate::target::{Form, Target};
    use crate::word::Variants;

    fn json(text: &str) -> Option<Object<'_>> {
        Object::parse(text, 64, 65536).unwrap()
    }

    fn event<'a>(columns: &[(&str, &'a str)], metadata: &'a str, targets: &'a [&'a str]) -> Content<'a> {
        let mut content = Content::default();
        for (column, value) in columns {
            content.columns[COLUMNS.iter().position(|name| name == column).unwrap()] = Some((*value).into());
        }
        content.metadata = json(metadata).unwrap();
        content.targets = targets.iter().map(|target| Target::new(json(target), Form::Stored).unwrap()).collect();
        content
    }

    fn paths_of(subject: &Subject<'_>, content: &Content<'_>, erasure: Option<&Erasure>, action: &str) -> Vec<String> {
        subject.hits(content, erasure, action).into_iter().map(|hit| hit.path).collect()
    }

    const TARGETS: &[&str] = &[r#"{"id":"u1","type":"user"}"#, r#"{"id":"u12","name":"Bo","type":"user"}"#];

    #[test]
    fn an_actor_s_event_is_erased_whole_or_as_said() {
        let content = event(&[("actor_id", "u1"), ("ip_address", "::1")], r#"{"a":1,"":"u2"}"#, TARGETS);
        let all = ["actor_id", "ip_address", "metadata.", "metadata.a", "targets.0", "targets.1"];
        let subject = Subject { ids: vec!["u1"], ..Subject::default() };
        assert_eq!(paths_of(&subject, &content, None, "a"), all);
        assert_eq!(erasable_paths(&content, None), all);
        let actor_paths = Some(vec!["ip_address", "metadata.a", "metadata.b", "user_agent", "targets.9"]);
        let subject = Subject { ids: vec!["u1"], actor_paths, ..Subject::default() };
        assert_eq!(paths_of(&subject, &content, None, "a"), ["ip_address", "metadata.a", "targets.0"]);
        let subject = Subject { ids: vec!["u3"], metadata_keys: vec!["a"], ..Subject::default() };
        assert!(paths_of(&subject, &content, None, "a").is_empty());
    }

    #[test]
    fn others_events_lose_what_is_about_the_person() {
        let subject = Subject { ids: vec!["u1"], metadata_keys: vec!["name", "none"], ..Subject::default() };
        let found = |content: &Content<'_>| paths_of(&subject, content, None, "a");
        let resource = [("actor_id", "u2"), ("resource_id", "u1"), ("resource_name", "Ann"), ("session_id", "u1")];
        assert_eq!(
            found(&event(&resource, r#"{"n":1,"name":"Ann"}"#, &[])),
            ["resource_id", "resource_name", "session_id", "metadata.name"]
        );
        assert_eq!(found(&event(&[("actor_id", "u2")], "{}", TARGETS)), ["targets.0"]);
        let metadata = r#"{"a":"u1","b":["x",{"y":["by u1"]}],"c":{"u1":1},"d":"u12","e":1,"u1":2,"name":"Ann"}"#;
        assert_eq!(
            found(&event(&[("actor_id", "u2")], metadata, &[])),
            ["metadata.a", "metadata.b", "metadata.c", "metadata.name", "metadata.u1"]
        );
        let metadata = r#"{"d":"u12","name":"Ann","n":["x"]}"#;
        assert!(found(&event(&[("actor_id", "u2")], metadata, &TARGETS[1..])).is_empty());
    }

    #[test]
    fn a_number_is_no_id() {
        let subject = Subject { ids: vec!["42"], ..Subject::default() };
        assert!(paths_of(&subject, &event(&[], r#"{"a":42,"b":[42],"c":true}"#, &[]), None, "a").is_empty());
        assert_eq!(paths_of(&subject, &event(&[], r#"{"a":"42"}"#, &[]), None, "a"), ["metadata.a"]);
    }

    #[test]
    fn the_log_s_own_events_lose_their_reason_alone() {
        let subject = Subject { ids: vec!["u1"], ..Subject::default() };
        let metadata = r#"{"reason":"for u1","other":"u1"}"#;
        let content = event(&[("actor_id", "u1")], metadata, TARGETS);
        assert_eq!(paths_of(&subject, &content, None, "immutable.event_erased"), ["metadata.reason"]);
        let subject = Subject { ids: vec!["u1"], metadata_keys: vec!["reason"], ..Subject::default() };
        let content = event(&[("actor_id", "u1")], r#"{"reason":"for u2"}"#, TARGETS);
        assert!(paths_of(&subject, &content, None, "immutable.event_erased").is_empty());
    }

    #[test]
    fn what_is_gone_is_not_erased_again() {
        let content = event(&[("actor_id", "u1")], r#"{"a":"u1"}"#, TARGETS);
        let subject = Subject { ids: vec!["u1"], ..Subject::default() };
        let (left, erasure) = erase(&content, Some(&[7; 16]), None, &["actor_id", "targets.0"]).unwrap();
        assert_eq!(erasable_paths(&left, Some(&erasure)), ["metadata.a", "targets.1"]);
        assert_eq!(paths_of(&subject, &left, Some(&erasure), "a"), ["metadata.a"]);
        let (left, more) = erase(&left, None, Some(&erasure), &["metadata.a"]).unwrap();
        assert_eq!(more.beyond(Some(&erasure)), more.metadata);
        assert_eq!(more.beyond(None).len(), 3);
        assert!(paths_of(&subject, &left, Some(&more), "a").is_empty());
    }

    #[test]
    fn every_column_that_can_be_erased_is_looked_at() {
        let subject = Subject { ids: vec!["sarah@example.com", "u1"], ..Subject::default() };
        let hits = |content: &Content<'_>| {
            let hits = subject.hits(content, None, "a").into_iter();
            hits.map(|hit| (hit.path, hit.found.name())).collect::<Vec<_>>()
        };
        let is_id = |column: &str| matches!(column, "actor_id" | "resource_id");
        for column in COLUMNS {
            let found = hits(&event(&[("actor_id", "u2"), (column, "sarah@example.com")], "{}", &[]));
            let beside = found.iter().filter(|(_, found)| *found == "beside").count();
            assert_eq!(found[0], (column.to_string(), "exact"));
            assert_eq!(found.len() - beside, 1, "{column}");
            // An id that is longer is another's.
            let found = hits(&event(&[("actor_id", "u2"), (column, "to sarah@example.com")], "{}", &[]));
            let within = [(column.to_string(), "within")];
            let expected = if is_id(column) || column == "ip_address" { &[][..] } else { &within[..] };
            assert_eq!(found, expected, "{column}");
            assert!(hits(&event(&[("actor_id", "u2"), (column, "x.sarah@example.com")], "{}", &[])).is_empty());
        }
        for (target, expected) in [
            (r#"{"id":"u1","type":"user"}"#, Some("exact")),
            (r#"{"id":"u2","name":"u1","type":"user"}"#, Some("exact")),
            (r#"{"name":"to u1","type":"user"}"#, Some("within")),
            (r#"{"metadata":{"a":["u1"]},"type":"user"}"#, Some("within")),
            (r#"{"metadata":{"u1":1},"type":"user"}"#, Some("within")),
            (r#"{"id":"to u1","type":"user"}"#, None),
            (r#"{"id":"u12","metadata":{"a":"u12","id":1},"name":"u12","type":"u1"}"#, None),
        ] {
            let expected: Vec<_> = expected.map(|found| ("targets.0".to_string(), found)).into_iter().collect();
            assert_eq!(hits(&event(&[("actor_id", "u2")], "{}", &[target])), expected, "{target}");
        }
        let metadata = r#"{"a":"u1","b":"to u1","c":["u1"],"d":"u2","u1":"to u1"}"#;
        assert_eq!(
            hits(&event(&[("actor_id", "u2")], metadata, &[])),
            ["a", "b", "c", "u1"]
                .map(|key| (format!("metadata.{key}"), if matches!(key, "a" | "u1") { "exact" } else { "within" }))
        );
    }

    #[test]
    fn an_address_is_compared_as_a_whole() {
        let subject = Subject { ids: vec!["24", "2001:DB8::1", "10.0.0.1"], ..Subject::default() };
        let variants = Variants::new(&subject.ids, str::to_string);
        for (address, expected) in [
            ("10.0.0.1", Some("exact")),
            ("10.0.0.1/24", Some("within")),
            ("10.0.0.0/24", None),
            ("::24", None),
            ("2001:db8::1", Some("variant")),
            ("10.0.0.11", None),
        ] {
            let content = event(&[("actor_id", "u2"), ("ip_address", address)], "{}", &[]);
            let mut hits = subject.hits(&content, None, "a");
            hits.extend(subject.variants(&variants, &content, None, "a"));
            assert_eq!(hits.first().map(|hit| hit.found.name()), expected, "{address}");
        }
    }

    #[test]
    fn what_looks_like_the_person_is_listed_and_stays() {
        let subject = Subject { ids: vec!["sarah@example.com"], ..Subject::default() };
        let variants = Variants::new(&subject.ids, str::to_string);
        let listed = |content: &Content<'_>, action: &str| {
            let hits = subject.variants(&variants, content, None, action).into_iter();
            hits.map(|hit| hit.path).collect::<Vec<_>>()
        };
        let columns = [("actor_id", "SARAH@example.com"), ("resource_id", " sarah@example.com"), ("session_id", "s")];
        let targets =
            [r#"{"id":"Sarah@example.com","type":"t"}"#, r#"{"metadata":{"a":"x.sarah@example.com"},"type":"t"}"#];
        let metadata = r#"{"Sarah@example.com":1,"a":"sarah%40example.com","b":["Sarah@Example.com"],"c":"sara","d":"sarah@example.com"}"#;
        let content = event(&columns, metadata, &targets);
        let expected = [
            "actor_id",
            "resource_id",
            "metadata.Sarah@example.com",
            "metadata.a",
            "metadata.b",
            "targets.0",
            "targets.1",
        ];
        assert_eq!(listed(&content, "a"), expected);
        assert_eq!(paths_of(&subject, &content, None, "a"), ["metadata.d"]);
        let content = event(&columns, r#"{"other":"Sarah@example.com","reason":"for Sarah@example.com"}"#, &targets);
        assert_eq!(listed(&content, "immutable.event_erased"), ["metadata.reason"]);
        // A path that actor_paths leaves out on purpose is not listed.
        let actor_paths = Some(vec!["ip_address"]);
        let subject = Subject { ids: vec!["u1"], actor_paths, ..Subject::default() };
        let content = event(&[("actor_id", "u1"), ("actor_name", "U1"), ("resource_name", "U1")], "{}", &[]);
        let variants = Variants::new(&subject.ids, str::to_string);
        let listed = subject.variants(&variants, &content, None, "a");
        assert_eq!(listed, [super::Hit { path: "resource_name".to_string(), found: Found::Variant }]);
    }

    #[test]
    fn a_number_that_is_written_as_the_id_is_listed() {
        let subject = Subject { ids: vec!["42"], ..Subject::default() };
        let variants = Variants::new(&subject.ids, str::to_string);
        let content = event(&[], r#"{"a":42,"b":[{"c":42}],"d":421,"e":4.2}"#, &[]);
        let listed = subject.variants(&variants, &content, None, "a");
        assert_eq!(listed.into_iter().map(|hit| hit.path).collect::<Vec<_>>(), ["metadata.a", "metadata.b"]);
    }
}
