//! Canonical JSON: RFC 8785 (JCS) with one deviation. A number keeps its exact decimal text, as
//! PostgreSQL's jsonb prints it, instead of being rounded to a double: `1.10` stays `1.10` and
//! thirty digits stay thirty.
//!
//! [`Tree`] builds a value from a walk over jsonb or over JSON text and enforces the
//! [`limits`](crate::limits) as it goes, so that neither a deep nor a huge value costs more than
//! the bound. No recursion depends on the input.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Why a JSON text or a jsonb value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Nested more deeply than the bound allows.
    TooDeep,
    /// The canonical text has more bytes than the bound allows.
    TooLarge,
    /// An object has two members of the same name.
    DuplicateKey,
    /// The text is not JSON (RFC 8259), at this byte.
    Syntax(usize),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::TooDeep => write!(f, "nested too deeply"),
            Error::TooLarge => write!(f, "too large"),
            Error::DuplicateKey => write!(f, "an object has two members of the same name"),
            Error::Syntax(at) => write!(f, "not JSON at byte {at}"),
        }
    }
}

impl std::error::Error for Error {}

/// The members of an object, in canonical order.
pub type Members<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// A JSON value. Its objects are sorted canonically and its numbers are texts.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as its exact decimal text.
    Number(Cow<'a, str>),
    /// A string, without its escapes.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Members<'a>),
}

impl<'a> Value<'a> {
    /// Parses one JSON text (RFC 8259, UTF-8) of at most `bytes` canonical bytes and `depth`
    /// levels.
    ///
    /// # Errors
    ///
    /// [`Error::TooDeep`] or [`Error::TooLarge`] if a bound is passed, [`Error::DuplicateKey`] or
    /// [`Error::Syntax`] if the text is not such a value.
    pub fn parse(text: &'a str, depth: usize, bytes: usize) -> Result<Value<'a>, Error> {
        let mut tree = Tree::new(depth, bytes);
        Parser { text, at: 0 }.run(&mut tree)?;
        tree.finish().ok_or(Error::Syntax(text.len()))
    }

    /// Appends the canonical text (RFC 8785) to `out`.
    pub fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(text) => out.push_str(text),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Returns the canonical text (RFC 8785).
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Returns the text if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Compares two names as RFC 8785 §3.2.3 sorts them: by their UTF-16 code units. The order differs
/// from that of UTF-8 bytes where a character beyond U+FFFF meets one from U+E000 to U+FFFF.
pub fn key_order(a: &str, b: &str) -> Ordering {
    let differs = a.bytes().zip(b.bytes()).find(|(x, y)| x != y);
    match differs {
        // Only lead bytes from 0xEE on can be on the wrong side of a surrogate pair.
        Some((x, y)) if x.max(y) >= 0xEE => a.encode_utf16().cmp(b.encode_utf16()),
        Some((x, y)) => x.cmp(&y),
        None => a.len().cmp(&b.len()),
    }
}

/// Appends `text` as a JSON string, with the escapes of RFC 8785 §3.2.2.2: the two-character
/// escapes where JSON has them, `\u00xx` in lower case for the other control characters, everything
/// else as it is.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    if !needs_escapes(text) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[clean..at]);
        clean = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            0x0d => out.push_str("\\r"),
            _ => {
                out.push_str("\\u00");
                out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            }
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// Looks at eight bytes at once: hardly any text has something to escape, and most texts are short.
fn needs_escapes(text: &str) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // A byte below n, of those below 0x80, borrows its high bit; one that borrows from its
    // neighbour has found something.
    let below = |word: u64, n: u64| word.wrapping_sub(n * EACH) & !word & HIGH;
    let is_odd = |word: u64| {
        let quote = word ^ (u64::from(b'"') * EACH);
        let backslash = word ^ (u64::from(b'\\') * EACH);
        below(word, 0x20) | below(quote, 1) | below(backslash, 1) != 0
    };
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        // The last eight overlap those before them.
        Some(last) => words.iter().any(|word| is_odd(u64::from_ne_bytes(*word))) || is_odd(u64::from_ne_bytes(*last)),
        None => rest.iter().any(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\'),
    }
}

fn string_bytes(text: &str) -> usize {
    if !needs_escapes(text) {
        return text.len() + 2;
    }
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 1,
            0..=0x1f => 5,
            _ => 0,
        })
        .sum();
    text.len() + escapes + 2
}

