//! Cells of CSV (RFC 4180).

/// What a spreadsheet takes a formula to begin with, or passes over before one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Appends a value, in quotes if it needs them. An empty value has quotes, so that it differs from
/// one that is not there. If it is guarded, an apostrophe stands before what a spreadsheet would
/// take for a formula.
pub fn write_cell(value: &str, is_guarded: bool, out: &mut String) {
    let guard = if is_guarded && value.starts_with(FORMULA) { "'" } else { "" };
    let bytes = value.as_bytes();
    let is_plain = memchr::memchr3(b'"', b',', b'\n', bytes).is_none() && memchr::memchr(b'\r', bytes).is_none();
    if is_plain && !bytes.is_empty() {
        out.push_str(guard);
        out.push_str(value);
        return;
    }
    out.push('"');
    out.push_str(guard);
    for (n, part) in value.split('"').enumerate() {
        if n > 0 {
            out.push_str("\"\"");
        }
        out.push_str(part);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::write_cell;

    fn cell(value: &str, is_guarded: bool) -> String {
        let mut out = String::new();
        write_cell(value, is_guarded, &mut out);
        out
    }

    #[test]
    fn quotes_only_what_needs_them() {
        let cases = [
            ("", "\"\""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("a\"b\"", "\"a\"\"b\"\"\""),
            ("\"", "\"\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("a\rb", "\"a\rb\""),
            ("\u{1}\t\u{2028}é", "\u{1}\t\u{2028}é"),
            ("=1", "=1"),
        ];
        for (value, written) in cases {
            assert_eq!(cell(value, false), written);
        }
    }

    #[test]
    fn guards_what_looks_like_a_formula() {
        for (value, written) in
            [("=1", "'=1"), ("@a,b", "\"'@a,b\""), ("\r=1", "\"'\r=1\""), ("a=1", "a=1"), ("", "\"\"")]
        {
            assert_eq!(cell(value, true), written);
        }
    }
}
