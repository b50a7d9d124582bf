//! What a request shows: the proof that goes to the database, and the client's address.

use super::problem::Problem;
use crate::app::App;
use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use immutable_format::api_key;
use std::net::IpAddr;

/// The proof and the address of a request. The log decides what they open.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The digest of an API key, or a token, as `immutable.proof` takes it.
    pub(crate) proof: String,
    /// Where the request came from, as far as trusted proxies say.
    pub(crate) address: Option<IpAddr>,
}

impl Credentials {
    /// The credentials that this bearer stands for. A key never leaves the program: its digest does.
    pub(crate) fn of_bearer(bearer: &str, address: Option<IpAddr>) -> Credentials {
        let proof = if api_key::is_like_key(bearer) {
            hex::encode(api_key::digest(bearer))
        } else {
            bearer.strip_prefix("vt_").unwrap_or(bearer).to_owned()
        };
        Credentials { proof, address }
    }
}

impl FromRequestParts<App> for Credentials {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let bearer = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, bearer)| bearer.trim())
            .filter(|bearer| !bearer.is_empty())
            .ok_or_else(Problem::unauthenticated)?;
        Ok(Credentials::of_bearer(bearer, None))
    }
}
