//! `GET /openapi.json`: the description of the API, which a test holds to the routes.

use crate::app::App;
use crate::http::answer;
use axum::http::StatusCode;
use axum::routing::get;
use axum::Router;

const DESCRIPTION: &str = include_str!("../../openapi.json");

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/openapi.json", get(|| async { answer::json(StatusCode::OK, DESCRIPTION.to_owned()) }))
}
