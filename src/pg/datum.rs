//! Values as PostgreSQL passes them, and what they are in Rust: texts, bytes, ids, times.
//!
//! Which type a value has is not known here: the declarations of `sql/` are trusted for arguments, and statements for what
//! they select. One list of the argument types of every function is held by the tests.

use crate::pg::memory::Memory;
use crate::pg::toast;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};

/// A value, and the memory it lives in, which is also where it is detoasted.
#[derive(Clone, Copy)]
pub struct Datum<'m> {
    raw: pg_sys::Datum,
    memory: Memory<'m>,
}

impl<'m> Datum<'m> {
    /// # Safety
    /// The value must be in the memory given, or be passed by value.
    pub(in crate::pg) unsafe fn new(raw: pg_sys::Datum, memory: Memory<'m>) -> Datum<'m> {
        Datum { raw, memory }
    }

    /// As PostgreSQL passes it.
    pub fn raw(self) -> pg_sys::Datum {
        self.raw
    }

    pub(in crate::pg) fn memory(self) -> Memory<'m> {
        self.memory
    }

    pub fn bool(self) -> bool {
        self.raw.value() & 0xff != 0
    }

    pub fn i16(self) -> i16 {
        self.raw.value() as i16
    }

    pub fn i32(self) -> i32 {
        self.raw.value() as i32
    }

    pub fn i64(self) -> i64 {
        self.raw.value() as i64
    }

    pub fn oid(self) -> Oid {
        Oid::from(self.raw.value() as u32)
    }
}

/// Values that are passed as they are.
macro_rules! by_value {
    ($($type:ty),+) => {
        $(impl From<$type> for Datum<'static> {
            fn from(value: $type) -> Datum<'static> {
                Datum { raw: pg_sys::Datum::from(value), memory: Memory::none() }
            }
        })+
    };
}

by_value!(bool, i16, i32, i64, u64, Oid);

/// The payload, detoasted where it has to be. What is stored in the row as it is costs no call: verification reads a dozen
/// in every row.
pub fn bytes(datum: Datum<'_>) -> &[u8] {
    let mut varlena = datum.raw.cast_mut_ptr();
    // SAFETY: the value is a varlena, and what it is detoasted to is made in its own memory.
    unsafe {
        // Most are as they are, and every call into PostgreSQL sets up a jump buffer for its errors.
        if !toast::is_plain(varlena) {
            varlena = datum.memory.within(|| pg_sys::pg_detoast_datum_packed(varlena));
        }
        std::slice::from_raw_parts(
            pgrx::varlena::vardata_any(varlena).cast::<u8>(),
            pgrx::varlena::varsize_any_exhdr(varlena),
        )
    }
}

/// A text in a UTF8 database. What is not UTF-8 all the same reads as nothing a valid event can hold.
pub fn text(datum: Datum<'_>) -> &str {
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
pub fn readable_text(datum: Datum<'_>) -> &str {
    let bytes = toast::read(datum).unwrap_or_default();
    utf8(bytes).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        self::text(datum.memory.text(&text))
    })
}

/// A text as an SQL literal.
pub fn quote(text: &str) -> String {
    let text = std::ffi::CString::new(text).unwrap_or_default();
    // SAFETY: both are C strings.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::quote_literal_cstr(text.as_ptr())) }.to_string_lossy().into_owned()
}

/// The bytes of a uuid.
pub fn uuid(datum: Datum<'_>) -> Id {
    fixed(datum)
}

/// The bytes of a value of a type that is so many bytes long and passed by reference.
pub fn fixed<const BYTES: usize>(datum: Datum<'_>) -> [u8; BYTES] {
    // SAFETY: such a value is passed by reference to its bytes, and there are as many.
    unsafe { *datum.raw.cast_mut_ptr::<[u8; BYTES]>() }
}

/// The text of a cstring, with replacement characters where it is none.
pub fn c_string(datum: Datum<'_>) -> std::borrow::Cow<'_, str> {
    // SAFETY: a cstring is passed by reference to its bytes, which end with a NUL.
    unsafe { std::ffi::CStr::from_ptr(datum.raw.cast_mut_ptr()) }.to_string_lossy()
}

/// A function of PostgreSQL's that can be called from here, as what it is in the server.
pub type Function = unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// What a type's output function, given as what it is in the server, prints.
pub fn output(function: Function, datum: Datum<'_>) -> String {
    // SAFETY: an output function takes a value of its type and returns a C string of its own.
    unsafe {
        let Some(printed) = pgrx::fcinfo::direct_function_call_as_datum(function, &[Some(datum.raw)]) else {
            return String::new();
        };
        let printed = printed.cast_mut_ptr::<std::ffi::c_char>();
        let text = std::ffi::CStr::from_ptr(printed).to_string_lossy().into_owned();
        pg_sys::pfree(printed.cast());
        text
    }
}

/// Microseconds from 1970, where this format counts from, to 2000, where PostgreSQL does.
const EPOCH: i64 = 946_684_800_000_000;

/// A timestamptz as microseconds since 1970; the infinities are outside every year.
pub fn micros(datum: Datum) -> i64 {
    datum.i64().saturating_add(EPOCH)
}

/// The same for any timestamptz, so that [`timestamptz`] gives it back: what is too late wraps around to before every year.
pub fn any_micros(datum: Datum) -> i64 {
    datum.i64().wrapping_add(EPOCH)
}

/// The reverse of [`any_micros`], and of [`micros`] for the times that events can have.
pub fn timestamptz(micros: i64) -> Datum<'static> {
    Datum::from(micros.wrapping_sub(EPOCH))
}

/// Seconds since 1970, by the wall clock.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    micros(Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })).div_euclid(1_000_000)
}

/// A timestamptz datum of seconds since 1970.
pub fn timestamptz_of_seconds(seconds: i64) -> Datum<'static> {
    timestamptz(seconds.saturating_mul(1_000_000))
}

/// Seconds since 1970 of a timestamptz.
pub fn seconds(datum: Datum) -> i64 {
    micros(datum).div_euclid(1_000_000)
}
