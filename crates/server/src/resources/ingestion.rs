//! `POST /api/v1/events` and `POST /api/v1/events/batch`.

use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::Router;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", post(track))
}

async fn track(State(app): State<App>, credentials: Credentials, body: String) -> Result<Response, Problem> {
    let call = Call { statement: "SELECT immutable.track($1::text::jsonb)::text", arguments: vec![Some(body)] };
    let answer = app.database.call(&credentials, call).await?;
    Ok(answer::json(StatusCode::ACCEPTED, answer.unwrap_or_default()))
}
