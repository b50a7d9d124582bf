//! The vectors in `tests/vectors`, which another implementation made: documents, commitments,
//! erasures, chains, and what must fail.

use immutable_format::document::{self, of_stored};
use immutable_format::erasure::erase;
use immutable_format::event::{Content, Envelope, Erasure, EventSecret, COLUMNS};
use immutable_format::hash::Scratch;
use immutable_format::id::uuid_text;
use immutable_format::json::{Object, Value};
use immutable_format::link::{Break, Row, Walk};
use immutable_format::{commitment, limits, parse_hex, target, time, Hash, Id};
use serde_json::Value as Json;
use std::borrow::Cow;

fn vectors(file: &str) -> Vec<Json> {
    let path = format!("{}/../../tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the vectors are part of the project");
    let vectors: Vec<Json> = serde_json::from_str(&text).expect("a vector file is a JSON array");
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Json, member: &str) -> &'a str {
    vector[member].as_str().unwrap_or_else(|| panic!("{member} of {}", vector["name"]))
}

/// One row as `row_to_json` prints it, read only as far as a document needs it.
struct Stored<'a> {
    row: Value<'a>,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Stored<'a> {
    fn parse(row: &'a str) -> Read<Self> {
        let row = Value::parse(row, 300, 64 << 20).map_err(|_| "not JSON")?;
        Ok(Stored { row })
    }

    fn get(&self, column: &str) -> Option<&Value<'a>> {
        let Value::Object(members) = &self.row else { return None };
        members.iter().find(|(key, _)| key == column).map(|(_, value)| value).filter(|value| **value != Value::Null)
    }

    fn text(&self, column: &str) -> Read<Option<&str>> {
        match self.get(column) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err("not a text"),
        }
    }

    fn number(&self, column: &str) -> Read<Option<i64>> {
        match self.get(column) {
            None => Ok(None),
            Some(Value::Number(text)) => text.parse().map(Some).map_err(|_| "not an integer"),
            Some(_) => Err("not a number"),
        }
    }

    fn bytes(&self, column: &str) -> Read<Option<Vec<u8>>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let hex = text.strip_prefix("\\x").ok_or("not a bytea")?;
        hex::decode(hex).map(Some).map_err(|_| "not a bytea")
    }

    fn hash(&self, column: &str) -> Read<Option<Hash>> {
        let Some(bytes) = self.bytes(column)? else { return Ok(None) };
        bytes.try_into().map(Some).map_err(|_| "not 32 bytes")
    }

    fn id(&self, column: &str) -> Read<Option<Id>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        Ok(Some(*uuid::Uuid::parse_str(text).map_err(|_| "not a uuid")?.as_bytes()))
    }

    fn time(&self, column: &str) -> Read<i64> {
        let text = self.text(column)?.ok_or("missing")?;
        time::parse(text).map_err(|_| "no such time")
    }

    fn envelope(&self) -> Read<Envelope<'_>> {
        Ok(Envelope {
            log_id: self.id("log_id")?,
            id: self.id("id")?.ok_or("missing")?,
            tenant_id: self.text("tenant_id")?.ok_or("missing")?,
            lane: self.number("lane")?.ok_or("missing")?.try_into().map_err(|_| "lane")?,
            seq: self.number("seq")?.ok_or("missing")?,
            previous_event_hash: self.hash("previous_event_hash")?,
            created_at: self.time("created_at")?,
            occurred_at: self.time("occurred_at")?,
            recorded_by: self.text("recorded_by")?.ok_or("missing")?,
            action: self.text("action")?.ok_or("missing")?,
            action_category: self.text("action_category")?,
            actor_type: self.text("actor_type")?,
            resource_type: self.text("resource_type")?,
            version: self.number("version")?.map(|n| n.try_into().map_err(|_| "version")).transpose()?,
        })
    }

    fn content(&self) -> Read<Content<'static>> {
        let bounded = |value: &Value<'_>| -> Read<Option<Object<'static>>> {
            let canonical: &'static str = value.canonical().leak();
            Object::parse(canonical, limits::NESTING, limits::CANONICAL_BYTES).map_err(|_| "out of bounds")
        };
        let mut content = Content::default();
        for (place, column) in content.columns.iter_mut().zip(COLUMNS) {
            *place = self.text(column)?.map(|text| Cow::Owned(text.to_string()));
        }
        content.metadata = match bounded(self.get("metadata").ok_or("missing")?)? {
            Some(object) if object.members().len() <= limits::METADATA_KEYS => object,
            _ => return Err("metadata is not an object"),
        };
        let Some(Value::Array(targets)) = self.get("targets") else { return Err("targets is not an array") };
        let targets: Read<Vec<_>> = targets.iter().map(bounded).collect();
        content.targets = target::stored(targets?).ok_or("targets")?;
        Ok(content)
    }

    fn secret(&self) -> Read<EventSecret> {
        match (self.bytes("salt")?, self.get("erased")) {
            (Some(salt), None) => Ok(EventSecret::Salt(salt.try_into().map_err(|_| "salt")?)),
            (None, Some(erased)) => {
                Erasure::new(erased).map(Box::new).map(EventSecret::Erased).map_err(|violation| violation.0)
            }
            _ => Err("salt and erased"),
        }
    }

    fn document(&self) -> Read<String> {
        of_stored(&self.envelope()?, &self.content()?, &self.secret()?).map_err(|violation| violation.0)
    }
}

