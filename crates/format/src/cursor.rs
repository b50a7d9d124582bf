//! The cursor of a page: a JSON object with the row where the next page begins, written as
//! base64url without padding (RFC 4648 §5) and bound to the filters and the order that it was made
//! for.

use crate::hash::sha256;
use crate::id::{uuid_text, Id};
use crate::time;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use serde::{Deserialize, Serialize};

/// Longest text that a cursor can have: the 255 bytes of a tenant_id may take six each in JSON, and
/// a third more in base64.
const MAX_BYTES: usize = 3072;

/// The row at the end of a page. Ids are unique within a tenant, so the tenant is part of the
/// cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    /// Microseconds since 1970-01-01T00:00:00Z. A stored value is kept as it is, even if no event
    /// can have it.
    pub created_at: i64,
    /// The id of the event.
    pub id: Id,
    /// The tenant, as the bytes that are stored.
    pub tenant_id: Vec<u8>,
}

/// The direction in which a page lies from its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The page after it, in the order asked for.
    Next,
    /// The page before it.
    Previous,
}

/// Why a cursor was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The text was not written by [`encode`].
    NotOurs,
    /// The cursor was made for other filters or another order.
    OtherFilters,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CursorText {
    v: u8,
    created_at: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    /// Replaces `tenant_id` where somebody has damaged the stored text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_hex: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    previous: bool,
    filters: String,
}

/// Stands before a time that no event can have, which is written as a number of microseconds.
const NUMBER: char = '@';

/// Returns what binds a cursor to its filters: 16 hex digits. `filters` is any unambiguous text of
/// the filters and the order.
pub fn fingerprint(filters: &str) -> String {
    hex::encode(&sha256(&[filters.as_bytes()])[..8])
}

/// Writes the cursor of the page that lies in the direction `way` from `row`. A damaged row has a
/// cursor too, because the pages behind it are not damaged. Returns `None` only if the cursor
/// cannot be written as JSON.
pub fn encode(row: &PageCursor, way: Way, filters: &str) -> Option<String> {
    let tenant_id = std::str::from_utf8(&row.tenant_id).ok().filter(|text| !text.contains('\0'));
    let cursor = CursorText {
        v: 1,
        created_at: time::format(row.created_at).unwrap_or_else(|| format!("{NUMBER}{}", row.created_at)),
        id: uuid_text(&row.id),
        tenant_id: tenant_id.map(str::to_string),
        tenant_hex: tenant_id.is_none().then(|| hex::encode(&row.tenant_id)),
        previous: way == Way::Previous,
        filters: fingerprint(filters),
    };
    Some(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).ok()?))
}

/// Reads a cursor that was made for the same filters and order.
///
/// # Errors
///
/// [`Error::NotOurs`] for a text that [`encode`] did not write, [`Error::OtherFilters`] for a
/// cursor of another query.
pub fn decode(text: &str, filters: &str) -> Result<(PageCursor, Way), Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::NotOurs);
    }
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::NotOurs)?;
    let cursor: CursorText = serde_json::from_slice(&json).map_err(|_| Error::NotOurs)?;
    let created_at = match cursor.created_at.strip_prefix(NUMBER) {
        Some(number) => number.parse().map_err(|_| Error::NotOurs)?,
        None => time::parse(&cursor.created_at).map_err(|_| Error::NotOurs)?,
    };
    let tenant_id = match (cursor.tenant_id, cursor.tenant_hex) {
        (Some(text), None) if !text.contains('\0') => text.into_bytes(),
        (None, Some(digits)) => hex::decode(digits).map_err(|_| Error::NotOurs)?,
        _ => return Err(Error::NotOurs),
    };
    let id = uuid::Uuid::try_parse(&cursor.id).map_err(|_| Error::NotOurs)?;
    if cursor.v != 1 {
        return Err(Error::NotOurs);
    }
    if cursor.filters != fingerprint(filters) {
        return Err(Error::OtherFilters);
    }
    let way = if cursor.previous { Way::Previous } else { Way::Next };
    Ok((PageCursor { created_at, id: *id.as_bytes(), tenant_id }, way))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_cursor_with_the_same_filters_is_taken() {
        let row = PageCursor { created_at: 1_773_585_138_847_312, id: [7; 16], tenant_id: "a\"é".into() };
        for way in [Way::Next, Way::Previous] {
            let text = encode(&row, way, "a").unwrap();
            assert_eq!(decode(&text, "a"), Ok((row.clone(), way)));
            assert_eq!(decode(&text, "b"), Err(Error::OtherFilters));
        }
        let text = encode(&row, Way::Next, "a").unwrap();
        let service = "eyJjcmVhdGVkX2F0IjoiMjAyNi0wMy0xNVQxNDozMjoxOC44NDczMTJaIn0";
        for foreign in ["", "x", "%%%", service, &text[1..], &format!("{text}A"), &"A".repeat(9999)] {
            assert_eq!(decode(foreign, "a"), Err(Error::NotOurs), "{foreign}");
        }
    }

    #[test]
    fn the_longest_tenant_has_a_cursor() {
        let row = PageCursor { created_at: 0, id: [255; 16], tenant_id: "\u{1}".repeat(255).into() };
        let text = encode(&row, Way::Previous, "a").unwrap();
        assert_eq!(decode(&text, "a"), Ok((row, Way::Previous)));
    }

    #[test]
    fn a_damaged_event_has_a_cursor() {
        for (created_at, tenant_id) in [(i64::MAX, "a".into()), (i64::MIN, "".into()), (0, vec![255, 0]), (0, vec![0])]
        {
            let row = PageCursor { created_at, id: [7; 16], tenant_id };
            let text = encode(&row, Way::Next, "a").unwrap();
            assert_eq!(decode(&text, "a"), Ok((row, Way::Next)));
        }
    }
}
