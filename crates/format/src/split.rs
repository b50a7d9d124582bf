//! Takes a JSON text apart one level deep. The insides of the parts are not looked at, so each part
//! can be converted or refused without the others. Recursion and memory do not depend on the
//! nesting.

use crate::json::{Error, Parser, Value};
use std::borrow::Cow;

/// What a JSON text is at its top level, with the texts of its parts.
#[derive(Debug, PartialEq, Eq)]
pub enum Parts<'a> {
    /// An array, with the texts of its elements.
    Array(Vec<&'a str>),
    /// An object, with its names and the texts of their values, in the order of the text. A name
    /// may occur twice.
    Object(Vec<(Cow<'a, str>, &'a str)>),
    /// Neither: a string, a number, or not JSON at all.
    Other,
}

/// Takes a JSON text (RFC 8259) apart at its top level. Strings have to end and brackets have to
/// match; apart from that a part can be any text that is not empty.
///
/// # Errors
///
/// [`Error::Syntax`] with the byte at which the text is not JSON.
pub fn split(text: &str) -> Result<Parts<'_>, Error> {
    let mut scan = Parser { text, at: 0 };
    match scan.peek() {
        Some(b'[') => {
            let mut elements = Vec::new();
            scan.each(b']', |scan| {
                elements.push(scan.part()?);
                Ok(())
            })?;
            Ok(Parts::Array(elements))
        }
        Some(b'{') => {
            let mut members = Vec::new();
            scan.each(b'}', |scan| {
                let name = scan.name()?;
                scan.expect(b':')?;
                members.push((name, scan.part()?));
                Ok(())
            })?;
            Ok(Parts::Object(members))
        }
        _ => Ok(Parts::Other),
    }
}

impl<'a> Parser<'a> {
    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::Syntax(self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// Calls `take` for every part up to `close`, which has to be the end of the text.
    fn each(&mut self, close: u8, mut take: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.at += 1;
        if self.peek() != Some(close) {
            take(self)?;
            while self.peek() == Some(b',') {
                self.at += 1;
                take(self)?;
            }
        }
        self.expect(close)?;
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Error::Syntax(self.at)),
        }
    }

    fn name(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.peek() != Some(b'"') {
            return Err(Error::Syntax(self.at));
        }
        let start = self.at;
        self.skip_string()?;
        match Value::parse(&self.text[start..self.at], 1, usize::MAX) {
            Ok(Value::String(name)) => Ok(name),
            _ => Err(Error::Syntax(start)),
        }
    }

    /// Goes on behind the string that begins here.
    fn skip_string(&mut self) -> Result<(), Error> {
        self.at += 1;
        loop {
            match self.byte() {
                None => return Err(Error::Syntax(self.at)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
    }

    /// The text up to the comma or bracket that ends this part.
    fn part(&mut self) -> Result<&'a str, Error> {
        self.peek();
        let start = self.at;
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.byte() {
                None => return Err(Error::Syntax(self.at)),
                Some(b'"') => {
                    self.skip_string()?;
                    continue;
                }
                Some(b'[') => open.push(b']'),
                Some(b'{') => open.push(b'}'),
                Some(b',' | b']' | b'}') if open.is_empty() => break,
                Some(close @ (b']' | b'}')) if open.pop() != Some(close) => return Err(Error::Syntax(self.at)),
                Some(_) => {}
            }
            self.at += 1;
        }
        let part = self.text[start..self.at].trim_end_matches([' ', '\t', '\n', '\r']);
        if part.is_empty() {
            return Err(Error::Syntax(self.at));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_texts_between_commas() {
        assert_eq!(
            split(" [ 1 , \"a,]\\\"\" ,{\"b\":[1,2]} ] "),
            Ok(Parts::Array(vec!["1", "\"a,]\\\"\"", "{\"b\":[1,2]}"]))
        );
        assert_eq!(split("[]"), Ok(Parts::Array(vec![])));
        assert_eq!(split("{ }"), Ok(Parts::Object(vec![])));
        let members = vec![("a".into(), "NaN"), ("é".into(), "\"\\u0000\""), ("a".into(), "[[]]")];
        assert_eq!(split("{\"a\":NaN, \"\\u00e9\" : \"\\u0000\", \"a\" :[[]]}"), Ok(Parts::Object(members)));
        assert_eq!(split("7"), Ok(Parts::Other));
        assert_eq!(split(""), Ok(Parts::Other));
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        for text in [
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1,,2]",
            "[1]]",
            "[1] 2",
            "[[}]",
            "[\"]",
            "[\"\\",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1,}",
            "{\"a\":1",
            "{\"\\ud800\":1}",
            "{\"\\x\":1}",
            "{\"a\" 1}",
        ] {
            assert!(matches!(split(text), Err(Error::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(split(&deep), Ok(Parts::Array(vec![&deep[1..deep.len() - 1]])));
    }
}
