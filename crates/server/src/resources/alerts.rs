//! `GET /api/v1/alerts`.

use super::page;
use super::parameters::Parameters;
use super::refusals::with_names_of_http;
use super::when;
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The parameters of a page, in the order of the statement's arguments. A cursor carries them.
const QUERY: [&str; 5] = ["rule_type", "from", "to", "limit", "tenant_id"];

const PAGE: &str = "SELECT immutable.get_alerts(rule_type => $1, \
    from_date => $2::text::immutable.day_or_time, to_date => $3::text::immutable.day_or_time, \
    \"limit\" => coalesce($4::text::integer, 25), tenant_id => $5, cursor => $6)::text";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/alerts", get(list))
}

async fn list(State(app): State<App>, credentials: Credentials, parameters: Parameters) -> Result<Response, Problem> {
    refuse_token(&app, &credentials).await?;
    let query = page::query(parameters, &QUERY)?;
    let mut arguments: Vec<_> = QUERY.iter().map(|name| query.given.get(*name).cloned()).collect();
    arguments.push(query.cursor.clone());
    let found = match app.database.call(&credentials, Call { statement: PAGE, arguments }).await {
        Ok(found) => found.unwrap_or_default(),
        Err(problem) => {
            return Err(with_names_of_http(when::named(&app, &credentials, problem, &query.given).await));
        }
    };
    let page = page::text(&found, &query, shown).map_err(|_| page::unreadable())?;
    Ok(answer::json(StatusCode::OK, page))
}

/// In SQL a viewer token opens the alerts of its events. Over HTTP it is in the hands of a person's
/// browser, and the documents of the service promise that it opens the events and nothing else: who
/// embeds a viewer does not expect that its readers see what rules there are. The log still says
/// first whether the token is one at all.
async fn refuse_token(app: &App, credentials: &Credentials) -> Result<(), Problem> {
    if credentials.is_key() {
        return Ok(());
    }
    let call = Call { statement: "SELECT immutable.require_scope('read')::text", arguments: vec![] };
    app.database.call(credentials, call).await?;
    Err(Problem::forbidden("A viewer token opens events alone."))
}

/// An alert with ids as the service has them.
fn shown(alert: &str) -> Result<String, serde_json::Error> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(alert)?;
    let shown = |(name, value): (&str, &RawValue)| {
        let kind = match name {
            "id" => "alt_",
            "rule_id" => "rul_",
            _ => "",
        };
        match value.get().strip_prefix('"').filter(|_| !kind.is_empty()) {
            Some(id) => format!("\"{name}\":\"{kind}{id}"),
            None => format!("\"{name}\":{value}"),
        }
    };
    let members: Vec<String> = members.into_iter().map(shown).collect();
    Ok(format!("{{{}}}", members.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_they_are_of() {
        let alert = r#"{"id": "1", "event": {"id": "2"}, "rule_id": null, "event_id": "2"}"#;
        assert_eq!(shown(alert).unwrap(), r#"{"event":{"id": "2"},"event_id":"2","id":"alt_1","rule_id":null}"#);
    }
}
