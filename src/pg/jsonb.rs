//! Converts jsonb to the format's values and back. It reads jsonb directly, because serde_json
//! would turn `1.00` into `1.0` and lose digits of long numbers.

#![allow(unsafe_code)]

use crate::pg::datum::{output, utf8, Datum};
use crate::pg::memory::{here, Memory};
use crate::pg::toast;
use immutable_format::json::{Build, Canonical, Error, Object, Tree, Value};
use immutable_format::limits;
use pgrx::pg_sys;
use std::borrow::Cow;
use std::ops::Range;

/// A detoasted jsonb.
#[derive(Clone, Copy)]
pub struct Jsonb<'m>(*mut pg_sys::Jsonb, Memory<'m>);

/// The kind of the outermost value of a jsonb.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Scalar,
}

impl<'m> Jsonb<'m> {
    /// Detoasts a jsonb.
    pub fn new(datum: Datum<'m>) -> Jsonb<'m> {
        // The iterator reads aligned words, so the header must not be packed.
        let (varlena, memory) = (datum.raw().cast_mut_ptr(), datum.memory());
        // SAFETY: a jsonb is a varlena; it is detoasted in its own memory.
        match unsafe { pgrx::varlena::varatt_is_4b_u(varlena) } {
            true => Jsonb(varlena.cast(), memory),
            // SAFETY: as above.
            false => Jsonb(memory.within(|| unsafe { pg_sys::pg_detoast_datum(varlena) }).cast(), memory),
        }
    }

    fn header(self) -> u32 {
        // SAFETY: a jsonb has a header.
        unsafe { (*self.0).root.header }
    }

    /// The kind of the outermost value.
    pub fn kind(self) -> Kind {
        if self.header() & pg_sys::JB_FSCALAR != 0 {
            Kind::Scalar
        } else if self.header() & pg_sys::JB_FOBJECT != 0 {
            Kind::Object
        } else {
            Kind::Array
        }
    }

    /// Elements of an array, members of an object.
    pub fn len(self) -> usize {
        (self.header() & pg_sys::JB_CMASK) as usize
    }

    /// The value for PostgreSQL.
    pub fn datum(self) -> Datum<'m> {
        // SAFETY: a jsonb in its memory.
        unsafe { Datum::new(pg_sys::Datum::from(self.0), self.1) }
    }

    /// The value as PostgreSQL prints it.
    pub fn text(self) -> String {
        output(pg_sys::jsonb_out, self.datum())
    }

