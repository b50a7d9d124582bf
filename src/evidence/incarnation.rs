//! How a log goes on that was restored, promoted or copied: it resumes where a checkpoint that is
//! known outside left off, or begins another incarnation under a name of its own.

use crate::evidence::checkpoint::{extends, head_or_refuse, new_origin, read_note, read_own, require_extended};
use crate::evidence::sequence::replace_head;
use crate::evidence::tables::{lock_tree_to_record, read_now, refuse_distributed};
use crate::evidence::{position, signing_key};
use crate::log::own_event::{reason, record, LogEvent};
use crate::log::tree::View;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, uuid, Datum};
use crate::pg::error::{internal, Code, Fault};
use crate::pg::transaction;
use immutable_format::tlog::base64;
use immutable_format::tlog::checkpoint::Checkpoint;

sql_function!(immutable_resume, pg_finfo_immutable_resume, resume);

/// `immutable.resume(note)`
fn resume(call: Call) -> Datum {
    refuse_distributed();
    let given =
        text(call.required(0, "note", "Give the newest checkpoint that is known outside, for example a witness's."));
    transaction::require_writable(c"immutable.resume()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    let signed = read_own(given, &head.origin);
    require_extended(&signed.checkpoint, &head);
    if signing_key::signing(&head.origin).is_none() {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a private key that has to sign is not here")
            .hint("Set immutable.log_key_file to the file with the keys, or call immutable.begin_incarnation().")
            .raise()
    }
    position::settle();
    let size = signed.checkpoint.size.to_string();
    record(&LogEvent {
        action: "immutable.signing_resumed",
        metadata: &[("origin", &head.origin), ("root", &base64(&signed.checkpoint.root))],
        metadata_json: &[("size", &size)],
        ..LogEvent::default()
    });
    call.void()
}

sql_function!(immutable_begin_incarnation, pg_finfo_immutable_begin_incarnation, begin_incarnation);

/// `immutable.begin_incarnation(reason, note)`
fn begin_incarnation(call: Call) -> Datum {
    refuse_distributed();
    let reason = reason(call, 0);
    let note = call.arg(1).map(text);
    transaction::require_writable(c"immutable.begin_incarnation()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    // The note is evidence of what was lost, so it need not fit.
    if let Some(note) = note {
        read_note(note, &head.origin);
    }
    let mut log_id = None;
    read_now("SELECT t.log_id FROM immutable.tree t", &[], |row| log_id = row.at(0).map(uuid));
    let Some(log_id) = log_id else { internal("the tree has no log") };
    signing_key::destroy_secrets();
    let origin = new_origin(&log_id, true);
    let key = signing_key::begin(&origin);
    replace_head(&Checkpoint { origin: origin.clone(), ..head.clone() });
    position::settle();
    let (root, vkey, size) = (base64(&head.root), key.text(), head.size.to_string());
    let mut metadata = vec![
        ("reason", reason),
        ("origin", &*origin),
        ("vkey", &*vkey),
        ("old_origin", &*head.origin),
        ("old_root", &*root),
    ];
    metadata.extend(note.map(|note| ("note", note)));
    record(&LogEvent {
        action: "immutable.incarnation_begun",
        metadata: &metadata,
        metadata_json: &[("old_size", &size)],
        ..LogEvent::default()
    });
    call.text(&origin)
}

sql_function!(immutable_report_checkpoint, pg_finfo_immutable_report_checkpoint, report_checkpoint);

/// `immutable.report_checkpoint(note)`
fn report_checkpoint(call: Call) -> Datum {
    refuse_distributed();
    let given = text(call.required(0, "note", "Give the checkpoint that a witness has."));
    transaction::require_writable(c"immutable.report_checkpoint()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    let signed = read_own(given, &head.origin);
    let fits = extends(&signed.checkpoint, &head);
    if !fits {
        position::forget();
        let (size, own) = (signed.checkpoint.size.to_string(), head.size.to_string());
        record(&LogEvent {
            action: "immutable.fork_reported",
            metadata: &[("origin", &head.origin), ("root", &base64(&signed.checkpoint.root))],
            metadata_json: &[("size", &size), ("own_size", &own)],
            ..LogEvent::default()
        });
    }
    Datum::from(fits)
}
