//! `GET /api/v1/events`.

use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", get(list))
}

async fn list(State(app): State<App>, credentials: Credentials) -> Result<Response, Problem> {
    let call = Call { statement: "SELECT immutable.get_events()::text", arguments: vec![] };
    let page = app.database.call(&credentials, call).await?;
    Ok(answer::json(StatusCode::OK, page.unwrap_or_default()))
}
