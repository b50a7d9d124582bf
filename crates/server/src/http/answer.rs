//! Answers. Each one is a JSON object, because clients parse it before they look at the status.

use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};

/// An answer whose JSON text is ready.
pub(crate) fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
