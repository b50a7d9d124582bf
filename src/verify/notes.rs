//! The checkpoints that the tree is compared with: those that the caller gave, or those that the log
//! keeps itself.

use crate::log::row::{hash, stored_text};
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::spi::{self, Arg};
use immutable_format::id::uuid_text;
use immutable_format::link::{Break, BreakType};
use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::cosignature::{of_note, verify};
use immutable_format::tlog::note::{KeyType, SignatureLine, VerifierKey};
use immutable_format::{Hash, Id};

/// Who cosigned a checkpoint, and when the last of them did, in microseconds since 1970.
#[derive(Clone, Default)]
pub struct Cosigned {
    pub by: Vec<String>,
    pub at: Option<i64>,
}

impl Cosigned {
    fn add(&mut self, name: &str, seconds: u64) {
        let at = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        self.by.push(name.to_string());
        self.by.sort_unstable();
        self.by.dedup();
        self.at = self.at.max(Some(at));
    }
}

/// A checkpoint, and what the tree of its size was found to be.
pub struct Claim {
    pub size: u64,
    pub root: Hash,
    pub cosigned: Cosigned,
    /// The root of the tree of this size; None if it has fewer leaves.
    pub found: Option<Hash>,
}

impl Claim {
    fn new(checkpoint: &Checkpoint, cosigned: Cosigned) -> Claim {
        Claim { size: checkpoint.size, root: checkpoint.root, cosigned, found: None }
    }

    /// Whether the tree is what the checkpoint says.
    pub fn fits(&self) -> bool {
        self.found == Some(self.root)
    }
}

/// A break of the tree, which is no event's.
pub fn tree_break(detail: String, expected: Option<&Hash>, actual: Option<&Hash>) -> Break {
    Break {
        kind: BreakType::CheckpointMismatch,
        tenant_id: None,
        lane: None,
        seq: None,
        event_id: None,
        expected: expected.map(|hash| hash.to_vec()),
        actual: actual.map(|hash| hash.to_vec()),
        detail,
    }
}

/// The keys of a kind that a query selects. What is not a key is left out.
fn keys(query: &str, kind: KeyType) -> Vec<VerifierKey> {
    let mut keys = Vec::new();
    spi::read(query, &[], |row| {
        let key = row.at(0).and_then(stored_text).and_then(|key| VerifierKey::parse(key).ok());
        keys.extend(key.filter(|key| key.kind() == kind));
    });
    keys
}

fn log_keys() -> Vec<VerifierKey> {
    keys("SELECT k.vkey FROM immutable.log_keys k WHERE k.signs_since IS NOT NULL", KeyType::Ed25519)
}

/// The checkpoints that the caller gave. Raises 22023 for one that is not of this log, and for one
/// that no known key signed.
pub fn given(given: &[SignedCheckpoint], head: Option<&Checkpoint>, log_id: Option<Id>) -> Vec<Claim> {
    if given.is_empty() {
        return Vec::new();
    }
    let log_keys = log_keys();
    let witnesses = keys("SELECT w.vkey FROM immutable.witnesses w", KeyType::Cosignature);
    let of = |signed: &SignedCheckpoint| {
        // There may be very many.
        pgrx::check_for_interrupts!();
        let checkpoint = &signed.checkpoint;
        check_origin(&checkpoint.origin, head, log_id);
        if !signed.is_signed_by_log(&log_keys) {
            refuse_signature(signed, &log_keys);
        }
        let mut cosigned = Cosigned::default();
        for key in &witnesses {
            match of_note(&signed.note, key) {
                None => {}
                Some(Some(cosignature)) => cosigned.add(key.name(), cosignature.time),
                Some(None) => {
                    let message = format!("the cosignature of witness {} under checkpoint is not valid", key.name());
                    Fault::invalid("checkpoint", message).raise()
                }
            }
        }
        Claim::new(checkpoint, cosigned)
    };
    given.iter().map(of).collect()
}

/// Raises 22023 unless the origin is the log's, or was.
fn check_origin(origin: &str, head: Option<&Checkpoint>, log_id: Option<Id>) {
    let is_current = head.is_some_and(|head| head.origin == origin);
    // An origin is a prefix, the log's identity, and what an incarnation adds. It counts even where
    // somebody has removed the tree.
    let is_of_log = log_id.is_some_and(|id| origin.split('/').any(|part| part == uuid_text(&id)));
    if is_current || is_of_log || was_origin(origin) {
        return;
    }
    let hint = match head {
        Some(head) => format!("This log's checkpoints begin with {}.", head.origin),
        None => "This log has made no checkpoint yet.".to_string(),
    };
    Fault::invalid("checkpoint", format!("checkpoint is of another log: {origin}")).hint(hint).raise()
}

/// Whether a stored checkpoint has this origin.
fn was_origin(origin: &str) -> bool {
    let mut found = false;
    spi::stream_while("SELECT n.origin FROM immutable.tree_notes n", &[], |tuple| {
        found = tuple.values().at(0).and_then(stored_text) == Some(origin);
        !found
    });
    found
}

fn refuse_signature(signed: &SignedCheckpoint, keys: &[VerifierKey]) -> ! {
    let origin = &signed.checkpoint.origin;
    let is_known = keys.iter().any(|key| key.name() == origin && signed.note.is_signed_by(key).is_some());
    let message = match is_known {
        true => "the log's signature under checkpoint is not valid",
        false => "no key of this log has signed checkpoint",
    };
    Fault::invalid("checkpoint", message)
        .hint("Keys that have signed are in immutable.log_keys. With a policy file, immutable-verify verifies offline.")
        .raise()
}

