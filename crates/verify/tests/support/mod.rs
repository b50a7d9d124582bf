//! A log of the vectors with a tree, checkpoints and witnesses of simple keys.

#![allow(dead_code, reason = "each test uses a part")]

use immutable_format::export::read::{line, Line};
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::cosignature::cosign;
use immutable_format::tlog::note::{KeyType, SignerKey};
use immutable_format::tlog::proof::Proof;
use immutable_format::tlog::receipt::Receipt;
use immutable_format::tlog::tree::{self, inclusion, leaf_hash};
use immutable_format::tlog::tree_export::{self, Header};
use immutable_format::Hash;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const ORIGIN: &str = "immutable.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a";
pub const TIME: u64 = 1_773_585_138;

pub fn seed(first: u8) -> [u8; 32] {
    std::array::from_fn(|n| first + n as u8)
}

pub fn log() -> SignerKey {
    SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(0)).unwrap()
}

pub fn witness() -> SignerKey {
    SignerKey::new("witness.example/w1", KeyType::Cosignature, &seed(0x20)).unwrap()
}

/// A checkpoint that the log has signed, and the witness too if `cosigned`.
pub fn note(size: u64, root: Hash, cosigned: bool) -> String {
    let checkpoint = Checkpoint { origin: ORIGIN.to_string(), size, root };
    let line = if cosigned { cosign(&witness(), &checkpoint.text(), TIME) } else { String::new() };
    checkpoint.sign(&log()) + &line
}

pub fn policy() -> String {
    let (log, witness) = (log().verifier().text(), witness().verifier().text());
    format!("log {log}\nwitness w1 {witness}\nquorum w1\n")
}

/// The lines of an export of the vectors.
pub fn export(name: &str) -> Vec<String> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../../tests/vectors/exports.json")).unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
    vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_string()).collect()
}

pub const EVENTS: &str = "several lanes and tenants";

/// The tenant, lane and seq of an event, and its leaf.
pub type Event = (String, i16, i64, Hash);

/// The event of a line.
pub fn event(text: &str) -> Event {
    let Line::Event(event) = line(text.as_bytes()).unwrap() else { panic!("not an event: {text}") };
    let place = event.position;
    (place.tenant_id.to_string(), place.lane, place.seq, leaf_hash(&event.content.unwrap()))
}

/// A tree of events in the order in which they were given.
pub struct Log {
    pub events: Vec<String>,
    pub leaves: Vec<Hash>,
}

impl Log {
    pub fn of(events: &[String]) -> Log {
        Log { events: events.to_vec(), leaves: events.iter().map(|line| event(line).3).collect() }
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub fn root(&self) -> Hash {
        tree::root(self.leaves.iter().copied())
    }

    pub fn note(&self, cosigned: bool) -> String {
        note(self.size(), self.root(), cosigned)
    }

    /// The lines of the tree export.
    pub fn tree(&self) -> Vec<String> {
        let mut lanes: BTreeMap<(String, i16), i64> = BTreeMap::new();
        for line in &self.events {
            let (tenant_id, lane, seq, _) = event(line);
            let covered = lanes.entry((tenant_id, lane)).or_default();
            *covered = seq.max(*covered);
        }
        let log_id = immutable_format::id::parse_uuid(&ORIGIN[ORIGIN.len() - 36..]).unwrap();
        let mut lines = vec![tree_export::header(&Header { log_id, origin: ORIGIN.to_string(), size: self.size() })];
        lines.extend(lanes.iter().map(|((tenant_id, lane), covered)| tree_export::lane(tenant_id, *lane, *covered)));
        let tiles = self.leaves.chunks(256).enumerate();
        lines.extend(tiles.map(|(number, leaves)| tree_export::tile(number as u64, leaves.as_flattened())));
        lines.push(tree_export::end(self.size().div_ceil(256), lanes.len() as u64));
        lines
    }

    pub fn receipt(&self, index: usize) -> Receipt {
        let hashes = inclusion(index as u64, self.size(), &mut &self.leaves[..]).unwrap().unwrap();
        let proof = Proof { extra: None, index: index as u64, hashes, note: self.note(true) };
        Receipt { line: self.events[index].clone(), proof }
    }
}

pub fn bytes(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

/// A directory that is deleted with the test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_immutable-verify"));
    command.args(arguments);
    command
}

/// The exit status, and what was printed on the standard output and error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    outcome(command(arguments).stdin(Stdio::null()).output().unwrap())
}

pub fn outcome(done: Output) -> (i32, String, String) {
    let error = String::from_utf8(done.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap(), error)
}
