//! The files that leave a log with evidence: policies, requests of witnesses, receipts and tree
//! exports. They are read as they are written, no other text is taken for one, and nothing panics.

use immutable_format::export::read::{line, Line};
use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::cosignature::cosign;
use immutable_format::tlog::note::{KeyType, SignerKey};
use immutable_format::tlog::policy::{Policy, Refusal};
use immutable_format::tlog::proof::Proof;
use immutable_format::tlog::receipt::{Receipt, Wrong};
use immutable_format::tlog::request::AddCheckpoint;
use immutable_format::tlog::tree::{self, inclusion, leaf_hash};
use immutable_format::tlog::tree_export::{self, Header, LeafSums, Tree, TreeReader};
use immutable_format::tlog::Malformed;
use immutable_format::Hash;
use proptest::prelude::*;

const ORIGIN: &str = "immutable.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a";
const TIME: u64 = 1_773_585_138;

fn log() -> SignerKey {
    SignerKey::new(ORIGIN, KeyType::Ed25519, &std::array::from_fn(|n| n as u8)).unwrap()
}

fn witness(number: u8) -> SignerKey {
    let seed = std::array::from_fn(|n| 0x20 + number + n as u8);
    SignerKey::new(&format!("witness.example/w{number}"), KeyType::Cosignature, &seed).unwrap()
}

/// A checkpoint that these witnesses have cosigned, each a second after the one before.
fn note(size: u64, root: Hash, witnesses: &[u8]) -> String {
    let checkpoint = Checkpoint { origin: ORIGIN.to_string(), size, root };
    let lines = witnesses.iter().zip(TIME..).map(|(number, time)| cosign(&witness(*number), &checkpoint.text(), time));
    lines.fold(checkpoint.sign(&log()), |note, line| note + &line)
}

fn signed(note: &str) -> SignedCheckpoint {
    SignedCheckpoint::parse(note.as_bytes()).unwrap()
}

/// The lines of an export of the vectors.
fn export(name: &str) -> Vec<String> {
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/exports.json")).unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
    vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_string()).collect()
}

fn event_hash(text: &str) -> Hash {
    let Line::Event(event) = line(text.as_bytes()).unwrap() else { panic!("not an event: {text}") };
    event.content.unwrap()
}

/// Bytes near those of a good file: some are replaced, put in or left out.
fn near(bytes: &[u8], changes: &[(prop::sample::Index, Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, part, instead) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + instead).min(bytes.len());
        bytes.splice(at..end, part.iter().copied());
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>, usize)>> {
    let words = prop::sample::select(&[
        "\n",
        "\n\n",
        "\u{2014} ",
        "\"",
        "}",
        "]",
        ",",
        "0",
        "9999999999999999999",
        " ",
        "\t",
        "#",
        "none",
        "null",
        "\\u0041",
        "=",
    ]);
    let part = prop_oneof![prop::collection::vec(any::<u8>(), 0..3), words.prop_map(|word| word.as_bytes().to_vec()),];
    prop::collection::vec((any::<prop::sample::Index>(), part, 0..4usize), 0..4)
}

// ---------------------------------------------------------------------------------------------------------------------
// Policies

fn policy_text() -> String {
    let mut text = format!("# known logs\nlog {} https://log.example/\n\n", log().verifier().text());
    for number in 1..=6 {
        text += &["witness W", &number.to_string(), " ", &witness(number).verifier().text(), "\n"].concat();
    }
    text + "group X 2 W1 W2 W3\n  group\tY any W4 W5 W6 \ngroup both all X Y\nquorum both\n"
}