    /// The whole value, within the bounds.
    pub fn value(self, depth: usize, bytes: usize) -> Result<Value<'m>, Error> {
        self.reader().ok_or(CORRUPT)?.value(depth, bytes)
    }

    /// The object, within the bounds; None if it is another value.
    pub fn object(self, depth: usize, bytes: usize) -> Result<Option<Object<'m>>, Error> {
        self.reader().ok_or(CORRUPT)?.object(depth, bytes)
    }

    fn reader(self) -> Option<Reader<'m>> {
        Reader::new(self.datum())
    }

    /// Calls `each` with the name and value of every member of an object; nested values stay jsonb.
    pub fn members(self, mut each: impl FnMut(&str, Member<'m>)) {
        let mut key = "";
        self.tokens(|token, value| match token {
            pg_sys::JsonbIteratorToken::WJB_KEY => key = string(value),
            pg_sys::JsonbIteratorToken::WJB_VALUE => each(key, Member::of(value, self.1)),
            _ => {}
        });
    }

    /// Calls `each` with every element of an array; nested values stay jsonb.
    pub fn each_element(self, mut each: impl FnMut(Member<'m>)) {
        self.tokens(|token, value| {
            if token == pg_sys::JsonbIteratorToken::WJB_ELEM {
                each(Member::of(value, self.1));
            }
        });
    }

    /// Iterates over the outermost level.
    fn tokens(self, mut each: impl FnMut(pg_sys::JsonbIteratorToken::Type, &'m mut pg_sys::JsonbValue)) {
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: the jsonb lives as long as its memory; the value that the iterator fills in
        // refers to it, and is seen one token at a time.
        unsafe {
            let mut iterator = pg_sys::JsonbIteratorInit(std::ptr::addr_of_mut!((*self.0).root));
            loop {
                let token = pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
                if token == pg_sys::JsonbIteratorToken::WJB_DONE {
                    return;
                }
                each(token, &mut *std::ptr::addr_of_mut!(value));
            }
        }
    }
}

/// A value inside a jsonb, one level deep.
pub enum Member<'m> {
    Null,
    Bool,
    Text(String),
    Number(String),
    Nested(Jsonb<'m>),
}

impl<'m> Member<'m> {
    fn of(value: &mut pg_sys::JsonbValue, memory: Memory<'m>) -> Member<'m> {
        match value.type_ {
            pg_sys::jbvType::jbvNull => Member::Null,
            pg_sys::jbvType::jbvBool => Member::Bool,
            pg_sys::jbvType::jbvString => Member::Text(string(value).to_string()),
            pg_sys::jbvType::jbvNumeric => Member::Number(number(value, memory)),
            // SAFETY: a container, copied into the memory that the whole is in.
            _ => Member::Nested(Jsonb(memory.within(|| unsafe { pg_sys::JsonbValueToJsonb(value) }), memory)),
        }
    }
}

fn string<'m>(value: &pg_sys::JsonbValue) -> &'m str {
    // SAFETY: a string's bytes are in the jsonb, which outlives what is read of it.
    let bytes = unsafe {
        let string = value.val.string;
        std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize)
    };
    // The database is UTF8. A text that is not valid UTF-8 nevertheless cannot be part of a valid
    // event.
    utf8(bytes).unwrap_or("\u{0}")
}

fn number(value: &pg_sys::JsonbValue, memory: Memory<'_>) -> String {
    // SAFETY: a numeric in the jsonb.
    output(pg_sys::numeric_out, unsafe { Datum::new(pg_sys::Datum::from(value.val.numeric), memory) })
}

/// Reads a jsonb from its stored bytes. Verification reads two in every row, so nothing is copied,
/// and the server is only called for numbers that are not printed here. The layout is that of
/// PostgreSQL's utils/jsonb.h, which has been the same on disk since 9.4. Edited bytes in the data
/// file are an error, not a crash. Only bytes that jsonb_in would have written are accepted,
/// because PostgreSQL may see another value in any others.
#[derive(Clone, Copy)]
pub struct Reader<'a>(Container<'a>);

impl<'a> Reader<'a> {
    /// None if it does not contain a jsonb.
    pub fn new(datum: Datum<'a>) -> Option<Reader<'a>> {
        Container::root(toast::read(datum)?).map(Reader)
    }

    /// The number of elements, if it is an array.
    pub fn array_len(self) -> Option<usize> {
        (self.0.header & (pg_sys::JB_FARRAY | pg_sys::JB_FSCALAR) == pg_sys::JB_FARRAY).then(|| self.0.count())
    }

    /// The whole value, within the bounds.
    pub fn value(self, depth: usize, bytes: usize) -> Result<Value<'a>, Error> {
        let mut tree = Tree::new(depth, bytes);
        self.read(&mut tree)?;
        tree.finish().ok_or(CORRUPT)
    }

    /// The object, within the bounds; None if it is another value.
    pub fn object(self, depth: usize, bytes: usize) -> Result<Option<Object<'a>>, Error> {
        let mut canonical = Canonical::new(depth, bytes);
        self.read(&mut canonical)?;
        Ok(canonical.object())
    }

    /// The elements of an array, each within the bounds; None in the place of an element that is
    /// not an object.
    pub fn objects(self, depth: usize, bytes: usize) -> Result<Vec<Option<Object<'a>>>, (usize, Error)> {
        let count = self.0.count();
        let mut objects = Vec::with_capacity(count.min(limits::TARGETS));
        let mut children = self.0.children(0..count, 0);
        while let Some(child) = children.next() {
            let mut canonical = Canonical::new(depth, bytes);
            let element = child.ok_or(CORRUPT).and_then(|child| read(child, &mut canonical));
            element.map_err(|error| (objects.len(), error))?;
            objects.push(canonical.object());
        }
        match children.are_all() {
            true => Ok(objects),
            false => Err((objects.len(), CORRUPT)),
        }
    }

    /// Whether all of it can be read, and is not nested more deeply than an event may be, because
    /// PostgreSQL's own functions recurse.
    pub fn is_sound(self) -> bool {
        self.read(&mut Sound { depth: 0 }).is_ok()
    }

    /// Feeds the whole value to `build`.
    pub fn read(self, build: &mut impl Build<'a>) -> Result<(), Error> {
        read(Entry::Container(self.0), build)
    }
}

