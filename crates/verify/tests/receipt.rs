//! Receipts on the command line: what is shown, the verdicts and the exit statuses.

mod support;

use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::note::{KeyType, SignerKey};
use immutable_format::tlog::proof::Proof;
use immutable_format::tlog::receipt::Receipt;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use support::{command, export, log, note, outcome, policy, run, Dir, Log, EVENTS, ORIGIN};

fn the_log() -> Log {
    let lines = export(EVENTS);
    Log::of(&lines[1..lines.len() - 1])
}

/// Without the disclosures of these paths.
fn without(receipt: &Receipt, paths: &[&str]) -> Receipt {
    let (head, list) = receipt.line.split_once("\"disclosures\":[").unwrap();
    let list: Value = serde_json::from_str(&format!("[{}", list.strip_suffix('}').unwrap())).unwrap();
    let left = list.as_array().unwrap().iter().filter(|each| !paths.contains(&each[1].as_str().unwrap()));
    let left: Vec<String> = left.map(Value::to_string).collect();
    Receipt { line: format!("{head}\"disclosures\":[{}]}}", left.join(",")), ..receipt.clone() }
}

#[test]
fn what_a_receipt_shows() {
    let dir = Dir::new("receipt-shows");
    let policy = dir.file("policy", policy());
    let receipt = the_log().receipt(2);
    let file = dir.file("event.receipt", receipt.text());
    let (status, out, error) = run(&["receipt", &file, "--policy", &policy]);
    assert_eq!((status, error.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("\nVALID\n") && out.contains("hidden   nothing\n"), "{out}");
    assert!(out.contains("cosigned witness.example/w1 at 2026-03-15T14:32:18Z"), "{out}");
    assert!(out.contains(&format!("log      {ORIGIN}\ntree     index 2 of 8\n")), "{out}");
    assert!(out.contains("open     action \"") && out.contains("shown    actor_id \""), "{out}");
    let shown = out.lines().filter(|line| line.starts_with("shown    ")).count();

    let (status, out, _) = run(&["receipt", &file, "--json", "--policy", &policy]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &json["verdict"]), (0, &Value::from("VALID")));
    let of_file = &json["receipts"][0];
    assert_eq!((&of_file["index"], &of_file["checkpoint"]["size"]), (&Value::from(2), &Value::from(8)));
    assert_eq!(of_file["checkpoint"]["cosigners"][0]["time"], 1_773_585_138);
    assert_eq!(of_file["checkpoint"]["cosigners"][0]["cosigned_at"], "2026-03-15T14:32:18Z");
    assert_eq!(of_file["disclosed"].as_object().unwrap().len(), shown);
    let line: Value = serde_json::from_str(&receipt.line).unwrap();
    assert_eq!((&of_file["document"], &of_file["event"]["event_hash"]), (&line["document"], &line["event_hash"]));
    for disclosure in line["disclosures"].as_array().unwrap() {
        assert_eq!(of_file["disclosed"][disclosure[1].as_str().unwrap()], disclosure[2]);
    }

    // Some values are left out: the receipt says which, and not what they were.
    let some = dir.file("some.receipt", without(&receipt, &["actor_id"]).text());
    let (status, out, _) = run(&["receipt", &some, "--policy", &policy]);
    assert!(status == 0 && out.contains("hidden   actor_id\nVALID\n"), "{out}");
    let all: Vec<&str> = line["disclosures"].as_array().unwrap().iter().map(|each| each[1].as_str().unwrap()).collect();
    let none = dir.file("none.receipt", without(&receipt, &all).text());
    let (status, out, _) = run(&["receipt", "--json", &none, "--policy", &policy]);
    let json: Value = serde_json::from_str(&out).unwrap();
    let hidden = &json["receipts"][0]["hidden"];
    let count = hidden["columns"].as_array().unwrap().len()
        + hidden["metadata_keys"].as_u64().unwrap() as usize
        + hidden["targets"].as_array().unwrap().len();
    assert_eq!((status, count), (0, all.len()), "{out}");
}

