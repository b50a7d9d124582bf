//! `immutable.fold()`: the texts that a search compares, the same in every locale.

use crate::log::row::stored_text;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::encoding::normalized;
use immutable_format::fold::{fold, is_normal};

/// A text as a search compares it: in Unicode's normal form C, and folded.
pub fn folded(given: &str) -> String {
    let mut out = String::new();
    match is_normal(given) {
        true => fold(given, &mut out),
        false => fold(&normalized(given, "NFC"), &mut out),
    }
    out
}

sql_function!(immutable_fold, pg_finfo_immutable_fold, fold_text);

/// `immutable.fold(text)`: the text as a search compares it.
fn fold_text(call: Call) -> Datum {
    match call.arg(0) {
        // A search finds nothing in a text that cannot be read, and goes on with the other events.
        Some(given) => call.text(&folded(stored_text(given).unwrap_or_default())),
        None => call.null(),
    }
}
