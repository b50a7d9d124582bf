//! Pages of a list: the parameters that a cursor carries, and the page that the log returned with
//! cursors that carry them.

use super::cursor::Query;
use super::parameters::Parameters;
use crate::http::problem::Problem;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `{"data": …}`.
#[derive(Deserialize)]
pub(crate) struct Listed<T> {
    pub(crate) data: T,
}

/// A page as the log returns it.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    pagination: Pagination,
}

#[derive(Serialize, Deserialize)]
struct Pagination {
    has_more: bool,
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_cursor: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_relation: Option<String>,
}

/// What a request for a page asks for.
///
/// # Errors
/// 422 for a parameter that is unknown, doubtful or malformed.
pub(crate) fn query(parameters: Parameters, names: &[&str]) -> Result<Query, Problem> {
    let known: Vec<&str> = names.iter().copied().chain(["cursor"]).collect();
    let parameters = parameters.only(&known)?;
    let mut query = Query { cursor: parameters.text("cursor")?, ..Query::default() };
    for name in names {
        let value = if *name == "limit" { parameters.number(name)? } else { parameters.text(name)? };
        query.given.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    query.complete(names)?;
    Ok(query)
}

/// The page as HTTP has it. `shown` writes a row.
///
/// # Errors
/// If the text is no page.
pub(crate) fn text(
    found: &str,
    query: &Query,
    shown: impl Fn(&str) -> Result<String, serde_json::Error>,
) -> Result<String, serde_json::Error> {
    let Page { data, mut pagination } = serde_json::from_str(found)?;
    pagination.next_cursor = pagination.next_cursor.map(|cursor| query.cursor_at(cursor));
    pagination.previous_cursor = pagination.previous_cursor.map(|way| way.map(|cursor| query.cursor_at(cursor)));
    let rows = data.iter().map(|row| shown(row.get())).collect::<Result<Vec<_>, _>>()?;
    let pagination = serde_json::to_string(&pagination)?;
    Ok(format!("{{\"data\":[{}],\"pagination\":{pagination}}}", rows.join(",")))
}

/// The log returned something else than it says.
pub(crate) fn unreadable() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The answer of the database cannot be read.")
}