enum OpenValue<'a> {
    Array(Vec<Value<'a>>),
    Object(Members<'a>, Option<Cow<'a, str>>),
}

/// Builds a [`Value`] from the calls of [`Build`]. It counts the canonical bytes as it goes, and
/// refuses as soon as a bound is passed.
pub struct Tree<'a> {
    open: Vec<OpenValue<'a>>,
    done: Option<Value<'a>>,
    depth: usize,
    bytes_left: usize,
}

impl<'a> Tree<'a> {
    /// Returns a builder of one value of at most `depth` levels and `bytes` canonical bytes.
    pub fn new(depth: usize, bytes: usize) -> Self {
        Tree { open: Vec::new(), done: None, depth, bytes_left: bytes }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Error::TooLarge)?;
        Ok(())
    }

    fn place(&mut self, value: Value<'a>) -> Result<(), Error> {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(OpenValue::Array(items)) => {
                let first = items.is_empty();
                items.push(value);
                self.spend(usize::from(!first))?;
            }
            Some(OpenValue::Object(members, key)) => {
                // A walk always gives the key first; without one the value has no place.
                let key = key.take().ok_or(Error::Syntax(0))?;
                members.push((key, value));
            }
        }
        Ok(())
    }

    fn begin(&mut self, frame: OpenValue<'a>) -> Result<(), Error> {
        if self.open.len() >= self.depth {
            return Err(Error::TooDeep);
        }
        self.spend(2)?;
        self.open.push(frame);
        Ok(())
    }

    /// Opens an object.
    ///
    /// # Errors
    ///
    /// [`Error::TooDeep`] or [`Error::TooLarge`] if a bound is passed.
    pub fn begin_object(&mut self) -> Result<(), Error> {
        self.begin(OpenValue::Object(Vec::new(), None))
    }

    /// Opens an array.
    ///
    /// # Errors
    ///
    /// [`Error::TooDeep`] or [`Error::TooLarge`] if a bound is passed.
    pub fn begin_array(&mut self) -> Result<(), Error> {
        self.begin(OpenValue::Array(Vec::new()))
    }

    /// Gives the name of the object's next member.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], or [`Error::Syntax`] outside of an object.
    pub fn key(&mut self, key: Cow<'a, str>) -> Result<(), Error> {
        let comma = match self.open.last() {
            Some(OpenValue::Object(members, None)) => usize::from(!members.is_empty()),
            _ => return Err(Error::Syntax(0)),
        };
        self.spend(string_bytes(&key) + 1 + comma)?;
        if let Some(OpenValue::Object(_, place)) = self.open.last_mut() {
            *place = Some(key);
        }
        Ok(())
    }

    /// Gives a string, number, boolean or null.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], or [`Error::Syntax`] for an array or object and for a value without a
    /// name in an object.
    pub fn scalar(&mut self, value: Value<'a>) -> Result<(), Error> {
        self.spend(match &value {
            Value::Null | Value::Bool(true) => 4,
            Value::Bool(false) => 5,
            Value::Number(text) => text.len(),
            Value::String(text) => string_bytes(text),
            Value::Array(_) | Value::Object(_) => return Err(Error::Syntax(0)),
        })?;
        self.place(value)
    }

    /// Closes the innermost object or array; the members of an object are sorted here.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], or [`Error::Syntax`] if nothing is open or a name has no value.
    pub fn end(&mut self) -> Result<(), Error> {
        let value = match self.open.pop() {
            Some(OpenValue::Array(items)) => Value::Array(items),
            Some(OpenValue::Object(mut members, None)) => {
                members.sort_by(|a, b| key_order(&a.0, &b.0));
                if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(Error::DuplicateKey);
                }
                Value::Object(members)
            }
            _ => return Err(Error::Syntax(0)),
        };
        self.place(value)
    }

    /// Returns whether a whole value has been built.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Returns the value once everything that was opened is closed.
    pub fn finish(self) -> Option<Value<'a>> {
        self.done
    }
}

