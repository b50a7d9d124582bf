//! What a request shows: the proof that goes to the database, and the client's address.

use super::origin::Origin;
use super::problem::Problem;
use crate::app::App;
use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts, HeaderMap};
use immutable_format::api_key;
use std::net::IpAddr;

/// The longest bearer that is looked at; a viewer token has some 600 bytes.
const LONGEST: usize = 4096;

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

    /// Whether the proof is an API key's, and not a token.
    pub(crate) fn is_key(&self) -> bool {
        self.proof.len() == 64
    }
}

impl FromRequestParts<App> for Credentials {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        let bearer = bearer(&parts.headers).ok_or_else(Problem::unauthenticated)?;
        let credentials = Credentials::of_bearer(bearer, origin.address);
        app.rates.admit(&credentials.proof)?;
        Ok(credentials)
    }
}

/// What stands behind `Bearer`: an API key or a token, as far as its letters tell. Two such lines are none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let (scheme, bearer) = line.to_str().ok()?.trim().split_once(' ')?;
    let bearer = bearer.trim();
    let is_plain = bearer.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_plain && (1..=LONGEST).contains(&bearer.len())).then_some(bearer)
}