/// The member `name` of each object in an array, if that member is an object or array: one jsonb or
/// None for each element. Empty if the value is not an array.
pub fn nested_members<'m>(array: Datum<'m>, name: &str) -> Vec<Option<Datum<'m>>> {
    let Some(reader) = Reader::new(array).filter(|reader| reader.array_len().is_some()) else { return Vec::new() };
    let count = reader.0.count();
    let mut children = reader.0.children(0..count, 0);
    let mut nested = Vec::with_capacity(count.min(limits::TARGETS));
    while let Some(child) = children.next() {
        // A jsonb consists only of its outermost container.
        nested.push(match child {
            Some(Entry::Container(object)) => {
                object.nested_member(name).map(|member| array.memory().bytes(member.bytes))
            }
            _ => None,
        });
    }
    nested
}

const CORRUPT: Error = Error::Syntax(0);

/// Keeps nothing of what it reads. It only checks that everything can be read.
struct Sound {
    depth: usize,
}

impl<'a> Build<'a> for Sound {
    const READS_NUMBERS: bool = false;

    fn begin_object(&mut self) -> Result<(), Error> {
        self.begin_array()
    }

    fn begin_array(&mut self) -> Result<(), Error> {
        // An array of targets, each of which is within the bound.
        self.depth += 1;
        match self.depth <= limits::NESTING + 1 {
            true => Ok(()),
            false => Err(Error::TooDeep),
        }
    }

    fn key(&mut self, _: Cow<'a, str>) -> Result<(), Error> {
        Ok(())
    }

    fn scalar(&mut self, _: Value<'a>) -> Result<(), Error> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        self.depth -= 1;
        Ok(())
    }
}

/// An object or array: a header with the number of children, an entry of four bytes for each (all
/// keys of an object before all its values), then their data.
#[derive(Clone, Copy)]
struct Container<'a> {
    header: u32,
    /// The header, the entries and the data.
    bytes: &'a [u8],
}

