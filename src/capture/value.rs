//! Values of a row as JSON. NULL, booleans and integers are what they are in JSON: canonical JSON here keeps all digits
//! of a number, so that those of 64 bits are safe. Every other value, numeric too (it may be NaN), is the text that its
//! type's output function makes under pinned settings, so that no code of others runs. A value whose text is too long
//! is `{"length": bytes, "sha256": hex}`, and one that cannot be read is `{"unreadable": true}`.

use crate::pg::output::Text;
use immutable_format::hash::{hmac_sha256, sha256_of_pieces};
use immutable_format::{json, sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// Bytes of text beyond which a value is replaced by its length and hash.
pub const VALUE_BYTES: usize = 8192;

/// Bytes of a bytea that become text at once.
const PIECE: usize = 4096;

/// Writes a value as JSON. `most` is how many bytes its text may have.
pub fn write(value: Option<&Text<'_>>, most: usize, out: &mut String) {
    match value {
        None => out.push_str("null"),
        Some(Text::Bool(value)) => out.push_str(if *value { "true" } else { "false" }),
        Some(Text::Integer(value)) => push(out, *value),
        Some(Text::Unreadable) => out.push_str("{\"unreadable\":true}"),
        Some(value) if length(value) > most => {
            out.push_str("{\"length\":");
            push(out, length(value));
            out.push_str(",\"sha256\":\"");
            out.push_str(&hex::encode(sha256_of_pieces(|give| pieces(value, give))));
            out.push_str("\"}");
        }
        Some(Text::Plain(text) | Text::Padded(text)) => json::write_string(text, out),
        Some(Text::Bytes(bytes)) => {
            out.push_str("\"\\\\x");
            hex_digits(bytes, &mut |digits| out.push_str(digits));
            out.push('"');
        }
    }
}

fn push(out: &mut String, number: impl std::fmt::Display) {
    // A String takes everything.
    let _ = write!(out, "{number}");
}

/// Bytes of the text of a value.
fn length(value: &Text<'_>) -> usize {
    match value {
        Text::Plain(text) | Text::Padded(text) => text.len(),
        Text::Bytes(bytes) => 2 + 2 * bytes.len(),
        _ => 0,
    }
}

/// Gives the text of a value in pieces, so that a huge bytea is never a text as a whole.
fn pieces(value: &Text<'_>, give: &mut dyn FnMut(&[u8])) {
    match value {
        Text::Bytes(bytes) => {
            give(b"\\x");
            hex_digits(bytes, &mut |digits| give(digits.as_bytes()));
        }
        Text::Padded(text) => give(text.as_bytes()),
        value => give(plain(value).unwrap_or_default().as_bytes()),
    }
}

fn hex_digits(bytes: &[u8], give: &mut dyn FnMut(&str)) {
    let mut digits = [0; 2 * PIECE];
    for piece in bytes.chunks(PIECE) {
        let digits = &mut digits[..2 * piece.len()];
        // The buffer is as long as the digits are.
        if hex::encode_to_slice(piece, digits).is_ok() {
            give(std::str::from_utf8(digits).unwrap_or_default());
        }
    }
}

/// The text of a value, as a key or a name that others compare; None if it cannot be read.
pub fn plain<'v>(value: &'v Text<'_>) -> Option<Cow<'v, str>> {
    Some(match value {
        Text::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Text::Integer(value) => Cow::Owned(value.to_string()),
        Text::Plain(text) => Cow::Borrowed(text),
        Text::Padded(text) => Cow::Borrowed(text.trim_end_matches(' ')),
        Text::Bytes(bytes) => Cow::Owned(format!("\\x{}", hex::encode(bytes))),
        Text::Unreadable => return None,
    })
}

/// A text for a field that takes so many bytes: a longer one is replaced by `sha256:` and its hash.
pub fn bounded(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    match text.len() <= most {
        true => text,
        false => Cow::Owned(format!("sha256:{}", hex::encode(sha256(&[text.as_bytes()])))),
    }
}

/// What stands for a masked value: its HMAC-SHA-256 over resource type, column and text, as hex digits, or `null`.
pub fn write_hmac(key: &[u8], resource_type: &str, column: &str, value: Option<&Text<'_>>, out: &mut String) {
    let Some(value) = value.filter(|value| **value != Text::Unreadable) else {
        out.push_str("null");
        return;
    };
    let mac = hmac_sha256(key, |give| {
        for part in [resource_type, "\0", column, "\0"] {
            give(part.as_bytes());
        }
        pieces(value, give);
    });
    out.push('"');
    out.push_str(&hex::encode(mac));
    out.push('"');
}
