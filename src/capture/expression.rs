//! The statement that evaluates the condition of `track_table()`, and what is set for it.

use crate::pg::error::Code;
use crate::pg::expression;
use crate::pg::relation::Relation;
use crate::pg::setting;
use crate::pg::subtransaction::{attempt, sqlstate, Refused};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::fmt::Write;

/// What must not depend on the session: the meaning of names, literals and texts.
const SETTINGS: [(&CStr, &CStr); 14] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    (c"default_text_search_config", c"pg_catalog.simple"),
    (c"xmlbinary", c"base64"),
];

thread_local! {
    /// Whether the settings are those for the evaluation.
    static ARE_PINNED: Cell<bool> = const { Cell::new(false) };
}

/// Puts [`ARE_PINNED`] back when this is dropped.
struct Restored(bool);

impl Restored {
    fn after(are_pinned: bool) -> Restored {
        Restored(ARE_PINNED.replace(are_pinned))
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        ARE_PINNED.set(self.0);
    }
}

/// Runs `body` with the settings for the evaluation: of one row, or of all rows of a statement, because to set them takes
/// longer than to evaluate an expression. An error in it must end a transaction or a subtransaction.
pub fn pinned<T>(body: impl FnOnce() -> T) -> T {
    if ARE_PINNED.get() {
        return body();
    }
    let _restored = Restored::after(true);
    let differing = SETTINGS.iter().filter(|(name, value)| setting::value(name).as_deref() != Some(value));
    let settings: Vec<(CString, CString)> =
        differing.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    setting::with(&settings, body)
}

/// Runs `body`, which evaluates an expression, with the settings. Code of others may run in it. What that sets does not
/// outlast it, or values would be written in another form; and a row that it changes in another table is not held to have
/// the settings, because it may change the row with others.
pub fn evaluated<T>(body: impl FnOnce() -> T) -> T {
    pinned(|| {
        let _restored = Restored::after(false);
        setting::with_and_undone(&[], body)
    })
}

/// Whether an error is the expression's own, and not one that ends the user's statement: a cancel, a timeout, the end of
/// the session, or a transaction that must be tried again.
pub fn is_of_expression(code: Code, _: bool) -> bool {
    let state = sqlstate(code);
    !state.starts_with("57") && !state.starts_with("40") && state != "55P03"
}

/// What is wrong with the condition of a table; None if it can be evaluated.
pub fn problem(relation: Relation, condition: &str) -> Option<Refused> {
    attempt(|| pinned(|| expression::check(relation, condition)), is_of_expression).err()
}

/// The statement that says whether the condition is true for a row, which is its argument. None if the condition cannot be
/// evaluated on the relation.
pub fn statement(relation: Relation, condition: &str) -> Option<String> {
    if problem(relation, condition).is_some() {
        return None;
    }
    // PostgreSQL keeps a plan even if a column gets another type. The columns' types make it another statement then.
    let mut columns = String::new();
    for (place, attribute) in relation.descriptor().attributes() {
        let _ = write!(columns, " {place}:{}", attribute.oid.to_u32());
    }
    let row = expression::ROW.to_string_lossy();
    // A comment in the condition ends with the line.
    Some(format!("SELECT ({condition}\n) IS TRUE FROM (SELECT ($1).*) AS {row} /*{columns} */"))
}