/// How many stored checkpoints are looked at, at most, to find a sound one.
const LOOKED_AT: usize = 16;

/// How many checkpoints of earlier incarnations are passed over. After events were lost, they are larger
/// than those of today.
const PASSED_OVER: usize = 10_000;

/// The newest checkpoint that the log keeps, and the newest that was cosigned. Reports those that
/// are damaged.
pub fn stored(head: Option<&Checkpoint>, report: &mut impl FnMut(Break)) -> Vec<Claim> {
    let keys = log_keys();
    if head.is_some_and(|head| keys.iter().all(|key| key.name() != head.origin)) {
        report(tree_break(
            "no key of the log has the name that immutable.tree gives to the log".to_string(),
            None,
            None,
        ));
    }
    let mut claims: Vec<Claim> = newest("", None, head, &keys, report).0.into_iter().collect();
    let mut sizes = Vec::new();
    let cosigned = "SELECT DISTINCT c.size FROM immutable.tree_cosignatures c WHERE c.size IS NOT NULL \
                    ORDER BY c.size DESC LIMIT 16";
    spi::read(cosigned, &[], |row| sizes.extend(row.at(0).map(Datum::i64)));
    for size in sizes {
        match claims.iter().find(|claim| claim.size as i64 == size) {
            Some(claim) if claim.cosigned.at.is_some() => break,
            Some(_) => continue,
            None => {}
        }
        let (found, rows) = newest("WHERE n.size = $1", Some(size), head, &keys, report);
        if rows == 0 {
            report(tree_break(
                format!("the stored checkpoint of size {size}, which was cosigned, is missing"),
                None,
                None,
            ));
        }
        let found = found.filter(|claim| claim.cosigned.at.is_some());
        if found.is_some() {
            claims.extend(found);
            break;
        }
    }
    claims
}

/// The newest sound checkpoint of those that a condition selects, and how many were looked at.
fn newest(
    condition: &str,
    size: Option<i64>,
    head: Option<&Checkpoint>,
    keys: &[VerifierKey],
    report: &mut impl FnMut(Break),
) -> (Option<Claim>, usize) {
    let statement = format!(
        "SELECT n.origin, n.size, n.root, n.note FROM immutable.tree_notes n {condition} \
         ORDER BY n.size DESC NULLS LAST LIMIT {PASSED_OVER}"
    );
    let arguments: Vec<Arg> = size.into_iter().map(Arg::Int8).collect();
    let (mut found, mut rows, mut earlier) = (None, 0, 0);
    spi::stream_while(&statement, &arguments, |tuple| {
        rows += 1;
        let row = tuple.values();
        let origin = row.at(0).and_then(stored_text).unwrap_or_default();
        if head.is_some_and(|head| head.origin != origin) && keys.iter().any(|key| key.name() == origin) {
            earlier += 1;
            if earlier > LOOKED_AT {
                return true;
            }
        }
        let size = row.at(1).map_or(-1, Datum::i64);
        let note = row.at(3).and_then(stored_text);
        let signed = note.and_then(|note| SignedCheckpoint::parse(note.as_bytes()).ok()).filter(|signed| {
            let checkpoint = &signed.checkpoint;
            checkpoint.origin == origin
                && checkpoint.size as i64 == size
                && row.at(2).and_then(hash) == Some(checkpoint.root)
        });
        match signed.filter(|signed| signed.is_signed_by_log(keys)) {
            Some(_) if head.is_some_and(|head| head.origin != origin) => {} // an earlier incarnation's
            Some(signed) => found = Some(Claim::new(&signed.checkpoint, cosigned(&signed, report))),
            None => {
                report(tree_break(format!("the stored checkpoint of size {size} is damaged or forged"), None, None));
            }
        }
        found.is_none() && rows - earlier < LOOKED_AT
    });
    (found, rows)
}

/// Who cosigned a stored checkpoint, by the keys that are stored with their lines. Reports lines that
/// are not valid.
fn cosigned(signed: &SignedCheckpoint, report: &mut impl FnMut(Break)) -> Cosigned {
    let Checkpoint { origin, size, .. } = &signed.checkpoint;
    let mut cosigned = Cosigned::default();
    let statement = "SELECT c.origin, c.vkey, c.line FROM immutable.tree_cosignatures c WHERE c.size = $1 LIMIT 1000";
    spi::read(statement, &[Arg::Int8(*size as i64)], |row| {
        let text = |column| row.at(column).and_then(stored_text);
        if text(0).is_some_and(|of| of != origin) {
            return;
        }
        let key = text(1).and_then(|key| VerifierKey::parse(key).ok());
        let line = text(2).and_then(|line| SignatureLine::parse(line.trim_end_matches('\n')).ok());
        let valid = key.zip(line).and_then(|(key, line)| Some((verify(&key, &signed.note.text, &line)?.time, key)));
        match valid {
            Some((time, key)) => cosigned.add(key.name(), time),
            None => {
                let detail = format!("a stored cosignature of the checkpoint of size {size} is not valid");
                report(tree_break(detail, None, None));
            }
        }
    });
    cosigned
}
