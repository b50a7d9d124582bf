//! Answers. Each one is a JSON object, because clients parse it before they look at the status.

use super::problem::Problem;
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};

/// An answer whose JSON text is ready.
pub(crate) fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A path that the program does not have.
pub(crate) async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

/// A path that the program has, with another method.
pub(crate) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take this method.")
}
