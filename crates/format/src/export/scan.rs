//! A reader of canonical JSON (RFC 8785) that builds nothing: it finds where values begin and end,
//! and refuses every byte that canonical JSON would not have there. It does not recurse, and keeps
//! one small frame for each open object or array.

use crate::json::{key_order, Value};
use std::borrow::Cow;

/// Why a text is not canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub what: &'static str,
    /// The byte of the line at which it is wrong.
    pub at: usize,
}

enum OpenLevel<'a> {
    Array,
    /// With the name of the last member.
    Object(&'a str),
}

/// Reads canonical JSON (RFC 8785) without building a value.
pub struct Scanner<'a> {
    text: &'a str,
    /// The byte that is read next.
    pub at: usize,
    open: Vec<OpenLevel<'a>>,
    depth: usize,
}

/// High bits of the bytes of `word` that are zero. A byte above a zero byte may be marked too, so
/// only the lowest mark is to be trusted, which is the one that is used.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

/// Where the first byte is, from `at` on, that a JSON string does not have as it is: `"`, `\` or a
/// control character.
fn end_of_plain(bytes: &[u8], mut at: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let control = word.wrapping_sub(EACH * 0x20) & !word & 0x8080_8080_8080_8080;
        let found = zero_bytes(word ^ (EACH * 0x22)) | zero_bytes(word ^ (EACH * 0x5c)) | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// Returns the text that a canonical string stands for. `raw` is given without its quotes.
pub fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    match Value::parse(&format!("\"{raw}\""), 1, usize::MAX) {
        Ok(Value::String(text)) => Cow::Owned(text.into_owned()),
        _ => Cow::Borrowed(raw), // not of a string that the scanner has taken
    }
}

/// Returns whether one name sorts behind another. Both are given as canonical JSON writes them
/// between quotes.
pub fn comes_after(raw: &str, before: &str) -> bool {
    // Most names differ in their first letter, and nearly all are ASCII.
    match (raw.as_bytes(), before.as_bytes()) {
        ([a, ..], [b, ..]) if a != b && a.max(b).is_ascii() && *a != b'\\' && *b != b'\\' => return a > b,
        _ => {}
    }
    key_order(&decode(raw), &decode(before)).is_gt()
}

impl<'a> Scanner<'a> {
    /// Begins to read `text` at byte `at`; values may be nested `depth` levels deep.
    pub fn new(text: &'a str, at: usize, depth: usize) -> Self {
        Scanner { text, at, open: Vec::new(), depth }
    }

    /// Returns the next byte, if the text has not ended.
    pub fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Returns an error at the current byte.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn fail<T>(&self, what: &'static str) -> Result<T, Error> {
        Err(Error { what, at: self.at })
    }

    /// Returns whether the text goes on with `token`, and moves behind it if so.
    pub fn skip(&mut self, token: &str) -> bool {
        let is = self.text.as_bytes()[self.at..].starts_with(token.as_bytes());
        if is {
            self.at += token.len();
        }
        is
    }

    /// Moves behind `token`, which must come next.
    ///
    /// # Errors
    ///
    /// An [`Error`] if the text goes on in another way.
    pub fn expect(&mut self, token: &'static str) -> Result<(), Error> {
        if self.skip(token) {
            return Ok(());
        }
        match self.byte() {
            None => self.fail("the line ends early"),
            Some(_) => self.fail("not a line of this format"),
        }
    }

