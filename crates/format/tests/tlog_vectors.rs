//! The vectors of `tests/vectors/tlog.json`, which the second implementation made, for everything that
//! this crate knows. Those of whole exports are in the tests of the program.

use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::cosignature::{cosign, of_note};
use immutable_format::tlog::note::{KeyType, Note, SignerKey, VerifierKey};
use immutable_format::tlog::policy::{Judgement, Policy};
use immutable_format::tlog::proof::Proof;
use immutable_format::tlog::receipt::Receipt;
use immutable_format::tlog::request::AddCheckpoint;
use immutable_format::tlog::tile::{hashes_at, Tile, WIDTH};
use immutable_format::tlog::tree::{
    self, consistency, inclusion, is_consistent, is_included, leaf_hash, node_hash, Nodes,
};
use immutable_format::tlog::tree_export::TreeReader;
use immutable_format::{id, parse_hex, sha256, time, Hash};
use serde_json::{json, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Whether a vector is as it says, with what was found in its place.
type Found = Result<Value, String>;

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_else(|| panic!("{} has no {name}", vector["name"]))
}

/// The input, as bytes.
fn input(vector: &Value) -> Vec<u8> {
    match vector["input_hex"].as_str() {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text(vector, "input").as_bytes().to_vec(),
    }
}

