//! Errors as clients see them: `{"error": code, "message": sentence}`, and what helps beside it.

use super::answer;
use axum::http::{header, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;

/// An error that a client is told.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) body: Body,
    /// Seconds after which a client may try again.
    pub(crate) retry_after: Option<u32>,
}

/// The JSON object of an error.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Body {
    /// The code, such as `validation_failed`.
    pub(crate) error: &'static str,
    /// One sentence.
    pub(crate) message: String,
    /// Which fields of the request are wrong, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) errors: BTreeMap<String, Vec<String>>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The SQLSTATE, if the log refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sqlstate: Option<Box<str>>,
}

impl Problem {
    /// An error of this status, code and sentence.
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Problem {
        let body = Body { error, message: message.into(), errors: BTreeMap::new(), hint: None, sqlstate: None };
        Problem { status, body, retry_after: None }
    }

    /// A value that is not valid.
    pub(crate) fn invalid(field: &str, sentence: impl Into<String>) -> Problem {
        let sentence = sentence.into();
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", sentence.clone());
        problem.body.errors.insert(field.to_owned(), vec![sentence]);
        problem
    }

    /// A request that cannot be read.
    pub(crate) fn malformed(sentence: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", sentence)
    }

    /// A request without a key, or with one that opens nothing.
    pub(crate) fn unauthenticated() -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Invalid or missing API key.")
    }

    /// What the key or the token does not open.
    pub(crate) fn forbidden(sentence: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", sentence)
    }

    /// The same with the SQLSTATE by which the log refused it.
    pub(crate) fn with_code(mut self, sqlstate: &str) -> Problem {
        self.body.sqlstate = Some(sqlstate.into());
        self
    }

    /// The database cannot answer now.
    pub(crate) fn unavailable(sentence: impl Into<String>) -> Problem {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence);
        Problem { retry_after: Some(1), ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.body).unwrap_or_else(|_| String::from(r#"{"error":"server_error"}"#));
        let mut response = answer::json(self.status, text);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
