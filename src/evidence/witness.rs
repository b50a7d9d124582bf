//! Witnesses: which of them are known, what they are sent, and what they have signed. The database
//! opens no connection; it gives and takes text.

use crate::access::decision::decide;
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::kept_note::KeptNote;
use crate::evidence::proof::{near, prove_consistency, VIEW};
use crate::evidence::tables::{lock_tree, lock_tree_to_record, read_now, refuse_distributed, COSIGNATURES, WITNESSES};
use crate::log::own_event::{login, LogEvent};
use crate::log::row::stored_text;
use crate::log::tree::View;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{seconds, text, timestamptz, timestamptz_of_seconds, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::{here, Memory};
use crate::pg::relation::Equal;
use crate::pg::transaction::{now, require_writable};
use crate::pg::tuple::Values;
use immutable_format::tlog::cosignature::{self, Cosignature};
use immutable_format::tlog::note::{parse_lines, KeyType, SignatureLine, VerifierKey};
use immutable_format::tlog::request::AddCheckpoint;
use pgrx::pg_sys;

fn is_text<'m>(memory: Memory<'m>, attribute: i16, value: &str) -> Equal<'m> {
    Equal { attribute, function: pg_sys::F_TEXTEQ, value: Some(memory.text(value)) }
}

/// The argument `vkey`: a key of type 0x04. Raises 22023 with the reason for any other text.
fn vkey(call: Call<'_>) -> VerifierKey {
    let hint = "A witness publishes its verifier key: <name>+<8 hex digits>+<base64>.";
    let refuse = |why: &str| -> ! {
        Fault::invalid("vkey", format!("vkey is not the verifier key of a witness: {why}")).hint(hint).raise()
    };
    let key = VerifierKey::parse(text(call.required(0, "vkey", hint))).unwrap_or_else(|error| refuse(&error.0));
    if key.kind() != KeyType::Cosignature {
        refuse("its type is 0x01, that of a log, and a witness has a key of type 0x04")
    }
    key
}

/// Records that a witness was added or removed.
fn record(action: &str, key: &VerifierKey) {
    decide(&LogEvent {
        action,
        resource_type: Some("witness"),
        resource_id: Some(key.name()),
        metadata: &[("vkey", &key.text())],
        ..LogEvent::default()
    });
}

sql_function!(immutable_add_witness, pg_finfo_immutable_add_witness, add_witness);

/// `immutable.add_witness(vkey)`
fn add_witness(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let key = vkey(call);
    require_writable(c"add_witness()");
    lock_tree_to_record();
    let vkey = key.text();
    let added = here(|memory| {
        let row = [memory.text(&vkey), memory.text(key.name()), timestamptz(now()), memory.text(&login())];
        WITNESSES.replace((c"witnesses_pkey", &[is_text(memory, 1, &vkey)]), &row.map(Some), |_| true)
    });
    if !added {
        Fault::new(Code::ERRCODE_DUPLICATE_OBJECT, format!("witness \"{}\" with this key is known already", key.name()))
            .field("vkey")
            .hint("The table immutable.witnesses lists all.")
            .raise()
    }
    record("immutable.witness_added", &key);
    call.void()
}

sql_function!(immutable_remove_witness, pg_finfo_immutable_remove_witness, remove_witness);

/// `immutable.remove_witness(vkey)`
fn remove_witness(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let key = vkey(call);
    require_writable(c"remove_witness()");
    lock_tree_to_record();
    let vkey = key.text();
    if WITNESSES.delete(|row| row.at(0).and_then(stored_text) == Some(&vkey)) == 0 {
        Fault::new(Code::ERRCODE_UNDEFINED_OBJECT, format!("witness \"{}\" with this key is not known", key.name()))
            .field("vkey")
            .hint("The table immutable.witnesses lists all.")
            .raise()
    }
    record("immutable.witness_removed", &key);
    call.void()
}

sql_function!(immutable_witness_request, pg_finfo_immutable_witness_request, witness_request);

/// `immutable.witness_request(old_size, size)`
fn witness_request(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let old = call.required(0, "old_size", "Give the size that the witness has cosigned last, or 0.").i64();
    let head = head_or_refuse(VIEW);
    let kept = match call.arg(1).map(Datum::i64) {
        None => KeptNote::newest(VIEW, &head.origin).unwrap_or_else(|| not_kept(&head.origin, head.size as i64)),
        Some(size) => of_size(VIEW, &head.origin, size),
    };
    let size = kept.checkpoint.size;
    let old = u64::try_from(old).ok().filter(|old| *old <= size).unwrap_or_else(|| {
        Fault::invalid("old_size", format!("old_size must be from 0 to the size of the checkpoint, {size}"))
            .hint("A witness that has cosigned a larger tree has seen one that this log has lost, or not signed yet.")
            .raise()
    });
    let proof = prove_consistency(old, size, &kept.checkpoint.root).unwrap_or_else(|damaged| damaged.raise());
    call.text(&AddCheckpoint { old, proof, note: kept.note }.text())
}

