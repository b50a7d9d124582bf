//! Exports: the vectors that another implementation made, and what no hostile line may do.

use immutable_format::document::{self, of_stored};
use immutable_format::event::{Content, Envelope, EventSecret};
use immutable_format::export::read::{line, Line};
use immutable_format::export::scan::Scanner;
use immutable_format::export::verify::{heads, Head, Sink, Summary, Verifier};
use immutable_format::export::{write, ChainPosition, Header, Lanes};
use immutable_format::id::uuid_text;
use immutable_format::json::{Object, Value};
use immutable_format::link::Break;
use immutable_format::target::{Form, Target};
use immutable_format::{limits, Hash};
use proptest::prelude::*;
use serde_json::{json, Value as Json};
use std::borrow::Cow;

#[derive(Default)]
struct Found(Vec<Break>, Vec<Head>);

impl Sink for Found {
    fn broken(&mut self, found: Break) {
        self.0.push(found);
    }

    fn head(&mut self, head: &Head) {
        self.1.push(head.clone());
    }
}

/// What a run found, or the number of the line that it refused.
fn run<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, saved: &str) -> Result<(Summary, u64, Found), usize> {
    let mut verifier = Verifier::new(None, heads(saved).expect("heads"));
    let mut found = Found::default();
    let mut number: usize = 1;
    for line in lines.clone() {
        verifier.line(line, &mut found).map_err(|_| number)?;
        number += 1;
    }
    let doubts = verifier.take_doubts();
    for again in lines.filter(|_| !doubts.is_empty()) {
        if let Ok(Line::Event(event)) = line(again) {
            doubts.event(&event, &mut |broken| found.broken(broken));
        }
    }
    let not_covered = verifier.heads_not_covered();
    let (summary, whole) = verifier.finish();
    whole.map_err(|_| number)?;
    Ok((summary, not_covered, found))
}

fn shown(found: &Break) -> Json {
    json!({
        "type": found.kind.name(), "tenant_id": found.tenant_id, "lane": found.lane, "seq": found.seq,
        "event_id": found.event_id.as_ref().map(uuid_text), "expected": found.expected.as_ref().map(hex::encode),
        "actual": found.actual.as_ref().map(hex::encode),
    })
}

fn vectors() -> Vec<Json> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/exports.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn lines(vector: &Json) -> Vec<&str> {
    vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

#[test]
fn exports_of_the_other_implementation() {
    let (mut taken, mut refused) = (0, 0);
    for vector in vectors() {
        let name = &vector["name"];
        let saved = if vector["heads"].is_null() { "[]".to_string() } else { vector["heads"].to_string() };
        let lines = lines(&vector);
        match (run(lines.iter().map(|line| line.as_bytes()), &saved), vector["refused"].as_u64()) {
            (Ok((summary, heads_not_covered, found)), None) => {
                taken += 1;
                assert_eq!(Json::from(found.0.iter().map(shown).collect::<Vec<_>>()), vector["breaks"], "{name}");
                let mut counts = json!({
                    "events_checked": summary.events, "chains_checked": summary.lanes, "links_checked": summary.links,
                    "gaps": summary.gaps, "values_erased": summary.erased, "heads_checked": summary.heads_checked,
                    "heads_not_covered": heads_not_covered, "whole": summary.whole,
                    "erasures_checked": summary.erasures_checked,
                });
                if summary.pruned > 0 {
                    counts["events_pruned"] = json!(summary.pruned);
                }
                assert_eq!(counts, vector["counts"], "{name}");
            }
            (Err(number), Some(expected)) => {
                refused += 1;
                assert_eq!(number as u64, expected, "{name}");
            }
            (outcome, expected) => {
                panic!("{name}: {:?}, not {expected:?}", outcome.map(|(summary, _, found)| (summary, found.0)))
            }
        }
    }
    assert!(taken > 40 && refused > 40);
}

fn object(text: &str) -> Option<Object<'_>> {
    Object::parse(text, limits::NESTING, limits::CANONICAL_BYTES).unwrap()
}

