//! Lines in ASCII, for a client whose encoding is not UTF-8: every other character is escaped as
//! JSON allows. The line without these escapes is what is hashed. Canonical JSON does not escape
//! any character above U+007F, so nothing is ambiguous.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns the line with every character above U+007F as `\uXXXX` (RFC 8259 §7); a character above
/// U+FFFF becomes two escapes.
pub fn escape(line: &str) -> Cow<'_, str> {
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() * 2);
    for c in line.chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}"); // a String takes everything
        }
    }
    Cow::Owned(escaped)
}

/// Undoes [`escape`].
///
/// # Errors
///
/// The byte of an escape that is half of a surrogate pair without the other half.
pub fn restore(line: &str) -> Result<Cow<'_, str>, usize> {
    let bytes = line.as_bytes();
    if memchr::memmem::find(bytes, b"\\u").is_none() {
        return Ok(Cow::Borrowed(line));
    }
    let mut restored = String::with_capacity(line.len());
    let (mut from, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        let escape = at + found;
        let Some(unit) = unit(bytes, escape).filter(|unit| *unit >= 0x80) else {
            // An escape of the line's own, which stays: with the character behind the backslash.
            at = (escape + 2).min(bytes.len());
            continue;
        };
        restored.push_str(&line[from..escape]);
        let units = [Some(unit), unit_if_pair(bytes, escape, unit)];
        let c = char::decode_utf16(units.into_iter().flatten()).next().and_then(Result::ok).ok_or(escape)?;
        restored.push(c);
        at = escape + 6 * c.len_utf16();
        from = at;
    }
    restored.push_str(&line[from..]);
    Ok(Cow::Owned(restored))
}

/// The code unit that is escaped at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let digits = digits.iter().all(is_digit).then_some(digits)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn unit_if_pair(bytes: &[u8], at: usize, first: u16) -> Option<u16> {
    (0xd800..0xdc00).contains(&first).then(|| unit(bytes, at + 6)).flatten()
}

#[cfg(test)]
mod tests {
    use super::{escape, restore};
    use proptest::prelude::*;

    #[test]
    fn what_is_escaped_and_what_is_not() {
        assert_eq!(
            escape("{\"a\":\"Zoë \\\\ \\u0001 😀\u{7f}\"}"),
            "{\"a\":\"Zo\\u00eb \\\\ \\u0001 \\ud83d\\ude00\u{7f}\"}"
        );
        assert_eq!(restore(r#"\\u00eb \u00eb \u0001 \" \ud83d\ude00"#).unwrap(), r#"\\u00eb ë \u0001 \" 😀"#);
        assert_eq!(restore("\\u00E9 \\u00e \\u").unwrap(), "\\u00E9 \\u00e \\u");
        assert_eq!(restore("ab\\ud83d"), Err(2));
        assert_eq!(restore("\\ude00\\ud83d"), Err(0));
        assert_eq!(restore("\\ud83d\\u0041"), Err(0));
    }

    proptest! {
        #[test]
        fn it_comes_back(text in any::<String>()) {
            // As it stands in a line: backslashes in pairs, or before an escape of canonical JSON.
            let text = text.replace('\\', "\\\\").replace('\u{1}', "\\u0001");
            let escaped = escape(&text).into_owned();
            prop_assert!(escaped.is_ascii());
            prop_assert_eq!(restore(&escaped).unwrap(), text);
        }

        #[test]
        fn no_line_makes_it_panic(text in "(\\\\|u|d8|de|00|é|[0-9a-f]){0,24}") {
            let _ = restore(&text);
        }
    }
}