fn of_size(view: View, origin: &str, size: i64) -> KeptNote {
    let kept = u64::try_from(size).ok().and_then(|size| KeptNote::of_size(view, origin, size));
    kept.unwrap_or_else(|| not_kept(origin, size))
}

fn not_kept(origin: &str, size: i64) -> ! {
    Fault::invalid("size", format!("no checkpoint of size {size} is kept")).hint(near(origin, size)).raise()
}

sql_function!(immutable_add_cosignature, pg_finfo_immutable_add_cosignature, add_cosignature);

/// `immutable.add_cosignature(size, lines)`
fn add_cosignature(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let size = call.required(0, "size", "Give the size of the checkpoint that was cosigned.").i64();
    let given = text(call.required(1, "lines", LINES));
    let lines = parse_lines(given.strip_suffix('\n').unwrap_or(given)).unwrap_or_else(|error| refuse(&error.0));
    require_writable(c"add_cosignature()");
    // checkpoint() drops checkpoints that nobody has cosigned: none may go until this transaction ends.
    lock_tree();
    let kept = of_size(View::Now, &head_or_refuse(View::Now).origin, size);
    let witnesses = witnesses();
    let mut stored = 0_i64;
    for line in &lines {
        let keys: Vec<&VerifierKey> = witnesses.iter().filter(|key| key.made(line)).collect();
        if keys.is_empty() {
            ignore(line);
            continue;
        }
        let checked = |key| Some((key, cosignature::verify(key, &kept.checkpoint.text(), line)?));
        let Some((key, cosignature)) = keys.into_iter().find_map(checked) else {
            refuse(&format!("the line of \"{}\" is no valid cosignature of the checkpoint of size {size}", line.name))
        };
        stored += i64::from(store(&kept, key, line, cosignature));
    }
    Datum::from(stored)
}

const LINES: &str = "Give the signature lines as the witness answered them.";

fn refuse(why: &str) -> ! {
    Fault::invalid("lines", format!("lines cannot be stored: {why}")).hint(LINES).raise()
}

fn ignore(line: &SignatureLine) {
    let message = format!("the line of \"{}\" is ignored: no known witness has its name and key id", line.name);
    Fault::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, message)
        .hint("immutable.add_witness() makes a witness known.")
        .notice();
}

/// The keys of the witnesses that are known now.
fn witnesses() -> Vec<VerifierKey> {
    let mut keys = Vec::new();
    read_now("SELECT w.vkey FROM immutable.witnesses w", &[], |row| {
        keys.extend(row.at(0).and_then(stored_text).and_then(|vkey| VerifierKey::parse(vkey).ok()));
    });
    keys
}

/// The place of `cosigned_at` in a row of tree_cosignatures.
const COSIGNED_AT: usize = 4;

/// The last second that a timestamptz can have, since 1970.
const LAST_SECOND: u64 = 9_224_318_015_999;

/// Stores a cosignature. Returns false if one of this time or later is there.
fn store(kept: &KeptNote, key: &VerifierKey, line: &SignatureLine, cosignature: Cosignature) -> bool {
    if cosignature.time > LAST_SECOND {
        refuse(&format!("the line of \"{}\" has a time after the year 294276", line.name))
    }
    let (vkey, size, time) = (key.text(), Datum::from(kept.checkpoint.size as i64), cosignature.time as i64);
    let is_as_new = |row: &Values| row.at(COSIGNED_AT).map(seconds).is_some_and(|known| known >= time);
    here(|memory| {
        let same_size = Equal { attribute: 2, function: pg_sys::F_INT8EQ, value: Some(size) };
        let at = [is_text(memory, 1, &kept.checkpoint.origin), same_size, is_text(memory, 3, &vkey)];
        let row = [
            memory.text(&kept.checkpoint.origin),
            size,
            memory.text(&vkey),
            memory.text(key.name()),
            timestamptz_of_seconds(time),
            memory.text(&line.text()),
        ];
        COSIGNATURES.replace((c"tree_cosignatures_pkey", &at), &row.map(Some), is_as_new)
    })
}
