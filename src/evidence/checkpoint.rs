//! checkpoint(): brings the tree up to date and signs its head. The log must never sign two heads
//! that do not extend each other, so only a head that is committed and on disk is signed, and only on
//! the server that signed the one before.

use crate::access::proof::{self, Scope};
use crate::evidence::kept_note::{self, KeptNote};
use crate::evidence::position::{self, Position};
use crate::evidence::sequence::{self, Pass};
use crate::evidence::signing_key;
use crate::evidence::tables::{lock_tree, lock_tree_to_record, read_now, refuse_distributed, NOTES, TREE};
use crate::log::own_event::{record, LogEvent};
use crate::log::tables::events_oid;
use crate::log::tree::View;
use crate::log::{log_identity, seam, subscription};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::{here, Memory};
use crate::pg::procedure::{self, in_transactions, Transactions};
use crate::pg::relation::{Equal, OpenRelation};
use crate::pg::spi::Arg;
use crate::pg::{random, transaction};
use crate::settings;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::note::{check_name, KeyType, SignerKey, VerifierKey};
use immutable_format::tlog::tree::EMPTY_ROOT;
use immutable_format::tlog::Malformed;
use immutable_format::{Hash, Id};
use pgrx::pg_sys;
use std::ffi::CStr;

/// How long a note is kept that nobody cosigned, in microseconds. A witness may still be at it.
const KEEP_FOR: i64 = 3_600_000_000;

sql_function!(immutable_checkpoint, pg_finfo_immutable_checkpoint, checkpoint);

/// `CALL immutable.checkpoint(note)`
fn checkpoint(call: Call) -> Datum {
    refuse_distributed();
    call.require_own_transactions("immutable.checkpoint()");
    transaction::require_writable(c"immutable.checkpoint()");
    let note = in_transactions(|transactions| {
        begin(transactions);
        let mut making = Making::new();
        loop {
            making.lock();
            if let Some(signed) = making.part() {
                break signed;
            }
            transactions.commit();
        }
    });
    let note = note.unwrap_or_else(|held| held.raise());
    call.out(&[note.map(|note| call.memory().text(&note))])
}

/// A checkpoint that is being made in parts, each of which is done in a transaction of its own. After
/// one that fails, another is begun.
pub struct Making {
    pass: Option<Pass>,
    is_appended: bool,
}

impl Making {
    /// Nothing is done yet. The log has a tree.
    pub fn new() -> Making {
        Making { pass: None, is_appended: false }
    }

    /// Locks what the next part may write. The last one announces keys where they are in a file.
    pub fn lock(&self) {
        match self.is_appended && signing_key::is_in_file() {
            true => lock_tree_to_record(),
            false => lock_tree(),
        }
    }

    /// Does the next part. That is locked. The last part signs what was committed, and returns the
    /// note; if the log does not sign itself, the newest one that was stored.
    pub fn part(&mut self) -> Option<Result<Option<String>, Held>> {
        if self.is_appended {
            return Some(sign());
        }
        let pass = self.pass.get_or_insert_with(sequence::begin);
        match pass.is_done() {
            false => pass.step(),
            true => {
                pass.end();
                self.is_appended = true;
            }
        }
        None
    }

    /// Leaves what is not appended yet to the next checkpoint.
    pub fn hurry(&mut self) {
        self.is_appended = true;
    }
}

/// Why the log does not sign.
pub enum Held {
    /// It has not signed on this server.
    Elsewhere,
    /// A private key is not here.
    WithoutKey,
    /// It has signed more than it has.
    Behind(u64),
    /// It has signed another root of this size.
    Forked(u64),
}

impl Held {
    /// Raises 55000.
    pub fn raise(self) -> ! {
        let why = match self {
            Held::Elsewhere => {
                "the log has not signed on this server, timeline and database: events may be lost".to_string()
            }
            Held::WithoutKey => "a private key that has to sign is not here".to_string(),
            Held::Behind(size) => format!("the log has signed a checkpoint of {size} events and has fewer"),
            Held::Forked(size) => format!("the log has signed another checkpoint of {size} events"),
        };
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, format!("checkpoint was not signed: {why}"))
            .detail("The events are in the tree.")
            .hint(
                "If the newest checkpoint known outside of this server is known, call immutable.resume() with it. If \
             events were lost, or the key is gone, call immutable.begin_incarnation(). docs/evidence.md says which.",
            )
            .raise()
    }
}