/// An export of one lane of one tenant, valid as written.
fn sample() -> Vec<String> {
    let mut made = vec![write::header(&Header {
        created_at: 0,
        log_id: Some([9; 16]),
        lanes: Lanes::Whole,
        escaped: false,
        filters: Vec::new(),
    })];
    let mut previous: Option<Hash> = None;
    for seq in 1..=4 {
        let target = format!(r#"{{"id":"t{seq}","type":"user"}}"#);
        let mut content = Content {
            metadata: object(r#"{"note":"a\"b\\c\n","size":1.10}"#).unwrap(),
            targets: vec![Target::new(object(&target), Form::Stored).unwrap()],
            ..Content::default()
        };
        content.columns[0] = Some(Cow::Borrowed("user-17"));
        let envelope = Envelope {
            log_id: (seq == 1).then_some([9; 16]),
            id: [seq as u8; 16],
            tenant_id: "acme",
            lane: 0,
            seq,
            previous_event_hash: previous,
            created_at: seq,
            occurred_at: 0,
            recorded_by: "app",
            action: "document.viewed",
            action_category: None,
            actor_type: None,
            resource_type: None,
            version: None,
        };
        let secret = EventSecret::Salt([seq as u8; 16]);
        let document = of_stored(&envelope, &content, &secret).unwrap();
        let hash = document::hash(&document);
        made.push(write::event(&document, Some(&hash), &content, &secret));
        previous = Some(hash);
    }
    made.push(write::end(4, 1));
    made
}

fn verdict(lines: &[Vec<u8>]) -> Result<usize, usize> {
    run(lines.iter().map(Vec::as_slice), "[]").map(|(_, _, found)| found.0.len())
}

#[test]
fn every_changed_bit_of_an_event_is_found() {
    let made: Vec<Vec<u8>> = sample().into_iter().map(String::into_bytes).collect();
    assert_eq!(verdict(&made), Ok(0));
    for line in 1..made.len() - 1 {
        for at in 0..made[line].len() {
            for bit in 0..8 {
                let mut changed = made.clone();
                changed[line][at] ^= 1 << bit;
                assert_ne!(verdict(&changed), Ok(0), "line {line}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_removed_byte_or_cut_is_found() {
    let made: Vec<Vec<u8>> = sample().into_iter().map(String::into_bytes).collect();
    let whole = made.join(&b'\n');
    for at in 0..whole.len() - 1 {
        let cut: Vec<Vec<u8>> = whole[..at].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        assert!(verdict(&cut).is_err(), "cut at {at}");
    }
    for line in 1..made.len() - 1 {
        for at in 0..made[line].len() {
            let mut changed = made.clone();
            changed[line].remove(at);
            assert_ne!(verdict(&changed), Ok(0), "line {line}, byte {at}");
        }
    }
}

#[test]
fn a_row_without_a_document_is_a_break_in_its_place() {
    let mut made: Vec<Vec<u8>> = sample().into_iter().map(String::into_bytes).collect();
    let position = ChainPosition { tenant_id: "ac\"me".into(), lane: 3, seq: 7, id: [7; 16] };
    let line = write::no_document(&position, None, Some(&[1; 32]), None, "metadata is \"odd\"");
    made.insert(5, line.into_bytes());
    made[6] = write::end(5, 2).into_bytes();
    let (_, _, found) = run(made.iter().map(Vec::as_slice), "[]").unwrap();
    let kinds: Vec<&str> = found.0.iter().map(|found| found.kind.name()).collect();
    assert_eq!(kinds, ["chain_break", "hash_mismatch", "missing_event"]); // lane out of order, no document, seq 1 to 6
    assert_eq!(found.0[1].tenant_id.as_deref(), Some("ac\"me"));
    assert!(found.0[1].detail.contains("metadata is \"odd\""));
}

#[test]
fn the_heads_of_a_run_are_those_of_its_lanes() {
    let made: Vec<Vec<u8>> = sample().into_iter().map(String::into_bytes).collect();
    let (_, _, found) = run(made.iter().map(Vec::as_slice), "[]").unwrap();
    assert_eq!(found.1.len(), 1);
    assert_eq!((found.1[0].tenant_id.as_str(), found.1[0].lane, found.1[0].seq), ("acme", 0, 4));
    let saved = json!([{"tenant_id": "acme", "lane": 0, "seq": 4, "event_hash": hex::encode(&found.1[0].event_hash)}]);
    assert_eq!(run(made.iter().map(Vec::as_slice), &saved.to_string()).unwrap().0.heads_checked, 1);
    for bad in ["", "{}", "[1]", r#"[{"tenant_id":"a","lane":0,"seq":1}]"#, r#"[{"tenant_id":1}]"#] {
        assert!(heads(bad).is_none(), "{bad}");
    }
}

#[test]
fn no_line_of_any_stored_event_is_longer_than_the_bound() {
    // All texts of control characters, and as many targets as large as they may be, nearly all of
    // it their type.
    let text = "\u{1}".repeat(limits::TEXT_BYTES);
    let kind = "x".repeat(limits::CANONICAL_BYTES - r#"{"type":""}"#.len());
    let target = format!(r#"{{"type":"{kind}"}}"#);
    let members: Vec<String> =
        (0..limits::METADATA_KEYS).map(|n| format!(r#""{n:04}":"{}""#, "x".repeat(55))).collect();
    let metadata = format!("{{{}}}", members.join(","));
    let mut content = Content {
        targets: vec![Target::new(object(&target), Form::Stored).unwrap(); limits::TARGETS],
        metadata: object(&metadata).unwrap(),
        ..Content::default()
    };
    content.columns.fill(Some(Cow::Borrowed(&text)));
    let envelope = Envelope {
        log_id: None,
        id: [1; 16],
        tenant_id: &text,
        lane: 1,
        seq: i64::MAX,
        previous_event_hash: Some([1; 32]),
        created_at: 1,
        occurred_at: 1,
        recorded_by: &text,
        action: &text,
        action_category: Some(&text),
        actor_type: Some(&text),
        resource_type: Some(&text),
        version: Some(i32::MIN),
    };
    let secret = EventSecret::Salt([1; 16]);
    let document = of_stored(&envelope, &content, &secret).unwrap();
    let line = write::event(&document, Some(&document::hash(&document)), &content, &secret);
    assert!(line.len() > limits::LINE_BYTES * 9 / 10, "the bound could be tighter: {}", line.len());
    assert!(line.len() <= limits::LINE_BYTES, "{} bytes", line.len());
}

/// As large as a hostile line may well be: the work grows with the line, not with its square.
#[test]
fn a_line_of_very_many_commitments_and_disclosures() {
    let made = sample();
    let names: Vec<String> = (0..300_000).map(|n| format!("b{n:07}")).collect();
    let columns: Vec<String> = names.iter().map(|name| format!("\"{name}\":\"{}\"", "0".repeat(64))).collect();
    let disclosures: Vec<String> =
        names.iter().map(|name| format!("[\"{}\",\"{name}x\",\"v\"]", "0".repeat(32))).collect();
    let document = format!(
        "{{\"action\":\"a\",\"commitments\":{{\"actor_id\":\"{}\",{}}},\"id\":\"{}\",\"lane\":0,\"log_id\":\"{}\",\
         \"previous_event_hash\":null,\"seq\":1,\"tenant_id\":\"t\",\"v\":1}}",
        "0".repeat(64),
        columns.join(","),
        uuid_text(&[1; 16]),
        uuid_text(&[9; 16])
    );
    let hash = hex::encode(document::hash(&document));
    let line =
        format!("{{\"document\":{document},\"event_hash\":\"{hash}\",\"disclosures\":[{}]}}", disclosures.join(","));
    let lines = [made[0].clone(), line, write::end(1, 1)].map(String::into_bytes);
    let (_, _, found) = run(lines.iter().map(Vec::as_slice), "[]").unwrap();
    assert_eq!(found.0.len(), 1);
    assert!(found.0[0].detail.contains("the event has no commitment for this path (disclosure of b0000000x)"));
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[\\x00-\\x20\"\\\\/a\u{e000}-\u{10ffff}]{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether the scanner takes a text as one canonical value, and reads all of it.
fn scans(text: &str) -> bool {
    let mut scanner = Scanner::new(text, 0, limits::NESTING);
    scanner.value().is_ok_and(|value| value.len() == text.len())
}

proptest! {
    #[test]
    fn the_scanner_takes_what_canonical_json_is(value in json_value()) {
        let text = value.to_string();
        let canonical = Value::parse(&text, limits::NESTING, 1 << 24).unwrap().canonical();
        prop_assert!(scans(&canonical), "{canonical}");
    }

    /// The two parsers agree on every text, whether it was meant to be JSON or not.
    #[test]
    fn the_scanner_takes_nothing_else(text in "([\\[\\]{}:,\"\\\\0-9eE.+\\- untrfalsbd\\x01\\n]|null|true|\"[a-z]?\":?|\\\\u00[01][0-9a-f]){0,20}") {
        let canonical = Value::parse(&text, limits::NESTING, 1 << 24).is_ok_and(|value| value.canonical() == text);
        prop_assert_eq!(scans(&text), canonical);
    }

    #[test]
    fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut found = Found::default();
        let _ = Verifier::new(None, Vec::new()).line(&line, &mut found);
    }

    /// Lines that are nearly right: pieces of good ones put together, and bytes changed.
    #[test]
    fn no_mixture_of_lines_passes_or_panics(
        picks in prop::collection::vec((0usize..6, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let made: Vec<Vec<u8>> = sample().into_iter().map(String::into_bytes).collect();
        let mut changed = made.clone();
        for (line, from, to, byte) in picks {
            let other = made[from.index(made.len())].clone();
            let (from, to) = (from.index(other.len()), to.index(other.len()));
            let at = to.min(changed[line].len());
            if byte % 2 == 0 {
                changed[line].splice(at..at, other[from.min(to)..from.max(to)].iter().copied());
            } else if let Some(place) = changed[line].get_mut(at) {
                *place = byte;
            }
        }
        // The header's and the end's own white space and times are nobody's to check.
        if changed[1..5] != made[1..5] {
            prop_assert_ne!(verdict(&changed), Ok(0));
        }
    }
}
