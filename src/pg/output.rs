//! The text of values, as the output functions of their types make it under settings that do not depend on the session.
//! No cast and no function of a user runs.

#![allow(unsafe_code)]

use crate::pg::datum::{utf8, Datum};
use crate::pg::error::Code;
use crate::pg::memory::Memory;
use crate::pg::tuple::Attribute;
use crate::pg::{subtransaction, toast};
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CStr;

/// Bytes of a stored value beyond which its output function may fail because the text is larger than PostgreSQL's
/// memory chunks, so that its error is caught.
const LARGE: usize = 16 * 1024 * 1024;

/// A value as it can be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'m> {
    Bool(bool),
    /// A smallint, an integer or a bigint.
    Integer(i64),
    Plain(Cow<'m, str>),
    /// A char(n), with the blanks that fill it up and mean nothing.
    Padded(Cow<'m, str>),
    /// A bytea, whose text is `\x` and two hex digits for each byte.
    Bytes(&'m [u8]),
    /// It is damaged, or its text is too large for PostgreSQL.
    Unreadable,
}

/// A setting that output functions depend on: its name, the value that it is given, and whether another value means the
/// same.
struct Setting {
    name: &'static CStr,
    value: &'static CStr,
    is_same: fn(&[u8]) -> bool,
}

const SETTINGS: [Setting; 8] = [
    Setting { name: c"DateStyle", value: c"ISO, YMD", is_same: |value| value.starts_with(b"ISO") },
    Setting { name: c"TimeZone", value: c"UTC", is_same: |value| matches!(value, b"UTC" | b"Etc/UTC") },
    Setting { name: c"IntervalStyle", value: c"postgres", is_same: |value| value == b"postgres" },
    Setting { name: c"extra_float_digits", value: c"1", is_same: |value| matches!(value, b"1" | b"2" | b"3") },
    Setting { name: c"bytea_output", value: c"hex", is_same: |value| value == b"hex" },
    Setting { name: c"lc_monetary", value: c"C", is_same: |value| matches!(value, b"C" | b"POSIX") },
    Setting { name: c"quote_all_identifiers", value: c"off", is_same: |value| value == b"off" },
    // Without pg_temp at its end, a session's temporary types would come first.
    Setting { name: c"search_path", value: c"pg_catalog, pg_temp", is_same: |value| value == b"pg_catalog, pg_temp" },
];

/// Which of [`SETTINGS`] the texts of a type depend on, as bits.
const NONE: u8 = 0;
const DATE: u8 = 1;
const ZONED: u8 = 1 | 2;
const INTERVAL: u8 = 4;
const FLOAT: u8 = 8;
const ALL: u8 = 0xff;

/// The settings that are pinned while [`pinned`] runs. Each is only changed when the first value needs it, and if the
/// session has another value.
pub struct Pinned {
    level: Cell<Option<i32>>,
    are: Cell<u8>,
}

/// Runs `body`, which writes values. An error puts the session's settings back with the transaction or subtransaction
/// that it ends.
pub fn pinned<T>(body: impl FnOnce(&Pinned) -> T) -> T {
    let pinned = Pinned { level: Cell::new(None), are: Cell::new(NONE) };
    let done = body(&pinned);
    if let Some(level) = pinned.level.get() {
        // SAFETY: begun by set().
        unsafe { pg_sys::AtEOXact_GUC(true, level) };
    }
    done
}

impl Pinned {
    fn pin(&self, needed: u8) {
        let missing = needed & !self.are.get();
        if missing == 0 {
            return;
        }
        for (n, setting) in SETTINGS.iter().enumerate() {
            if missing & 1 << n != 0 {
                self.set(setting);
            }
        }
        self.are.set(self.are.get() | missing);
    }

    fn set(&self, setting: &Setting) {
        // SAFETY: C strings; the value is read before it is changed. The level is ended by pinned().
        unsafe {
            let value = pg_sys::GetConfigOption(setting.name.as_ptr(), true, false);
            if !value.is_null() && (setting.is_same)(CStr::from_ptr(value).to_bytes()) {
                return;
            }
            if self.level.get().is_none() {
                self.level.set(Some(pg_sys::NewGUCNestLevel()));
            }
            pg_sys::set_config_option(
                setting.name.as_ptr(),
                setting.value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

/// How the text of a type is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Bool,
    Int2,
    Int4,
    Int8,
    /// The bytes are the text.
    Text,
    /// So they are, with blanks behind it.
    Padded,
    Bytea,
    /// Its output function.
    Function,
}

/// What is known of the type of a column, for one call of a function. The output function is looked up here, and what
/// it keeps for itself lives as long as the call.
pub struct Output {
    way: Way,
    needs: u8,
    is_varlena: bool,
    /// Whether somebody has made the type: an array or a row of rows, whose text doubles its quotes at each level, or a type
    /// of another extension.
    is_made: bool,
    function: Box<pg_sys::FmgrInfo>,
}

impl Output {
    /// Looks up what is to be known. `memory` must live as long as the result, and it is the call's.
    pub fn of(oid: Oid, memory: Memory<'_>) -> Output {
        // SAFETY: asks for a type that a column has; domains are looked through.
        let base = unsafe { pg_sys::getBaseType(oid) };
        let way = way(base);
        let mut output = Output {
            way,
            needs: needs(base),
            is_varlena: false,
            is_made: base.to_u32() >= pg_sys::FirstNormalObjectId,
            function: Box::new(pg_sys::FmgrInfo::default()),
        };
        if way == Way::Function {
            let mut function = pg_sys::InvalidOid;
            // SAFETY: the places are alive; what the function keeps is made in the memory of the call.
            unsafe {
                pg_sys::getTypeOutputInfo(oid, &mut function, &mut output.is_varlena);
                memory.within(|| {
                    pg_sys::fmgr_info_cxt(function, &mut *output.function, pg_sys::CurrentMemoryContext);
                });
            }
        }
        output
    }

    /// The text of a value of the type, made in the value's memory.
    pub fn text<'m>(&mut self, value: Datum<'m>, settings: &Pinned) -> Text<'m> {
        match self.way {
            Way::Bool => Text::Bool(value.bool()),
            Way::Int2 => Text::Integer(i64::from(value.i16())),
            Way::Int4 => Text::Integer(i64::from(value.i32())),
            Way::Int8 => Text::Integer(value.i64()),
            Way::Text => toast::read(value).map_or(Text::Unreadable, |bytes| Text::Plain(readable(bytes))),
            Way::Padded => toast::read(value).map_or(Text::Unreadable, |bytes| Text::Padded(readable(bytes))),
            Way::Bytea => toast::read(value).map_or(Text::Unreadable, Text::Bytes),
            Way::Function => {
                settings.pin(self.needs);
                self.printed(value)
            }
        }
    }

    fn printed<'m>(&mut self, value: Datum<'m>) -> Text<'m> {
        if !self.is_varlena {
            return Text::Plain(self.print(value));
        }
        let Some(whole) = toast::detoast(value) else { return Text::Unreadable };
        if !self.is_made && toast::read(whole).is_some_and(|bytes| bytes.len() < LARGE) {
            return Text::Plain(self.print(whole));
        }
        // Neither a cancel nor the end of the session is the value's fault.
        let is_caught = |code: Code, _| !subtransaction::sqlstate(code).starts_with("57");
        subtransaction::attempt(|| Text::Plain(self.print(whole)), is_caught).unwrap_or(Text::Unreadable)
    }

    fn print<'m>(&mut self, value: Datum<'m>) -> Cow<'m, str> {
        // SAFETY: the type's output function, with a value of the type. It makes a C string in the current context,
        // which is that of the value, or lives as long.
        let printed = unsafe {
            let function: *mut pg_sys::FmgrInfo = &mut *self.function;
            CStr::from_ptr(value.memory().within(|| pg_sys::OutputFunctionCall(function, value.raw())))
        };
        readable(printed.to_bytes())
    }
}

