//! What happens around every request: its id, its place in logs and figures, and an answer even where a handler fails.

use super::cors;
use super::origin::Origin;
use super::problem::Problem;
use crate::app::App;
use crate::database::failure;
use crate::figures::FIGURES;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::{header, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request, whatever its handler does.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _in_flight = FIGURES.begin();
    let (mut parts, body) = request.into_parts();
    let Ok(origin) = Origin::from_request_parts(&mut parts, &app).await;
    let id = request_id(parts.headers.get(&REQUEST_ID));
    let page = parts.headers.get(header::ORIGIN).cloned();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let mut response = match method {
        Method::OPTIONS => cors::preflight(),
        _ => {
            let answered = AssertUnwindSafe(next.run(Request::from_parts(parts, body))).catch_unwind().await;
            answered.unwrap_or_else(|_| failed(&path))
        }
    };
    let headers = response.headers_mut();
    cors::allow(&app.options.http.cors_origin, page.as_ref(), headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (took, status) = (began.elapsed(), response.status());
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    FIGURES.answered(route, known(&method), status.as_str(), took);
    let (status, millis, address) = (status.as_u16(), took.as_secs_f64() * 1000.0, origin.address);
    let shown = id.to_str().unwrap_or_default();
    let address = address.map(tracing::field::display);
    if status >= 500 {
        tracing::warn!(target: "requests", %method, path, status, millis, address, id = shown, "answered");
    } else {
        tracing::info!(target: "requests", %method, path, status, millis, address, id = shown, "answered");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A handler that failed has left a line in the log, but its client is told no more than that.
fn failed(path: &str) -> Response {
    tracing::error!(target: "requests", path, "a handler failed");
    let problem: Problem = failure::unexpected();
    problem.into_response()
}

/// The id that a proxy or a client has given, if it is one, or a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let is_id = |value: &&HeaderValue| {
        let letters = value.as_bytes();
        (1..=64).contains(&letters.len()) && letters.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    match given.filter(is_id) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none")),
    }
}

/// Methods as figures count them: a client may make up any word.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
