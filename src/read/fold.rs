//! `immutable.fold()`: the texts that a search compares, the same in every locale.

use crate::log::row::stored_text;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, text_datum, Datum};
use immutable_format::fold::{fold, is_normal};
use pgrx::pg_sys;

/// A text as a search compares it: in Unicode's normal form C, and folded.
pub fn folded(given: &str) -> String {
    let mut out = String::new();
    match is_normal(given) {
        true => fold(given, &mut out),
        false => {
            let arguments = [Some(text_datum(given)), Some(text_datum("NFC"))];
            let normal = pgrx::fcinfo::direct_function_call_as_datum(pg_sys::unicode_normalize_func, &arguments);
            fold(normal.map_or(given, |normal| text(normal)), &mut out);
        }
    }
    out
}

sql_function!(immutable_fold, pg_finfo_immutable_fold, fold_text);

/// `immutable.fold(text)`
fn fold_text(call: Call) -> Datum {
    match call.arg(0) {
        // Nothing is found in what cannot be read, and nothing stops a search of the other events.
        Some(given) => text_datum(&folded(stored_text(given).unwrap_or_default())),
        None => call.null(),
    }
}