enum Entry<'a> {
    Container(Container<'a>),
    Scalar(Value<'a>),
    Numeric(&'a [u8]),
}

impl<'a> Container<'a> {
    fn root(bytes: &'a [u8]) -> Option<Container<'a>> {
        let container = Container::new(bytes)?;
        (container.is_collection() || container.is_bare() && container.count() == 1).then_some(container)
    }

    fn nested(bytes: &'a [u8]) -> Option<Container<'a>> {
        Container::new(bytes).filter(|container| container.is_collection())
    }

    fn new(bytes: &'a [u8]) -> Option<Container<'a>> {
        let header = u32::from_ne_bytes(*bytes.first_chunk()?);
        let container = Container { header, bytes };
        (4 + container.entries() * 4 <= bytes.len()).then_some(container)
    }

    fn flags(self) -> u32 {
        self.header & !pg_sys::JB_CMASK
    }

    /// Whether it is either an array or an object.
    fn is_collection(self) -> bool {
        matches!(self.flags(), pg_sys::JB_FARRAY | pg_sys::JB_FOBJECT)
    }

    /// jsonb keeps a bare scalar in an array of one element.
    fn is_bare(self) -> bool {
        self.flags() == pg_sys::JB_FARRAY | pg_sys::JB_FSCALAR
    }

    fn count(self) -> usize {
        (self.header & pg_sys::JB_CMASK) as usize
    }

    fn is_object(self) -> bool {
        self.header & pg_sys::JB_FOBJECT != 0
    }

    fn data(self) -> &'a [u8] {
        &self.bytes[4 + self.entries() * 4..]
    }

    fn entries(self) -> usize {
        self.count() * if self.is_object() { 2 } else { 1 }
    }

    fn entry(self, index: usize) -> Option<u32> {
        let entry = self.bytes.get(4 + index * 4..)?.first_chunk().map(|entry| u32::from_ne_bytes(*entry))?;
        // Every JB_OFFSET_STRIDE-th entry has an offset instead of a length, because PostgreSQL
        // looks for it there; the others must not.
        let has_offset = entry & pg_sys::JENTRY_HAS_OFF != 0;
        (has_offset == index.is_multiple_of(pg_sys::JB_OFFSET_STRIDE as usize)).then_some(entry)
    }

    /// Where the data of entry `index` ends, if that of the one before it ends at `start`.
    fn end(entry: u32, start: usize) -> usize {
        let number = (entry & pg_sys::JENTRY_OFFLENMASK) as usize;
        if entry & pg_sys::JENTRY_HAS_OFF != 0 {
            number
        } else {
            start + number
        }
    }

    fn children(self, entries: Range<usize>, start: usize) -> Children<'a> {
        Children { container: self, entries, start }
    }

    /// The member of an object that has this name, if it is an object or array.
    fn nested_member(self, name: &str) -> Option<Container<'a>> {
        if !self.is_object() {
            return None;
        }
        let (mut keys, mut values) = self.members()?;
        while let (Some(key), Some(value)) = (keys.next(), values.next()) {
            match (key?, value?) {
                (Entry::Scalar(Value::String(key)), Entry::Container(container)) if key == name => {
                    return Some(container)
                }
                _ => {}
            }
        }
        None
    }

    /// Keys and values of an object.
    fn members(self) -> Option<(Children<'a>, Children<'a>)> {
        let count = self.count();
        let mut end = 0;
        for index in 0..count {
            end = Self::end(self.entry(index)?, end);
        }
        Some((self.children(0..count, 0), self.children(count..2 * count, end)))
    }
}

struct Children<'a> {
    container: Container<'a>,
    entries: Range<usize>,
    start: usize,
}

impl<'a> Children<'a> {
    /// The next child; `Some(None)` if a child is missing.
    fn next(&mut self) -> Option<Option<Entry<'a>>> {
        let index = self.entries.next()?;
        Some(self.child(index))
    }

    fn child(&mut self, index: usize) -> Option<Entry<'a>> {
        let entry = self.container.entry(index)?;
        let (start, end) = (self.start, Container::end(entry, self.start));
        self.start = end;
        let data = self.container.data().get(start..end)?;
        let kind = entry & pg_sys::JENTRY_TYPEMASK;
        let scalar = match kind {
            pg_sys::JENTRY_ISSTRING => return Some(Entry::Scalar(Value::String(Cow::Borrowed(utf8(data)?)))),
            // Containers and numbers are aligned by padding bytes, which count as part of them.
            pg_sys::JENTRY_ISNUMERIC | pg_sys::JENTRY_ISCONTAINER => {
                let (padding, data) = data.split_at_checked(start.next_multiple_of(4) - start)?;
                return match (padding.iter().all(|byte| *byte == 0), kind) {
                    (true, pg_sys::JENTRY_ISNUMERIC) => Some(Entry::Numeric(data)),
                    (true, _) => Container::nested(data).map(Entry::Container),
                    (false, _) => None,
                };
            }
            pg_sys::JENTRY_ISBOOL_TRUE => Value::Bool(true),
            pg_sys::JENTRY_ISBOOL_FALSE => Value::Bool(false),
            pg_sys::JENTRY_ISNULL => Value::Null,
            _ => return None,
        };
        data.is_empty().then_some(Entry::Scalar(scalar))
    }

    /// Whether all bytes have been read.
    fn are_all(&self) -> bool {
        self.start == self.container.data().len()
    }
}

/// Whether this key comes after the previous one in the order of jsonb, which has shorter keys
/// first: PostgreSQL uses binary search.
fn is_after(key: &str, before: Option<&str>) -> bool {
    before.is_none_or(|before| (before.len(), before) < (key.len(), key))
}

/// An object or array that is being read: the keys that are left, and the values.
struct Open<'a> {
    keys: Option<Children<'a>>,
    /// The last key.
    key: Option<&'a str>,
    values: Children<'a>,
    bare: bool,
}