/// Nothing but cosignatures that a policy asks for anchors a receipt.
#[test]
fn receipts_that_nothing_anchors() {
    let dir = Dir::new("receipt-unanchored");
    let the_log = the_log();
    let good = the_log.receipt(5);
    let file = dir.file("event.receipt", good.text());
    let logs_only = dir.file("logs", format!("log {}\nquorum none\n", log().verifier().text()));
    let vkey = log().verifier().text();
    let uncosigned = Receipt { proof: Proof { note: the_log.note(false), ..good.proof.clone() }, ..good };
    let uncosigned = dir.file("uncosigned.receipt", uncosigned.text());
    let policy = dir.file("policy", policy());
    for (arguments, why) in [
        (vec!["receipt", &file], "No policy says whose signatures these are"),
        (vec!["receipt", &file, "--log", &vkey], "whoever has the log's key can sign anything"),
        (vec!["receipt", &file, "--policy", &logs_only], "whoever has the log's key can sign anything"),
        (vec!["receipt", &uncosigned, "--policy", &policy], "does not have the cosignatures that the policy asks for"),
    ] {
        let (status, out, error) = run(&arguments);
        assert_eq!((status, error.as_str()), (3, ""), "{arguments:?}: {out}");
        assert!(out.ends_with("\nconsistent, not anchored\n") && out.contains(why), "{out}");
        let (status, out, _) = run(&[&arguments[..], &["--json"]].concat());
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((status, &json["verdict"]), (3, &Value::from("consistent, not anchored")));
        assert!(json["receipts"][0]["why"].as_str().unwrap().contains(why), "{out}");
    }
    // A policy without logs, whose log is known from the command line.
    let no_logs = support::policy().split_once('\n').unwrap().1.to_string();
    let no_logs = dir.file("witnesses", no_logs);
    assert_eq!(run(&["receipt", &file, "--policy", &no_logs, "--log", &vkey]).0, 0);
    let (status, out, _) = run(&["receipt", &file, "--policy", &no_logs]);
    assert!(status == 1 && out.contains("another log than those that are known"), "{out}");
}