#[test]
fn canonical_texts() {
    for vector in vectors("canonical") {
        let parsed = Value::parse(text(&vector, "input"), limits::NESTING, limits::CANONICAL_BYTES << 4);
        match vector["canonical"].as_str() {
            Some(canonical) => {
                let value = parsed.unwrap_or_else(|why| panic!("{}: {why}", vector["name"]));
                assert_eq!(value.canonical(), canonical, "{}", vector["name"]);
            }
            None => assert!(parsed.is_err(), "{} passes: {parsed:?}", vector["name"]),
        }
    }
}

#[test]
fn documents_and_hashes() {
    for vector in vectors("events") {
        let name = text(&vector, "name");
        let document = Stored::parse(text(&vector, "row")).and_then(|row| row.document());
        match vector["document"].as_str() {
            Some(expected) => {
                let document = document.unwrap_or_else(|why| panic!("{name}: {why}"));
                assert_eq!(document, expected, "{name}");
                assert_eq!(hex::encode(document::hash(&document)), text(&vector, "event_hash"), "{name}");
            }
            None => assert!(document.is_err(), "{name} has a document: {document:?}"),
        }
    }
}

#[test]
fn commitments_of_every_value() {
    let mut compared = 0;
    for vector in vectors("events") {
        let (Some(expected), true) = (vector["commitments"].as_object(), vector["document"].is_string()) else {
            continue;
        };
        let row = Stored::parse(text(&vector, "row")).unwrap();
        let Ok(EventSecret::Salt(salt)) = row.secret() else { continue };
        let content = row.content().unwrap();
        let sealed = commitment::seal(&content, &salt, &mut Scratch::default());
        assert_eq!(
            expected.len(),
            content.columns.iter().flatten().count() + sealed.metadata.len() + sealed.targets.len()
        );
        for (path, hash) in expected {
            let hash = parse_hex::<32>(hash.as_str().unwrap()).unwrap();
            let found = match path.split_once('.') {
                None => sealed.columns[COLUMNS.iter().position(|column| column == path).unwrap()] == Some(hash),
                Some(("targets", n)) => sealed.targets[n.parse::<usize>().unwrap()] == hash,
                Some(_) => sealed.metadata.binary_search(&hash).is_ok(),
            };
            assert!(found, "{path} of {}", vector["name"]);
            compared += 1;
        }
    }
    assert!(compared > 100);
}

