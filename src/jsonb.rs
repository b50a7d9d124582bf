//! From jsonb to the format's values and back. jsonb is walked itself: through serde_json `1.00` would become `1.0` and
//! thirty digits would lose some.

use crate::function::{input, output};
use immutable_format::json::{Error, Tree, Value};
use pgrx::pg_sys::{self, Datum};
use std::borrow::Cow;

/// A detoasted jsonb; it lives as long as the memory context it was read in.
#[derive(Clone, Copy)]
pub struct Jsonb(*mut pg_sys::Jsonb);

/// What a jsonb is at its top.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Scalar,
}

impl Jsonb {
    pub unsafe fn new(datum: Datum) -> Jsonb {
        // the iterator reads aligned words: no packed header
        let varlena = datum.cast_mut_ptr();
        match pgrx::varlena::varatt_is_4b_u(varlena) {
            true => Jsonb(varlena.cast()),
            false => Jsonb(pg_sys::pg_detoast_datum(varlena).cast()),
        }
    }

    pub unsafe fn kind(self) -> Kind {
        let header = (*self.0).root.header;
        if header & pg_sys::JB_FSCALAR != 0 {
            Kind::Scalar
        } else if header & pg_sys::JB_FOBJECT != 0 {
            Kind::Object
        } else {
            Kind::Array
        }
    }

    /// Elements of an array, members of an object.
    pub unsafe fn len(self) -> usize {
        ((*self.0).root.header & pg_sys::JB_CMASK) as usize
    }

    pub unsafe fn datum(self) -> Datum {
        Datum::from(self.0)
    }

    /// The whole value, within the bounds.
    pub unsafe fn value<'a>(self, depth: usize, bytes: usize) -> Result<Value<'a>, Error> {
        walk(std::ptr::addr_of_mut!((*self.0).root), depth, bytes)
    }

    /// The elements of an array, each within the bounds.
    pub unsafe fn elements<'a>(self, depth: usize, bytes: usize) -> Result<Vec<Value<'a>>, (usize, Error)> {
        let mut elements = Vec::new();
        let mut iterator = pg_sys::JsonbIteratorInit(std::ptr::addr_of_mut!((*self.0).root));
        let mut value = pg_sys::JsonbValue::default();
        loop {
            match pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) {
                pg_sys::JsonbIteratorToken::WJB_DONE => return Ok(elements),
                pg_sys::JsonbIteratorToken::WJB_ELEM => {
                    let element = any(&value, depth, bytes).map_err(|error| (elements.len(), error))?;
                    elements.push(element);
                }
                _ => {}
            }
        }
    }

    /// Calls `each` with the name and value of every member of an object; nested values stay jsonb.
    pub unsafe fn members(self, mut each: impl FnMut(&str, Member)) {
        let mut iterator = pg_sys::JsonbIteratorInit(std::ptr::addr_of_mut!((*self.0).root));
        let mut value = pg_sys::JsonbValue::default();
        let mut key = "";
        loop {
            match pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) {
                pg_sys::JsonbIteratorToken::WJB_DONE => return,
                pg_sys::JsonbIteratorToken::WJB_KEY => key = string(&value),
                pg_sys::JsonbIteratorToken::WJB_VALUE => each(key, Member::of(&mut value)),
                _ => {}
            }
        }
    }

    /// Calls `each` with every element of an array; nested values stay jsonb.
    pub unsafe fn each_element(self, mut each: impl FnMut(Member)) {
        let mut iterator = pg_sys::JsonbIteratorInit(std::ptr::addr_of_mut!((*self.0).root));
        let mut value = pg_sys::JsonbValue::default();
        loop {
            match pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) {
                pg_sys::JsonbIteratorToken::WJB_DONE => return,
                pg_sys::JsonbIteratorToken::WJB_ELEM => each(Member::of(&mut value)),
                _ => {}
            }
        }
    }
}

/// A value inside a jsonb, one level deep.
pub enum Member {
    Null,
    Bool,
    Text(String),
    Number(String),
    Nested(Jsonb),
}

impl Member {
    unsafe fn of(value: &mut pg_sys::JsonbValue) -> Member {
        match value.type_ {
            pg_sys::jbvType::jbvNull => Member::Null,
            pg_sys::jbvType::jbvBool => Member::Bool,
            pg_sys::jbvType::jbvString => Member::Text(string(value).to_string()),
            pg_sys::jbvType::jbvNumeric => Member::Number(number(value)),
            _ => Member::Nested(Jsonb(pg_sys::JsonbValueToJsonb(value))),
        }
    }
}

unsafe fn string<'a>(value: &pg_sys::JsonbValue) -> &'a str {
    let string = value.val.string;
    let bytes = std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize);
    // The database is UTF8; what is not all the same can not be part of a valid event.
    std::str::from_utf8(bytes).unwrap_or("\u{0}")
}

unsafe fn number(value: &pg_sys::JsonbValue) -> String {
    output(pg_sys::F_NUMERIC_OUT, Datum::from(value.val.numeric))
}

unsafe fn scalar<'a>(value: &pg_sys::JsonbValue) -> Value<'a> {
    match value.type_ {
        pg_sys::jbvType::jbvString => Value::String(Cow::Borrowed(string(value))),
        pg_sys::jbvType::jbvNumeric => Value::Number(Cow::Owned(number(value))),
        pg_sys::jbvType::jbvBool => Value::Bool(value.val.boolean),
        _ => Value::Null,
    }
}

unsafe fn any<'a>(value: &pg_sys::JsonbValue, depth: usize, bytes: usize) -> Result<Value<'a>, Error> {
    if value.type_ == pg_sys::jbvType::jbvBinary {
        return walk(value.val.binary.data, depth, bytes);
    }
    let mut tree = Tree::new(depth, bytes);
    tree.scalar(scalar(value))?;
    tree.finish().ok_or(Error::Syntax(0))
}

unsafe fn walk<'a>(container: *mut pg_sys::JsonbContainer, depth: usize, bytes: usize) -> Result<Value<'a>, Error> {
    let bare = (*container).header & pg_sys::JB_FSCALAR != 0; // jsonb keeps a bare scalar in an array of one
    let mut tree = Tree::new(depth, bytes);
    let mut iterator = pg_sys::JsonbIteratorInit(container);
    let mut value = pg_sys::JsonbValue::default();
    loop {
        match pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false) {
            pg_sys::JsonbIteratorToken::WJB_DONE => return tree.finish().ok_or(Error::Syntax(0)),
            pg_sys::JsonbIteratorToken::WJB_KEY => tree.key(Cow::Borrowed(string(&value)))?,
            pg_sys::JsonbIteratorToken::WJB_BEGIN_OBJECT => tree.begin_object()?,
            pg_sys::JsonbIteratorToken::WJB_BEGIN_ARRAY if bare => {}
            pg_sys::JsonbIteratorToken::WJB_END_ARRAY if bare => {}
            pg_sys::JsonbIteratorToken::WJB_BEGIN_ARRAY => tree.begin_array()?,
            pg_sys::JsonbIteratorToken::WJB_END_OBJECT | pg_sys::JsonbIteratorToken::WJB_END_ARRAY => tree.end()?,
            _ => tree.scalar(scalar(&value))?,
        }
    }
}

/// jsonb of a JSON text, in the current memory context.
pub unsafe fn datum(json: &str) -> Datum {
    input(pg_sys::F_JSONB_IN, json)
}
