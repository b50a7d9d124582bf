//! `GET /healthz`: the program runs. `GET /readyz`: it can answer requests, because the database does.

use crate::app::App;
use crate::http::answer;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/healthz", get(is_alive)).route("/readyz", get(is_ready))
}

async fn is_alive() -> Response {
    answer::json(StatusCode::OK, format!(r#"{{"status":"ok","version":"{}"}}"#, env!("CARGO_PKG_VERSION")))
}

async fn is_ready(State(app): State<App>) -> Result<Response, Problem> {
    if app.is_stopping() {
        return Err(Problem::unavailable("The program stops."));
    }
    let (version, is_standby) = app.database.version().await?;
    let Some(version) = version else {
        return Err(Problem::unavailable("The database does not have the extension immutable."));
    };
    if !fits(&version) {
        let own = env!("CARGO_PKG_VERSION");
        return Err(Problem::unavailable(format!("The extension has version {version}; this program needs {own}.")));
    }
    let (status, takes) = (StatusCode::OK, !is_standby);
    Ok(answer::json(status, format!(r#"{{"status":"ok","extension":"{version}","takes_events":{takes}}}"#)))
}

/// Whether the extension has what the program calls: versions of one minor release go together, and a newer
/// extension still has what an older one had.
fn fits(version: &str) -> bool {
    let minor = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    minor(version) >= minor(env!("CARGO_PKG_VERSION"))
}