#[test]
fn receipts_that_are_not_valid() {
    let dir = Dir::new("receipt-wrong");
    let policy = dir.file("policy", policy());
    let the_log = the_log();
    let good = the_log.receipt(3);
    let with = |note: String| Receipt { proof: Proof { note, ..good.proof.clone() }, ..good.clone() };
    let other = SignerKey::new("log.example/other", KeyType::Ed25519, &[9; 32]).unwrap();
    let theirs = Checkpoint { origin: "log.example/other".to_string(), size: 8, root: the_log.root() };
    let forger = SignerKey::new(ORIGIN, KeyType::Ed25519, &[9; 32]).unwrap();
    let forged = Checkpoint { origin: ORIGIN.to_string(), ..theirs.clone() };
    let changed = good.line.replacen("Sarah Chen", "Sarah Chan", 1);
    let changed =
        if changed == good.line { good.line.replacen("\",\"actor_id\",\"", "\",\"actor_id\",\"x", 1) } else { changed };
    assert_ne!(changed, good.line);
    let stamped = |note: &str| note.replacen("IDJKvgAAAABptsLy", "IDJKvgAAAABptsLz", 1);
    for (name, receipt, why) in [
        ("value", Receipt { line: changed, ..good.clone() }, "the value is not the one that was committed to"),
        (
            "document",
            Receipt { line: good.line.replacen("\"action\":\"", "\"action\":\"x", 1), ..good.clone() },
            "the event's content does not hash to its event_hash",
        ),
        (
            "proof",
            Receipt { proof: the_log.receipt(4).proof, ..good.clone() },
            "does not lead from the event to the root",
        ),
        ("tree", with(note(8, [5; 32], true)), "does not lead from the event to the root of the checkpoint"),
        ("log", with(theirs.sign(&other)), "one of another log than those that are known"),
        ("forged", with(forged.sign(&forger)), "not signed by a known key of its log"),
        ("size", with(good.proof.note.replace("\n8\n", "\n9\n")), "the log's signature of the checkpoint is not valid"),
        ("time", with(stamped(&good.proof.note)), "the cosignature of the witness witness.example/w1 is not valid"),
    ] {
        let file = dir.file(name, receipt.text());
        let (status, out, error) = run(&["receipt", &file, "--policy", &policy]);
        assert_eq!((status, error.as_str()), (1, ""), "{name}: {out}");
        assert!(out.ends_with("\nNOT VALID\n") && out.contains(why), "{name}: {out}");
        let (status, out, _) = run(&["receipt", "--json", &file, "--policy", &policy]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((status, &json["verdict"]), (1, &Value::from("NOT VALID")));
        assert!(json["receipts"][0]["why"].as_str().unwrap().contains(why), "{name}: {out}");
    }
}

#[test]
fn several_receipts_have_the_worst_verdict() {
    let dir = Dir::new("receipt-several");
    let policy = dir.file("policy", policy());
    let the_log = the_log();
    let good = dir.file("good", the_log.receipt(0).text());
    let unanchored =
        Receipt { proof: Proof { note: the_log.note(false), ..the_log.receipt(1).proof }, ..the_log.receipt(1) };
    let unanchored = dir.file("unanchored", unanchored.text());
    let wrong = Receipt { line: the_log.receipt(2).line, ..the_log.receipt(3) };
    let wrong = dir.file("wrong", wrong.text());
    let unreadable = dir.file("unreadable", "no receipt");
    for (files, expected) in [
        (vec![&good, &good], 0),
        (vec![&good, &unanchored], 3),
        (vec![&unanchored, &wrong, &good], 1),
        (vec![&good, &unreadable, &wrong], 2),
    ] {
        let mut arguments = vec!["receipt", "--policy", &policy];
        arguments.extend(files.iter().map(|file| file.as_str()));
        let (status, out, error) = run(&arguments);
        assert_eq!(status, expected, "{out}{error}");
        let judged = files.iter().filter(|file| ***file != unreadable).count();
        assert_eq!(out.lines().filter(|line| line.starts_with("receipt  ")).count(), judged, "{out}");
        arguments.push("--json");
        let json: Value = serde_json::from_str(&run(&arguments).1).unwrap();
        assert_eq!(json["receipts"].as_array().unwrap().len(), files.len());
        assert_eq!(json["verdict"].is_null(), expected == 2);
    }
}

#[test]
fn what_cannot_be_read() {
    let dir = Dir::new("receipt-unreadable");
    let policy = dir.file("policy", policy());
    let good = the_log().receipt(0).text();
    let file = dir.file("good", &good);
    for (name, content, why) in [
        ("empty", String::new(), "a receipt begins with the line"),
        ("cut", good[..good.len() / 2].to_string(), ": not a receipt: "),
        ("crlf", good.replace('\n', "\r\n"), ": not a receipt: "),
        ("export", String::from_utf8(support::bytes(&export(EVENTS))).unwrap(), "a receipt begins with the line"),
    ] {
        let (status, out, error) = run(&["receipt", &dir.file(name, content), "--policy", &policy]);
        assert!(
            status == 2 && out.is_empty() && error.contains(why) && error.contains("\n    "),
            "{name}: {out}{error}"
        );
    }
    let no_policy = dir.file("no policy", "log x\n");
    let witness = support::witness().verifier().text();
    for (arguments, why) in [
        (vec!["receipt", &dir.path("missing")], "No such file"),
        (vec!["receipt", &file, "--policy", &dir.path("missing")], "missing: No such file"),
        (vec!["receipt", &file, "--policy", &no_policy], "Copy the verifier key again"),
        (vec!["receipt", &file, "--log", "x"], "not a key of the form"),
        (vec!["receipt", &file, "--log", &witness], "this is the key of a witness"),
        (vec!["receipt"], "required"),
    ] {
        let (status, out, error) = run(&arguments);
        assert!(status == 2 && out.is_empty() && error.contains(why), "{arguments:?}: {status} {out}{error}");
    }
    // The word is a command in the first place only.
    let (status, _, error) = run(&["./receipt"]);
    assert!(status == 2 && error.contains("./receipt: No such file"), "{error}");
}

#[test]
fn from_the_standard_input() {
    let dir = Dir::new("receipt-stdin");
    let policy = dir.file("policy", policy());
    let mut child = command(&["receipt", "-", "--policy", &policy])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(the_log().receipt(7).text().as_bytes()).unwrap();
    let (status, out, _) = outcome(child.wait_with_output().unwrap());
    assert!(status == 0 && out.starts_with("receipt  -\n"), "{out}");
}

/// What somebody writes into an event plays no tricks on a terminal.
#[test]
fn values_are_printed_escaped() {
    let dir = Dir::new("receipt-terminal");
    let lines = export("keys, escapes and numbers");
    let log = Log::of(&lines[1..lines.len() - 1]);
    for index in 0..log.events.len() {
        let file = dir.file("event", log.receipt(index).text());
        let (status, out, _) = run(&["receipt", &file]);
        assert_eq!(status, 3, "{out}");
        assert!(!out.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
    }
}
