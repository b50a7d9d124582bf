//! Which values of an event are about a person, for erasing that person.

use crate::commitment::{paths, Content, Erasure, METADATA};
use crate::document::RESERVED;
use crate::json::Value;
use crate::limits;

/// A person who is to be erased, and how far.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    /// Never empty.
    pub id: &'a str,
    /// Top-level metadata keys that go as well, from every event that is about the person.
    pub metadata_keys: Vec<&'a str>,
    /// What goes from the events of which the person is the actor; everything if not given.
    pub actor_paths: Option<Vec<&'a str>>,
}

impl Subject<'_> {
    /// The paths to erase from an event, of those that have a value: none if it is not about the person.
    pub fn paths(&self, content: &Content<'_>, erasure: Option<&Erasure>, action: &str) -> Vec<String> {
        let is_actor = self.is(content, "actor_id");
        let is_resource = self.is(content, "resource_id");
        let is_target = |path: &str| {
            let target = crate::commitment::target_position(path).and_then(|position| content.targets.get(position));
            target.is_some_and(|target| target.id() == Some(self.id))
        };
        let found = content.metadata.members().iter().filter(|member| {
            // It was written under these bounds; what is no JSON all the same is looked through as a text.
            let text = content.metadata.value(member);
            let value = Value::parse(text, limits::NESTING, limits::CANONICAL_BYTES);
            mentions(&member.key, self.id)
                || value.map_or_else(|_| mentions(text, self.id), |value| holds(&value, self.id))
        });
        let found: Vec<&str> = found.map(|member| member.key.as_ref()).collect();
        let is_concerned = is_actor
            || is_resource
            || !found.is_empty()
            || content.targets.iter().any(|target| target.id() == Some(self.id));
        if !is_concerned {
            return Vec::new();
        }
        let goes = |path: &str| {
            let as_actor = is_actor && self.actor_paths.as_ref().is_none_or(|paths| paths.contains(&path));
            let as_resource = is_resource && matches!(path, "resource_id" | "resource_name");
            let key = path.strip_prefix(METADATA);
            let as_metadata = key.is_some_and(|key| found.contains(&key) || self.metadata_keys.contains(&key));
            as_actor || as_resource || as_metadata || is_target(path)
        };
        // Who erased, and why, is the log's to keep; a reason goes where it names the person.
        let goes_of_own = |path: &str| path == REASON && found.contains(&"reason");
        let own = action.starts_with(RESERVED);
        let there = paths(content, erasure).into_iter();
        there.filter(|path| if own { goes_of_own(path) } else { goes(path) }).collect()
    }

    fn is(&self, content: &Content<'_>, column: &str) -> bool {
        let columns = crate::commitment::COLUMNS.iter().zip(&content.columns);
        columns.into_iter().any(|(name, value)| *name == column && value.as_deref() == Some(self.id))
    }
}

/// The one path that can be erased from an event of the log's own.
pub const REASON: &str = "metadata.reason";

