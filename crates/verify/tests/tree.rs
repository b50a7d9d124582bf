//! An export against the tree of a cosigned checkpoint.

mod support;

use immutable_format::sha256;
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::tlog::tree_export;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use support::{bytes, command, event, export, note, outcome, run, Dir, Log, EVENTS, ORIGIN};

/// A break.
#[derive(Debug, PartialEq)]
struct Found {
    kind: String,
    tenant: Option<String>,
    lane: Option<i64>,
    seq: Option<i64>,
    why: String,
}

impl Found {
    fn new(kind: &str, (tenant, lane, seq): (&str, i64, i64), why: &str) -> Found {
        let (kind, tenant, why) = (kind.to_string(), Some(tenant.to_string()), why.to_string());
        Found { kind, tenant, lane: Some(lane), seq: Some(seq), why }
    }
}

/// The files of a log: an export, a tree, a checkpoint, a policy.
struct Files {
    dir: Dir,
    lines: Vec<String>,
    log: Log,
}

impl Files {
    /// The tree has its events in another order than the export, as a database appends them.
    fn new(name: &str) -> Files {
        let lines = export(EVENTS);
        let mut events = lines[1..lines.len() - 1].to_vec();
        events.reverse();
        let files = Files { dir: Dir::new(name), log: Log::of(&events), lines };
        files.dir.file("export", bytes(&files.lines));
        files.dir.file("tree", bytes(&files.log.tree()));
        files.dir.file("note", files.log.note(true));
        files.dir.file("policy", support::policy());
        files
    }

    fn paths(&self) -> [String; 4] {
        ["export", "tree", "note", "policy"].map(|name| self.dir.path(name))
    }

    fn run(&self) -> (i32, String, String) {
        let [export, tree, note, policy] = self.paths();
        run(&[&export, "--tree", &tree, "--checkpoint", &note, "--policy", &policy])
    }

    /// The exit status and the breaks.
    fn breaks(&self) -> (i32, Vec<Found>) {
        let [export, tree, note, policy] = self.paths();
        let (status, out, error) =
            run(&["--json", &export, "--tree", &tree, "--checkpoint", &note, "--policy", &policy]);
        assert_eq!(error, "");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["error"], Value::Null, "{out}");
        let text = |value: &Value| value.as_str().map(str::to_string);
        let found = json["breaks"].as_array().unwrap().iter().map(|each| Found {
            kind: text(&each["type"]).unwrap(),
            tenant: text(&each["tenant_id"]),
            lane: each["lane"].as_i64(),
            seq: each["seq"].as_i64(),
            why: text(&each["detail"]).unwrap(),
        });
        (status, found.collect())
    }
}

#[test]
fn an_export_that_a_checkpoint_confirms() {
    let files = Files::new("tree-good");
    let (status, out, error) = files.run();
    assert_eq!((status, error.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("breaks   0\nVALID\n") && out.contains("outside  8 of 8 events confirmed"), "{out}");
    assert!(out.contains(&format!("tree     8 events at the checkpoint of {ORIGIN}\n")), "{out}");
    assert!(out.contains("         cosigned by witness.example/w1 at 2026-03-15T14:32:18"), "{out}");
    let [export, tree, note, policy] = files.paths();
    let (_, out, _) = run(&["--json", &export, "--tree", &tree, "--checkpoint", &note, "--policy", &policy]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["verdict"], &json["complete"]), (&Value::from("VALID"), &Value::Bool(true)));
    assert_eq!(json["checkpoint"]["cosigners"][0]["name"], "witness.example/w1");
    // Packed, and from the standard input.
    let packed = zstd::encode_all(bytes(&files.log.tree()).as_slice(), 3).unwrap();
    let packed = files.dir.file("tree.zst", packed);
    let mut child = command(&["-", "--tree", &packed, "--checkpoint", &note, "--policy", &policy])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes(&files.lines)).unwrap();
    assert_eq!(outcome(child.wait_with_output().unwrap()).0, 0);
}

