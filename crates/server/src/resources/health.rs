//! `GET /healthz`: the program runs. `GET /readyz`: the database answers.

use crate::app::App;
use crate::http::answer;
use axum::http::StatusCode;
use axum::routing::get;
use axum::Router;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/healthz", get(|| async { answer::json(StatusCode::OK, String::from(r#"{"status":"ok"}"#)) }))
}
