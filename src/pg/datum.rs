//! Values as PostgreSQL passes them, and their counterparts in Rust: texts, bytes, ids and times.
//!
//! The type of a value is not checked here. The declarations in `sql/` say what an argument is, and
//! a statement says what it selects. A test compares the argument types of every function with a
//! list.

#![allow(unsafe_code)]

use crate::pg::memory::Memory;
use immutable_format::Id;
use pgrx::pg_sys::{self, Oid};
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u};
use std::ffi::{CStr, CString};

/// A value, and the memory in which it lives and is detoasted.
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

    /// The value as a boolean.
    pub fn bool(self) -> bool {
        self.raw.value() & 0xff != 0
    }

    /// The value as a smallint.
    pub fn i16(self) -> i16 {
        self.raw.value() as i16
    }

    /// The value as an integer.
    pub fn i32(self) -> i32 {
        self.raw.value() as i32
    }

    /// The value as a bigint, or another type of 64 bits that is passed by value.
    pub fn i64(self) -> i64 {
        self.raw.value() as i64
    }

    /// The value as a double precision.
    pub fn f64(self) -> f64 {
        f64::from_bits(self.raw.value() as u64)
    }

    /// The value as an OID.
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

/// Values made in a memory context.
impl<'m> Memory<'m> {
    /// A text.
    pub fn text(self, text: &str) -> Datum<'m> {
        self.bytes(text.as_bytes())
    }

    /// A bytea, or a text whose bytes these are.
    pub fn bytes(self, bytes: &[u8]) -> Datum<'m> {
        // SAFETY: the pointer and the length are a slice's; PostgreSQL copies it into this context.
        let raw =
            self.within(|| unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32) });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(raw), self) }
    }

    /// A name; a text that is too long is cut off.
    pub fn name(self, name: &CStr) -> Datum<'m> {
        // SAFETY: the place has as many bytes as are written.
        let place = self.within(|| unsafe {
            let place = pg_sys::palloc0(std::mem::size_of::<pg_sys::NameData>()).cast::<pg_sys::NameData>();
            pg_sys::namestrcpy(place, name.as_ptr());
            place
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(place), self) }
    }

    /// A uuid.
    pub fn uuid(self, id: &Id) -> Datum<'m> {
        self.fixed(id)
    }

    /// A value of a type of fixed length that is passed by reference.
    pub fn fixed<const BYTES: usize>(self, bytes: &[u8; BYTES]) -> Datum<'m> {
        // SAFETY: the place has as many bytes as are copied.
        let place = self.within(|| unsafe {
            let place = pg_sys::palloc(BYTES).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, BYTES);
            place
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(place), self) }
    }

    /// A cstring, which ends at the first NUL.
    pub fn c_string(self, text: &str) -> Datum<'m> {
        // SAFETY: the place has a byte more than are copied, which is the NUL at the end.
        let place = self.within(|| unsafe {
            let place = pg_sys::palloc0(text.len() + 1).cast::<u8>();
            std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
            place
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(place), self) }
    }

    /// An array of elements of one type, none of them NULL. `width` is the type's length, -1 if it
    /// varies, and `align` its alignment, as in pg_type.
    pub fn array(self, elements: &[Datum], of: pg_sys::Oid, width: i32, by_value: bool, align: u8) -> Datum<'m> {
        let mut raw: Vec<pg_sys::Datum> = elements.iter().map(|element| element.raw()).collect();
        // SAFETY: the elements are of that type; PostgreSQL copies them into this context.
        let array = self.within(|| unsafe {
            let align = align as std::ffi::c_char;
            pg_sys::construct_array(raw.as_mut_ptr(), raw.len() as i32, of, width, by_value, align)
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(array), self) }
    }

    /// A name[].
    pub fn names<T: AsRef<str>>(self, names: &[T]) -> Datum<'m> {
        let name = |text: &T| self.name(&CString::new(text.as_ref()).unwrap_or_default());
        let elements: Vec<Datum> = names.iter().map(name).collect();
        self.array(&elements, pg_sys::NAMEOID, pg_sys::NAMEDATALEN as i32, false, pg_sys::TYPALIGN_CHAR)
    }

    /// A smallint[].
    pub fn smallints(self, numbers: &[i16]) -> Datum<'m> {
        let elements: Vec<Datum> = numbers.iter().map(|number| Datum::from(*number)).collect();
        self.array(&elements, pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT)
    }

    /// A text[].
    pub fn texts<T: AsRef<str>>(self, texts: &[T]) -> Datum<'m> {
        let elements: Vec<Datum> = texts.iter().map(|text| self.text(text.as_ref())).collect();
        self.array(&elements, pg_sys::TEXTOID, -1, false, pg_sys::TYPALIGN_INT)
    }

    /// The value that the input function of a type makes of a text. Raises the function's error
    /// (mostly 22P02) for a malformed text.
    pub(in crate::pg) fn input(self, function: u32, text: &str) -> Datum<'m> {
        let text = std::ffi::CString::new(text).unwrap_or_default();
        // SAFETY: an input function of a type that has no type modifier, given a C string.
        let raw = self.within(|| unsafe {
            let (function, text) = (pg_sys::Oid::from(function), text.as_ptr().cast_mut());
            pg_sys::OidInputFunctionCall(function, text, pg_sys::InvalidOid, -1)
        });
        // SAFETY: just made in this context, or passed by value.
        unsafe { Datum::new(raw, self) }
    }

    /// An inet. Raises 22P02 if the text is no address.
    pub fn inet(self, text: &str) -> Datum<'m> {
        self.input(pg_sys::F_INET_IN, text)
    }

    /// A jsonb from a JSON text. Raises 22P02 if it is not JSON.
    pub fn jsonb(self, json: &str) -> Datum<'m> {
        self.input(pg_sys::F_JSONB_IN, json)
    }
}