/// Locks the tree, and begins it if there is none. Raises 55000 for a log without events, 25006 for a
/// copy, 0A000 for a distributed log, and XX001 if the tree has lost its head.
fn begin(transactions: &Transactions) {
    lock_tree();
    refuse_elsewhere();
    if View::Now.head().is_some() {
        return;
    }
    // From here on events are recorded, and the lock for that has to come before the others.
    transactions.commit();
    let log_id = notice_move();
    // A log that was copied has recorded that by now, and takes another name.
    transactions.commit();
    lock_tree_to_record();
    if View::Now.head().is_none() {
        begin_tree(&log_id);
    }
    transactions.commit();
    lock_tree();
}

/// Refuses a log that is another's copy.
fn refuse_elsewhere() {
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    subscription::refuse_local_write(events.get());
    seam::refuse_copy(events.get());
}

/// Records that the log has moved since it was written, if it has. Returns the identity of the log, and
/// refuses one that is empty.
fn notice_move() -> Id {
    let events = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    let log_id = log_identity::known().unwrap_or_else(|| refuse_empty());
    seam::notice(events.get());
    log_id
}

fn refuse_empty() -> ! {
    Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the log has no events yet: there is nothing to sign")
        .hint("The log gets its identity with its first event. Record one first.")
        .raise()
}

/// Makes the tree without leaves. It is locked.
fn begin_tree(log_id: &Id) {
    sequence::require_no_runs();
    procedure::commit_durably();
    let origin = new_origin(log_id, may_have_name());
    let verified = verify_what_is_there();
    let key = signing_key::begin(&origin);
    insert_head(&Checkpoint { origin: origin.clone(), size: 0, root: EMPTY_ROOT }, log_id);
    position::settle();
    record(&LogEvent {
        action: "immutable.tree_begun",
        metadata: &[("origin", &origin), ("vkey", &key.text())],
        metadata_json: &[("verified", &verified)],
        ..LogEvent::default()
    });
}

/// A name for the log in its checkpoints. A suffix that nobody can guess keeps two logs of one identity
/// apart. Raises 22023 for a prefix that makes no name.
pub fn new_origin(log_id: &Id, with_suffix: bool) -> String {
    let prefix = settings::ORIGIN_PREFIX.get().map(|prefix| prefix.to_string_lossy().into_owned()).unwrap_or_default();
    let mut origin = format!("{prefix}/{}", uuid_text(log_id));
    if with_suffix {
        origin = format!("{origin}/{}", hex::encode(random::bytes::<8>()));
    }
    let refuse = |why: String| -> ! {
        Fault::invalid("immutable.origin_prefix", format!("immutable.origin_prefix makes no name for the log: {why}"))
            .hint("Set it to a URL without scheme, such as audit.example.com.")
            .raise()
    };
    match check_name(&origin) {
        Ok(()) if !prefix.is_empty() && !prefix.ends_with('/') => origin,
        Ok(()) => refuse("the prefix is empty or ends with a slash".to_string()),
        Err(Malformed(why)) => refuse(why),
    }
}

/// Whether the name without a suffix may be taken: the log has had a tree, which is lost, or it was
/// restored or copied, and the other copy may have begun one.
fn may_have_name() -> bool {
    let mut found = false;
    read_now(
        "SELECT FROM immutable.events e WHERE e.action IN ('immutable.tree_begun', 'immutable.restored', 'immutable.pruned') \
         AND e.tenant_id = '' LIMIT 1",
        &[],
        |_| found = true,
    );
    found
}

/// Verifies the events that no checkpoint can vouch for, and returns the result as JSON.
fn verify_what_is_there() -> String {
    let mut json = "null".to_string();
    read_now(
        "SELECT v.valid::pg_catalog.text, v.events_checked, v.breaks_found FROM immutable.verify_chain(max_breaks => 0) v",
        &[],
        |row| {
            let valid = row.at(0).map_or("null", text);
            let (events, breaks) = (row.at(1).map_or(0, Datum::i64), row.at(2).map_or(0, Datum::i64));
            json = format!("{{\"valid\":{valid},\"events_checked\":{events},\"breaks_found\":{breaks}}}");
        },
    );
    json
}