/// Receives a JSON value from a walk over one: `begin_*`, keys and scalars, `end`, in the order of
/// the text.
pub trait Build<'a> {
    /// Whether the builder uses the text of a number. Printing it is most of the work of a walk
    /// over jsonb.
    const READS_NUMBERS: bool = true;

    /// Opens an object.
    ///
    /// # Errors
    ///
    /// Those of the builder: a bound that is passed, or a call out of order.
    fn begin_object(&mut self) -> Result<(), Error>;
    /// Opens an array.
    ///
    /// # Errors
    ///
    /// Those of the builder: a bound that is passed, or a call out of order.
    fn begin_array(&mut self) -> Result<(), Error>;
    /// Gives the name of the object's next member.
    ///
    /// # Errors
    ///
    /// Those of the builder: a bound that is passed, or a call out of order.
    fn key(&mut self, key: Cow<'a, str>) -> Result<(), Error>;
    /// Gives a string, number, boolean or null.
    ///
    /// # Errors
    ///
    /// Those of the builder: a bound that is passed, or a call out of order.
    fn scalar(&mut self, value: Value<'a>) -> Result<(), Error>;
    /// Closes the innermost object or array.
    ///
    /// # Errors
    ///
    /// Those of the builder: a duplicate name, or a call out of order.
    fn end(&mut self) -> Result<(), Error>;
}

impl<'a> Build<'a> for Tree<'a> {
    fn begin_object(&mut self) -> Result<(), Error> {
        Tree::begin_object(self)
    }

    fn begin_array(&mut self) -> Result<(), Error> {
        Tree::begin_array(self)
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<(), Error> {
        Tree::key(self, key)
    }

    fn scalar(&mut self, value: Value<'a>) -> Result<(), Error> {
        Tree::scalar(self, value)
    }

    fn end(&mut self) -> Result<(), Error> {
        Tree::end(self)
    }
}

/// Writes a value to a text as it comes; the members of objects keep their order.
pub struct Text<'t> {
    out: &'t mut String,
    /// The ends of what is open, and whether something is in it already.
    open: Vec<(char, bool)>,
    depth: usize,
    /// The text between members or elements, and behind a name.
    comma: &'static str,
    colon: &'static str,
}

impl<'t> Text<'t> {
    /// Returns a writer of one value of at most `depth` levels, which appends to `out`.
    pub fn new(out: &'t mut String, depth: usize) -> Self {
        Text { out, open: Vec::new(), depth, comma: ",", colon: ":" }
    }

    /// Returns a writer that puts blanks where PostgreSQL prints them, behind commas and colons.
    pub fn spaced(out: &'t mut String, depth: usize) -> Self {
        Text { comma: ", ", colon: ": ", ..Text::new(out, depth) }
    }

    /// Writes the comma before a member or an element.
    fn separate(&mut self) {
        if let Some((_, begun)) = self.open.last_mut() {
            if std::mem::replace(begun, true) {
                self.out.push_str(self.comma);
            }
        }
    }

    /// Writes the comma before a value; in an object the name has it already.
    fn place(&mut self) {
        if self.open.last().is_some_and(|(end, _)| *end == ']') {
            self.separate();
        }
    }

    fn begin(&mut self, begin: char, end: char) -> Result<(), Error> {
        if self.open.len() >= self.depth {
            return Err(Error::TooDeep);
        }
        self.place();
        self.out.push(begin);
        self.open.push((end, false));
        Ok(())
    }
}