/// Whether a varlena is stored in the row, uncompressed.
pub(in crate::pg) fn is_plain(datum: Datum) -> bool {
    let varlena: *const pg_sys::varlena = datum.raw.cast_mut_ptr();
    // SAFETY: a varlena begins with its header.
    unsafe { varatt_is_4b_u(varlena) || varatt_is_1b(varlena) && !varatt_is_1b_e(varlena) }
}

/// The payload, detoasted if necessary. A value that is stored in the row, uncompressed, costs no
/// call, because verification reads a dozen values in every row.
pub fn bytes(datum: Datum<'_>) -> &[u8] {
    let mut varlena = datum.raw.cast_mut_ptr();
    // SAFETY: the value is a varlena, and what it is detoasted to is made in its own memory.
    unsafe {
        // Most values need no detoasting, and every call into PostgreSQL sets up a jump buffer for
        // errors.
        if !is_plain(datum) {
            varlena = datum.memory.within(|| pg_sys::pg_detoast_datum_packed(varlena));
        }
        std::slice::from_raw_parts(
            pgrx::varlena::vardata_any(varlena).cast::<u8>(),
            pgrx::varlena::varsize_any_exhdr(varlena),
        )
    }
}

/// A text in a UTF8 database. If it is not valid UTF-8 nevertheless, the result is a text that no
/// valid event can contain.
pub fn text(datum: Datum<'_>) -> &str {
    utf8(bytes(datum)).unwrap_or("\u{0}")
}

/// The text in bytes, if it is one for PostgreSQL: UTF-8 without a NUL, which would end the text
/// when it is printed. Most texts are ASCII.
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

/// A name. The name of a role or database may be in another encoding than this database.
pub fn name(datum: Datum<'_>) -> &CStr {
    // SAFETY: a name is passed by reference to a C string.
    unsafe { CStr::from_ptr(datum.raw.cast_mut_ptr()) }
}

/// A text as an SQL literal.
pub fn quote(text: &str) -> String {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: both are C strings.
    unsafe { CStr::from_ptr(pg_sys::quote_literal_cstr(text.as_ptr())) }.to_string_lossy().into_owned()
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

/// The place of a row in its table: a tid, as its block and its number in the block.
pub fn spot(datum: Datum<'_>) -> (u32, u16) {
    let bytes: [u8; 6] = fixed(datum);
    let part = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    (u32::from(part(0)) << 16 | u32::from(part(2)), part(4))
}

/// The text of a cstring, with replacement characters for what is not UTF-8.
pub fn c_string(datum: Datum<'_>) -> std::borrow::Cow<'_, str> {
    // SAFETY: a cstring is passed by reference to its bytes, which end with a NUL.
    unsafe { CStr::from_ptr(datum.raw.cast_mut_ptr()) }.to_string_lossy()
}

/// One of PostgreSQL's functions, by its address in the server.
pub(in crate::pg) type Function = unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// The text that the output function of a type prints.
pub(in crate::pg) fn output(function: Function, datum: Datum<'_>) -> String {
    // SAFETY: an output function takes a value of its type and returns a C string of its own.
    unsafe {
        let Some(printed) = pgrx::fcinfo::direct_function_call_as_datum(function, &[Some(datum.raw)]) else {
            return String::new();
        };
        let printed = printed.cast_mut_ptr::<std::ffi::c_char>();
        let text = CStr::from_ptr(printed).to_string_lossy().into_owned();
        pg_sys::pfree(printed.cast());
        text
    }
}

/// The hash of a text that is compared byte by byte. Citus distributes rows by it.
pub fn hash(text: Datum<'_>) -> i32 {
    // SAFETY: the function takes a text, and any collation that compares bytes.
    unsafe { pg_sys::OidFunctionCall1Coll(pg_sys::F_HASHTEXT.into(), pg_sys::C_COLLATION_OID, text.raw) }.value() as i32
}

/// An inet as PostgreSQL prints it.
pub fn inet_text(address: Datum<'_>) -> String {
    output(pg_sys::inet_out, address)
}

/// Microseconds from 1970, the epoch of the format, to 2000, the epoch of PostgreSQL.
const EPOCH: i64 = 946_684_800_000_000;

/// A timestamptz as microseconds since 1970; the infinities are outside every year.
pub fn micros(datum: Datum) -> i64 {
    datum.i64().saturating_add(EPOCH)
}

/// The same for any timestamptz, so that [`timestamptz`] is its inverse: a time that is too late
/// wraps around to a time before all years.
pub fn any_micros(datum: Datum) -> i64 {
    datum.i64().wrapping_add(EPOCH)
}

/// The reverse of [`any_micros`], and of [`micros`] for the times that events can have.
pub fn timestamptz(micros: i64) -> Datum<'static> {
    Datum::from(micros.wrapping_sub(EPOCH))
}

/// A timestamptz datum of seconds since 1970.
pub fn timestamptz_of_seconds(seconds: i64) -> Datum<'static> {
    timestamptz(seconds.saturating_mul(1_000_000))
}

/// Seconds since 1970 of a timestamptz.
pub fn seconds(datum: Datum) -> i64 {
    micros(datum).div_euclid(1_000_000)
}