#[test]
fn a_quorum_of_groups() {
    let policy = Policy::parse(policy_text().as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().count()), (1, 6));
    for (cosigners, anchored) in [
        (&[][..], false),
        (&[1, 2], false),
        (&[4, 5, 6], false),
        (&[1, 4, 5, 6], false),
        (&[1, 2, 3], false),
        (&[1, 3, 5], true),
        (&[6, 2, 3], true),
        (&[1, 2, 3, 4, 5, 6], true),
        (&[7, 8, 9], false),
    ] {
        let judgement = policy.judge(&signed(&note(5, [1; 32], cosigners))).unwrap();
        assert_eq!(judgement.anchored, anchored, "{cosigners:?}");
        let known = cosigners.iter().filter(|number| **number < 7).count();
        assert_eq!(judgement.cosigners.len(), known);
    }
    let judgement = policy.judge(&signed(&note(5, [1; 32], &[6, 2]))).unwrap();
    let times: Vec<_> = judgement.cosigners.iter().map(|found| (found.name.as_str(), found.time)).collect();
    assert_eq!(times, [("witness.example/w2", TIME + 1), ("witness.example/w6", TIME)]);
    assert_eq!((judgement.anchored, judgement.cosigned_at), (false, None));
    // The one that completes the quorum, whatever comes after it.
    let judgement = policy.judge(&signed(&note(5, [1; 32], &[1, 6, 3, 2, 4]))).unwrap();
    assert_eq!(judgement.cosigned_at, Some(TIME + 2));
}

#[test]
fn what_is_not_signed_as_it_must_be() {
    let policy = Policy::parse(policy_text().as_bytes()).unwrap();
    let good = note(5, [1; 32], &[1, 2, 4]);
    assert!(policy.judge(&signed(&good)).unwrap().anchored);
    let other = SignerKey::new("log.example/other", KeyType::Ed25519, &[9; 32]).unwrap();
    let theirs = Checkpoint { origin: "log.example/other".to_string(), size: 5, root: [1; 32] };
    assert_eq!(policy.judge(&signed(&theirs.sign(&other))), Err(Refusal::OtherLog));
    // Another key under the log's name.
    let forger = SignerKey::new(ORIGIN, KeyType::Ed25519, &[9; 32]).unwrap();
    let forged = Checkpoint { origin: ORIGIN.to_string(), size: 5, root: [1; 32] };
    assert_eq!(policy.judge(&signed(&forged.sign(&forger))), Err(Refusal::NotSigned));
    assert_eq!(policy.judge(&signed(&good.replace("\n5\n", "\n6\n"))), Err(Refusal::LogSignature));
    // The log's line alone is made for another text, or that of one witness.
    let (text, lines) = good.split_once("\n\n").unwrap();
    let bigger = note(6, [1; 32], &[]);
    let swapped = [bigger.as_str(), lines.split_once('\n').unwrap().1].concat();
    assert_eq!(policy.judge(&signed(&swapped)), Err(Refusal::Cosignature("witness.example/w1".to_string())));
    let without = [text, "\n\n", lines.split_once('\n').unwrap().1].concat();
    assert_eq!(policy.judge(&signed(&without)), Err(Refusal::NotSigned));
    // Logs that are known from elsewhere.
    let mut none = Policy::parse(b"quorum none").unwrap();
    assert_eq!(none.judge(&signed(&good)), Err(Refusal::OtherLog));
    none.add_logs(vec![log().verifier(), log().verifier()]);
    let judgement = none.judge(&signed(&good)).unwrap();
    assert!(!judgement.anchored && judgement.cosigners.is_empty());
}

