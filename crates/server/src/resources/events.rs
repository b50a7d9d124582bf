//! `GET /api/v1/events` and `GET /api/v1/events/{id}`.

use super::cursor::Query;
use super::evidence::{self, EVIDENCE};
use super::page::{self, Listed};
use super::parameters::Parameters;
use super::refusals::{is_of, not_found, with_names_of_http};
use super::when;
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use crate::http::segment::Segment;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The parameters of a page, in the order of the statement's arguments. A cursor carries them.
const QUERY: [&str; 14] = [
    "actor_id",
    "action",
    "resource",
    "resource_id",
    "tenant_id",
    "session_id",
    "target_type",
    "target_id",
    "search",
    "from",
    "to",
    "limit",
    "order",
    "count",
];

macro_rules! page {
    () => {
        "immutable.get_events(actor_id => $1, action => $2, resource => $3, resource_id => $4, \
         tenant_id => $5, session_id => $6, target_type => $7, target_id => $8, search => $9, \
         from_date => $10::text::immutable.day_or_time, to_date => $11::text::immutable.day_or_time, \
         \"limit\" => coalesce($12::text::integer, 25), \"order\" => $13, \"count\" => coalesce($14, 'auto'), \
         \"cursor\" => $15)"
    };
}

const PAGE: &str = concat!("SELECT ", page!(), "::text");

const PAGE_WITH_EVIDENCE: &str = concat!(
    "SELECT (p.page || pg_catalog.jsonb_build_object('evidence', immutable.page_evidence(ARRAY(\
     SELECT (e.event ->> 'id')::pg_catalog.uuid FROM pg_catalog.jsonb_array_elements(p.page -> 'data') e(event)), $5)))::text \
     FROM (SELECT ",
    page!(),
    " AS page OFFSET 0) p"
);

const ONE: &str = "SELECT immutable.get_event($1::text::uuid, $2)::text";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/events", get(list)).route("/api/v1/events/{id}", get(one))
}

async fn list(State(app): State<App>, credentials: Credentials, parameters: Parameters) -> Result<Response, Problem> {
    let mut query = read(parameters)?;
    let with_evidence = evidence::is_asked(query.given.remove(EVIDENCE).as_deref())?;
    let mut arguments: Vec<_> = QUERY.iter().map(|name| query.given.get(*name).cloned()).collect();
    arguments.push(query.cursor.clone());
    let found = match with_evidence {
        true => app.database.call(&credentials, Call { statement: PAGE_WITH_EVIDENCE, arguments }).await,
        false => app.database.call_function(&credentials, Call { statement: PAGE, arguments }).await,
    };
    let found = match found {
        Ok(found) => found.unwrap_or_default(),
        Err(problem) if is_another_tenant(&problem, &credentials, &query) => String::from(EMPTY),
        Err(problem) => {
            let problem = when::named(&app, &credentials, problem, &query.given).await;
            return Err(with_names_of_http(problem));
        }
    };
    let page = page::text(&found, &query, shown).map_err(|_| page::unreadable())?;
    Ok(answer::json(StatusCode::OK, evidence::put(&found, page)?))
}

/// The page of a token whose holder asks for another tenant.
const EMPTY: &str = r#"{"data":[],"pagination":{"has_more":false,"next_cursor":null,"total":0,"total_relation":"eq"}}"#;

/// To a key of one tenant the log refuses another tenant. A token is in a browser, behind a page that
/// may have filters of its own, and the documents of the service promise it that its tenant counts
/// whatever the query says: so it sees none of the other's events, and no error.
fn is_another_tenant(problem: &Problem, credentials: &Credentials, query: &Query) -> bool {
    !credentials.is_key() && is_of(problem, "42501") && query.given.contains_key("tenant_id")
}

/// What is asked for. Events of a session are a timeline, so these come oldest first.
fn read(parameters: Parameters) -> Result<Query, Problem> {
    let names: Vec<&str> = QUERY.iter().copied().chain([EVIDENCE]).collect();
    let mut query = page::query(parameters, &names)?;
    let order = if query.given.contains_key("session_id") { "asc" } else { "desc" };
    query.given.entry(String::from("order")).or_insert_with(|| order.to_owned());
    Ok(query)
}

async fn one(
    State(app): State<App>,
    credentials: Credentials,
    Segment(id): Segment,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let parameters = parameters.only(&["tenant_id"])?;
    let id = uuid_of(&id).ok_or_else(|| not_found("event"))?;
    let call = Call { statement: ONE, arguments: vec![Some(id.to_string()), parameters.text("tenant_id")?] };
    let found = app.database.call_function(&credentials, call).await?;
    let found = found.ok_or_else(|| not_found("event"))?;
    let Listed { data } = serde_json::from_str::<Listed<&RawValue>>(&found).map_err(|_| page::unreadable())?;
    let event = shown(data.get()).map_err(|_| page::unreadable())?;
    Ok(answer::json(StatusCode::OK, format!("{{\"data\":{event}}}")))
}

/// The members of an event that have members.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    actor: Part<'a>,
    #[serde(borrow)]
    resource: Part<'a>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    r#type: &'a RawValue,
}

/// An event with the flat members that guides of the hosted service read. The rest keeps its text:
/// numbers in metadata have more digits than a program's.
fn shown(event: &str) -> Result<String, serde_json::Error> {
    let Event { actor, resource } = serde_json::from_str(event)?;
    let members = event.trim_end().strip_suffix('}').unwrap_or(event);
    Ok(format!(
        "{members},\"actor_id\":{},\"actor_name\":{},\"actor_type\":{},\"resource_type\":{},\"resource_id\":{},\
         \"resource_name\":{}}}",
        actor.id, actor.name, actor.r#type, resource.r#type, resource.id, resource.name
    ))
}

/// A UUID in its usual form; SQL takes others too.
pub(crate) fn uuid_of(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_form_is_an_id() {
        assert!(uuid_of("0195d3a0-6c1e-7c3a-9f00-000000000001").is_some());
        for text in ["", "0195d3a06c1e7c3a9f00000000000001", "{0195d3a0-6c1e-7c3a-9f00-000000000001}", "x"] {
            assert!(uuid_of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_event_keeps_its_text() {
        let event = r#"{"id": "1", "actor": {"id": "u\u00e9", "name": null, "type": "user"}, "metadata": {"n": 1e400},
            "resource": {"id": "7", "name": "N", "type": "document"}} "#;
        let flat = r#","actor_id":"u\u00e9","actor_name":null,"actor_type":"user","resource_type":"document","resource_id":"7","resource_name":"N"}"#;
        let members = event.trim_end().strip_suffix('}').unwrap();
        assert_eq!(shown(event).unwrap(), format!("{members}{flat}"));
        for text in ["", "{}", r#"{"actor": 1}"#] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
