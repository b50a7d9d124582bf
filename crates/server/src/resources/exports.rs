//! `POST /api/v1/exports`, `GET /api/v1/exports/{id}` and its download.
//!
//! An export is not a file: its lines are made while they are downloaded, and a slow client makes the
//! database wait, not this program's memory grow. A download's address carries a ticket that the log
//! has signed, in place of a key.

use super::members::Members;
use super::parameters::Parameters;
use super::refusals::{instead_of, not_found, with_names_of_http};
use super::when;
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::body::JsonText;
use crate::http::credentials::Credentials;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::segment::Segment;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::{header, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::Router;
use futures_util::TryStreamExt;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The filters, in the order of the statement's arguments.
const FILTERS: [&str; 11] = [
    "from",
    "to",
    "actor_id",
    "action",
    "resource",
    "resource_id",
    "tenant_id",
    "session_id",
    "target_type",
    "target_id",
    "search",
];

const CREATE: &str = "SELECT immutable.create_export(from_date => $1::text::immutable.day_or_time, \
    to_date => $2::text::immutable.day_or_time, actor_id => $3, action => $4, resource => $5, resource_id => $6, \
    tenant_id => $7, session_id => $8, target_type => $9, target_id => $10, search => $11)::text";

const GET: &str = "SELECT immutable.get_export($1::text::uuid)::text";

const ROWS: &str = "SELECT immutable.export_rows($1::text::uuid, $2)";

/// The formats: their names, media types and what their files end with.
const FORMATS: [(&str, &str, &str); 3] = [
    ("csv", "text/csv; charset=utf-8; header=present", "csv"),
    ("csv_spreadsheet", "text/csv; charset=utf-8; header=present", "csv"),
    ("ndjson", "application/x-ndjson; charset=utf-8", "ndjson"),
];

/// The most lines that are sent in one piece, if so many are there.
const LINES: usize = 64;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/exports", post(create))
        .route("/api/v1/exports/{id}", get(one))
        .route("/api/v1/exports/{id}/download", get(download))
}

async fn create(State(app): State<App>, credentials: Credentials, body: JsonText) -> Result<Response, Problem> {
    let mut members = Members::read(&body, &FILTERS)?;
    let mut given = BTreeMap::new();
    for name in FILTERS {
        let value = members.take_text(name)?;
        // An empty filter is none, but here that could be an export of every tenant.
        if name == "tenant_id" && value.as_deref() == Some("") {
            return Err(Problem::invalid(name, "The tenant_id field must not be empty."));
        }
        given.extend(value.filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value)));
    }
    let arguments = FILTERS.iter().map(|name| given.get(*name).cloned()).collect();
    let made = match app.database.call(&credentials, Call { statement: CREATE, arguments }).await {
        Ok(made) => made.unwrap_or_default(),
        Err(problem) => return Err(refused(when::named(&app, &credentials, problem, &given).await)),
    };
    let made: Value = serde_json::from_str(&made).map_err(|_| super::page::unreadable())?;
    let id = format!("exp_{}", made["id"].as_str().unwrap_or_default());
    let answer = json!({ "data": { "id": id, "status": "pending" }, "id": id, "status": "pending" });
    Ok(answer::json(StatusCode::ACCEPTED, answer.to_string()))
}

/// One more than there may be is not the request's fault.
fn refused(problem: Problem) -> Problem {
    let message = problem.body.message.clone();
    let problem = instead_of(problem, &["54000"], || {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_exports", message);
        Problem { retry_after: Some(60), ..problem }
    });
    with_names_of_http(problem)
}

/// The id that `exp_…` stands for.
fn id_of(text: &str) -> Result<Uuid, Problem> {
    super::events::uuid_of(text.strip_prefix("exp_").unwrap_or(text)).ok_or_else(|| not_found("export"))
}

fn expired() -> Problem {
    Problem::new(StatusCode::GONE, "gone", "The export has expired, or has failed since.")
}

/// The members of an export, as the log shows them to a key.
async fn export(app: &App, credentials: &Credentials, id: Uuid) -> Result<Map<String, Value>, Problem> {
    let call = Call { statement: GET, arguments: vec![Some(id.to_string())] };
    let found = app.database.call(credentials, call).await;
    let found = found.map_err(|problem| instead_of(problem, &["55000"], expired))?;
    let found = found.ok_or_else(|| not_found("export"))?;
    match serde_json::from_str(&found) {
        Ok(Value::Object(mut members)) => match members.remove("data") {
            Some(Value::Object(export)) => Ok(export),
            _ => Err(super::page::unreadable()),
        },
        _ => Err(super::page::unreadable()),
    }
}