/// A text, with replacement characters where it is no UTF-8.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    utf8(bytes).map_or_else(|| Cow::Owned(String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")), Cow::Borrowed)
}

fn way(base: Oid) -> Way {
    match base {
        pg_sys::BOOLOID => Way::Bool,
        pg_sys::INT2OID => Way::Int2,
        pg_sys::INT4OID => Way::Int4,
        pg_sys::INT8OID => Way::Int8,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::JSONOID => Way::Text,
        pg_sys::BPCHAROID => Way::Padded,
        pg_sys::BYTEAOID => Way::Bytea,
        _ => Way::Function,
    }
}

/// The settings that the texts of a type depend on. What is not known depends on all.
fn needs(base: Oid) -> u8 {
    match base {
        pg_sys::NUMERICOID
        | pg_sys::UUIDOID
        | pg_sys::JSONBOID
        | pg_sys::NAMEOID
        | pg_sys::CHAROID
        | pg_sys::OIDOID
        | pg_sys::INETOID
        | pg_sys::CIDROID
        | pg_sys::MACADDROID
        | pg_sys::MACADDR8OID
        | pg_sys::BITOID
        | pg_sys::VARBITOID
        | pg_sys::TIMEOID
        | pg_sys::TIMETZOID
        | pg_sys::TSVECTOROID
        | pg_sys::XMLOID => NONE,
        pg_sys::DATEOID | pg_sys::TIMESTAMPOID => DATE,
        pg_sys::TIMESTAMPTZOID => ZONED,
        pg_sys::INTERVALOID => INTERVAL,
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => FLOAT,
        _ => ALL,
    }
}

/// Compares two values of a column. None if they are the same, byte for byte once they are detoasted; else the two,
/// each detoasted if that was necessary to know. Values whose sizes differ, and TOAST pointers that are the same, are
/// not fetched.
pub fn difference<'m>(column: &Attribute<'_>, old: Datum<'m>, new: Datum<'m>) -> Option<(Datum<'m>, Datum<'m>)> {
    let is_same = match column.length {
        _ if column.is_by_value => old.raw() == new.raw(),
        -1 => return varlena_difference(old, new),
        // SAFETY: such values are passed by reference to a C string.
        -2 => unsafe { CStr::from_ptr(old.raw().cast_mut_ptr()) == CStr::from_ptr(new.raw().cast_mut_ptr()) },
        // SAFETY: such values are passed by reference to that many bytes.
        length => unsafe {
            let bytes = |value: Datum| std::slice::from_raw_parts(value.raw().cast_mut_ptr::<u8>(), length as usize);
            bytes(old) == bytes(new)
        },
    };
    (!is_same).then_some((old, new))
}

fn varlena_difference<'m>(old: Datum<'m>, new: Datum<'m>) -> Option<(Datum<'m>, Datum<'m>)> {
    if toast::is_stored_as(old, new) {
        return None;
    }
    if toast::raw_size(old) != toast::raw_size(new) {
        return Some((old, new));
    }
    match (toast::detoast(old), toast::detoast(new)) {
        (Some(old), Some(new)) => (toast::read(old) != toast::read(new)).then_some((old, new)),
        _ => Some((old, new)),
    }
}