impl<'a> Build<'a> for Text<'_> {
    fn begin_object(&mut self) -> Result<(), Error> {
        self.begin('{', '}')
    }

    fn begin_array(&mut self) -> Result<(), Error> {
        self.begin('[', ']')
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<(), Error> {
        self.separate();
        write_string(&key, self.out);
        self.out.push_str(self.colon);
        Ok(())
    }

    fn scalar(&mut self, value: Value<'a>) -> Result<(), Error> {
        self.place();
        value.write(self.out);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let (end, _) = self.open.pop().ok_or(Error::Syntax(0))?;
        self.out.push(end);
        Ok(())
    }
}

/// An object as its canonical text (RFC 8785), with the names of its own members and nothing of
/// what is inside them: all that hashing takes, without a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Object<'a> {
    text: String,
    members: Vec<Member<'a>>,
}

/// A member of an [`Object`].
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// The name.
    pub key: Cow<'a, str>,
    /// The kind of its value.
    pub shape: Shape<'a>,
    /// From its name's quote to the end of its value.
    from: usize,
    value: usize,
    to: usize,
}

/// What is known of a member's value beside its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape<'a> {
    /// `null`.
    Null,
    /// A string, without its escapes.
    String(Cow<'a, str>),
    /// An object with this number of members.
    Object(usize),
    /// An array, a number or a boolean.
    Other,
}

impl Default for Object<'_> {
    fn default() -> Self {
        Object { text: "{}".to_string(), members: Vec::new() }
    }
}

impl<'a> Object<'a> {
    /// Parses the JSON text (RFC 8259, UTF-8) of an object of at most `bytes` canonical bytes and
    /// `depth` levels. Returns `None` if the text is another value.
    ///
    /// # Errors
    ///
    /// As of [`Value::parse`].
    pub fn parse(text: &'a str, depth: usize, bytes: usize) -> Result<Option<Self>, Error> {
        let mut build = Canonical::new(depth, bytes);
        Parser { text, at: 0 }.run(&mut build)?;
        Ok(build.object())
    }

    /// Returns the canonical text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the members, in canonical order.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// Returns the canonical text of the value of a member.
    pub fn value(&self, member: &Member<'a>) -> &str {
        self.text.get(member.value..member.to).unwrap_or_default()
    }

    /// Removes the members for which `keep` returns false.
    pub fn retain(&mut self, keep: impl FnMut(&Member<'a>) -> bool) {
        let all = self.members.len();
        self.members.retain(keep);
        if self.members.len() < all {
            self.write_anew(0);
        }
    }

    /// Writes the object's text again, from where it begins, as its members stand now.
    fn write_anew(&mut self, begin: usize) {
        let before = self.text.split_off(begin);
        rewrite(&before, begin, &mut self.members, &mut self.text);
    }
}

/// Writes the members, whose texts are in `before` (which began at `begin`), to `out` as an object.
fn rewrite(before: &str, begin: usize, members: &mut [Member<'_>], out: &mut String) {
    out.push('{');
    for (n, member) in members.iter_mut().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let name = member.value - member.from;
        let text = before.get(member.from - begin..member.to - begin).unwrap_or_default();
        member.from = out.len();
        member.value = member.from + name;
        out.push_str(text);
        member.to = out.len();
    }
    out.push('}');
}

/// Builds an [`Object`] under the bounds of [`Tree`]. It writes members as they come; where they do
/// not come in canonical order, which is rare, it puts their texts in order when the object ends.
pub struct Canonical<'a> {
    text: String,
    /// Of all objects that are open; in the end those of the outermost.
    members: Vec<Member<'a>>,
    open: Vec<Opened>,
    depth: usize,
    bytes: usize,
    /// Whether the outermost value is an object that has ended.
    done: bool,
}

/// An object or array that is open.
struct Opened {
    object: bool,
    /// Whether nothing has been written into it.
    empty: bool,
    /// Whether a name waits for its value.
    named: bool,
    /// Where its text begins, and its members.
    text: usize,
    members: usize,
}

