//! The vectors of `tests/vectors/tlog.json` for what the program does with whole files: receipts, and
//! exports against the tree of a checkpoint. The second implementation made them.

mod support;

use serde_json::{json, Value};
use support::{run, Dir};

fn vectors(kind: &str) -> Vec<Value> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/vectors/tlog.json")).unwrap();
    vectors.into_iter().filter(|vector| vector["kind"] == kind).collect()
}

fn content(vector: &Value, name: &str) -> Vec<u8> {
    match (&vector[name], vector[format!("{name}_hex")].as_str()) {
        (_, Some(digits)) => hex::decode(digits).unwrap(),
        (Value::String(text), None) => text.clone().into_bytes(),
        (Value::Array(lines), None) => {
            lines.iter().flat_map(|line| [line.as_str().unwrap().as_bytes(), b"\n"].concat()).collect()
        }
        (other, None) => panic!("{}: {name} is {other}", vector["name"]),
    }
}

/// The exit status that a verdict has; 2 for what cannot be judged.
fn status(vector: &Value) -> i32 {
    match vector["verdict"].as_str() {
        Some("VALID") => 0,
        Some("NOT VALID") => 1,
        Some("consistent, not anchored") => 3,
        None if vector.get("error").is_some() || vector.get("refused").is_some() => 2,
        other => panic!("{}: {other:?}", vector["name"]),
    }
}

#[test]
fn every_receipt() {
    let dir = Dir::new("vectors-receipts");
    let vectors = vectors("receipt");
    for vector in &vectors {
        let file = dir.file("receipt", content(vector, "input"));
        let policy = dir.file("policy", content(vector, "policy"));
        let (found, out, _) = run(&["receipt", "--json", &file, "--policy", &policy]);
        assert_eq!(found, status(vector), "{}: {out}", vector["name"]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["verdict"], vector["verdict"], "{}", vector["name"]);
        if found == 0 {
            let of_file = &json["receipts"][0];
            assert_eq!(of_file["event"]["id"], vector["event_id"], "{}", vector["name"]);
            assert_eq!(of_file["index"], vector["index"], "{}", vector["name"]);
            assert_eq!(of_file["checkpoint"]["cosigned_at"], vector["cosigned_at"], "{}", vector["name"]);
            let paths: Vec<&Value> = vector["disclosed"].as_array().unwrap().iter().collect();
            let disclosed = of_file["disclosed"].as_object().unwrap();
            assert!(paths.iter().all(|path| disclosed.contains_key(path.as_str().unwrap())), "{}", vector["name"]);
            assert_eq!(disclosed.len(), paths.len(), "{}", vector["name"]);
        }
    }
    assert!(vectors.len() > 50);
}

#[test]
fn every_export_with_a_tree() {
    let dir = Dir::new("vectors-trees");
    let vectors = vectors("anchored");
    for vector in &vectors {
        let name = &vector["name"];
        let export = dir.file("export", content(vector, "export"));
        let tree = dir.file("tree", content(vector, "tree"));
        let checkpoint = dir.file("checkpoint", content(vector, "checkpoint"));
        let policy = dir.file("policy", content(vector, "policy"));
        let heads = dir.file("heads", vector["heads"].to_string());
        let mut arguments = vec!["--json", &export, "--tree", &tree, "--checkpoint", &checkpoint, "--policy", &policy];
        if vector.get("heads").is_some() {
            arguments.extend(["--heads", &heads]);
        }
        let (found, out, error) = run(&arguments);
        assert_eq!((found, error.as_str()), (status(vector), ""), "{name}: {out}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["verdict"], vector["verdict"], "{name}");
        if let Some(refused) = vector["refused"].as_u64() {
            let line = json["error"]["line"].as_u64();
            let lines = vector["tree"].as_array().unwrap().len() as u64;
            assert!(line == Some(refused) || (line.is_none() && refused == lines + 1), "{name}: {out}");
        }
        for key in ["events_checked", "heads_checked"] {
            assert!(vector.get(key).is_none_or(|expected| json[key] == *expected), "{name}, {key}: {out}");
        }
        let Some(expected) = vector["breaks"].as_array() else { continue };
        let place =
            |each: &Value| json!([each["type"], each["tenant_id"], each["lane"], each["seq"], each["event_id"]]);
        // Which events are not in the tree is known after a second reading only, so these come last.
        let sorted = |breaks: &Vec<Value>| {
            let mut places: Vec<String> = breaks.iter().map(|each| place(each).to_string()).collect();
            places.sort();
            places
        };
        assert_eq!(sorted(json["breaks"].as_array().unwrap()), sorted(expected), "{name}: {out}");
        assert_eq!(json["checkpoint"]["cosigned_at"], vector["cosigned_at"], "{name}");
    }
    assert!(vectors.len() > 30);
}