/// Events after the checkpoint are only consistent in themselves, and the verdict says how many.
#[test]
fn a_checkpoint_that_covers_a_part() {
    let files = Files::new("tree-part");
    // Without the last event of two lanes.
    let covered: Vec<String> = files.log.events.iter().filter(|line| event(line).2 < 4).cloned().collect();
    assert!(covered.len() < 8);
    let log = Log::of(&covered);
    files.dir.file("tree", bytes(&log.tree()));
    files.dir.file("note", log.note(true));
    let (status, out, _) = files.run();
    let expected = format!("\nVALID for {} of 8 events\n", covered.len());
    assert!(status == 0 && out.ends_with(&expected), "{out}");
    // Heads confirm the rest.
    let heads = files.dir.path("heads.json");
    let [export, tree, note, policy] = files.paths();
    run(&["--save-heads", &heads, &export]);
    let arguments = ["--heads", &heads, &export, "--tree", &tree, "--checkpoint", &note, "--policy", &policy];
    let (status, out, _) = run(&arguments);
    assert!(status == 0 && out.ends_with("\nVALID\n"), "{out}");
}

#[test]
fn a_tree_that_nothing_anchors() {
    let files = Files::new("tree-unanchored");
    let [export, tree, note, policy] = files.paths();
    let vkey = support::log().verifier().text();
    let files_of = |more: &[&str]| run(&[&[export.as_str(), "--tree", &tree, "--checkpoint", &note], more].concat());
    for (more, why) in [
        (vec![], "No policy says whose signatures these are"),
        (vec!["--log", &vkey], "whoever has the log's key can sign anything"),
    ] {
        let (status, out, _) = files_of(&more);
        assert!(status == 3 && out.ends_with("\nconsistent, not anchored\n") && out.contains(why), "{out}");
        assert!(out.contains("outside  0 of 8 events confirmed"), "{out}");
    }
    files.dir.file("note", files.log.note(false));
    let (status, out, _) = files_of(&["--policy", &policy]);
    assert!(status == 3 && out.contains("does not have the cosignatures that the policy asks for"), "{out}");
}

/// A lane rewritten from an event to its end, with all hashes redone: consistent in itself.
fn rewritten(lines: &[String], tenant_id: &str, lane: i16, from: i64) -> Vec<String> {
    let mut lines = lines.to_vec();
    let mut previous: Option<(String, String)> = None;
    for line in &mut lines {
        if !line.starts_with("{\"document\"") {
            continue;
        }
        let (tenant, number, seq, _) = event(line);
        if (tenant.as_str(), number) != (tenant_id, lane) || seq < from {
            continue;
        }
        let (document, rest) = line.strip_prefix("{\"document\":").unwrap().split_once(",\"event_hash\":\"").unwrap();
        let old = rest[..64].to_string();
        let document = match &previous {
            Some((before, after)) => document.replace(before.as_str(), after),
            None => document.replacen("\"action\":\"", "\"action\":\"x", 1),
        };
        let new = hex::encode(sha256(&[document.as_bytes()]));
        *line = format!("{{\"document\":{document},\"event_hash\":\"{new}{}", &rest[64..]);
        previous = Some((old, new));
    }
    lines
}

