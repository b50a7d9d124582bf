//! `GET /api/v1/verify`.

use super::parameters::Parameters;
use super::refusals::with_names_of_http;
use super::when;
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
use std::collections::BTreeMap;

/// A day as the end of a range is the whole day, as it is for events: verify() itself takes points in
/// time. Clients give up after five seconds, so what is not verified after two and a half is left
/// out, and `complete` says so.
const VERIFY: &str = "SELECT immutable.verify( \
    from_date => $1::text::timestamptz, \
    to_date => CASE WHEN ($2::text::immutable.day_or_time)::text ~ ':' THEN $2::text::timestamptz \
        ELSE $2::text::date::timestamptz + interval '1 day' - interval '1 microsecond' END, \
    \"limit\" => coalesce($3::text::integer, 10000), max_seconds => 2.5)::text";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/verify", get(verify))
}

async fn verify(State(app): State<App>, credentials: Credentials, parameters: Parameters) -> Result<Response, Problem> {
    let parameters = parameters.only(&["from", "to", "limit"])?;
    let limit = parameters.number("limit")?;
    let mut given = BTreeMap::new();
    for name in ["from", "to"] {
        given.extend(parameters.text(name)?.map(|value| (name.to_owned(), value)));
    }
    let arguments = vec![given.get("from").cloned(), given.get("to").cloned(), limit];
    match app.database.call(&credentials, Call { statement: VERIFY, arguments }).await {
        Ok(verdict) => Ok(answer::json(StatusCode::OK, verdict.unwrap_or_default())),
        Err(problem) => Err(with_names_of_http(when::named(&app, &credentials, problem, &given).await)),
    }
}
