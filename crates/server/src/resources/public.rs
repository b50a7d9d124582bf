//! What is served without a key, with the key of --public-key-file in its place: checkpoints, tiles
//! and what is said of anchors. Without that file there is nothing at these paths.

use crate::app::App;
use crate::http::credentials::Credentials;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::unknown::no_such_path;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::StatusCode;

/// The credentials of the public key.
pub(crate) struct Public(pub(crate) Credentials);

impl FromRequestParts<App> for Public {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(file) = &app.options.http.public_key_file else { return Err(no_such_path().await) };
        // It is read each time, so that another key takes effect without a restart.
        let key = tokio::fs::read_to_string(file).await.map_err(|error| {
            tracing::error!(file = %file.display(), %error, "the public key cannot be read");
            Problem::unavailable("The public key of this server cannot be read.")
        })?;
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        Ok(Public(Credentials::of_bearer(key.trim(), origin.address)))
    }
}

/// The client of a public path has shown no key: if the log refuses the server's, that is the
/// server's fault.
pub(crate) fn of_server(problem: Problem) -> Problem {
    match problem.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            tracing::error!(reason = problem.body.message, "the public key is refused");
            Problem::unavailable("The public key of this server is not accepted.")
        }
        _ => problem,
    }
}
