//! Values as PostgreSQL passes them, and what they are in Rust: texts, bytes, ids, times.

use crate::pg::toast::is_plain;
use pgrx::pg_sys::{self, Datum};

/// The payload of an argument, detoasted where it has to be; it lives as long as the current memory context, or as long
/// as the row. What is stored in the row as it is costs no call: verification reads a dozen in every row.
pub unsafe fn bytes<'a>(datum: Datum) -> &'a [u8] {
    let mut varlena = datum.cast_mut_ptr();
    // Most are as they are, and every call into PostgreSQL sets up a jump buffer for its errors.
    if !is_plain(varlena) {
        varlena = pg_sys::pg_detoast_datum_packed(varlena);
    }
    std::slice::from_raw_parts(
        pgrx::varlena::vardata_any(varlena).cast::<u8>(),
        pgrx::varlena::varsize_any_exhdr(varlena),
    )
}

/// A text in a UTF8 database. What is not UTF-8 all the same reads as nothing a valid event can hold.
pub unsafe fn text<'a>(datum: Datum) -> &'a str {
    utf8(bytes(datum)).unwrap_or("\u{0}")
}

/// The text that bytes are, if they are what PostgreSQL takes for one: UTF-8 without a NUL, at which its printing ends.
/// Most are ASCII.
pub fn utf8(bytes: &[u8]) -> Option<&str> {
    match is_ascii_text(bytes) {
        // SAFETY: ASCII is UTF-8.
        true => Some(unsafe { std::str::from_utf8_unchecked(bytes) }),
        false => std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')),
    }
}

/// Whether all bytes are from 0x01 to 0x7f; looks at eight at once.
fn is_ascii_text(bytes: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A NUL borrows its high bit.
    let is_odd = |word: u64| (word.wrapping_sub(EACH) | word) & (0x80 * EACH) != 0;
    let (words, rest) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        // The last eight overlap those before them.
        Some(last) => !words.iter().chain([last]).any(|word| is_odd(u64::from_ne_bytes(*word))),
        None => rest.iter().all(|byte| (1..0x80).contains(byte)),
    }
}

/// The text for a reader's eyes, with replacement characters where it is none.
pub unsafe fn readable_text<'a>(datum: Datum) -> &'a str {
    let bytes = crate::pg::toast::read(datum).unwrap_or_default();
    utf8(bytes).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        self::text(text_datum(&text))
    })
}

/// A text datum in the current memory context.
pub unsafe fn text_datum(text: &str) -> Datum {
    bytes_datum(text.as_bytes())
}

/// A bytea or text datum in the current memory context.
pub unsafe fn bytes_datum(bytes: &[u8]) -> Datum {
    Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32))
}

/// A text[] datum in the current memory context.
pub unsafe fn text_array(texts: &[String]) -> Datum {
    let mut elements: Vec<Datum> = texts.iter().map(|text| text_datum(text)).collect();
    let array = pg_sys::construct_array(
        elements.as_mut_ptr(),
        elements.len() as i32,
        pg_sys::TEXTOID,
        -1,
        false,
        pg_sys::TYPALIGN_INT as std::ffi::c_char,
    );
    Datum::from(array)
}

/// A text as an SQL literal.
pub unsafe fn quote(text: &str) -> String {
    let text = std::ffi::CString::new(text).unwrap_or_default();
    let quoted = pg_sys::quote_literal_cstr(text.as_ptr());
    std::ffi::CStr::from_ptr(quoted).to_string_lossy().into_owned()
}

/// A uuid datum in the current memory context.
pub unsafe fn uuid_datum(id: &immutable_format::Id) -> Datum {
    let place = pg_sys::palloc(id.len()).cast::<u8>();
    std::ptr::copy_nonoverlapping(id.as_ptr(), place, id.len());
    Datum::from(place)
}

/// The bytes of a uuid.
pub unsafe fn uuid(datum: Datum) -> immutable_format::Id {
    *datum.cast_mut_ptr::<immutable_format::Id>()
}

/// What a type's output function, given as what it is in the server, prints.
pub unsafe fn output(function: unsafe fn(pg_sys::FunctionCallInfo) -> Datum, datum: Datum) -> String {
    let Some(printed) = pgrx::fcinfo::direct_function_call_as_datum(function, &[Some(datum)]) else {
        return String::new();
    };
    let printed = printed.cast_mut_ptr::<std::ffi::c_char>();
    let text = std::ffi::CStr::from_ptr(printed).to_string_lossy().into_owned();
    pg_sys::pfree(printed.cast());
    text
}

/// What a type's input function makes of `text`; raises its error where it makes nothing.
pub unsafe fn input(function: u32, text: &str) -> Datum {
    let text = std::ffi::CString::new(text).unwrap_or_default();
    pg_sys::OidInputFunctionCall(pg_sys::Oid::from(function), text.as_ptr().cast_mut(), pg_sys::InvalidOid, -1)
}

/// Microseconds from 1970, where this format counts from, to 2000, where PostgreSQL does.
const EPOCH: i64 = 946_684_800_000_000;

/// A timestamptz as microseconds since 1970; the infinities are outside every year.
pub fn micros(datum: Datum) -> i64 {
    (datum.value() as i64).saturating_add(EPOCH)
}

/// The same for any timestamptz, so that [`timestamptz`] gives it back: what is too late wraps around to before every year.
pub fn any_micros(datum: Datum) -> i64 {
    (datum.value() as i64).wrapping_add(EPOCH)
}

/// The reverse of [`any_micros`], and of [`micros`] for the times that events can have.
pub fn timestamptz(micros: i64) -> Datum {
    Datum::from(micros.wrapping_sub(EPOCH))
}

/// Seconds since 1970, by the wall clock.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    micros(Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })).div_euclid(1_000_000)
}

/// A timestamptz datum of seconds since 1970.
pub fn timestamptz_of_seconds(seconds: i64) -> Datum {
    timestamptz(seconds.saturating_mul(1_000_000))
}

/// Seconds since 1970 of a timestamptz.
pub fn seconds(datum: Datum) -> i64 {
    micros(datum).div_euclid(1_000_000)
}