#[test]
fn a_lane_that_was_rewritten() {
    let files = Files::new("tree-rewritten");
    files.dir.file("export", bytes(&rewritten(&files.lines, "acme", 0, 3)));
    assert_eq!(run(&[&files.dir.path("export")]).0, 3); // consistent in itself
    let (status, found) = files.breaks();
    let not_in_tree = "the event is not in the tree of the checkpoint";
    let expected = [3, 4].map(|seq| Found::new("checkpoint_mismatch", ("acme", 0, seq), not_in_tree));
    assert_eq!((status, found), (1, expected.into()));
    let (status, out, _) = files.run();
    assert!(status == 1 && out.starts_with("checkpoint_mismatch tenant \"acme\" lane 0 seq 3 event "), "{out}");

    // From the standard input there is no second reading; the verdict is the same.
    let [export, tree, note, policy] = files.paths();
    let mut child = command(&["-", "--tree", &tree, "--checkpoint", &note, "--policy", &policy])
        .stdin(Stdio::from(std::fs::File::open(&export).unwrap()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let (status, out, _) = outcome(child.wait_with_output().unwrap());
    assert!(
        status == 1 && out.contains("checkpoint_mismatch: ") && out.contains("cannot be read a second time"),
        "{out}"
    );

    // The tiles rewritten too: their root is another.
    let events: Vec<String> =
        rewritten(&files.lines, "acme", 0, 3).into_iter().filter(|line| line.starts_with("{\"document\"")).collect();
    let log = Log::of(&events);
    files.dir.file("tree", bytes(&log.tree()));
    let (status, found) = files.breaks();
    assert_eq!(status, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].why.contains("do not have the root of the checkpoint"), "{found:?}");
    // And a checkpoint of the log's own making: no witness has cosigned it.
    files.dir.file("note", log.note(false));
    assert_eq!(files.run().0, 3);
}

#[test]
fn the_end_of_a_lane_and_whole_lanes_cut_off() {
    let files = Files::new("tree-cut");
    let end = |lines: &[String]| {
        let events: Vec<_> = lines.iter().skip(1).map(|line| event(line)).collect();
        let mut lanes: Vec<_> = events.iter().map(|event| (event.0.clone(), event.1)).collect();
        lanes.dedup();
        format!("{{\"immutable_export_end\":1,\"events\":{},\"lanes\":{}}}", events.len(), lanes.len())
    };
    let keep = |rule: fn(&support::Event) -> bool| {
        let mut lines: Vec<String> = files.lines[..files.lines.len() - 1]
            .iter()
            .filter(|line| !line.starts_with("{\"document\"") || rule(&event(line)))
            .cloned()
            .collect();
        lines.push(end(&lines));
        files.dir.file("export", bytes(&lines));
        assert_eq!(run(&[&files.dir.path("export")]).0, 3); // consistent in itself
        let (status, found) = files.breaks();
        assert_eq!(status, 1);
        found
    };
    let missing = |tenant: &str, lane, seq, why: &str| Found::new("missing_event", (tenant, lane, seq), why);
    assert_eq!(
        keep(|event| event.2 < 4),
        [missing("acme", 0, 4, "the event with seq 4, which the checkpoint covers, is gone")]
    );
    assert_eq!(
        keep(|event| event.2 < 2),
        [
            missing("acme", 0, 2, "the events with seq 2 to 4, which the checkpoint covers, are gone"),
            missing("acme", 1, 2, "the event with seq 2, which the checkpoint covers, is gone"),
            missing("globex", 0, 2, "the event with seq 2, which the checkpoint covers, is gone"),
        ]
    );
    let gone = keep(|event| event.0 != "acme");
    assert_eq!(
        gone,
        [
            missing("acme", 0, 1, "the events with seq 1 to 4, which the checkpoint covers, are gone"),
            missing("acme", 1, 1, "the events with seq 1 to 2, which the checkpoint covers, are gone"),
        ]
    );
}

/// What the tree export says of lanes is not trusted.
#[test]
fn lanes_and_leaves_that_somebody_changed() {
    let files = Files::new("tree-lanes");
    let good = files.log.tree();
    let change = |from: &str, to: &str| {
        let lines: Vec<String> = good.iter().map(|line| line.replace(from, to)).collect();
        assert_ne!(lines, good, "{from}");
        files.dir.file("tree", bytes(&lines));
        files.breaks()
    };
    // Less of a lane: as if its end had not been covered.
    let (status, found) = change("[\"acme\",0],\"covered\":4}", "[\"acme\",0],\"covered\":3}");
    assert!(
        status == 1 && found.iter().any(|found| found.why.contains("the lanes of the tree have 7 events")),
        "{found:?}"
    );
    // And more of another, which has no more.
    let lines: Vec<String> = good
        .iter()
        .map(|line| line.replace("[\"acme\",0],\"covered\":4}", "[\"acme\",0],\"covered\":3}"))
        .map(|line| line.replace("[\"acme\",1],\"covered\":2}", "[\"acme\",1],\"covered\":3}"))
        .collect();
    files.dir.file("tree", bytes(&lines));
    let (status, found) = files.breaks();
    assert!(status == 1 && found.iter().any(|found| found.kind == "missing_event"), "{found:?}");
    // Lanes are kept in memory: more than can be are not read to their end.
    let mut lines = good[..1].to_vec();
    lines.extend((0..1000).map(|number| tree_export::lane(&format!("tenant-{number:04}"), 0, 1)));
    files.dir.file("tree", bytes(&lines));
    let (status, _, error) = files.run();
    assert!(status == 2 && error.contains("line 10: more lanes than the tree has events"), "{error}");
    // One leaf changed: neither the root nor the events fit.
    let mut leaves = files.log.leaves.clone();
    leaves[2] = leaf_hash(b"another");
    let tile = tree_export::tile(0, leaves.as_flattened());
    let lines: Vec<String> =
        good.iter().map(|line| if line.starts_with("{\"tile\"") { tile.clone() } else { line.clone() }).collect();
    files.dir.file("tree", bytes(&lines));
    let (status, found) = files.breaks();
    assert_eq!((status, found.len()), (1, 2), "{found:?}");
    assert!(found[0].why.contains("do not have the root") && found[1].why.contains("is not in the tree"), "{found:?}");
}

#[test]
fn an_event_twice() {
    let files = Files::new("tree-twice");
    let mut lines = files.lines.clone();
    lines.insert(2, lines[1].clone());
    let last = lines.len() - 1;
    lines[last] = lines[last].replace("\"events\":8", "\"events\":9");
    files.dir.file("export", bytes(&lines));
    let (status, found) = files.breaks();
    let kinds: Vec<&str> = found.iter().map(|found| found.kind.as_str()).collect();
    assert_eq!((status, kinds), (1, vec!["chain_break", "checkpoint_mismatch"]), "{found:?}");
}

/// A forged export of nothing, with heads and links that fit.
#[test]
fn an_export_made_up_from_nothing() {
    let files = Files::new("tree-forged");
    let forged = rewritten(&rewritten(&rewritten(&files.lines, "acme", 0, 1), "acme", 1, 1), "globex", 0, 1);
    files.dir.file("export", bytes(&forged));
    assert_eq!(run(&[&files.dir.path("export")]).0, 3);
    let (status, found) = files.breaks();
    assert!(
        status == 1 && found.len() == 8 && found.iter().all(|found| found.kind == "checkpoint_mismatch"),
        "{found:?}"
    );
}

#[test]
fn checkpoints_that_do_not_fit() {
    let files = Files::new("tree-notes");
    let other = files.log.note(true).replace(ORIGIN, "log.example/other");
    for (name, note, why) in [
        ("another root", note(8, [7; 32], true), "do not have the root of the checkpoint"),
        ("another log", other, "one of another log than those that are known"),
        ("unsigned size", files.log.note(true).replace("=\n\n", "=\nextension\n\n"), "the log's signature"),
    ] {
        files.dir.file("note", note);
        let (status, found) = files.breaks();
        assert!(status == 1 && found.iter().any(|found| found.why.contains(why)), "{name}: {found:?}");
        let (_, out, _) = files.run();
        assert!(out.starts_with("checkpoint_mismatch: ") && out.ends_with("\nNOT VALID\n"), "{name}: {out}");
    }
    // What cannot be compared at all, with what to do.
    let [export, tree, note_path, policy] = files.paths();
    files.dir.file("note", note(9, [7; 32], true));
    let (status, _, error) = files.run();
    assert!(status == 2 && error.contains("a tree of 8 leaves, where the checkpoint is of 9"), "{error}");
    assert!(error.contains("Export the tree again, at the size of the checkpoint"), "{error}");
    files.dir.file("note", "no note\n");
    let (status, _, error) = files.run();
    assert!(
        status == 2 && error.contains("not a signed checkpoint") && error.contains("immutable.checkpoints"),
        "{error}"
    );
    files.dir.file("note", files.log.note(true));
    let cut = files.log.tree();
    files.dir.file("tree", bytes(&cut[..cut.len() - 1]));
    let (status, _, error) = files.run();
    assert!(status == 2 && error.contains("the tree export is cut off"), "{error}");
    files.dir.file("tree", bytes(&files.lines));
    let (status, _, error) = files.run();
    assert!(status == 2 && error.contains("line 1: not a line of a tree export"), "{error}");
    let other_log = files.log.tree()[0].replace("\"log_id\":\"7f", "\"log_id\":\"8f");
    files.dir.file("tree", bytes(&[&[other_log], &files.log.tree()[1..]].concat()));
    let (status, _, error) = files.run();
    assert!(status == 2 && error.contains("where the tree is that of log 8f3e1c52"), "{error}");
    files.dir.file("tree", bytes(&files.log.tree()));
    for name in ["one tenant", "a filter that leaves holes"] {
        files.dir.file("export", bytes(&support::export(name)));
        let (status, _, error) = files.run();
        assert!(status == 2 && error.contains("an export with filters cannot be compared"), "{name}: {error}");
        assert!(error.contains("ask for receipts"), "{name}: {error}");
    }
    files.dir.file("export", bytes(&files.lines));
    let arguments = [&export, &export, "--tree", &tree, "--checkpoint", &note_path, "--policy", &policy];
    let (status, _, error) = run(&arguments);
    assert!(status == 2 && error.contains("only one export can be compared"), "{error}");
    for arguments in [&["--tree", &tree, &export][..], &["--checkpoint", &note_path, &export]] {
        assert_eq!(run(arguments).0, 2);
    }
}
