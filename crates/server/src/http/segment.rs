//! The one part of a path that names something.

use super::problem::Problem;
use super::unknown;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

/// The part of the path that the route calls `{…}`. A part that is not UTF-8 names nothing.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        match params.as_ref().and_then(|params| params.iter().next()) {
            Some((_, value)) => Ok(Segment(value.to_owned())),
            None => Err(unknown::no_such_path().await),
        }
    }
}
