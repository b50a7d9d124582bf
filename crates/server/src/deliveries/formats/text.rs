//! Characters that no format of one line can carry.

/// The text with a picture in place of each control character, such as ␊ for a line feed.
///
/// A control character would end a line or a field, or drive the terminal of whoever reads the line. Its
/// picture (U+2400 to U+2421) shows which one it was. The characters U+0080 to U+009F, the separators of
/// lines and paragraphs, and the marks that change the direction of writing have no pictures: U+FFFD stands
/// for them.
pub(crate) fn pictures(text: &str) -> String {
    text.chars().map(picture).collect()
}

/// The picture of a control character; any other character as it is.
pub(crate) fn picture(char: char) -> char {
    match char {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(char)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => char::REPLACEMENT_CHARACTER,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ => char,
    }
}

/// The text as part of a path of a URI (RFC 3986): all but unreserved characters in per cent.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_pictures() {
        assert_eq!(pictures("a\tb\nc\r\u{1b}[2J\u{7f}"), "a␉b␊c␍␛[2J␡");
        assert_eq!(pictures("\u{85}\u{2028}\u{202e}"), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(pictures("grün 🦀 = | \\"), "grün 🦀 = | \\");
    }

    #[test]
    fn a_segment_is_escaped() {
        assert_eq!(segment("org/7 ü"), "org%2F7%20%C3%BC");
    }
}