/// Where the ticket of an export opens it; None before it is completed.
fn address(origin: &Origin, id: Uuid, export: &Map<String, Value>, format: Option<&str>) -> Option<String> {
    let ticket = export.get("ticket")?.as_str()?;
    let format = format.map(|format| format!("format={format}&")).unwrap_or_default();
    Some(format!("{}/api/v1/exports/exp_{id}/download?{format}signature={ticket}", origin.base_url))
}

async fn one(
    State(app): State<App>,
    credentials: Credentials,
    origin: Origin,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    let mut export = export(&app, &credentials, id).await?;
    let address = address(&origin, id, &export, None);
    let expires_at = export.remove("ticket_expires_at");
    export.remove("ticket");
    export.insert(String::from("id"), json!(format!("exp_{id}")));
    export.insert(String::from("download_url"), json!(address));
    export.insert(String::from("download_url_expires_at"), expires_at.unwrap_or_default());
    if let Some(Value::Object(filters)) = export.get_mut("filters") {
        for (argument, name) in [("from_date", "from"), ("to_date", "to")] {
            if let Some(value) = filters.remove(argument) {
                filters.insert(name.to_owned(), value);
            }
        }
    }
    Ok(answer::json(StatusCode::OK, json!({ "data": export }).to_string()))
}

/// What opens a download.
enum Opening {
    Ticket(Credentials),
    Key(Credentials),
}

async fn download(
    State(app): State<App>,
    origin: Origin,
    Segment(id): Segment,
    parameters: Parameters,
    request: axum::extract::Request,
) -> Result<Response, Problem> {
    let parameters = parameters.only(&["format", "signature"])?;
    let format = parameters.text("format")?;
    let opening = match parameters.text("signature")? {
        Some(ticket) => Opening::Ticket(ticket_of(&ticket, &origin)?),
        None => Opening::Key(Credentials::from_request_parts(&mut request.into_parts().0, &app).await?),
    };
    let id = id_of(&id)?;
    match opening {
        Opening::Ticket(credentials) => rows(&app, &credentials, id, format).await,
        Opening::Key(credentials) => {
            let known = known_format(format.as_deref())?.0;
            let export = export(&app, &credentials, id).await?;
            let named = format.is_some().then_some(known);
            let address = address(&origin, id, &export, named).ok_or_else(|| not_completed(&export))?;
            Ok((StatusCode::FOUND, [(header::LOCATION, address), (header::CACHE_CONTROL, no_store())]).into_response())
        }
    }
}

/// The credentials of a ticket. An API key is none here: addresses stand in the logs of browsers and
/// proxies.
fn ticket_of(ticket: &str, origin: &Origin) -> Result<Credentials, Problem> {
    let credentials = Credentials::of_bearer(ticket, origin.address);
    if credentials.is_key() {
        return Err(Problem::unauthenticated());
    }
    Ok(credentials)
}

fn no_store() -> String {
    String::from("no-store")
}

fn not_completed(export: &Map<String, Value>) -> Problem {
    let sentence = match export.get("error_message").and_then(Value::as_str) {
        Some(why) => format!("The export has failed: {why}."),
        None => String::from("The export is not completed yet."),
    };
    Problem::new(StatusCode::CONFLICT, "conflict", sentence)
}

fn known_format(format: Option<&str>) -> Result<(&'static str, &'static str, &'static str), Problem> {
    let format = format.unwrap_or("csv");
    let known = FORMATS.into_iter().find(|(name, ..)| *name == format);
    known.ok_or_else(|| Problem::invalid("format", "The format parameter must be csv, csv_spreadsheet or ndjson."))
}

/// The lines of an export, as they come.
async fn rows(app: &App, credentials: &Credentials, id: Uuid, format: Option<String>) -> Result<Response, Problem> {
    let (format, media_type, ending) = known_format(format.as_deref())?;
    let call = Call { statement: ROWS, arguments: vec![Some(id.to_string()), Some(format.to_owned())] };
    let rows = app.database.rows(credentials, call).await;
    let rows = rows.map_err(|problem| instead_of(problem, &["55000"], expired))?;
    // An error in the midst of it breaks the connection off, so that the file is seen to be incomplete.
    // RFC 4180 ends the lines of a CSV file with both characters.
    let end = if ending == "csv" { "\r\n" } else { "\n" };
    let lines = rows.map_ok(move |line| line + end).try_ready_chunks(LINES).map_ok(|lines| lines.concat());
    let body = Body::from_stream(lines.map_err(|failed| std::io::Error::other(failed.1.body.message)));
    let mut headers = HeaderMap::new();
    let disposition = format!("attachment; filename=\"exp_{id}.{ending}\"");
    let values = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, disposition.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in values {
        headers.extend(value.parse().ok().map(|value| (name, value)));
    }
    Ok((headers, body).into_response())
}