#[test]
fn what_is_no_policy() {
    let (vkey, wkey) = (log().verifier().text(), witness(1).verifier().text());
    let other = witness(2).verifier().text();
    let renamed =
        SignerKey::new("another.name", KeyType::Cosignature, &std::array::from_fn(|n| 0x21 + n as u8)).unwrap();
    let renamed = renamed.verifier().text();
    let as_log = SignerKey::new("l", KeyType::Ed25519, &std::array::from_fn(|n| 0x21 + n as u8)).unwrap();
    let as_log = as_log.verifier().text();
    for (text, why) in [
        (String::new(), "no line with the quorum"),
        ("quorum W".to_string(), "line 1: a name that no line above defines"),
        (format!("quorum W\nwitness W {wkey}"), "line 1: a name that no line above defines"),
        ("quorum none\nquorum none".to_string(), "line 2: a second line with the quorum"),
        (format!("log {wkey}\nquorum none"), "line 1: the key of a log must be of type 0x01"),
        (format!("witness W {vkey}\nquorum W"), "line 1: the key of a witness must be of type 0x04"),
        (format!("log {vkey}\nlog {vkey}\nquorum none"), "line 2: a key that the policy has already"),
        (format!("witness W {wkey}\nwitness V {wkey}\nquorum W"), "line 2: a key that the policy has already"),
        (format!("witness W {wkey}\nwitness V {renamed}\nquorum W"), "line 2: a key that the policy has already"),
        (format!("log {as_log}\nwitness V {wkey}\nquorum V"), "line 2: a key that the policy has already"),
        (format!("witness W {wkey}\nwitness W {other}\nquorum W"), "line 2: a name that is defined already"),
        (format!("witness none {wkey}\nquorum none"), "line 1: the name none cannot be defined"),
        (format!("witness W {wkey}\ngroup G any none\nquorum G"), "line 2: a name that no line above defines"),
        (format!("witness W {wkey}\ngroup G any\nquorum G"), "line 2: a group needs all, any, or a number"),
        (format!("witness W {wkey}\ngroup G all\nquorum G"), "line 2: a group needs all, any, or a number"),
        (format!("witness W {wkey}\ngroup G 2 W\nquorum G"), "line 2: a group needs all, any, or a number"),
        (format!("witness W {wkey}\ngroup G 0 W\nquorum G"), "line 2: a group needs all, any, or a number"),
        (format!("witness W {wkey}\ngroup G 01 W\nquorum G"), "line 2: a group needs all, any, or a number"),
        (format!("witness W {wkey}\ngroup G any W W\nquorum G"), "line 2: a name can be a member of one group"),
        (format!("witness W {wkey}\ngroup G any W\ngroup H any W\nquorum G"), "line 3: a name can be a member of one"),
        (format!("witness W {wkey}\ngroup G any G\nquorum G"), "line 2: a name that no line above defines"),
        (format!("witness W {wkey} url more\nquorum W"), "line 1: not a line of a policy"),
        ("quorum none\r\n".to_string(), "line 1: a control character"),
        ("quorum\u{b}none\n".to_string(), "line 1: a control character"),
        ("quorum\u{a0}none\n".to_string(), "line 1: not a line of a policy"),
        ("Quorum none\n".to_string(), "line 1: not a line of a policy"),
        ("log nonsense\nquorum none".to_string(), "line 1: not a key of the form"),
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(error.0.contains(why), "{text:?}: {}", error.0);
    }
    // Names are bytes: these two differ, and neither is UTF-8.
    let mut text = format!("witness \u{4b} {wkey}\nwitness \u{212a} {other}\nquorum \u{212a}\n").into_bytes();
    assert!(Policy::parse(&text).is_ok());
    text.extend_from_slice(b"# \xff\xfe");
    assert!(Policy::parse(&text).is_ok());
}

/// How many members of a group are needed, and the members.
type Group = (usize, Vec<u8>);