fn insert_head(head: &Checkpoint, log_id: &Id) {
    here(|memory| {
        TREE.insert(&[
            Some(memory.text(&head.origin)),
            Some(Datum::from(head.size as i64)),
            Some(memory.bytes(&head.root)),
            Some(memory.uuid(log_id)),
            Some(timestamptz(transaction::now())),
            Some(Datum::from(true)),
        ]);
    });
}

/// Signs the head of the tree, which is committed, and keeps the note. Returns the note; if the log
/// does not sign itself, the newest one that was stored.
fn sign() -> Result<Option<String>, Held> {
    let head = head_or_refuse(View::Now);
    if !settings::SIGN_CHECKPOINTS.get() {
        return Ok(KeptNote::newest(View::Now, &head.origin).map(|kept| kept.note));
    }
    if !position::read().as_ref().is_some_and(Position::is_here) {
        return Err(Held::Elsewhere);
    }
    announce_keys_of_file(&head.origin);
    if let Some(note) = check_signed(&head)? {
        return Ok(Some(note));
    }
    sequence::require_root(&head);
    let Some(keys) = signing_key::signing(&head.origin) else { return Err(Held::WithoutKey) };
    procedure::commit_durably();
    procedure::flush();
    let body = head.text();
    let lines: String = keys.iter().map(|key| key.sign_text(&body)).collect();
    let note = format!("{body}\n{lines}");
    let signed = store_note(&head, &note);
    signing_key::promote(&head.origin, signed);
    Ok(Some(note))
}

/// The note of this head, if it is signed already.
fn check_signed(head: &Checkpoint) -> Result<Option<String>, Held> {
    let Some(KeptNote { checkpoint: signed, note, .. }) = KeptNote::newest(View::Now, &head.origin) else {
        return Ok(None);
    };
    let root = match signed.size {
        size if size > head.size => return Err(Held::Behind(size)),
        size if size == head.size => head.root,
        size => root_or_refuse(size),
    };
    match signed.root == root {
        true => Ok((signed.size == head.size).then_some(note)),
        false => Err(Held::Forked(signed.size)),
    }
}

/// Keeps a signed note, and from time to time drops those that nobody has cosigned in an hour. Returns the
/// largest size that the log has signed under this origin.
fn store_note(head: &Checkpoint, note: &str) -> u64 {
    let now = transaction::now();
    let newest = kept_note::newest(&head.origin);
    if newest.is_some_and(|(_, before)| before / MINUTE != now / MINUTE) {
        drop_old_notes(head, now - KEEP_FOR);
    }
    here(|memory| {
        let row = [
            Some(memory.text(&head.origin)),
            Some(Datum::from(head.size as i64)),
            Some(memory.bytes(&head.root)),
            Some(timestamptz(now)),
            Some(memory.text(note)),
        ];
        NOTES.replace((NOTES_KEY, &of_size(memory, head, head.size as i64)), &row, |_| false);
    });
    newest.map_or(head.size, |(size, _)| size.max(head.size))
}

const NOTES_KEY: &CStr = c"tree_notes_pkey";
const MINUTE: i64 = 60_000_000;

/// The place of a note in its primary key.
fn of_size<'m>(memory: Memory<'m>, head: &Checkpoint, size: i64) -> [Equal<'m>; 2] {
    [
        Equal { attribute: 1, function: pg_sys::F_TEXTEQ, value: Some(memory.text(&head.origin)) },
        Equal { attribute: 2, function: pg_sys::F_INT8EQ, value: Some(Datum::from(size)) },
    ]
}

/// Drops notes that nobody has cosigned and that were signed before this time. It looks at the newest
/// ones alone, because those of years are cosigned.
fn drop_old_notes(head: &Checkpoint, before: i64) {
    let mut old = Vec::new();
    read_now(
        "SELECT n.size FROM (SELECT n.origin, n.size, n.signed_at FROM immutable.tree_notes n \
           WHERE n.origin = $1 AND n.size < $2 ORDER BY n.size DESC LIMIT 8000) n \
         WHERE n.signed_at < $3 AND NOT EXISTS (SELECT FROM immutable.tree_cosignatures c \
           WHERE c.origin = n.origin AND c.size = n.size)",
        &[Arg::text(&*head.origin), Arg::Int8(head.size as i64), Arg::Time(before)],
        |row| old.extend(row.at(0).map(Datum::i64)),
    );
    for size in old {
        here(|memory| NOTES.delete_at(NOTES_KEY, &of_size(memory, head, size)));
    }
}

