//! Encodings and Unicode, as the server has them.

#![allow(unsafe_code)]

use crate::pg::datum::{text, Datum};
use crate::pg::memory::here;
use pgrx::pg_sys;

/// A text in a normal form of Unicode: "NFC", "NFD", "NFKC" or "NFKD". The database must be UTF8.
pub fn normalized(given: &str, form: &str) -> String {
    here(|memory| {
        let arguments = [Some(memory.text(given).raw()), Some(memory.text(form).raw())];
        // SAFETY: both arguments are texts, as that function wants them, and so is what it returns.
        unsafe {
            let normal = pgrx::fcinfo::direct_function_call_as_datum(pg_sys::unicode_normalize_func, &arguments);
            normal.map_or_else(|| given.to_string(), |normal| text(Datum::new(normal, memory)).to_string())
        }
    })
}

/// The encoding of the client, as one of `pg_enc`.
pub fn of_client() -> u32 {
    // SAFETY: reads the state of the one thread there is.
    unsafe { pg_sys::pg_get_client_encoding() as u32 }
}
