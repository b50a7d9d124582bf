//! `POST /api/v1/viewer-token`, and the other path that guides of the hosted service have for it.

use super::members::Members;
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::body::JsonText;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::Router;

/// Two spellings of the members, because one client sends what its documentation shows in PHP.
const MEMBERS: [&str; 5] = ["tenant_id", "tenantId", "actor_id", "actorId", "ttl"];

const MINT: &str = "SELECT immutable.create_viewer_token($1, $2, coalesce($3::text::integer, 3600))::text";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/viewer-token", post(mint)).route("/api/v1/viewer-tokens", post(mint))
}

async fn mint(State(app): State<App>, credentials: Credentials, body: JsonText) -> Result<Response, Problem> {
    let mut members = Members::read(&body, &MEMBERS)?;
    let tenant_id = members.take_either("tenant_id", "tenantId")?;
    // An empty text would be the events without a tenant, which nobody means who has a variable for it.
    if tenant_id.as_deref() == Some("") {
        let mut problem = Problem::invalid("tenant_id", "The tenant_id field must not be empty.");
        problem.body.hint = Some(String::from("Leave it out for the events without a tenant."));
        return Err(problem);
    }
    let actor_id = members.take_either("actor_id", "actorId")?;
    let arguments = vec![tenant_id, actor_id, members.take_number("ttl")?];
    let minted = app.database.call(&credentials, Call { statement: MINT, arguments }).await?;
    Ok(answer::json(StatusCode::OK, minted.unwrap_or_default()))
}