/// Announces keys of the file that the log has not had.
fn announce_keys_of_file(origin: &str) {
    if !signing_key::is_in_file() {
        return;
    }
    let known: Vec<String> = signing_key::of_origin(origin).into_iter().map(|key| key.vkey).collect();
    let in_file = signing_key::private_keys(origin);
    // If none of its keys is known, it is another log's file, and not a rotation.
    if !in_file.iter().any(|key| known.contains(&key.verifier().text())) {
        return;
    }
    for key in in_file.iter().map(SignerKey::verifier) {
        if !known.contains(&key.text()) {
            signing_key::announce(origin, Some(&key), |key| record_new_key(&key.text(), true), OVERLAP_DAYS);
        }
    }
}

/// For how many days the old key signs beside the new one, unless the caller says otherwise.
const OVERLAP_DAYS: i32 = 30;

fn record_new_key(vkey: &str, unasked: bool) -> Id {
    record(&LogEvent {
        action: "immutable.log_key_announced",
        metadata: &[("vkey", vkey)],
        unasked,
        ..LogEvent::default()
    })
}

sql_function!(immutable_rotate_log_key, pg_finfo_immutable_rotate_log_key, rotate_log_key);

/// `immutable.rotate_log_key(overlap_days)`
fn rotate_log_key(call: Call) -> Datum {
    refuse_distributed();
    let days = call.arg(0).map_or(OVERLAP_DAYS, Datum::i32);
    if !(0..=3650).contains(&days) {
        Fault::invalid("overlap_days", format!("overlap_days must be from 0 to 3650, not {days}"))
            .hint("Leave it out for 30 days. With 0 the next key signs alone at once.")
            .raise()
    }
    transaction::require_writable(c"immutable.rotate_log_key()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    if signing_key::is_in_file() {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the keys of the log are in the file of immutable.log_key_file",
        )
        .hint("Add a line with the new key to that file. The next checkpoint announces it.")
        .raise()
    }
    if signing_key::of_origin(&head.origin).iter().any(signing_key::LogKey::is_waiting) {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a new key is announced already")
            .hint("Call immutable.checkpoint() twice: the first one covers the announcement.")
            .raise()
    }
    let key = signing_key::announce(&head.origin, None, |key| record_new_key(&key.text(), false), days);
    call.text(&key.text())
}

/// The head of the tree. Raises 55000 before the first checkpoint, and XX001 if it is damaged.
pub fn head_or_refuse(view: View) -> Checkpoint {
    match view.head() {
        Some(Ok(head)) => head,
        Some(Err(why)) => sequence::damaged(&why),
        None => Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the log has no checkpoint yet")
            .hint("Run CALL immutable.checkpoint().")
            .raise(),
    }
}

sql_function!(immutable_tree_head, pg_finfo_immutable_tree_head, tree_head);

/// `immutable.tree_head()`
fn tree_head(call: Call) -> Datum {
    refuse_distributed();
    proof::require(Scope::Verify);
    call.text(&head_or_refuse(View::Statement).text())
}

sql_function!(immutable_verifier_key, pg_finfo_immutable_verifier_key, verifier_key);

/// `immutable.verifier_key()`
fn verifier_key(call: Call) -> Datum {
    refuse_distributed();
    proof::require(Scope::Verify);
    let origin = head_or_refuse(View::Statement).origin;
    let now = transaction::now();
    let newest = signing_key::of_origin(&origin).into_iter().rev().find(|key| key.signs_at(now));
    newest.map_or_else(|| call.null(), |key| call.text(&key.vkey))
}

sql_function!(immutable_add_checkpoint, pg_finfo_immutable_add_checkpoint, add_checkpoint);

/// `immutable.add_checkpoint(note)`
fn add_checkpoint(call: Call) -> Datum {
    refuse_distributed();
    let given = text(call.required(0, "note", "Give the checkpoint as a signed note."));
    transaction::require_writable(c"immutable.add_checkpoint()");
    lock_tree();
    let head = head_or_refuse(View::Now);
    let keys = signing_key::verifier_keys(View::Now, &head.origin);
    let signed = read_signed(
        given,
        &head.origin,
        &keys,
        "Register the signer's verifier key with immutable.add_log_key(). Then call immutable.checkpoint() with \
         immutable.sign_checkpoints = on once, so that the key before it signs a checkpoint that covers this.",
    );
    if signed.note.text != signed.checkpoint.text() {
        Fault::invalid("note", "note has lines after the root, and the log keeps checkpoints of three lines")
            .hint("Sign what immutable.tree_head() returns as it is.")
            .raise()
    }
    require_extended(&signed.checkpoint, &head);
    let size = store_note(&signed.checkpoint, &KeptNote::text_of(&signed, &keys));
    signing_key::promote(&head.origin, size);
    call.void()
}