impl<'a> Canonical<'a> {
    /// Returns a builder of one object of at most `depth` levels and `bytes` canonical bytes.
    pub fn new(depth: usize, bytes: usize) -> Self {
        Canonical {
            text: String::with_capacity(128.min(bytes)),
            members: Vec::with_capacity(4),
            open: Vec::with_capacity(2),
            depth,
            bytes,
            done: false,
        }
    }

    /// Returns the object, if the value was one and has ended.
    pub fn object(mut self) -> Option<Object<'a>> {
        // A thousand targets are held at once, and a text that grew has up to twice its room.
        if self.text.capacity() - self.text.len() > 4096 {
            self.text.shrink_to_fit();
        }
        self.done.then_some(Object { text: self.text, members: self.members })
    }

    /// The ends of all open values count as soon as the values are opened.
    fn check(&self) -> Result<(), Error> {
        if self.text.len() + self.open.len() > self.bytes {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    /// Before a string is written: it may be far longer than the bound.
    fn check_string(&self, text: &str) -> Result<(), Error> {
        if text.len() > self.bytes {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    /// A value begins: what separates it from the one before it.
    fn separate(&mut self) -> Result<(), Error> {
        match self.open.last_mut() {
            None => Ok(()),
            Some(opened) if opened.object => {
                // A walk always gives the key first; without one the value has no place.
                std::mem::take(&mut opened.named).then_some(()).ok_or(Error::Syntax(0))
            }
            Some(opened) => {
                if !std::mem::take(&mut opened.empty) {
                    self.text.push(',');
                }
                Ok(())
            }
        }
    }

    /// A value has ended: the member that it belongs to ends with it.
    fn close_member(&mut self, shape: Shape<'a>) {
        let in_object = self.open.last().is_some_and(|opened| opened.object);
        if let (true, Some(member)) = (in_object, self.members.last_mut()) {
            member.to = self.text.len();
            member.shape = shape;
        }
    }

    fn begin(&mut self, object: bool) -> Result<(), Error> {
        if self.open.len() >= self.depth {
            return Err(Error::TooDeep);
        }
        self.separate()?;
        let (text, members) = (self.text.len(), self.members.len());
        self.open.push(Opened { object, empty: true, named: false, text, members });
        self.text.push(if object { '{' } else { '[' });
        self.check()
    }
}

impl<'a> Build<'a> for Canonical<'a> {
    fn begin_object(&mut self) -> Result<(), Error> {
        self.begin(true)
    }

    fn begin_array(&mut self) -> Result<(), Error> {
        self.begin(false)
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(opened) if opened.object && !opened.named => {
                opened.named = true;
                if !std::mem::take(&mut opened.empty) {
                    self.text.push(',');
                }
            }
            _ => return Err(Error::Syntax(0)),
        }
        self.check_string(&key)?;
        let from = self.text.len();
        write_string(&key, &mut self.text);
        self.text.push(':');
        let value = self.text.len();
        self.members.push(Member { key, shape: Shape::Other, from, value, to: value });
        self.check()
    }

    fn scalar(&mut self, value: Value<'a>) -> Result<(), Error> {
        self.separate()?;
        let shape = match value {
            Value::Null => {
                self.text.push_str("null");
                Shape::Null
            }
            Value::String(text) => {
                self.check_string(&text)?;
                write_string(&text, &mut self.text);
                Shape::String(text)
            }
            Value::Bool(_) | Value::Number(_) => {
                value.write(&mut self.text);
                Shape::Other
            }
            Value::Array(_) | Value::Object(_) => return Err(Error::Syntax(0)),
        };
        self.check()?;
        self.close_member(shape);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(opened) = self.open.pop().filter(|opened| !opened.named) else { return Err(Error::Syntax(0)) };
        if !opened.object {
            self.text.push(']');
            self.close_member(Shape::Other);
            return Ok(());
        }
        let members = self.members.get_mut(opened.members..).unwrap_or_default();
        if members.is_sorted_by(|a, b| key_order(&a.key, &b.key).is_lt()) {
            self.text.push('}');
        } else {
            members.sort_by(|a, b| key_order(&a.key, &b.key));
            if members.windows(2).any(|pair| pair[0].key == pair[1].key) {
                return Err(Error::DuplicateKey);
            }
            let before = self.text.split_off(opened.text);
            rewrite(&before, opened.text, members, &mut self.text);
        }
        let count = members.len();
        if self.open.is_empty() {
            self.done = true;
        } else {
            self.members.truncate(opened.members);
        }
        self.close_member(Shape::Object(count));
        Ok(())
    }
}

/// A JSON text, and how far it is read.
pub(crate) struct Parser<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl<'a> Parser<'a> {
    fn run(mut self, tree: &mut impl Build<'a>) -> Result<(), Error> {
        // true: inside an object, false: inside an array
        let mut inside: Vec<bool> = Vec::new();
        loop {
            // a value begins here
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    tree.begin_object()?;
                    inside.push(true);
                    if self.peek() != Some(b'}') {
                        self.key(tree)?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    tree.begin_array()?;
                    inside.push(false);
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'"') => {
                    let text = self.string()?;
                    tree.scalar(Value::String(text))?;
                }
                Some(b't') => self.word("true", Value::Bool(true), tree)?,
                Some(b'f') => self.word("false", Value::Bool(false), tree)?,
                Some(b'n') => self.word("null", Value::Null, tree)?,
                Some(b'-' | b'0'..=b'9') => {
                    let text = self.number()?;
                    tree.scalar(Value::Number(Cow::Borrowed(text)))?;
                }
                _ => return Err(Error::Syntax(self.at)),
            }
            // a value has ended: close what it closes, or go on to its sibling
            loop {
                match (inside.last(), self.peek()) {
                    (None, None) => return Ok(()),
                    (Some(true), Some(b'}')) | (Some(false), Some(b']')) => {
                        self.at += 1;
                        inside.pop();
                        tree.end()?;
                    }
                    (Some(&object), Some(b',')) => {
                        self.at += 1;
                        if object {
                            self.key(tree)?;
                        }
                        break;
                    }
                    _ => return Err(Error::Syntax(self.at)),
                }
            }
        }
    }

    /// The next byte.
    pub(crate) fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn key(&mut self, tree: &mut impl Build<'a>) -> Result<(), Error> {
        if self.peek() != Some(b'"') {
            return Err(Error::Syntax(self.at));
        }
        let key = self.string()?;
        tree.key(key)?;
        if self.peek() != Some(b':') {
            return Err(Error::Syntax(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value<'a>, tree: &mut impl Build<'a>) -> Result<(), Error> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Error::Syntax(self.at));
        }
        self.at += word.len();
        tree.scalar(value)
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Error::Syntax(self.at));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut clean = start;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let rest = &self.text[clean..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_with(String::new);
                    text.push_str(&self.text[clean..self.at]);
                    self.at += 1;
                    let escaped = self.byte().ok_or(Error::Syntax(self.at))?;
                    self.at += 1;
                    let character = match escaped {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'/' => '/',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return Err(Error::Syntax(self.at - 1)),
                    };
                    if let Some(text) = owned.as_mut() {
                        text.push(character);
                    }
                    clean = self.at;
                }
                Some(0..=0x1f) | None => return Err(Error::Syntax(self.at)),
                Some(_) => self.at += 1,
            }
        }
    }

    fn four_hex(&mut self) -> Result<u16, Error> {
        let bad = Error::Syntax(self.at);
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(bad)?;
        let mut unit = 0u16;
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or(bad)?;
            unit = unit << 4 | value as u16;
        }
        self.at += 4;
        Ok(unit)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let bad = Error::Syntax(self.at);
        let mut units = vec![self.four_hex()?];
        if (0xD800..0xDC00).contains(&units[0]) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            units.push(self.four_hex()?);
        }
        let mut decoded = char::decode_utf16(units);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(bad), // a lone surrogate is no character
        }
    }
}