/// Whether the id is somewhere in a value, in a string or in the name of a member. Numbers are no ids. A value
/// is nested no deeper than the bounds it was read with, and so is the recursion.
fn holds(value: &Value<'_>, id: &str) -> bool {
    match value {
        Value::String(text) => mentions(text, id),
        Value::Array(items) => items.iter().any(|item| holds(item, id)),
        Value::Object(members) => members.iter().any(|(key, value)| mentions(key, id) || holds(value, id)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a text has the id in it as a whole word: not inside a longer word, which is made of letters, digits, `_` and
/// `-`. So `user_1` is neither in `user_12` nor in `x-user_1`, but is in `user_1@example.com`.
pub fn mentions(text: &str, id: &str) -> bool {
    let of_word = |edge: Option<char>, neighbour: Option<char>| {
        !edge.is_some_and(is_unspaced) && neighbour.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    let step = id.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(id)) {
        let (start, end) = (from + found, from + found + id.len());
        let before = of_word(id.chars().next(), text[..start].chars().next_back());
        if !before && !of_word(id.chars().next_back(), text[end..].chars().next()) {
            return true;
        }
        // One character on, not one match: the next may begin inside this.
        from = start + step;
    }
    false
}

/// Whether it is of a script that puts no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::{mentions, Subject};
    use crate::commitment::{erase, paths, Content, COLUMNS};
    use crate::json::Object;
    use crate::target::{Form, Target};

    #[test]
    fn where_words_have_no_spaces_between_them_an_id_has_none_around_it() {
        assert!(mentions("用户张三登录", "张三"));
        assert!(mentions("สมชายเข้า", "สมชาย"));
        assert!(!mentions("用户user_12", "user_1"));
    }

    #[test]
    fn an_id_is_found_as_a_whole_word_alone() {
        for text in ["user_1", "by user_1", "user_1.", "(user_1)", "user_1@example.com", "xuser_1 user_1", "é user_1 é"]
        {
            assert!(mentions(text, "user_1"), "{text}");
        }
        for text in
            ["", "user_", "user_12", "xuser_1", "user_1_", "user_1-a", "a-user_1", "éuser_1", "user_1é", "User_1"]
        {
            assert!(!mentions(text, "user_1"), "{text}");
        }
        // an occurrence that begins inside one that does not count
        assert!(mentions("xa a a", "a a"));
        assert!(mentions("xéé é", "é"));
        assert!(!mentions("aaaa", "aa"));
    }

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

    const TARGETS: &[&str] = &[r#"{"id":"u1","type":"user"}"#, r#"{"id":"u12","name":"u1","type":"user"}"#];

    #[test]
    fn an_actor_s_event_is_erased_whole_or_as_said() {
        let content = event(&[("actor_id", "u1"), ("ip_address", "::1")], r#"{"a":1,"":"u2"}"#, TARGETS);
        let all = ["actor_id", "ip_address", "metadata.", "metadata.a", "targets.0", "targets.1"];
        let subject = Subject { id: "u1", ..Subject::default() };
        assert_eq!(subject.paths(&content, None, "a"), all);
        assert_eq!(paths(&content, None), all);
        let actor_paths = Some(vec!["ip_address", "metadata.a", "metadata.b", "user_agent", "targets.9"]);
        let subject = Subject { id: "u1", actor_paths, ..Subject::default() };
        assert_eq!(subject.paths(&content, None, "a"), ["ip_address", "metadata.a", "targets.0"]);
        let subject = Subject { id: "u3", metadata_keys: vec!["a"], ..Subject::default() };
        assert!(subject.paths(&content, None, "a").is_empty());
    }

    #[test]
    fn others_events_lose_what_is_about_the_person() {
        let subject = Subject { id: "u1", metadata_keys: vec!["name", "none"], ..Subject::default() };
        let found = |content: &Content<'_>| subject.paths(content, None, "a");
        let resource = [("actor_id", "u2"), ("resource_id", "u1"), ("resource_name", "Ann"), ("session_id", "u1")];
        assert_eq!(
            found(&event(&resource, r#"{"n":1,"name":"Ann"}"#, &[])),
            ["resource_id", "resource_name", "metadata.name"]
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
        let subject = Subject { id: "42", ..Subject::default() };
        assert!(subject.paths(&event(&[], r#"{"a":42,"b":[42],"c":true}"#, &[]), None, "a").is_empty());
        assert_eq!(subject.paths(&event(&[], r#"{"a":"42"}"#, &[]), None, "a"), ["metadata.a"]);
    }

    #[test]
    fn the_log_s_own_events_lose_their_reason_alone() {
        let subject = Subject { id: "u1", ..Subject::default() };
        let metadata = r#"{"reason":"for u1","other":"u1"}"#;
        let content = event(&[("actor_id", "u1")], metadata, TARGETS);
        assert_eq!(subject.paths(&content, None, "immutable.event_erased"), ["metadata.reason"]);
        let subject = Subject { id: "u1", metadata_keys: vec!["reason"], ..Subject::default() };
        let content = event(&[("actor_id", "u1")], r#"{"reason":"for u2"}"#, TARGETS);
        assert!(subject.paths(&content, None, "immutable.event_erased").is_empty());
    }

    #[test]
    fn what_is_gone_is_not_erased_again() {
        let content = event(&[("actor_id", "u1")], r#"{"a":"u1"}"#, TARGETS);
        let subject = Subject { id: "u1", ..Subject::default() };
        let (left, erasure) = erase(&content, Some(&[7; 16]), None, &["actor_id", "targets.0"]).unwrap();
        assert_eq!(paths(&left, Some(&erasure)), ["metadata.a", "targets.1"]);
        assert_eq!(subject.paths(&left, Some(&erasure), "a"), ["metadata.a"]);
        let (left, more) = erase(&left, None, Some(&erasure), &["metadata.a"]).unwrap();
        assert_eq!(more.beyond(Some(&erasure)), more.metadata);
        assert_eq!(more.beyond(None).len(), 3);
        assert!(subject.paths(&left, Some(&more), "a").is_empty());
    }
}