sql_function!(immutable_add_log_key, pg_finfo_immutable_add_log_key, add_log_key);

/// `immutable.add_log_key(vkey)`
fn add_log_key(call: Call) -> Datum {
    refuse_distributed();
    let given = text(call.required(0, "vkey", "Give the verifier key of the program that signs."));
    transaction::require_writable(c"immutable.add_log_key()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    let hint = "The signer has its verifier key: <name>+<8 hex digits>+<base64>, with the log's origin as the name.";
    let refuse = |why: String| -> ! { Fault::invalid("vkey", why).hint(hint).raise() };
    let key =
        VerifierKey::parse(given).unwrap_or_else(|Malformed(why)| refuse(format!("vkey is not a verifier key: {why}")));
    if key.name() != head.origin {
        refuse(format!("vkey must have the name {}", head.origin))
    }
    if key.kind() != KeyType::Ed25519 {
        refuse("vkey must be a key of type 0x01 (Ed25519)".to_string())
    }
    if signing_key::of_origin(&head.origin).iter().any(|known| known.vkey == given) {
        Fault::new(Code::ERRCODE_DUPLICATE_OBJECT, "the log has this key already")
            .field("vkey")
            .hint("The table immutable.log_keys lists all.")
            .raise()
    }
    signing_key::announce(&head.origin, Some(&key), |key| record_new_key(&key.text(), false), OVERLAP_DAYS);
    call.void()
}

/// Reads a checkpoint of this origin. Raises 22023 for anything else.
pub fn read_note(note: &str, origin: &str) -> SignedCheckpoint {
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap_or_else(|Malformed(why)| {
        Fault::invalid("note", format!("note is not a signed checkpoint: {why}"))
            .hint("Pass the whole note unchanged, with its last line feed.")
            .raise()
    });
    if signed.checkpoint.origin != origin {
        let mut other = String::new();
        write_string(&signed.checkpoint.origin, &mut other);
        Fault::invalid("note", format!("note is a checkpoint of {other}, and this log is {origin}"))
            .hint(
                "Give one whose first line is the name of this log. immutable.checkpoints has those of earlier names.",
            )
            .raise()
    }
    signed
}

/// Reads a checkpoint of this origin that the log has signed. Raises 22023 for anything else.
pub fn read_own(note: &str, origin: &str) -> SignedCheckpoint {
    let keys = signing_key::verifier_keys(View::Now, origin);
    let hint = "The keys are in immutable.log_keys. If the note has a valid line of one, pass it unchanged.";
    read_signed(note, origin, &keys, hint)
}

/// The same with these keys of the log, and a hint for a note that none of them has signed.
fn read_signed(note: &str, origin: &str, keys: &[VerifierKey], hint: &str) -> SignedCheckpoint {
    let signed = read_note(note, origin);
    if !signed.is_signed_by_log(keys) {
        Fault::invalid("note", "note is not signed by a key of the log").hint(hint).raise()
    }
    signed
}

/// Whether the tree begins with the tree of a checkpoint. Raises XX001 if the stored tree does not say.
pub fn extends(checkpoint: &Checkpoint, head: &Checkpoint) -> bool {
    checkpoint.size <= head.size && root_or_refuse(checkpoint.size) == checkpoint.root
}

fn root_or_refuse(size: u64) -> Hash {
    View::Now.root(size).unwrap_or_else(|why| sequence::damaged(&why))
}

/// Refuses a checkpoint that the tree does not extend (55000).
pub fn require_extended(checkpoint: &Checkpoint, head: &Checkpoint) {
    if !extends(checkpoint, head) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the tree of the log does not extend the checkpoint of {} events", checkpoint.size),
        )
        .field("note")
        .detail(format!("The tree has {} events.", head.size))
        .hint("Events were lost or rewritten since. Call immutable.verify_chain() with the checkpoint.")
        .raise()
    }
}