#[test]
fn erasing_keeps_the_document() {
    for vector in vectors("erasure") {
        let name = text(&vector, "name");
        let row = Stored::parse(text(&vector, "row")).unwrap();
        let (content, secret) = (row.content().unwrap(), row.secret().unwrap());
        let envelope = row.envelope().unwrap();
        let paths: Vec<&str> = vector["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
        let erased = match &secret {
            EventSecret::Salt(salt) => erase(&content, Some(salt), None, &paths),
            EventSecret::Erased(before) => erase(&content, None, Some(before), &paths),
        };
        let document = erased
            .as_ref()
            .map(|(left, erasure)| of_stored(&envelope, left, &EventSecret::Erased(Box::new(erasure.clone()))));
        match vector["erased_row"].as_str() {
            Some(expected) => {
                let (left, erasure) = erased.unwrap_or_else(|| panic!("{name} is refused"));
                assert_eq!(document.unwrap().expect(name), text(&vector, "document"), "{name}");
                let expected = Stored::parse(expected).unwrap();
                assert_eq!(expected.document().as_deref(), Ok(text(&vector, "document")), "{name}");
                let expected_erased = expected.get("erased").unwrap().canonical();
                assert_eq!(erasure.to_value().canonical(), expected_erased, "{name}");
                let expected_content = expected.content().unwrap();
                assert_eq!(left.columns, expected_content.columns, "{name}");
                assert_eq!(left.metadata, expected_content.metadata, "{name}");
                assert_eq!(left.targets, expected_content.targets, "{name}");
            }
            None => assert!(!matches!(document, Some(Ok(_))), "{name} is taken"),
        }
    }
}

#[test]
fn breaks_of_chains() {
    for vector in vectors("chains") {
        let name = text(&vector, "name");
        let texts: Vec<&str> = vector["rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
        let mut rows: Vec<Stored> = texts.iter().map(|row| Stored::parse(row).unwrap()).collect();
        rows.sort_by_key(|row| {
            let place = (row.text("tenant_id").unwrap().unwrap().to_string(), row.number("lane").unwrap());
            (place, row.number("seq").unwrap(), row.id("id").unwrap())
        });
        let mut found: Vec<Break> = Vec::new();
        let mut walk = Walk::new(None);
        for row in &rows {
            let (previous, stored) = (row.bytes("previous_event_hash").unwrap(), row.bytes("event_hash").unwrap());
            walk.push(
                &Row {
                    tenant_id: row.text("tenant_id").unwrap().unwrap(),
                    lane: row.number("lane").unwrap().unwrap() as i16,
                    seq: row.number("seq").unwrap().unwrap(),
                    id: row.id("id").unwrap().unwrap(),
                    log_id: row.id("log_id").unwrap(),
                    previous_event_hash: previous.as_deref(),
                    event_hash: stored.as_deref(),
                    recomputed: row.document().map(|document| document::hash(&document)),
                    stray: None,
                },
                |broken| found.push(broken),
            );
        }
        let expected = vector["breaks"].as_array().unwrap();
        let found: Vec<Json> = found
            .iter()
            .map(|broken| {
                let hex = |hash: &Option<Vec<u8>>| hash.as_ref().map(hex::encode);
                // Beside the place of a hole the walk knows the hash it should end with; the
                // vectors do not.
                let hole = broken.kind.name() == "missing_event";
                serde_json::json!({
                    "type": broken.kind.name(), "tenant_id": broken.tenant_id, "lane": broken.lane, "seq": broken.seq,
                    "event_id": broken.event_id.as_ref().map(uuid_text),
                    "expected_hash": if hole { None } else { hex(&broken.expected) },
                    "actual_hash": hex(&broken.actual),
                })
            })
            .collect();
        let expected: Vec<Json> = expected
            .iter()
            .map(|broken| {
                let members =
                    ["type", "tenant_id", "lane", "seq", "event_id"].map(|m| (m.to_string(), broken[m].clone()));
                let mut members: serde_json::Map<String, Json> = members.into_iter().collect();
                for (ours, theirs) in [("expected_hash", "expected"), ("actual_hash", "actual")] {
                    let value = broken.get(ours).or_else(|| broken.get(theirs)).cloned().unwrap_or(Json::Null);
                    members.insert(ours.to_string(), value);
                }
                Json::Object(members)
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}