/// Groups of witnesses, how many of the groups are needed, and which witnesses have cosigned.
fn quorum() -> impl Strategy<Value = (Vec<Group>, usize, Vec<bool>)> {
    let sizes = prop::collection::vec(1..4usize, 1..4);
    sizes.prop_flat_map(|sizes| {
        let mut next = 0;
        let groups: Vec<Vec<u8>> = sizes
            .iter()
            .map(|size| {
                next += *size as u8;
                (next - *size as u8..next).collect()
            })
            .collect();
        let least: Vec<_> = sizes.iter().map(|size| 1..=*size).collect();
        (least, 1..=groups.len(), prop::collection::vec(any::<bool>(), usize::from(next)))
            .prop_map(move |(least, top, signed)| (least.into_iter().zip(groups.clone()).collect(), top, signed))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn quorums_are_counted((groups, top, signed_by) in quorum()) {
        let mut lines = vec![format!("log {}", log().verifier().text())];
        let key = |number: usize| witness(number as u8).verifier().text();
        lines.extend((0..signed_by.len()).map(|number| format!("witness w{number} {}", key(number))));
        lines.extend(groups.iter().enumerate().map(|(number, (least, members))| {
            let members: Vec<String> = members.iter().map(|member| format!("w{member}")).collect();
            format!("group g{number} {least} {}", members.join(" "))
        }));
        let members: Vec<String> = (0..groups.len()).map(|number| format!("g{number}")).collect();
        lines.push(format!("group top {top} {}\nquorum top\n", members.join(" ")));
        let text = lines.join("\n");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let cosigners: Vec<u8> = (0..signed_by.len()).filter(|at| signed_by[*at]).map(|at| at as u8).collect();
        let holds = |(least, members): &Group| {
            members.iter().filter(|member| signed_by[usize::from(**member)]).count() >= *least
        };
        let expected = groups.iter().filter(|group| holds(group)).count() >= top;
        prop_assert_eq!(policy.judge(&signed(&note(5, [1; 32], &cosigners))).unwrap().anchored, expected);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_policy_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), changes in changes()) {
        let _ = Policy::parse(&bytes);
        let _ = Policy::parse(&near(policy_text().as_bytes(), &changes));
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Requests

    #[test]
    fn requests_are_read_as_they_are_written(old in 0..=i64::MAX as u64, proof in prop::collection::vec(any::<Hash>(), 0..64),
                                             note in "[ -~\n]{0,80}", changes in changes()) {
        let request = AddCheckpoint { old, proof, note };
        let text = request.text();
        prop_assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(request));
        let bytes = near(text.as_bytes(), &changes);
        if let Ok(read) = AddCheckpoint::parse(&bytes) {
            prop_assert_eq!(read.text().into_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_no_request() {
    let hash = format!("{}=\n", "A".repeat(43));
    let most = format!("old 5\n{}\nnote", hash.repeat(63));
    assert_eq!(AddCheckpoint::parse(most.as_bytes()).unwrap().proof.len(), 63);
    for text in [
        "",
        "old 5",
        "old 5\n",
        "old 05\n\nx",
        "old +5\n\nx",
        "old  5\n\nx",
        "Old 5\n\nx",
        "old 9223372036854775808\n\nx",
        "old -1\n\nx",
        "old 5\r\n\r\nx",
        "\nold 5\n\nx",
        "old 5\nAAAA\n\nx",
        "old 5\n \n\nx",
        &format!("old 5\n{}\nx", hash.repeat(64)),
        &format!("old 5\n{}\nx", hash.replace('=', "")),
        &format!("old 5\n{}\nx", hash.replace("A=", "B=")),
    ] {
        assert!(AddCheckpoint::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(AddCheckpoint::parse(&vec![b'a'; 2_000_000]).is_err());
}

// ---------------------------------------------------------------------------------------------------------------------
// Receipts

/// The tree over the events of a vector, cosigned by witness 1, and the receipt of one of them.
fn receipt(name: &str, index: usize) -> Receipt {
    let lines = export(name);
    let events = &lines[1..lines.len() - 1];
    let leaves: Vec<Hash> = events.iter().map(|line| leaf_hash(&event_hash(line))).collect();
    let size = leaves.len() as u64;
    let note = note(size, tree::root(leaves.iter().copied()), &[1]);
    let hashes = inclusion(index as u64, size, &mut &leaves[..]).unwrap().unwrap();
    Receipt { line: events[index].clone(), proof: Proof { extra: None, index: index as u64, hashes, note } }
}

fn policy() -> Policy {
    let text = format!("log {}\nwitness w {}\nquorum w\n", log().verifier().text(), witness(1).verifier().text());
    Policy::parse(text.as_bytes()).unwrap()
}

const EVENTS: &str = "several lanes and tenants";

#[test]
fn a_receipt_shows_its_event() {
    for index in 0..8 {
        let receipt = receipt(EVENTS, index);
        let text = receipt.text();
        let read = Receipt::parse(text.as_bytes()).unwrap();
        assert_eq!(read, receipt);
        let shown = read.verify(Some(&policy())).unwrap();
        assert_eq!((shown.index, shown.checkpoint.checkpoint.size), (index as u64, 8));
        assert_eq!(leaf_hash(&shown.event_hash), leaf_hash(&event_hash(&receipt.line)));
        let judgement = shown.judgement.unwrap();
        assert!(judgement.anchored && judgement.cosigners[0].time == TIME);
        assert!(shown.shown.hidden_columns.is_empty() && shown.shown.hidden_metadata == 0);
        assert!(read.verify(None).unwrap().judgement.is_none());
    }
}

/// Without one of its disclosures.
fn without(line: &str, path: &str) -> String {
    let (head, list) = line.split_once("\"disclosures\":[").unwrap();
    let list: serde_json::Value = serde_json::from_str(&format!("[{}", list.strip_suffix('}').unwrap())).unwrap();
    let left: Vec<String> =
        list.as_array().unwrap().iter().filter(|each| each[1] != path).map(serde_json::Value::to_string).collect();
    format!("{head}\"disclosures\":[{}]}}", left.join(","))
}

#[test]
fn values_can_be_left_out_of_a_receipt() {
    let mut receipt = receipt("one tenant", 0);
    let all: Vec<String> =
        receipt.verify(None).unwrap().shown.disclosed.iter().map(|(path, _)| path.to_string()).collect();
    assert!(!all.is_empty());
    for path in &all {
        let line = receipt.line.clone();
        receipt.line = without(&line, path);
        let read = Receipt::parse(receipt.text().as_bytes()).unwrap();
        let shown = read.verify(Some(&policy())).unwrap().shown;
        assert!(shown.disclosed.iter().all(|(left, _)| left != path), "{path}");
        let hidden = shown.hidden_columns.len() + shown.hidden_metadata + shown.hidden_targets.len();
        assert_eq!(hidden + shown.disclosed.len(), all.len(), "{path}");
        assert!(path.contains('.') || shown.hidden_columns.iter().any(|hidden| hidden == path));
    }
    let shown = receipt.verify(Some(&policy())).unwrap().shown;
    assert!(shown.disclosed.is_empty() && shown.event.content.is_ok());
}

#[test]
fn values_of_the_logs_own_events_too() {
    let names: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/exports.json")).unwrap();
    let mut found = 0;
    for vector in names {
        let lines: Vec<&str> = vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let own = lines.iter().filter(|line| line.starts_with("{\"document\":{\"action\":\"immutable."));
        for text in own.filter(|text| matches!(line(text.as_bytes()), Ok(Line::Event(event)) if event.content.is_ok()))
        {
            let Some(hash) = text.split_once("\"event_hash\":\"").map(|(_, rest)| &rest[..64]) else { continue };
            let hash: Hash = immutable_format::parse_hex(hash).unwrap();
            let (head, _) = text.split_once("\"disclosures\":[").unwrap();
            let line = format!("{head}\"disclosures\":[]}}");
            let note = note(1, leaf_hash(&hash), &[1]);
            let receipt = Receipt { line, proof: Proof { extra: None, index: 0, hashes: vec![], note } };
            if let Ok(shown) = receipt.verify(Some(&policy())) {
                assert!(shown.shown.disclosed.is_empty());
                found += 1;
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn receipts_that_show_nothing() {
    let good = receipt(EVENTS, 3);
    let policy = policy();
    let wrong = |receipt: &Receipt| receipt.verify(Some(&policy)).map(|shown| shown.index).unwrap_err();
    let mut changed = good.clone();
    changed.line = good.line.replacen("\"action\":\"", "\"action\":\"x", 1);
    assert!(matches!(wrong(&changed), Wrong::Event(why) if why.contains("does not hash to its event_hash")));
    // With the hash redone: the leaf is another one.
    let document = changed.line.split_once("{\"document\":").unwrap().1.split_once(",\"event_hash\"").unwrap().0;
    let hash = hex::encode(immutable_format::sha256(&[document.as_bytes()]));
    let old = hex::encode(event_hash(&good.line));
    changed.line = changed.line.replace(&format!("\"event_hash\":\"{old}\""), &format!("\"event_hash\":\"{hash}\""));
    assert_eq!(wrong(&changed), Wrong::Proof);
    // A value that is not the one that was committed to.
    let (head, list) = good.line.split_once("\"disclosures\":[").unwrap();
    let at = list.find("\",\"").unwrap() + 3;
    let value = list[at..].find("\",\"").unwrap() + at + 3;
    changed.line = format!("{head}\"disclosures\":[{}x{}", &list[..value], &list[value..]);
    assert!(matches!(wrong(&changed), Wrong::Event(why) if why.contains("is not the one that was committed to")));
    // The proof of another event.
    changed = Receipt { proof: receipt(EVENTS, 4).proof, ..good.clone() };
    assert_eq!(wrong(&changed), Wrong::Proof);
    changed = good.clone();
    changed.proof.hashes.swap(0, 1);
    assert_eq!(wrong(&changed), Wrong::Proof);
    changed.proof.hashes.clear();
    assert_eq!(wrong(&changed), Wrong::Proof);
    // The checkpoint of another tree, signed as it must be.
    changed = good.clone();
    changed.proof.note = note(8, [5; 32], &[1]);
    assert_eq!(wrong(&changed), Wrong::Proof);
    // Another log's.
    let other = SignerKey::new("log.example/other", KeyType::Ed25519, &[9; 32]).unwrap();
    let root = good.proof.checkpoint().unwrap().checkpoint.root;
    changed.proof.note = Checkpoint { origin: "log.example/other".to_string(), size: 8, root }.sign(&other);
    assert_eq!(wrong(&changed), Wrong::Checkpoint(Refusal::OtherLog));
    // A cosignature whose time was changed, which stands behind the key id.
    let (head, line) = good.proof.note.rsplit_once(' ').unwrap();
    let mut blob = immutable_format::tlog::parse_base64(line.trim_end()).unwrap();
    blob[11] ^= 1;
    changed.proof.note = format!("{head} {}\n", immutable_format::tlog::base64(&blob));
    assert_eq!(wrong(&changed), Wrong::Checkpoint(Refusal::Cosignature("witness.example/w1".to_string())));
}

#[test]
fn what_is_no_receipt() {
    let good = receipt(EVENTS, 3);
    let text = good.text();
    let lines = export(EVENTS);
    let extra = Receipt { proof: Proof { extra: Some(vec![1]), ..good.proof.clone() }, ..good.clone() };
    for (name, bytes) in [
        ("nothing", Vec::new()),
        ("the header", b"immutable-receipt/v1\n".to_vec()),
        ("no header", text.split_once('\n').unwrap().1.as_bytes().to_vec()),
        ("another version", text.replace("receipt/v1", "receipt/v2").into_bytes()),
        ("CR LF", text.replace('\n', "\r\n").into_bytes()),
        ("cut", text.as_bytes()[..text.len() - 1].to_vec()),
        ("more", format!("{text}\n").into_bytes()),
        ("a header of an export", text.replace(&good.line, &lines[0]).into_bytes()),
        ("an end line", text.replace(&good.line, &lines[lines.len() - 1]).into_bytes()),
        ("extra", extra.text().into_bytes()),
        ("not UTF-8", [text.as_bytes(), b"\xff"].concat()),
    ] {
        assert!(Receipt::parse(&bytes).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_receipt_panic(index in 0..8usize, bytes in prop::collection::vec(any::<u8>(), 0..200), changes in changes()) {
        let _ = Receipt::parse(&bytes);
        let good = receipt(EVENTS, index);
        let text = near(good.text().as_bytes(), &changes);
        if let Ok(read) = Receipt::parse(&text) {
            prop_assert_eq!(read.text().into_bytes(), text);
            // What verifies shows the same event; only disclosures can be gone.
            if let Ok(shown) = read.verify(Some(&policy())) {
                prop_assert_eq!(shown.event_hash, event_hash(&good.line));
                prop_assert!(!shown.judgement.unwrap().anchored || read.proof.index == index as u64);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Tree exports

const KEY: [u8; 16] = *b"sixteen and more";

fn tree_lines(lanes: &[(String, i16, i64)], leaves: &[Hash]) -> Vec<String> {
    let header = Header { log_id: [7; 16], origin: ORIGIN.to_string(), size: leaves.len() as u64 };
    let mut lines = vec![tree_export::header(&header)];
    lines.extend(lanes.iter().map(|(tenant_id, lane, covered)| tree_export::lane(tenant_id, *lane, *covered)));
    let tiles = leaves.chunks(256).enumerate();
    lines.extend(tiles.map(|(number, leaves)| tree_export::tile(number as u64, leaves.as_flattened())));
    lines.push(tree_export::end(leaves.len().div_ceil(256) as u64, lanes.len() as u64));
    lines
}

fn read(lines: &[impl AsRef<[u8]>]) -> Result<Tree, Malformed> {
    let mut reader = TreeReader::new(&KEY);
    let mut indexes = 0..;
    for line in lines {
        reader.line(line.as_ref(), |index, _| assert_eq!(Some(index), indexes.next()))?;
    }
    reader.finish()
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn sums(leaves: &[Hash]) -> LeafSums {
    let mut sums = LeafSums::new(&KEY);
    for leaf in leaves {
        sums.add(leaf);
    }
    sums
}

fn lanes() -> impl Strategy<Value = Vec<(String, i16, i64)>> {
    let lane = (any::<String>(), 0..=i16::MAX, 1..=i64::MAX);
    prop::collection::vec(lane, 0..10).prop_map(|mut lanes| {
        lanes.sort();
        lanes.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
        lanes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn tree_exports_are_read_as_they_are_written(lanes in lanes(), more in 0..1000u64) {
        // A lane that is covered has an event at least.
        let count = lanes.len() as u64 + more;
        let leaves = leaves(count);
        let tree = read(&tree_lines(&lanes, &leaves)).unwrap();
        prop_assert_eq!(tree.root, tree::root(leaves.iter().copied()));
        prop_assert_eq!((tree.header.size, tree.header.origin.as_str()), (count, ORIGIN));
        prop_assert_eq!(tree.events, lanes.iter().map(|(_, _, covered)| *covered as u128).sum::<u128>());
        for (tenant_id, lane, covered) in &lanes {
            prop_assert_eq!(tree.covered[tenant_id][lane], *covered);
        }
        // In any order the sums are the same.
        let backwards: Vec<Hash> = leaves.into_iter().rev().collect();
        prop_assert!(tree.sums.differing(&sums(&backwards)).is_empty());
    }

    #[test]
    fn sums_find_what_differs(count in 1..2000u64, at in any::<prop::sample::Index>(), kind in 0..4u8) {
        let leaves = leaves(count);
        let mut other = leaves.clone();
        let at = at.index(leaves.len());
        let mut concerned = vec![leaves[at]];
        match kind {
            0 => drop(other.remove(at)),
            1 => other.push(leaves[at]),
            2 => { other[at] = [1; 32]; concerned.push([1; 32]); }
            // Doubled in the place of another.
            _ => { let next = (at + 1) % leaves.len(); concerned.push(leaves[next]); other[at] = leaves[next]; }
        }
        let (own, theirs) = (sums(&leaves), sums(&other));
        let differing: Vec<usize> = own.differing(&theirs).into_iter().map(|(part, _)| part).collect();
        let expected: std::collections::BTreeSet<usize> = if leaves == other { Default::default() } else {
            concerned.iter().map(|leaf| own.part_of(leaf)).collect()
        };
        prop_assert_eq!(differing, expected.into_iter().collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_tree_export_panic(lanes in lanes(), count in 0..600u64, changes in changes(),
                                         bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&[bytes]);
        let text: Vec<u8> = tree_lines(&lanes, &leaves(count)).join("\n").into_bytes();
        let changed = near(&text, &changes);
        let lines: Vec<&[u8]> = changed.split(|byte| *byte == b'\n').collect();
        if let Ok(tree) = read(&lines) {
            // One text for one tree: what was read, written again, is what was read.
            let sums: Vec<(String, i16, i64)> = {
                let mut lanes: Vec<_> = tree.covered.into_iter()
                    .flat_map(|(tenant_id, lanes)| lanes.into_iter().map(move |(lane, covered)| (tenant_id.clone(), lane, covered)))
                    .collect();
                lanes.sort();
                lanes
            };
            let again = [
                vec![tree_export::header(&tree.header)],
                sums.iter().map(|(tenant_id, lane, covered)| tree_export::lane(tenant_id, *lane, *covered)).collect(),
            ].concat();
            prop_assert_eq!(lines[..again.len()].to_vec(), again.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_is_no_tree_export() {
    let lanes = [("a".to_string(), 0, 200), ("a".to_string(), 1, 100), ("\u{e4}".to_string(), 0, 300)];
    let good = tree_lines(&lanes, &leaves(600));
    assert_eq!(good.len(), 1 + 3 + 3 + 1);
    assert!(read(&good).is_ok());
    for gone in 0..good.len() {
        let mut lines = good.clone();
        lines.remove(gone);
        assert!(read(&lines).is_err(), "without line {gone}");
        lines = good.clone();
        lines.insert(gone, good[gone].clone());
        assert!(read(&lines).is_err(), "line {gone} twice");
        if gone > 0 {
            lines = good.clone();
            lines.swap(gone, gone - 1);
            assert!(read(&lines).is_err(), "line {gone} moved up");
        }
    }
    let none: [&str; 0] = [];
    assert!(read(&none).unwrap_err().0.contains("no tree export"));
    assert!(read(&good[..7]).unwrap_err().0.contains("cut off"));
    for (from, to) in [
        ("\"size\":600", "\"size\":599"),
        ("\"size\":600", "\"size\":0600"),
        ("\"size\":600", "\"size\": 600"),
        ("\"size\":600", "\"size\":6e2"),
        ("\"immutable_tree\":1", "\"immutable_tree\":2"),
        ("\"covered\":100}", "\"covered\":0}"),
        ("\"covered\":100}", "\"covered\":-1}"),
        ("\"covered\":100}", "\"covered\":9223372036854775808}"),
        ("[\"a\",1]", "[\"a\",32768]"),
        ("[\"a\",1]", "[\"a\",-1]"),
        ("[\"a\",1]", "[\"\\u0061\",1]"),
        ("\"lanes\":3", "\"lanes\":4"),
        ("\"tiles\":3", "\"tiles\":2"),
        ("\"tile\":1,", "\"tile\":2,"),
        ("=\"}", "\"}"),
    ] {
        let lines: Vec<String> = good.iter().map(|line| line.replace(from, to)).collect();
        assert!(lines != good && read(&lines).is_err(), "{to}");
    }
}
