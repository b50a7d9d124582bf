//! `POST /api/v1/events` and `POST /api/v1/events/batch`.

use super::payload::{self, Payload, Warning};
use crate::app::App;
use crate::database::call::Call;
use crate::database::failure;
use crate::http::answer;
use crate::http::body::JsonText;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::Router;
use immutable_format::split::{split, Parts};
use serde::{Deserialize, Serialize};

/// The most events of a batch.
const BATCH: usize = 100;

/// The routes of this resource. Reading events has the same path.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", post(track)).route("/api/v1/events/batch", post(track_batch))
}

/// What the log says of one event.
#[derive(Debug, Deserialize)]
struct Outcome {
    id: Option<String>,
    status: String,
    #[serde(default)]
    differs: Vec<String>,
    #[serde(default)]
    warnings: Vec<LogWarning>,
    error: Option<LogError>,
}

#[derive(Debug, Deserialize)]
struct LogWarning {
    field: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct LogError {
    code: String,
    message: String,
    field: Option<String>,
    hint: Option<String>,
}

/// What the client is told of one event that was taken.
#[derive(Debug, Serialize)]
struct Taken {
    id: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// What the client is told of one event of a batch that was refused.
#[derive(Debug, Serialize)]
struct Refused {
    id: Option<String>,
    status: &'static str,
    #[serde(flatten)]
    problem: crate::http::problem::Body,
}

impl Outcome {
    /// The answer to the client: the clients' types know no other words than queued and duplicate. Another event
    /// under a used key is no error for them either, so that a warning says it.
    fn taken(self, mut warnings: Vec<Warning>) -> Taken {
        let said = self.warnings.into_iter().map(|w| Warning { field: w.field, message: w.message });
        warnings.extend(said);
        if self.status == "conflict" {
            let differs = self.differs.join(", ");
            let message =
                format!("Another event has this idempotency_key, and this one was left out. It differs in: {differs}.");
            warnings.push(Warning { field: String::from("idempotency_key"), message });
        }
        let status = if self.status == "recorded" { "queued" } else { "duplicate" };
        Taken { id: self.id, status, warnings }
    }
}

async fn track(State(app): State<App>, credentials: Credentials, body: JsonText) -> Result<Response, Problem> {
    let Payload { json, warnings } = match payload::read(&body.0) {
        Ok(payload) => payload,
        Err(problem) => return Err(after_proof(&app, &credentials, problem).await),
    };
    let call =
        Call { statement: "SELECT immutable.track($1::text::json, 'answer')::text", arguments: vec![Some(json)] };
    let answer = app.database.call_function(&credentials, call).await?;
    let outcome: Outcome = understood(answer)?;
    Ok(answer::json(StatusCode::ACCEPTED, written(&outcome.taken(warnings))))
}

/// What is wrong with a request is told to those who may write. Others are told that they may not.
async fn after_proof(app: &App, credentials: &Credentials, problem: Problem) -> Problem {
    let call = Call { statement: "SELECT immutable.require_scope('write')::text", arguments: vec![] };
    app.database.call(credentials, call).await.err().unwrap_or(problem)
}

#[derive(Deserialize)]
struct Outcomes {
    events: Vec<Outcome>,
}

async fn track_batch(State(app): State<App>, credentials: Credentials, body: JsonText) -> Result<Response, Problem> {
    let read: Vec<Result<Payload, Problem>> = match events(&body.0) {
        Ok(events) => events.into_iter().map(read_member).collect(),
        Err(problem) => return Err(after_proof(&app, &credentials, problem).await),
    };
    let sent: Vec<&str> = read.iter().flatten().map(|payload| payload.json.as_str()).collect();
    // Without events the log looks at the proof alone.
    let call = match sent.is_empty() {
        true => Call {
            statement: "SELECT CASE WHEN immutable.require_scope('write') THEN '{\"events\":[]}' END",
            arguments: vec![],
        },
        false => {
            let batch = format!("[{}]", sent.join(","));
            // To the log each event of a batch may be refused by itself, a key without the scope included.
            let statement =
                "SELECT CASE WHEN immutable.require_scope('write') THEN immutable.track_batch($1::text)::text END";
            Call { statement, arguments: vec![Some(batch)] }
        }
    };
    let answer = app.database.call_function(&credentials, call).await?;
    let outcomes: Outcomes = understood(answer)?;
    Ok(answer::json(StatusCode::ACCEPTED, in_places(read, outcomes.events)))
}

/// The texts of the events, which may each be anything.
fn events(body: &str) -> Result<Vec<&str>, Problem> {
    let Parts::Object(members) = split(body).map_err(|_| payload::not_json())? else {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
        return Err(if is_json { required() } else { payload::not_json() });
    };
    let (given, others): (Vec<_>, Vec<_>) = members.into_iter().partition(|(name, _)| name == "events");
    if !others.iter().all(|(_, value)| payload::is_json(value)) {
        return Err(payload::not_json());
    }
    let mut given = given.into_iter().map(|(_, value)| value);
    let value = given.next().ok_or_else(required)?;
    if given.next().is_some() {
        return Err(Problem::invalid("events", "The events field is there twice."));
    }
    match split(value) {
        Ok(Parts::Array(events)) if (1..=BATCH).contains(&events.len()) => Ok(events),
        Ok(Parts::Array(_)) => {
            Err(Problem::invalid("events", format!("The events field must have between 1 and {BATCH} items.")))
        }
        _ => Err(Problem::invalid("events", "The events field must be an array.")),
    }
}

fn required() -> Problem {
    Problem::invalid("events", "The events field is required.")
}

/// An event that is not JSON is refused like any other that is not valid, because the others are.
fn read_member(text: &str) -> Result<Payload, Problem> {
    payload::read(text).map_err(|problem| match problem.status {
        StatusCode::BAD_REQUEST => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", "The event is not valid JSON.")
        }
        _ => problem,
    })
}

fn in_places(read: Vec<Result<Payload, Problem>>, outcomes: Vec<Outcome>) -> String {
    let mut outcomes = outcomes.into_iter();
    let answers: Vec<String> = read
        .into_iter()
        .map(|payload| match payload {
            Err(problem) => refused(problem),
            Ok(payload) => match outcomes.next() {
                Some(Outcome { error: Some(error), status, .. }) if status == "error" => {
                    let (message, field) = (error.message, error.field);
                    refused(failure::of_refusal(&error.code, &message, field.as_deref(), error.hint.as_deref()))
                }
                Some(outcome) => written(&outcome.taken(payload.warnings)),
                None => refused(failure::unexpected()),
            },
        })
        .collect();
    format!("{{\"events\":[{}]}}", answers.join(","))
}

fn refused(problem: Problem) -> String {
    written(&Refused { id: None, status: "error", problem: problem.body })
}

fn understood<T: for<'a> Deserialize<'a>>(answer: Option<String>) -> Result<T, Problem> {
    serde_json::from_str(&answer.unwrap_or_default()).map_err(|error| {
        tracing::error!(%error, "the log's answer is not understood");
        failure::unexpected()
    })
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
