//! What the last line says of a file in which no break was found, and why.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The lines of a vector's export.
fn export(name: &str) -> String {
    let vectors = include_str!("../../../tests/vectors/exports.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let mut cases = vectors["exports"].as_array().or(vectors.as_array()).unwrap().iter();
    let case = cases.find(|case| case["name"] == name).unwrap();
    case["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect()
}

struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("verdict-{name}"));
        std::fs::create_dir_all(&path).unwrap();
        Files(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }
}

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_immutable-verify")).args(arguments).output().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&verify(&[&["--json"], arguments].concat()).1).unwrap()
}

/// Anybody can make such a file, so neither the words nor the status are those of a valid one.
#[test]
fn a_file_that_nothing_anchors() {
    let files = Files::new("unanchored");
    let export = files.write("export", &export("several lanes and tenants"));
    let heads = files.0.join("heads.json").to_str().unwrap().to_string();
    let (status, out) = verify(&["--save-heads", &heads, &export]);
    assert!(status == Some(3) && out.ends_with("breaks   0\nconsistent, not anchored\n"), "{out}");
    assert!(out.contains("anybody can make such a file") && out.contains("outside  0 of 8 events confirmed"), "{out}");

    let (status, out) = verify(&["--heads", &heads, &export]);
    assert!(status == Some(0) && out.ends_with("breaks   0\nVALID\n"), "{out}");
    assert!(!out.contains("anybody") && out.contains("outside  8 of 8 events confirmed"), "{out}");

    let found = json(&[&export]);
    assert_eq!(found["verdict"], "consistent, not anchored");
    assert_eq!((&found["valid"], &found["anchored"]), (&Value::Null, &Value::Bool(false)));
    assert_eq!((&found["complete"], &found["events_confirmed"]), (&Value::Bool(false), &Value::from(0)));
    let found = json(&["--heads", &heads, &export]);
    assert_eq!((&found["verdict"], &found["valid"]), (&Value::from("VALID"), &Value::Bool(true)));
    assert_eq!((&found["complete"], &found["events_confirmed"]), (&Value::Bool(true), &Value::from(8)));
    // Heads that hold none of this file's events anchor nothing.
    let none = files.write("none.json", "[]");
    let (status, out) = verify(&["--heads", &none, &export]);
    assert!(status == Some(3) && out.ends_with("consistent, not anchored\n"), "{out}");
}

/// The heads of an export, as --save-heads writes them.
fn heads_of(files: &Files, export: &str) -> Vec<Value> {
    let path = files.0.join("all-heads.json").to_str().unwrap().to_string();
    verify(&["--save-heads", &path, export]);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Heads of some of the lanes, or from the middle of one, confirm what leads to them.
#[test]
fn heads_that_cover_only_a_part() {
    let files = Files::new("part");
    let whole = export("several lanes and tenants");
    let path = files.write("export", &whole);
    let heads = heads_of(&files, &path);
    let head = heads.iter().find(|head| head["seq"] == 4).unwrap();
    let one = files.write("one.json", &serde_json::to_string(&[head]).unwrap());
    let (status, out) = verify(&["--heads", &one, &path]);
    assert!(status == Some(0) && out.ends_with("\nVALID for 4 of 8 events\n"), "{out}");
    assert!(out.contains("in lanes without either are only consistent in themselves"), "{out}");
    let found = json(&["--heads", &one, &path]);
    assert_eq!((&found["complete"], &found["events_confirmed"]), (&Value::Bool(false), &Value::from(4)));

    // The event before it, whose hash the last one has.
    let last = whole.lines().find(|line| line.contains(&head["event_hash"].as_str().unwrap()[2..])).unwrap();
    let before = last.split_once("\"previous_event_hash\":\"").unwrap().1.split_once('"').unwrap().0;
    let mut earlier = head.clone();
    (earlier["seq"], earlier["event_hash"]) = (Value::from(3), Value::from(before));
    let middle = files.write("middle.json", &serde_json::to_string(&[earlier]).unwrap());
    let (status, out) = verify(&["--heads", &middle, &path]);
    assert!(status == Some(0) && out.ends_with("\nVALID for 3 of 8 events\n"), "{out}");
}

/// What follows a saved head carries its hash, which anybody knows who knows the head.
#[test]
fn events_that_only_follow_a_head() {
    let files = Files::new("follow");
    let whole = export("several lanes and tenants");
    let lines: Vec<&str> = whole.lines().collect();
    let event = lines.iter().find(|line| line.contains("\"seq\":4,") && line.contains("\"lane\":0,")).unwrap();
    let header = lines[0].replace("\"whole\"", "\"range\"");
    let header = header.replace("\"filters\":{", "\"filters\":{\"from_date\":\"2026-01-01\"");
    let end = "{\"immutable_export_end\":1,\"events\":1,\"lanes\":1}";
    let range = files.write("range", &format!("{header}\n{event}\n{end}\n"));
    let before = event.split_once("\"previous_event_hash\":\"").unwrap().1.split_once('"').unwrap().0;
    let head = serde_json::json!([{"tenant_id": "acme", "lane": 0, "seq": 3, "event_hash": before}]);
    let head = files.write("head.json", &head.to_string());
    let (status, out) = verify(&["--heads", &head, &range]);
    assert!(out.contains("heads    1 checked") && out.contains("links    1 checked"), "{out}");
    assert!(status == Some(3) && out.ends_with("consistent, not anchored\n"), "{out}");
}

#[test]
fn a_file_that_says_it_has_gaps() {
    let files = Files::new("gaps");
    let export = files.write("export", &export("a filter that leaves holes"));
    let (status, out) = verify(&[&export]);
    assert!(status == Some(3) && out.ends_with("\nconsistent, not anchored\n"), "{out}");
    assert!(out.contains("a removed event would not show there"), "{out}");
    // No link leads over a gap, so a head behind it confirms nothing before it.
    let heads = heads_of(&files, &export);
    let heads = files.write("heads.json", &serde_json::to_string(&heads).unwrap());
    let (status, out) = verify(&["--heads", &heads, &export]);
    let found = json(&["--heads", &heads, &export]);
    let (confirmed, events) = (&found["events_confirmed"], &found["events_checked"]);
    assert!(confirmed.as_u64() < events.as_u64() && found["complete"] == false, "{found}");
    assert!(status == Some(0) && out.ends_with(&format!("\nVALID for {confirmed} of {events} events\n")), "{out}");
}

#[test]
fn a_file_without_events() {
    let files = Files::new("empty");
    let lines = export("several lanes and tenants");
    let header = lines.lines().next().unwrap();
    let text = format!("{header}\n{{\"immutable_export_end\":1,\"events\":0,\"lanes\":0}}\n");
    let (status, out) = verify(&[&files.write("export", &text)]);
    assert!(status == Some(3) && out.contains("no events: nothing was verified"), "{out}");
    assert!(out.ends_with("consistent, not anchored\n"), "{out}");
}
