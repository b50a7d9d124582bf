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

/// The status stays 0: no break was found. The words say how little that is worth without heads.
#[test]
fn a_file_that_nothing_anchors() {
    let files = Files::new("unanchored");
    let export = files.write("export", &export("several lanes and tenants"));
    let heads = files.0.join("heads.json").to_str().unwrap().to_string();
    let (status, out) = verify(&["--save-heads", &heads, &export]);
    assert!(status == Some(0) && out.ends_with("breaks   0\nVALID (unanchored)\n"), "{out}");
    assert!(out.contains("anybody can make such a file"), "{out}");

    let (status, out) = verify(&["--heads", &heads, &export]);
    assert!(status == Some(0) && out.ends_with("breaks   0\nVALID\n"), "{out}");
    assert!(!out.contains("anybody") && out.contains("lanes without a saved head"), "{out}");

    for (arguments, anchored) in [(&["--json", &export][..], false), (&["--json", "--heads", &heads, &export], true)] {
        let json: Value = serde_json::from_str(&verify(arguments).1).unwrap();
        assert_eq!((&json["valid"], &json["anchored"]), (&Value::Bool(true), &Value::Bool(anchored)));
    }
    // Heads that hold none, or none of this file's lanes, anchor nothing.
    let none = files.write("none.json", "[]");
    assert!(verify(&["--heads", &none, &export]).1.ends_with("VALID (unanchored)\n"));
}

#[test]
fn a_file_that_says_it_has_gaps() {
    let files = Files::new("gaps");
    let export = files.write("export", &export("a filter that leaves holes"));
    let (status, out) = verify(&[&export]);
    assert!(status == Some(0) && out.ends_with("VALID (unanchored, with gaps)\n"), "{out}");
}

#[test]
fn a_file_without_events() {
    let files = Files::new("empty");
    let lines = export("several lanes and tenants");
    let header = lines.lines().next().unwrap();
    let text = format!("{header}\n{{\"immutable_export_end\":1,\"events\":0,\"lanes\":0}}\n");
    let (status, out) = verify(&[&files.write("export", &text)]);
    assert!(status == Some(0) && out.contains("no events: nothing was verified"), "{out}");
    assert!(out.ends_with("VALID (unanchored)\n"), "{out}");
}