fn read<'a, B: Build<'a>>(value: Entry<'a>, build: &mut B) -> Result<(), Error> {
    let mut open: Vec<Open<'a>> = Vec::with_capacity(4);
    let mut next = Some(value);
    loop {
        match next.take() {
            Some(Entry::Container(container)) => {
                let bare = container.is_bare();
                let (keys, values) = match container.is_object() {
                    true => container.members().map(|(keys, values)| (Some(keys), values)).ok_or(CORRUPT)?,
                    false => (None, container.children(0..container.count(), 0)),
                };
                match (&keys, bare) {
                    (Some(_), _) => build.begin_object()?,
                    (None, false) => build.begin_array()?,
                    (None, true) => {}
                }
                open.push(Open { keys, key: None, values, bare });
            }
            Some(Entry::Scalar(value)) => build.scalar(value)?,
            Some(Entry::Numeric(numeric)) => {
                let number = match B::READS_NUMBERS {
                    true => numeric_text(numeric)?,
                    false => numeric_parts(numeric).map(|_| String::new()).ok_or(CORRUPT)?,
                };
                build.scalar(Value::Number(Cow::Owned(number)))?;
            }
            None => {}
        }
        let Some(inner) = open.last_mut() else { return Ok(()) };
        if let Some(keys) = &mut inner.keys {
            match keys.next() {
                Some(Some(Entry::Scalar(Value::String(Cow::Borrowed(key))))) if is_after(key, inner.key) => {
                    inner.key = Some(key);
                    build.key(Cow::Borrowed(key))?;
                }
                Some(_) => return Err(CORRUPT),
                None => {}
            }
        }
        match inner.values.next() {
            Some(Some(Entry::Container(_))) if inner.bare => return Err(CORRUPT),
            Some(child) => next = Some(child.ok_or(CORRUPT)?),
            None if !inner.values.are_all() => return Err(CORRUPT),
            None => {
                let bare = inner.bare;
                open.pop();
                if !bare {
                    build.end()?;
                }
            }
        }
    }
}

/// The bits of a numeric's first word, as in utils/adt/numeric.c. A short one has its scale and
/// weight there; the word is all sign and scale in a long one, whose weight is the next.
const NUMERIC_SHORT: u16 = 0x8000;

const NUMERIC_SPECIAL: u16 = 0xC000;

const NUMERIC_SHORT_SIGN_AND_WEIGHT: u16 = 0x207F;

const NUMERIC_LONG_SIGN: u16 = 0x4000;

/// The first word of a numeric and its digits in base 10,000. The numeric must be stored as
/// PostgreSQL stores it: as long as its header says, without superfluous digits, and neither NaN
/// nor infinite.
fn numeric_parts(numeric: &[u8]) -> Option<(u16, &[[u8; 2]])> {
    let size = u32::from_ne_bytes(*numeric.first_chunk()?);
    let is_sized = match cfg!(target_endian = "big") {
        true => size as usize == numeric.len(),
        false => size as usize == numeric.len() << 2,
    };
    let (words, []) = numeric.get(4..)?.as_chunks::<2>() else { return None };
    let (first, rest) = words.split_first()?;
    let first = u16::from_ne_bytes(*first);
    let (digits, is_plain_zero) = match first & NUMERIC_SPECIAL {
        NUMERIC_SHORT => (rest, first & NUMERIC_SHORT_SIGN_AND_WEIGHT == 0),
        NUMERIC_SPECIAL => return None,
        sign => {
            let (weight, digits) = rest.split_first()?;
            (digits, sign & NUMERIC_LONG_SIGN == 0 && *weight == [0, 0])
        }
    };
    let digit = |digit: &[u8; 2]| u16::from_ne_bytes(*digit);
    let is_number = match (digits.first(), digits.last()) {
        (Some(first), Some(last)) => digit(first) != 0 && digit(last) != 0,
        _ => is_plain_zero,
    };
    (is_sized && is_number && digits.iter().all(|two| digit(two) < 10_000)).then_some((first, digits))
}

/// The text that numeric_out prints. Small integers, which are the most frequent, are printed here.
fn numeric_text(numeric: &[u8]) -> Result<String, Error> {
    match numeric_parts(numeric).ok_or(CORRUPT)? {
        (NUMERIC_SHORT, []) => return Ok("0".to_string()),
        (NUMERIC_SHORT, [digit]) => return Ok(u16::from_ne_bytes(*digit).to_string()),
        _ => {}
    }
    // SAFETY: numeric_out wants it aligned, as palloc gives it; the copy is as long as what is
    // copied.
    Ok(here(|memory| unsafe {
        let copy = pg_sys::palloc(numeric.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(numeric.as_ptr(), copy, numeric.len());
        let text = output(pg_sys::numeric_out, Datum::new(pg_sys::Datum::from(copy), memory));
        pg_sys::pfree(copy.cast());
        text
    }))
}
