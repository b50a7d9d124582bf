//! The commands of the README print what it says.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with the files that the README speaks of.
fn files() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    std::fs::create_dir_all(&dir).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/vectors/exports.json")).unwrap();
    for (file, name) in [("audit.ndjson", "several lanes and tenants"), ("edited.ndjson", "a value edited")] {
        let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
        let lines = vector["lines"].as_array().unwrap().iter();
        let text: String = lines.map(|line| format!("{}\n", line.as_str().unwrap())).collect();
        std::fs::write(dir.join(file), text).unwrap();
    }
    let saved = run(&dir, "immutable-verify --quiet --save-heads heads.json audit.ndjson");
    assert_eq!(saved, "");
    dir
}

/// What a shell prints for some commands, in which immutable-verify is the program of this build.
fn run(dir: &Path, commands: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_immutable-verify"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let done = Command::new("sh").args(["-c", commands]).current_dir(dir).env("PATH", path).output().unwrap();
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_commands_print_what_the_readme_says() {
    let dir = files();
    let readme = include_str!("../README.md");
    let mut sessions = 0;
    for session in readme.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let commands: Vec<&str> = session.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        let expected: String =
            session.lines().filter(|line| !line.starts_with("$ ")).map(|line| format!("{line}\n")).collect();
        assert_eq!(run(&dir, &commands.join("\n")), expected, "{commands:?}");
        sessions += 1;
    }
    assert_eq!(sessions, 3);
}
