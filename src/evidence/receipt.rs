//! receipt(): one event with chosen values and the proof that a witness has seen it, as a file that
//! is verified without the log.

use crate::access::proof::{self, Scope};
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::entry::{self, Entry};
use crate::evidence::kept_note::{Cosigned, KeptNote};
use crate::evidence::proof::{newest_cosigned, prove, VIEW};
use crate::evidence::tables::refuse_distributed;
use crate::log::row::Stored;
use crate::log::tree::Damaged;
use crate::pg::call::{sql_function, texts, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::time::statement_start;
use immutable_format::event::{erasable_paths, is_path, target_position, COLUMNS};
use immutable_format::export::write;
use immutable_format::id::uuid_text;
use immutable_format::time;
use immutable_format::tlog::receipt::Receipt;
use immutable_format::tlog::tree::Nodes;
use immutable_format::Hash;

sql_function!(immutable_receipt, pg_finfo_immutable_receipt, receipt);

/// `immutable.receipt(id, tenant_id, disclose)`
fn receipt(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify);
    let chosen = call.arg(2).map(|paths| texts(paths, "disclose"));
    let (entry, line) = entry::find(call, |stored, document, hash| line(stored, document, hash, chosen.as_deref()));
    call.text(&make(&entry, line))
}

sql_function!(immutable_receipt_of_line, pg_finfo_immutable_receipt_of_line, receipt_of_line);

/// `immutable.receipt_of_line(line)`
fn receipt_of_line(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let opened = proof::require(Scope::Verify);
    let hint = "Give the line of an event from an export, as it is, with the values that the receipt is to disclose.";
    let line = text(call.required(0, "line", hint));
    let line = line.strip_suffix('\n').unwrap_or(line);
    let entry = Entry::of_line(line).unwrap_or_else(|why| {
        Fault::invalid("line", format!("line is not the line of an event: {why}")).hint(hint).raise()
    });
    opened.hold_to("tenant_id", entry.tenant_id());
    let head = head_or_refuse(VIEW);
    let index = entry.index(VIEW).unwrap_or_default();
    let leaf = index.map(|index| VIEW.nodes(head.size).node(0, index).unwrap_or_else(|damaged| damaged.raise()));
    if leaf.is_none_or(|leaf| leaf != entry.leaf()) {
        Fault::invalid("line", "line is of an event that the tree of the log does not have")
            .hint("Look whether it is of this log. An event of the last minutes is in the tree after the next checkpoint.")
            .raise()
    }
    call.text(&make(&entry, line.to_string()))
}

/// The receipt of an event, whose line is given, as text.
fn make(entry: &Entry, line: String) -> String {
    let head = head_or_refuse(VIEW);
    let index = entry.index(VIEW).unwrap_or_else(|damaged| damaged.raise());
    let covering = index.and_then(|index| Some((index, newest_cosigned(&head.origin, index)?)));
    let Some((index, kept)) = covering else { waits(entry, index, &head.origin) };
    let made = prove(entry, index, &kept).and_then(|proof| {
        let receipt = Receipt { line, proof };
        match receipt.verify(None) {
            Ok(_) => Ok(receipt),
            Err(wrong) => Err(Damaged(format!("the receipt would not verify: {wrong}"))),
        }
    });
    made.unwrap_or_else(|damaged| damaged.raise()).text()
}

/// The event as a line of an export, with the disclosures of the chosen paths, or of all.
fn line(stored: &Stored<'_>, document: &str, hash: &Hash, chosen: Option<&[&str]>) -> String {
    let there = erasable_paths(&stored.content, stored.erasure());
    if let Some(path) = chosen.unwrap_or_default().iter().find(|path| there.iter().all(|known| known != *path)) {
        not_there(stored, path);
    }
    let is_shown = |path: &str| chosen.is_none_or(|chosen| chosen.contains(&path));
    write::event_showing(document, Some(hash), &stored.content, &stored.secret, is_shown)
}

/// Raises 22023 for a path that the event has no value at.
fn not_there(stored: &Stored<'_>, path: &str) -> ! {
    let hint = "The paths are those of immutable.erase(). NULL discloses every value that is there.";
    let is_erased = stored.erasure().is_some_and(|erasure| {
        let column = COLUMNS.iter().position(|column| *column == path);
        column.is_some_and(|column| erasure.columns[column].is_some())
            || target_position(path).is_some_and(|position| erasure.targets.iter().any(|(at, _)| *at == position))
    });
    let message = match is_path(path) {
        false => format!("disclose contains \"{path}\", which is no path of a value"),
        true if is_erased => format!("disclose contains \"{path}\", and that value was erased"),
        true => format!("disclose contains \"{path}\", and the event has no value there"),
    };
    Fault::invalid("disclose", message).hint(hint).raise()
}

/// Raises 55000: no witness has seen the event yet.
fn waits(entry: &Entry, index: Option<u64>, origin: &str) -> ! {
    let now = statement_start();
    let ago = |then: i64| format!("{} seconds ago", now.saturating_sub(then).div_euclid(1_000_000));
    let newest = match KeptNote::newest(VIEW, origin) {
        None => "No checkpoint is signed.".to_string(),
        Some(kept) => {
            let covers = index.is_some_and(|index| index < kept.checkpoint.size);
            let covers = if covers { "covers the event" } else { "does not cover the event" };
            format!("The newest checkpoint was signed {} and {covers}.", ago(kept.signed_at))
        }
    };
    let cosigned = match Cosigned::newest(VIEW, origin) {
        None => "None is cosigned.".to_string(),
        Some(Cosigned { size, at }) => {
            let at = time::format(at).map_or(String::new(), |at| format!(" at {at}"));
            format!("The newest cosigned one covers {size} events and was cosigned{at}.")
        }
    };
    let recorded = entry.created_at.map_or(String::new(), |at| format!("The event was recorded {}. ", ago(at)));
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("no cosigned checkpoint covers event {} yet", uuid_text(&entry.id)),
    )
    .detail(format!("{recorded}{newest} {cosigned}"))
    .hint(
        "CALL immutable.checkpoint(), send immutable.witness_request() to a witness, and give what it answers to \
         immutable.add_cosignature(). The script immutable-cosign does that.",
    )
    .raise()
}