fn hash(value: &Value) -> Hash {
    parse_hex(value.as_str().unwrap()).unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

fn texts(hashes: &[Hash]) -> Value {
    hashes.iter().map(hex::encode).collect()
}

fn entries(vector: &Value) -> Option<Vec<Vec<u8>>> {
    if let Some(count) = vector["numbered"].as_u64() {
        return Some((0..count).map(|n| sha256(&[format!("event {n}").as_bytes()]).to_vec()).collect());
    }
    let entries = vector["entries"].as_array()?;
    Some(entries.iter().map(|entry| hex::decode(entry.as_str().unwrap()).unwrap()).collect())
}

fn leaves(vector: &Value) -> Option<Vec<Hash>> {
    entries(vector).map(|entries| entries.iter().map(|entry| leaf_hash(entry)).collect())
}

/// The full subtrees of a tree, so that none is computed twice.
struct Subtrees(Vec<Vec<Hash>>);

impl Subtrees {
    fn of(leaves: Vec<Hash>) -> Subtrees {
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > 1 {
            let pairs = levels[levels.len() - 1].chunks_exact(2);
            let above = pairs.map(|pair| node_hash(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Subtrees(levels)
    }
}

impl Nodes for &Subtrees {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Self::Error> {
        Ok(self.0[level as usize][number as usize])
    }
}

thread_local! {
    /// The trees of numbered entries, by their number.
    static TREES: RefCell<HashMap<u64, Rc<Subtrees>>> = RefCell::default();
}

/// The tree of a vector that says what a prover must make.
fn tree_of(vector: &Value) -> Option<Rc<Subtrees>> {
    let make = || leaves(vector).map(Subtrees::of).map(Rc::new);
    let Some(count) = vector["numbered"].as_u64() else { return make() };
    let tree = TREES.with_borrow(|trees| trees.get(&count).cloned()).or_else(make)?;
    TREES.with_borrow_mut(|trees| trees.insert(count, tree.clone()));
    Some(tree)
}

fn holds(holds: bool) -> Found {
    if holds {
        Ok(json!({}))
    } else {
        Err("it does not hold".to_string())
    }
}

fn inclusion_of(vector: &Value) -> Found {
    let (index, size) = (vector["index"].as_u64().unwrap(), vector["size"].as_u64().unwrap());
    let proof = hashes(&vector["proof"]);
    if let Some(tree) = tree_of(vector) {
        assert_eq!(inclusion(index, size, &mut &*tree), Ok(Some(proof.clone())), "{}", vector["name"]);
    }
    holds(is_included(&hash(&vector["leaf"]), index, size, &hash(&vector["root"]), &proof))
}

fn consistency_of(vector: &Value) -> Found {
    let (old, size) = (vector["old"].as_u64().unwrap(), vector["size"].as_u64().unwrap());
    let proof = hashes(&vector["proof"]);
    if let Some(tree) = tree_of(vector) {
        assert_eq!(consistency(old, size, &mut &*tree), Ok(Some(proof.clone())), "{}", vector["name"]);
    }
    holds(is_consistent((old, &hash(&vector["old_root"])), (size, &hash(&vector["root"])), &proof))
}

/// All tiles of a tree, and with entries that of the entries.
fn tiles_of(vector: &Value) -> Value {
    let (size, mut level, mut files) = (vector["size"].as_u64().unwrap(), 0, BTreeMap::new());
    let mut at_level = leaves(vector).unwrap()[..size as usize].to_vec();
    let file = |bytes: &[u8]| json!({"bytes": bytes.len(), "sha256": hex::encode(sha256(&[bytes]))});
    while !at_level.is_empty() {
        for (number, hashes) in at_level.chunks(WIDTH as usize).enumerate() {
            let tile = Tile { level, number: number as u64 };
            assert_eq!(tile.width(size), hashes.len() as u64);
            files.insert(tile.path(hashes.len() as u64), file(hashes.as_flattened()));
        }
        level += 1;
        at_level = at_level.chunks_exact(WIDTH as usize).map(|tile| tree::root(tile.iter().copied())).collect();
    }
    // The log serves no entries; the vectors have bundles for those who do.
    let expected = vector["files"].as_object().unwrap();
    let bundles = expected.iter().filter(|(path, _)| path.starts_with("tile/entries/"));
    files.extend(bundles.map(|(path, bundle)| (path.clone(), bundle.clone())));
    json!({"files": files})
}

fn widths_of(vector: &Value) -> Value {
    let size = vector["size"].as_u64().unwrap();
    let levels = (0..8).map(|level| (level, hashes_at(level, size))).take_while(|(_, hashes)| *hashes > 0);
    let widths: Vec<Value> = levels.map(|(level, hashes)| json!([level, hashes / WIDTH, hashes % WIDTH])).collect();
    json!({"widths": widths})
}

fn path_of(vector: &Value) -> Value {
    let Some(level) = vector["level"].as_u64() else { return json!({"path": vector["path"]}) };
    let tile = Tile { level: level as u32, number: vector["number"].as_u64().unwrap() };
    json!({"path": tile.path(vector["width"].as_u64().unwrap())})
}

fn vkey_of(vector: &Value) -> Found {
    let input = String::from_utf8(input(vector)).map_err(|error| error.to_string())?;
    let key = VerifierKey::parse(&input).map_err(|error| error.0)?;
    assert_eq!(key.text(), input, "{}", vector["name"]);
    Ok(json!({"key_name": key.name(), "key_id": format!("{:08x}", key.id()), "type": key.kind().byte(),
              "public_key": hex::encode(key.public())}))
}

fn signer(vector: &Value) -> SignerKey {
    let kind = if vector["type"] == 1 { KeyType::Ed25519 } else { KeyType::Cosignature };
    SignerKey::new(text(vector, "key_name"), kind, &hash(&vector["seed"])).unwrap()
}

fn signer_of(vector: &Value) -> Value {
    let key = signer(vector);
    assert_eq!(SignerKey::parse(text(vector, "skey")).unwrap().verifier(), key.verifier());
    json!({"vkey": key.verifier().text(), "skey": key.secret_text()})
}

fn line_of(vector: &Value) -> Value {
    let (key, note) = (signer(vector), text(vector, "text"));
    let line = match vector["time"].as_u64() {
        Some(time) => cosign(&key, note, time),
        None => key.sign_text(note),
    };
    json!({"line": line})
}

fn note_of(vector: &Value) -> Found {
    let input = input(vector);
    let note = Note::parse(&input).map_err(|error| error.0)?;
    assert_eq!(note.to_text().into_bytes(), input, "{}", vector["name"]);
    let line = |line: &immutable_format::tlog::note::SignatureLine| json!({"key_name": line.name, "key_id": format!("{:08x}", line.id), "signature": hex::encode(&line.signature)});
    Ok(json!({"text": note.text, "signatures": note.signatures.iter().map(line).collect::<Vec<_>>()}))
}

/// The good lines of known keys, in the order of the note; an error if a line of one is bad, or if
/// there is none.
fn open(vector: &Value) -> Found {
    let note = Note::parse(&input(vector)).map_err(|error| error.0)?;
    let mut verified = BTreeMap::new();
    let keys = vector["keys"].as_array().unwrap();
    if (1..keys.len()).any(|at| keys[..at].contains(&keys[at])) {
        return Err("a key is known twice".to_string());
    }
    for key in keys {
        let key = VerifierKey::parse(key.as_str().unwrap()).map_err(|error| error.0)?;
        let Some(place) = note.signatures.iter().position(|line| key.made(line)) else { continue };
        let time = match key.kind() {
            KeyType::Ed25519 => note.is_signed_by(&key).unwrap().then_some(Value::Null),
            KeyType::Cosignature => of_note(&note, &key).unwrap().map(|found| Value::from(found.time)),
        };
        let time = time.ok_or("a line of a known key is not valid")?;
        verified.insert(place, json!({"key_name": key.name(), "time": time}));
    }
    match verified.is_empty() {
        true => Err("no line of a known key".to_string()),
        false => Ok(json!({"verified": verified.into_values().collect::<Vec<_>>()})),
    }
}

/// The text of a note is read as one of a note, which refuses control characters.
fn checkpoint_of(vector: &Value) -> Found {
    let input = String::from_utf8(input(vector)).map_err(|error| error.to_string())?;
    let note = format!("{input}\n{}", SignerKey::new("a", KeyType::Ed25519, &[1; 32]).unwrap().sign_text(&input));
    let read = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| error.0)?.checkpoint;
    assert_eq!(Checkpoint::parse(&input), Ok(read.clone()), "{}", vector["name"]);
    let extensions: Vec<&str> = input.lines().skip(3).collect();
    if extensions.is_empty() {
        assert_eq!(read.text(), input);
    }
    Ok(json!({"origin": read.origin, "size": read.size, "root": hex::encode(read.root), "extensions": extensions}))
}

fn proof_of(vector: &Value) -> Found {
    let input = String::from_utf8(input(vector)).map_err(|error| error.to_string())?;
    let proof = Proof::parse(&input).map_err(|error| error.0)?;
    assert_eq!(proof.text(), input, "{}", vector["name"]);
    proof.checkpoint().map_err(|error| error.0)?;
    Ok(json!({"index": proof.index, "hashes": texts(&proof.hashes), "extra": proof.extra.map(hex::encode),
              "note": proof.note}))
}

fn request_of(vector: &Value) -> Found {
    let input = input(vector);
    let request = AddCheckpoint::parse(&input).map_err(|error| error.0)?;
    assert_eq!(request.text().into_bytes(), input, "{}", vector["name"]);
    SignedCheckpoint::parse(request.note.as_bytes()).map_err(|error| error.0)?;
    Ok(json!({"old": request.old, "hashes": texts(&request.proof), "note": request.note}))
}

fn policy_of(vector: &Value) -> Found {
    let policy = Policy::parse(&input(vector)).map_err(|error| error.0)?;
    let logs: Vec<String> = policy.logs().iter().map(VerifierKey::text).collect();
    let witnesses: BTreeMap<_, _> =
        policy.witnesses().map(|each| (String::from_utf8_lossy(&each.name).into_owned(), each.key.text())).collect();
    let quorum = policy.quorum().map(|name| String::from_utf8_lossy(name).into_owned());
    assert_eq!(policy.asks_for_cosignatures(), quorum.is_some());
    let mut found = json!({"logs": logs, "witnesses": witnesses, "quorum": quorum});
    if let Some(cosigned) = vector["cosigned"].as_array() {
        let met = cosigned.iter().map(|names| {
            let has =
                |name: &[u8]| names.as_array().unwrap().iter().any(|each| each.as_str().unwrap().as_bytes() == name);
            // `quorum none` is met by nobody, and anchors nothing.
            quorum.is_none() || policy.completed(|witness| has(&witness.name).then_some(1)).is_some()
        });
        found["met"] = met.collect();
    }
    Ok(found)
}

/// What a judgement is in the vectors.
fn confirmed(checkpoint: &SignedCheckpoint, judgement: &Judgement, policy: &Policy) -> Value {
    let by = |vkey: &String| policy.witnesses().find(|witness| witness.key.text() == *vkey).unwrap();
    let names =
        judgement.cosigners.iter().map(|cosigner| String::from_utf8_lossy(&by(&cosigner.vkey).name).into_owned());
    let at = judgement.cosigned_at.map(|seconds| {
        let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
        let text = micros.and_then(time::format).map(|text| text.replace(".000000Z", "Z"));
        text.unwrap_or_else(|| seconds.to_string())
    });
    let verdict = if judgement.anchored { "VALID" } else { "consistent, not anchored" };
    let text = &checkpoint.checkpoint;
    json!({"verdict": verdict, "origin": text.origin, "size": text.size, "root": hex::encode(text.root),
           "cosigned_by": names.collect::<Vec<_>>(), "cosigned_at": at})
}

fn confirm(vector: &Value) -> Found {
    let policy = Policy::parse(text(vector, "policy").as_bytes()).unwrap();
    let signed = SignedCheckpoint::parse(&input(vector)).map_err(|error| error.0)?;
    Ok(match policy.judge(&signed) {
        Ok(judgement) => confirmed(&signed, &judgement, &policy),
        Err(_) => json!({"verdict": "NOT VALID"}),
    })
}

fn receipt_of(vector: &Value) -> Found {
    let policy = Policy::parse(text(vector, "policy").as_bytes()).unwrap();
    let bytes = input(vector);
    let receipt = Receipt::parse(&bytes).map_err(|error| error.0)?;
    assert_eq!(receipt.text().into_bytes(), bytes, "{}", vector["name"]);
    let Ok(verified) = receipt.verify(Some(&policy)) else { return Ok(json!({"verdict": "NOT VALID"})) };
    let mut found = confirmed(&verified.checkpoint, verified.judgement.as_ref().unwrap(), &policy);
    let (shown, place) = (&verified.shown, &verified.shown.event.position);
    let more = json!({
        "event_id": id::uuid_text(&place.id), "tenant_id": place.tenant_id, "lane": place.lane, "seq": place.seq,
        "event_hash": hex::encode(verified.event_hash), "index": verified.index,
        "disclosed": shown.disclosed.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>(),
        "not_disclosed": shown.hidden_columns.len() + shown.hidden_metadata + shown.hidden_targets.len(),
    });
    found.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Ok(found)
}

/// The tree, or the number of the line at which it is refused.
fn tree_export_of(vector: &Value) -> Value {
    let lines = vector["lines"].as_array().unwrap();
    let mut reader = TreeReader::new(b"sixteen and more");
    for (number, line) in lines.iter().enumerate() {
        if reader.line(line.as_str().unwrap().as_bytes(), |_, _| {}).is_err() {
            return json!({"refused": number + 1});
        }
    }
    let Ok(tree) = reader.finish() else { return json!({"refused": lines.len() + 1}) };
    let mut covered: Vec<(String, i16, i64)> = Vec::new();
    for (tenant_id, lanes) in tree.covered {
        covered.extend(lanes.into_iter().map(|(lane, seq)| (tenant_id.clone(), lane, seq)));
    }
    covered.sort();
    json!({"log_id": id::uuid_text(&tree.header.log_id), "origin": tree.header.origin, "size": tree.header.size,
              "root": hex::encode(tree.root), "covered": covered})
}

fn found(vector: &Value) -> Option<Found> {
    Some(match text(vector, "kind") {
        "tree" => {
            let leaves = leaves(vector).unwrap();
            Ok(json!({"root": hex::encode(tree::root(leaves.iter().copied())), "leaves": texts(&leaves)}))
        }
        "inclusion" => inclusion_of(vector),
        "consistency" => consistency_of(vector),
        "tiles" => Ok(tiles_of(vector)),
        "tile_widths" => Ok(widths_of(vector)),
        "tile_path" => Ok(path_of(vector)),
        "vkey" => vkey_of(vector),
        "signer" => Ok(signer_of(vector)),
        "sign" => Ok(line_of(vector)),
        "note" => note_of(vector),
        "open" => open(vector),
        "checkpoint" => checkpoint_of(vector),
        "proof" => proof_of(vector),
        "request" => request_of(vector),
        "policy" => policy_of(vector),
        "confirm" => confirm(vector),
        "receipt" => receipt_of(vector),
        "tree_export" => Ok(tree_export_of(vector)),
        "monitoring_path" => {
            let hash = hex::encode(sha256(&[text(vector, "origin").as_bytes()]));
            Ok(json!({"path": format!("{hash}/checkpoint")}))
        }
        "anchored" => return None,
        kind => panic!("a kind of vectors that this test does not know: {kind}"),
    })
}

/// What a vector gives and what is for people.
const GIVEN: [&str; 6] = ["name", "kind", "reason", "error", "input", "input_hex"];

#[test]
fn every_vector() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/vectors/tlog.json")).unwrap();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for vector in &vectors {
        let Some(found) = found(vector) else { continue };
        checked += 1;
        let name = text(vector, "name");
        match (found, vector.get("error").is_some()) {
            (Ok(found), false) => {
                let expected = vector.as_object().unwrap().iter().filter(|(key, _)| !GIVEN.contains(&key.as_str()));
                let differs = |(key, value): &(&String, &Value)| found.get(key).is_some_and(|own| own != *value);
                wrong.extend(
                    expected.filter(differs).map(|(key, value)| format!("{name}: {key} {value} {}", found[key])),
                );
                // Nothing was found that the vector does not have.
                let own = found.as_object().unwrap().keys();
                let more = own.filter(|key| vector.get(key).is_none() && *key != "leaves");
                wrong.extend(more.map(|key| format!("{name}: {key} is not expected: {}", found[key])));
            }
            (Err(_), true) => {}
            (Ok(found), true) => wrong.push(format!("{name} is refused there ({}): {found}", vector["error"])),
            (Err(why), false) => wrong.push(format!("{name} is refused here: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 1000);
}