    /// Reads a string. Returns what is between its quotes.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no canonical string.
    pub fn string(&mut self) -> Result<&'a str, Error> {
        if self.byte() != Some(b'"') {
            return self.fail("a string is missing");
        }
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            at = end_of_plain(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(&self.text[start..at]);
                }
                Some(b'\\') => {
                    let length = match bytes[at + 1..] {
                        [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        // those that have a short form are written with it
                        [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..] => 6,
                        [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
                        _ => return Err(Error { what: "an escape that canonical JSON does not have", at }),
                    };
                    at += length;
                }
                Some(_) => return Err(Error { what: "a control character in a string", at }),
                None => return Err(Error { what: "the line ends in a string", at }),
            }
        }
    }

    /// Reads a string of exactly `digits` lower-case hex digits. Returns what is between its
    /// quotes.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no such string.
    pub fn hex(&mut self, digits: usize) -> Result<&'a str, Error> {
        let (start, end) = (self.at + 1, self.at + 1 + digits);
        match self.text.as_bytes().get(self.at..=end) {
            Some([b'"', hex @ .., b'"']) if is_hex(hex) => {}
            _ => return self.fail("hex digits are missing, or not as many as there must be"),
        }
        self.at = end + 1;
        Ok(&self.text[start..end])
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return self.fail("not a number");
        }
        Ok(())
    }

    /// Reads a number. Returns its text.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no number.
    pub fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.skip("-");
        if !self.skip("0") {
            self.digits()?;
        }
        if self.skip(".") {
            self.digits()?;
        }
        if self.skip("e") || self.skip("E") {
            let _ = self.skip("+") || self.skip("-");
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn key(&mut self, before: Option<&'a str>) -> Result<&'a str, Error> {
        let start = self.at;
        let key = self.string()?;
        if before.is_some_and(|before| !comes_after(key, before)) {
            return Err(Error { what: "the members are not in canonical order, or one is there twice", at: start });
        }
        self.expect(":")?;
        Ok(key)
    }

    /// The name of the next member of the innermost object, which remembers it.
    #[inline]
    fn member(&mut self, before: Option<&'a str>) -> Result<(), Error> {
        let key = self.key(before)?;
        if let Some(OpenLevel::Object(last)) = self.open.last_mut() {
            *last = key;
        }
        Ok(())
    }

    fn begin(&mut self, frame: OpenLevel<'a>) -> Result<(), Error> {
        if self.open.len() >= self.depth {
            return self.fail("nested too deeply");
        }
        self.open.push(frame);
        Ok(())
    }

    /// Reads a value of any kind. Returns its text.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no canonical value, or if it is nested too deeply.
    pub fn value(&mut self) -> Result<&'a str, Error> {
        let (start, bottom) = (self.at, self.open.len());
        loop {
            // a value begins here
            match self.byte() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    self.at += 1;
                    self.begin(OpenLevel::Object(""))?;
                    if self.byte() != Some(b'}') {
                        self.member(None)?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    self.begin(OpenLevel::Array)?;
                    if self.byte() != Some(b']') {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                _ if self.skip("null") || self.skip("true") || self.skip("false") => {}
                None => return self.fail("the line ends early"),
                Some(_) => return self.fail("not canonical JSON"),
            }
            // a value has ended: close what it closes, or go on to its sibling
            loop {
                if self.open.len() == bottom {
                    return Ok(&self.text[start..self.at]);
                }
                match (self.open.last(), self.byte()) {
                    (Some(OpenLevel::Array), Some(b']')) | (Some(OpenLevel::Object(_)), Some(b'}')) => {
                        self.at += 1;
                        self.open.pop();
                    }
                    (Some(OpenLevel::Array), Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Some(OpenLevel::Object(before)), Some(b',')) => {
                        let before = *before;
                        self.at += 1;
                        self.member(Some(before))?;
                        break;
                    }
                    (_, None) => return self.fail("the line ends early"),
                    _ => return self.fail("not canonical JSON"),
                }
            }
        }
    }

    /// Reads an object. Calls `member` with each name; `member` reads the value.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no canonical object, or that of `member`.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Result<(), Error>) -> Result<(), Error> {
        self.expect("{")?;
        self.begin(OpenLevel::Array)?; // keeps the count of levels; the order is checked here
        if !self.skip("}") {
            let mut before = None;
            loop {
                let key = self.key(before)?;
                member(self, key)?;
                before = Some(key);
                if self.skip("}") {
                    break;
                }
                self.expect(",")?;
            }
        }
        self.open.pop();
        Ok(())
    }

    /// Reads an array. Calls `element` to read each of its values.
    ///
    /// # Errors
    ///
    /// An [`Error`] if there is no canonical array, or that of `element`.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.expect("[")?;
        self.begin(OpenLevel::Array)?;
        if !self.skip("]") {
            loop {
                element(self)?;
                if self.skip("]") {
                    break;
                }
                self.expect(",")?;
            }
        }
        self.open.pop();
        Ok(())
    }
}

/// Returns whether a text consists of lower-case hex digits. The loop looks at all of them,
/// whatever they are, because that takes few instructions.
pub fn is_hex(text: &[u8]) -> bool {
    text.iter().fold(true, |is, byte| is & ((byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6)))
}
