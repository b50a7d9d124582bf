//! Properties of the canonical form, the commitments and the readers, over generated input.

use immutable_format::commitment::seal;
use immutable_format::erasure::{erase, reseal};
use immutable_format::event::{Content, Erasure};
use immutable_format::hash::Scratch;
use immutable_format::json::{key_order, Object, Shape, Value};
use immutable_format::split::{split, Parts};
use immutable_format::target::{self, Form, Target};
use immutable_format::{cursor, limits, time};
use proptest::prelude::*;
use std::borrow::Cow;

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn parse(text: &str) -> Value<'_> {
    Value::parse(text, limits::NESTING, 1 << 24).unwrap()
}

fn object(text: &str) -> Option<Object<'_>> {
    Object::parse(text, limits::NESTING, 1 << 24).unwrap()
}

proptest! {
    /// A text that is taken apart has the same parts as the value that it is.
    #[test]
    fn parts_are_those_of_the_value(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        match (split(&text).unwrap(), &value) {
            (Parts::Array(parts), serde_json::Value::Array(items)) => {
                let parts: Vec<serde_json::Value> = parts.into_iter().map(|part| serde_json::from_str(part).unwrap()).collect();
                prop_assert_eq!(&parts, items);
            }
            (Parts::Object(parts), serde_json::Value::Object(members)) => {
                prop_assert_eq!(parts.len(), members.len());
                for (name, part) in parts {
                    let part: serde_json::Value = serde_json::from_str(part).unwrap();
                    prop_assert_eq!(members.get(name.as_ref()), Some(&part));
                }
            }
            (parts, _) => prop_assert_eq!(parts, Parts::Other),
        }
    }

    /// Whatever a text is, taking it apart ends; and what holds together is found to, however its
    /// parts are spoilt.
    #[test]
    fn any_text_can_be_taken_apart(text in "[\\[\\]{}:,\"\\\\ a1é]{0,40}", cut in any::<prop::sample::Index>(), value in json()) {
        let _ = split(&text);
        let whole = value.to_string();
        let boundary = (0..=cut.index(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        if boundary > 0 && !matches!(split(&whole), Ok(Parts::Other)) {
            prop_assert!(split(&whole[..boundary]).is_err());
        }
        let spoilt = format!("[1,NaN{whole},\"\\u0000\"]");
        match split(&spoilt) {
            Ok(Parts::Array(parts)) => prop_assert_eq!(parts.len(), 3),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// The tree and the text that is written without one agree: on every value, its members and the
    /// bounds.
    #[test]
    fn an_object_without_a_tree_is_the_same(value in json(), depth in 0usize..8, less in 0usize..40) {
        let text = value.to_string();
        let tree = parse(&text);
        let bytes = tree.canonical().len();
        match (object(&text), &tree) {
            (Some(mut object), Value::Object(members)) => {
                prop_assert_eq!(object.text(), tree.canonical());
                let keys: Vec<&str> = object.members().iter().map(|member| member.key.as_ref()).collect();
                let values: Vec<&str> = object.members().iter().map(|member| object.value(member)).collect();
                prop_assert_eq!(keys, members.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>());
                prop_assert_eq!(values, members.iter().map(|(_, value)| value.canonical()).collect::<Vec<_>>());
                for (member, (_, value)) in object.members().iter().zip(members) {
                    let known = match value {
                        Value::Null => Shape::Null,
                        Value::String(text) => Shape::String(text.clone()),
                        Value::Object(members) => Shape::Object(members.len()),
                        _ => Shape::Other,
                    };
                    prop_assert_eq!(&member.shape, &known);
                }
                let mut odd = true;
                object.retain(|_| { odd = !odd; odd });
                let kept = members.iter().skip(1).step_by(2).cloned().collect();
                prop_assert_eq!(object.text(), Value::Object(kept).canonical());
                let again: Vec<&str> = object.members().iter().map(|member| object.value(member)).collect();
                let kept = members.iter().skip(1).step_by(2).map(|(_, value)| value.canonical());
                prop_assert_eq!(again, kept.collect::<Vec<_>>());
            }
            (found, _) => prop_assert!(found.is_none() && !matches!(tree, Value::Object(_))),
        }
        for (depth, bytes) in [(depth, bytes), (limits::NESTING, bytes.saturating_sub(less))] {
            let tree = Value::parse(&text, depth, bytes).map(|_| ());
            prop_assert_eq!(Object::parse(&text, depth, bytes).map(|_| ()), tree);
        }
    }

    #[test]
    fn canonical_text_means_the_same_and_is_its_own_canonical_text(value in json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let canonical = parse(&pretty).canonical();
        prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&canonical).unwrap(), &value);
        prop_assert_eq!(parse(&canonical).canonical(), canonical);
    }

    #[test]
    fn numbers_keep_their_text(number in number()) {
        prop_assert_eq!(parse(&number).canonical(), number);
    }

    #[test]
    fn keys_sort_by_utf16(a in any::<String>(), b in any::<String>()) {
        prop_assert_eq!(key_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }

    #[test]
    fn the_bound_in_bytes_is_exact(value in json()) {
        let text = value.to_string();
        let bytes = parse(&text).canonical().len();
        prop_assert!(Value::parse(&text, limits::NESTING, bytes).is_ok());
        prop_assert!(Value::parse(&text, limits::NESTING, bytes - 1).is_err());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]{}:,\"\\\\u0-9a-f.eE+ -]{0,64}|.{0,64}") {
        let ours = Value::parse(&text, limits::NESTING, 4096);
        if let Ok(value) = ours {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&value.canonical()).is_ok()
                || text.contains(['e', 'E'])); // serde_json refuses exponents that no double has
        }
    }

    #[test]
    fn every_instant_round_trips(micros in time::MIN..=time::MAX) {
        let text = time::format(micros).unwrap();
        prop_assert_eq!(text.len(), 27);
        prop_assert_eq!(time::parse(&text), Ok(micros));
    }

    #[test]
    fn no_text_is_a_time_or_a_cursor_by_panic(text in "[0-9T:.Z+ -]{0,40}|.{0,40}") {
        let _ = time::parse(&text);
        let _ = cursor::decode(&text, "");
    }

    #[test]
    fn a_cursor_comes_back(
        micros in prop_oneof![time::MIN..=time::MAX, any::<i64>()],
        id in any::<[u8; 16]>(),
        tenant_id in prop_oneof![".{0,60}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..60)],
        previous in any::<bool>(),
        filters in any::<String>(),
    ) {
        let place = cursor::PageCursor { created_at: micros, id, tenant_id };
        let way = if previous { cursor::Way::Previous } else { cursor::Way::Next };
        let text = cursor::encode(&place, way, &filters).unwrap();
        prop_assert_eq!(cursor::decode(&text, &filters), Ok((place, way)));
        prop_assert_eq!(cursor::decode(&text, &format!("{filters}x")), Err(cursor::Error::OtherFilters));
    }

    #[test]
    fn the_order_targets_are_given_in_does_not_matter(
        ids in prop::collection::vec(("[ab]", prop::option::of("[a-c]{0,2}"), prop::option::of(".{0,3}")), 0..8),
        seed in any::<u64>(),
    ) {
        let targets = |ids: &[(String, Option<String>, Option<String>)]| -> Vec<String> {
            let mut targets: Vec<Target> = ids.iter().map(|(kind, id, name)| {
                let given = serde_json::json!({"type": kind, "id": id, "name": name}).to_string();
                Target::new(object(given.leak()), Form::Entering).unwrap()
            }).collect();
            target::sort(&mut targets);
            targets.iter().map(|target| target.canonical().to_string()).collect()
        };
        let mut shuffled = ids.clone();
        for n in (1..shuffled.len()).rev() {
            shuffled.swap(n, (seed.rotate_left(n as u32) % (n as u64 + 1)) as usize);
        }
        prop_assert_eq!(targets(&ids), targets(&shuffled));
    }

    #[test]
    fn any_erasure_in_any_steps_leaves_the_commitments(
        metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
        actor in any::<String>(), ip in prop::option::of(any::<String>()),
        salt in any::<[u8; 16]>(), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let given = serde_json::to_string(&metadata).unwrap();
        let target = Target::new(object(r#"{"type":"t","id":"1"}"#), Form::Stored).unwrap();
        let mut content = Content { metadata: object(&given).unwrap(), targets: vec![target], ..Content::default() };
        content.columns[0] = Some(Cow::Owned(actor));
        content.columns[3] = ip.map(Cow::Owned);
        let whole = seal(&content, &salt, &mut Scratch::default());
        let mut paths: Vec<String> = metadata.keys().map(|key| format!("metadata.{key}")).collect();
        paths.extend(["actor_id".to_string(), "targets.0".to_string()]);
        if content.columns[3].is_some() {
            paths.push("ip_address".to_string());
        }
        let mut state: (Content, Option<Erasure>) = (content, None);
        for pick in picks {
            if paths.is_empty() {
                break;
            }
            let path = paths.swap_remove(pick.index(paths.len()));
            let event_salt = state.1.is_none().then_some(&salt);
            let (left, erasure) = erase(&state.0, event_salt, state.1.as_ref(), &[&path]).unwrap();
            prop_assert_eq!(reseal(&left, &erasure), Ok(whole.clone()));
            let canonical = erasure.to_value().canonical();
            prop_assert_eq!(Erasure::new(&parse(&canonical)), Ok(erasure.clone()));
            // and the same path is not erased twice
            prop_assert!(erase(&left, None, Some(&erasure), &[&path]).is_none());
            state = (left, Some(erasure));
        }
    }
}
