//! Serves the page `/viewer`, the entry of the component, `/viewer.js`, and their modules.

use super::prepared::{integrity, Prepared, FILES};
use crate::app::App;
use crate::http::problem::Problem;
use crate::http::segment::Segment;
use crate::http::{answer, unknown};
use axum::extract::State;
use axum::http::{header, HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;

/// What the page may load and do. No markup is ever made of text: Trusted Types forbid it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors ";

/// Modules are asked for again each time, and answered with 304: a page never mixes two versions.
const REVALIDATE: &str = "no-cache";

/// The routes of the viewer.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/viewer", get(page))
        .route("/viewer.js", get(|headers: HeaderMap| async move { file("../viewer.js", &headers) }))
        .route("/viewer/integrity.json", get(pins))
        .route("/viewer/{*path}", get(module))
}

/// The page. Its address had the token, so nothing may keep it or pass it on.
async fn page(State(app): State<App>, headers: HeaderMap) -> Response {
    let Some(page) = FILES.get("index.html") else {
        return unknown::no_such_path().await.into_response();
    };
    let mut response = content(page, &headers);
    let policy = format!("{POLICY}{}", app.options.http.frame_ancestors);
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn module(Segment(path): Segment, headers: HeaderMap) -> Response {
    // The entry stands beside the folder, and is not reached through it.
    file(if path.starts_with("..") { "" } else { &path }, &headers)
}

/// A module or a style sheet. Pages of other origins may load it.
fn file(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.get(path).filter(|_| path != "index.html") else {
        return Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.").into_response();
    };
    let mut response =
        if is_known(&file.etag, headers) { StatusCode::NOT_MODIFIED.into_response() } else { content(file, headers) };
    let fixed = [
        (header::CACHE_CONTROL, REVALIDATE),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(etag) = HeaderValue::from_str(&file.etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// The hashes with which a page pins the modules of the component.
async fn pins() -> Response {
    let text = serde_json::to_string_pretty(&integrity()).unwrap_or_default();
    let mut response = answer::json(StatusCode::OK, text);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
    response
}

fn content(file: &'static Prepared, headers: &HeaderMap) -> Response {
    let kind = [(header::CONTENT_TYPE, file.content_type), (header::VARY, "Accept-Encoding")];
    match file.gzip.as_ref().filter(|_| takes_gzip(headers)) {
        Some(gzip) => (kind, [(header::CONTENT_ENCODING, "gzip")], gzip.as_slice()).into_response(),
        None => (kind, file.plain.as_ref()).into_response(),
    }
}

/// The members of a header that is a list.
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn is_known(etag: &str, headers: &HeaderMap) -> bool {
    members(headers, header::IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    members(headers, header::ACCEPT_ENCODING).any(|each| {
        let (name, quality) = each.split_once(';').unwrap_or((each, ""));
        name.trim().eq_ignore_ascii_case("gzip")
            && !matches!(quality.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}
