//! The body of a request, as text.

use super::problem::Problem;
use super::room::{Room, SMALL};
use crate::app::App;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{header, HeaderMap, StatusCode};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::{timeout, timeout_at, Instant};

/// A body has to be there within this time.
const DEADLINE: Duration = Duration::from_secs(30);

/// How much of a body that is not taken is read away, and for how long, so that its client comes to read the answer.
const READ_AWAY: (u64, Duration) = (64 * 1024 * 1024, Duration::from_secs(3));

/// A JSON text: it is UTF-8, not too large, and its client does not say that it is something else. It may be
/// empty, as some clients send it where they have nothing to say. Whether it is JSON is not looked at.
pub(crate) struct JsonText(pub(crate) String, #[expect(dead_code, reason = "it is held, not read")] Room);

impl JsonText {
    /// A text that has arrived otherwise.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> JsonText {
        JsonText(text.to_owned(), Room::default())
    }

    /// The members of the object; an empty body and PHP's empty array are an object without members.
    ///
    /// # Errors
    /// 400 for what is not JSON, 422 for what is no object, or has a member twice.
    pub(crate) fn members(&self) -> Result<serde_json::Map<String, serde_json::Value>, Problem> {
        use serde_json::Value;
        if self.0.trim().is_empty() {
            return Ok(serde_json::Map::new());
        }
        let parts = immutable_format::split::split(&self.0).map_err(|_| not_json())?;
        match serde_json::from_str(&self.0).map_err(|_| not_json())? {
            Value::Array(elements) if elements.is_empty() => Ok(serde_json::Map::new()),
            Value::Object(members) => match parts {
                immutable_format::split::Parts::Object(all) if all.len() > members.len() => {
                    let mut seen = std::collections::HashSet::new();
                    let twice = all.iter().find(|(name, _)| !seen.insert(name)).map_or("", |(name, _)| name);
                    Err(Problem::invalid(twice, format!("The member {twice} is there twice.")))
                }
                _ => Ok(members),
            },
            _ => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "validation_failed",
                "The body must be a JSON object.",
            )),
        }
    }
}

/// 400 for a body that is not JSON.
fn not_json() -> Problem {
    Problem::malformed("The body is not valid JSON.")
}

impl FromRequest<App> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let most = app.options.http.max_body;
        let said = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = request.into_body();
        if said.is_some_and(|bytes: u64| bytes > most) {
            return Err(too_large(body, most).await);
        }
        let mut bytes =
            Vec::with_capacity(said.map_or(0, |bytes| usize::try_from(bytes).map_or(SMALL, |b| b.min(SMALL))));
        let mut room = Room::default();
        let deadline = Instant::now() + DEADLINE;
        loop {
            match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Problem::malformed("The body did not arrive whole.")),
                Ok(Some(Ok(frame))) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
            if bytes.len() as u64 > most {
                return Err(too_large(body, most).await);
            }
            if !room.take(bytes.len(), &app.bodies) {
                read_away(body).await;
                return Err(Problem::unavailable("Too many large bodies are arriving."));
            }
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        String::from_utf8(bytes)
            .map(|text| JsonText(text, room))
            .map_err(|_| Problem::malformed("The body is not UTF-8."))
    }
}

/// A form or a file is not what its client meant to send. A type that is left out, or a generic one, is no reason
/// to refuse JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind.ends_with("/json") || kind.ends_with("+json");
    if is_json || kind.is_empty() || kind == "text/plain" || kind == "application/octet-stream" {
        return Ok(());
    }
    let sentence = "The body must be JSON, with Content-Type: application/json.";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", sentence))
}

async fn too_large(body: Body, most: u64) -> Problem {
    read_away(body).await;
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", format!("The body has more than {most} bytes."))
}

async fn read_away(mut body: Body) {
    let (mut left, within) = READ_AWAY;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(within, all).await;
}

fn too_slow() -> Problem {
    let sentence = format!("The body did not arrive within {} seconds.", DEADLINE.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", sentence)
}
