//! The cursor of a page as HTTP has it: the log's own cursor, and beside it the filters and the order
//! of its page, so that a client may give the cursor alone.
//!
//! It needs no signature. The log's cursor is bound to filters and order, so that what a client gives
//! again must be equal; and what it opens is decided by the proof of the request that brings it.

use crate::http::problem::Problem;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest cursor that is read.
const MAX_BYTES: usize = 65_536;

/// What a cursor says.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageCursor {
    v: u8,
    /// The log's cursor.
    cursor: String,
    /// The parameters of the page, but for the cursor.
    query: BTreeMap<String, String>,
}

/// The parameters of a page by their names, and the log's cursor.
#[derive(Default)]
pub(crate) struct Query {
    pub(crate) given: BTreeMap<String, String>,
    pub(crate) cursor: Option<String>,
}

impl Query {
    /// Takes from the cursor what is left out.
    ///
    /// # Errors
    /// 422 for a cursor that was not made here.
    pub(crate) fn complete(&mut self, names: &[&str]) -> Result<(), Problem> {
        let Some(text) = self.cursor.take() else { return Ok(()) };
        let cursor = read(&text, names).ok_or_else(|| {
            let mut problem = Problem::invalid("cursor", "The cursor is none that a page of this list had.");
            problem.body.hint = Some(String::from("Pass pagination.next_cursor unchanged."));
            problem
        })?;
        for (name, value) in cursor.query {
            self.given.entry(name).or_insert(value);
        }
        self.cursor = Some(cursor.cursor);
        Ok(())
    }

    /// The cursor of another page of this query.
    pub(crate) fn cursor_at(&self, cursor: String) -> String {
        let cursor = PageCursor { v: 1, cursor, query: self.given.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
    }
}

fn read(text: &str, names: &[&str]) -> Option<PageCursor> {
    let json = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| text.len() <= MAX_BYTES)?;
    let cursor: PageCursor = serde_json::from_slice(&json).ok()?;
    let is_known = |(name, value): (&String, &String)| names.contains(&name.as_str()) && !value.contains('\0');
    (cursor.v == 1 && !cursor.cursor.contains('\0') && cursor.query.iter().all(is_known)).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Query { given, cursor: None }
    }

    #[test]
    fn what_is_left_out_comes_from_the_cursor() {
        let text = query(&[("action", "a.*"), ("order", "asc")]).cursor_at(String::from("inner"));
        let mut next = Query { cursor: Some(text), ..query(&[("action", "other")]) };
        next.complete(&["action", "order"]).unwrap();
        assert_eq!(next.given, query(&[("action", "other"), ("order", "asc")]).given);
        assert_eq!(next.cursor.as_deref(), Some("inner"));
    }

    #[test]
    fn another_text_is_refused() {
        let ours = query(&[("action", "a")]).cursor_at(String::from("inner"));
        let nul = query(&[("action", "a\0")]).cursor_at(String::from("inner"));
        let unknown = query(&[("tenant", "a")]).cursor_at(String::from("inner"));
        for text in ["", "%", &ours[1..], &format!("{ours}="), &format!("{ours}AAAA"), &nul, &unknown, "bnVsbA"] {
            let mut next = Query { cursor: Some(text.to_owned()), ..query(&[]) };
            assert!(next.complete(&["action"]).is_err(), "{text}");
        }
    }
}
