//! Which web pages' scripts may read the answers. No cookies are used, so that a page gets no more than it shows itself.

use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// The answer to the question that a browser asks before a request. It needs no key.
pub(crate) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-Request-Id"),
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets the pages of these origins read the answer; `page` is the one that asks.
pub(crate) fn allow(origins: &[String], page: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let all = origins.iter().any(|origin| origin == "*");
    if !all {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let allowed = match page {
        _ if all => HeaderValue::from_static("*"),
        Some(page) if origins.iter().any(|origin| origin.as_bytes() == page.as_bytes()) => page.clone(),
        _ => return,
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, X-Request-Id"));
}
