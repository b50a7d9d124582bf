//! The keys that sign checkpoints: made by the log itself, or read from a file outside of the data
//! directory. A private key leaves the table only to sign, and copies in memory are wiped.

use crate::evidence::tables::{read_now, KEYS, SECRETS};
use crate::log::row::stored_text;
use crate::log::tree::View;
use crate::pg::datum::{micros, text, timestamptz, uuid, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::memory::here;
use crate::pg::spi::Arg;
use crate::pg::{file, random, transaction};
use crate::settings;
use immutable_format::tlog::note::{KeyType, SignerKey, VerifierKey};
use immutable_format::Id;
use zeroize::Zeroizing;

const DAY: i64 = 86_400_000_000;

/// A row of immutable.log_keys.
pub struct LogKey {
    /// The verifier key.
    pub vkey: String,
    created_at: i64,
    announced_by: Option<Id>,
    signs_since: Option<i64>,
    signs_until: Option<i64>,
    overlap_days: i32,
}

impl LogKey {
    fn store(&self) {
        KEYS.delete(|row| row.at(0).map(text) == Some(&self.vkey));
        here(|memory| {
            KEYS.insert(&[
                Some(memory.text(&self.vkey)),
                Some(timestamptz(self.created_at)),
                self.announced_by.map(|id| memory.uuid(&id)),
                self.signs_since.map(timestamptz),
                self.signs_until.map(timestamptz),
                Some(Datum::from(self.overlap_days)),
            ]);
        });
    }

    /// Whether it signs at this time, in microseconds since 1970.
    pub fn signs_at(&self, now: i64) -> bool {
        self.signs_since.is_some() && self.signs_until.is_none_or(|until| now < until)
    }

    /// Whether it is announced, and does not sign yet.
    pub fn is_waiting(&self) -> bool {
        self.signs_since.is_none()
    }

    /// Whether its origin is this one.
    fn is_of(&self, origin: &str) -> bool {
        VerifierKey::parse(&self.vkey).is_ok_and(|key| key.name() == origin)
    }
}

/// The keys of an origin, the oldest first.
pub fn of_origin(origin: &str) -> Vec<LogKey> {
    keys(View::Now, origin)
}

fn keys(view: View, origin: &str) -> Vec<LogKey> {
    let mut keys = Vec::new();
    view.read(
        "SELECT k.vkey, k.created_at, k.announced_by, k.signs_since, k.signs_until, k.overlap_days \
         FROM immutable.log_keys k ORDER BY k.created_at, k.vkey",
        &[],
        |row| {
            keys.push(LogKey {
                vkey: row.at(0).and_then(stored_text).unwrap_or_default().to_string(),
                created_at: row.at(1).map_or(0, micros),
                announced_by: row.at(2).map(uuid),
                signs_since: row.at(3).map(micros),
                signs_until: row.at(4).map(micros),
                overlap_days: row.at(5).map_or(0, Datum::i32),
            });
        },
    );
    keys.retain(|key| key.is_of(origin));
    keys
}

/// The private keys that are here, for an origin: those of the file, or those of the log's own. Raises
/// 55000 for a file that cannot be used.
pub fn private_keys(origin: &str) -> Vec<SignerKey> {
    if let Some(name) = settings::LOG_KEY_FILE.get().filter(|name| !name.is_empty()) {
        let lines = file::secret_lines(&name.to_string_lossy(), FILE);
        let key = |(at, line): (usize, &Zeroizing<String>)| signer(line, origin).unwrap_or_else(|| refuse_line(at));
        return lines.iter().enumerate().map(key).collect();
    }
    let mut keys = Vec::new();
    read_now("SELECT s.secret FROM immutable.log_secrets s", &[], |row| {
        let secret = row.at(0).and_then(stored_text).map(|secret| Zeroizing::new(secret.to_string()));
        keys.extend(secret.and_then(|secret| signer(&secret, origin)));
    });
    keys
}

/// The setting that names the file.
const FILE: &str = "immutable.log_key_file";

/// Refuses a line of the file. The message does not contain it: it may be a secret with a mistake.
fn refuse_line(at: usize) -> ! {
    let message = format!("the file of {FILE} cannot be used: its key number {} is malformed", at + 1);
    Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .field(FILE)
        .hint("A key is a line with 64 hex digits, or with PRIVATE+KEY+... as golang.org/x/mod/sumdb/note writes it.")
        .raise()
}

/// Whether the private keys are in a file.
pub fn is_in_file() -> bool {
    settings::LOG_KEY_FILE.get().is_some_and(|name| !name.is_empty())
}

/// The key in a line, under the name `origin`. A key in a file may have been made before the log had a
/// name.
fn signer(line: &str, origin: &str) -> Option<SignerKey> {
    let seed = match hex::decode(line.trim()) {
        Ok(seed) => Zeroizing::new(seed),
        Err(_) => SignerKey::parse(line.trim()).ok()?.seed(),
    };
    SignerKey::new(origin, KeyType::Ed25519, seed.as_slice().try_into().ok()?).ok()
}

/// Makes the first key of an origin, or takes that of the file. A key that the log has already had is
/// refused (55000).
pub fn begin(origin: &str) -> VerifierKey {
    let key = if is_in_file() {
        let keys = private_keys(origin);
        let Some(key) = keys.into_iter().next() else {
            Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the file of immutable.log_key_file has no key")
                .hint("Put a line with 64 hex digits into it, for example from openssl rand -hex 32.")
                .raise()
        };
        key.verifier()
    } else {
        make(origin)
    };
    let is_known = known_public_keys().iter().any(|known| known == key.public());
    if is_known {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the log has signed with this key before")
            .hint("Put a new key into the file of immutable.log_key_file: copies of the server may have the old one.")
            .raise()
    }
    let now = transaction::now();
    LogKey {
        vkey: key.text(),
        created_at: now,
        announced_by: None,
        signs_since: Some(now),
        signs_until: None,
        overlap_days: 0,
    }
    .store();
    key
}

/// The public keys of all origins.
fn known_public_keys() -> Vec<[u8; 32]> {
    let mut keys = Vec::new();
    read_now("SELECT k.vkey FROM immutable.log_keys k", &[], |row| {
        let key = row.at(0).and_then(stored_text).and_then(|vkey| VerifierKey::parse(vkey).ok());
        keys.extend(key.map(|key| *key.public()));
    });
    keys
}

/// Makes a random key of the log's own, and stores it.
fn make(origin: &str) -> VerifierKey {
    let seed = Zeroizing::new(random::bytes::<32>());
    let Ok(key) = SignerKey::new(origin, KeyType::Ed25519, &seed) else { internal("the origin is no name of a key") };
    let secret = Zeroizing::new(key.secret_text());
    here(|memory| {
        SECRETS.insert(&[Some(memory.text(&key.verifier().text())), Some(memory.text(&secret))]);
    });
    key.verifier()
}

/// Destroys the private keys of the log's own.
pub fn destroy_secrets() {
    SECRETS.delete(|_| true);
}

/// Adds a key that will follow the others, once `announced_by` is covered by a checkpoint. It is made
/// now, unless it is given.
pub fn announce(
    origin: &str,
    given: Option<&VerifierKey>,
    record: impl FnOnce(&VerifierKey) -> Id,
    overlap_days: i32,
) -> VerifierKey {
    let key = given.cloned().unwrap_or_else(|| make(origin));
    let id = record(&key);
    LogKey {
        vkey: key.text(),
        created_at: transaction::now(),
        announced_by: Some(id),
        signs_since: None,
        signs_until: None,
        overlap_days,
    }
    .store();
    key
}

/// Whether a signed checkpoint covers the event, which has no tenant.
fn is_covered(id: &Id, signed: u64) -> bool {
    let mut place = None;
    read_now(
        "SELECT e.lane, e.seq FROM immutable.events e WHERE e.id = $1 AND e.tenant_id = ''",
        &[Arg::Uuid(*id)],
        |row| place = row.at(0).map(Datum::i16).zip(row.at(1).map(Datum::i64)),
    );
    let index = place.and_then(|(lane, seq)| View::Now.index_of("", lane, seq));
    index.is_some_and(|index| index < signed)
}

/// Lets keys sign whose announcing event is covered by now, and sets when those before them end. `signed` is
/// the largest size that the log has signed under this origin.
pub fn promote(origin: &str, signed: u64) {
    let now = transaction::now();
    let mut before: Vec<LogKey> = Vec::new();
    for mut key in of_origin(origin) {
        let is_next = key.signs_since.is_none() && key.announced_by.is_some_and(|id| is_covered(&id, signed));
        if is_next {
            key.signs_since = Some(now);
            key.store();
            for old in before.iter_mut().filter(|old| old.signs_at(now) && old.signs_until.is_none()) {
                old.signs_until = Some(now.saturating_add(i64::from(key.overlap_days) * DAY));
                old.store();
            }
        }
        before.push(key);
    }
}

/// The private keys that sign now, the newest first. None if one that has to sign is missing.
pub fn signing(origin: &str) -> Option<Vec<SignerKey>> {
    let now = transaction::now();
    let private = private_keys(origin);
    let mut signers = Vec::new();
    for key in of_origin(origin).iter().rev().filter(|key| key.signs_at(now)) {
        let signer = private.iter().position(|signer| signer.verifier().text() == key.vkey);
        signers.push(signer?);
    }
    let mut private: Vec<Option<SignerKey>> = private.into_iter().map(Some).collect();
    let signers: Vec<SignerKey> = signers.into_iter().filter_map(|at| private[at].take()).collect();
    (!signers.is_empty()).then_some(signers)
}

/// The verifier keys of an origin that have ever been able to sign.
pub fn verifier_keys(view: View, origin: &str) -> Vec<VerifierKey> {
    let signed = keys(view, origin).into_iter().filter(|key| key.signs_since.is_some());
    signed.filter_map(|key| VerifierKey::parse(&key.vkey).ok()).collect()
}
