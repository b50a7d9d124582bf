//! What a failed call means: for the client, and for the connection.

use crate::figures::FIGURES;
use crate::http::problem::Problem;
use axum::http::StatusCode;
use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::DbError;
use tokio_postgres::Error;

/// What to do after a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The log has answered; the connection is fit for others.
    None,
    /// Another transaction was in the way: call again.
    Again,
    /// What the connection has prepared is out of date: call again on another one.
    Afresh,
    /// The connection is lost, or its state is not known. Whether the call was done is not known either.
    Replace,
}

/// What to do after this error.
pub(crate) fn remedy(error: &Error) -> Remedy {
    let Some(code) = error.code() else { return Remedy::Replace };
    match code.code() {
        "40001" | "40P01" => Remedy::Again,
        // A function or a type is another one than when the statement was prepared, or the pooler between has
        // given the connection another backend.
        "0A000" | "26000" | "42P05" | "XX000" if is_stale(error) => Remedy::Afresh,
        code if matches!(code.get(..2), Some("08" | "53" | "57" | "58" | "XX" | "26" | "25" | "3B")) => Remedy::Replace,
        _ => Remedy::None,
    }
}

/// XX000 is for any internal error; one of them says that a function was dropped and made anew.
fn is_stale(error: &Error) -> bool {
    let Some(refused) = error.as_db_error() else { return false };
    match refused.code().code() {
        "26000" | "42P05" => true,
        "0A000" => refused.message().starts_with("cached plan must not change result type"),
        _ => refused.message().starts_with("cache lookup failed for"),
    }
}

/// A fault of this program.
pub(crate) fn unexpected() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The server failed.")
}

/// A call took too long, and was cancelled.
pub(crate) fn late() -> Problem {
    FIGURES.failed("timeout");
    Problem::unavailable("The database did not answer in time.")
}

/// No connection was to be had.
pub(crate) fn of_pool(error: &PoolError) -> Problem {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => Problem::unavailable("All connections to the database are in use."),
        _ => {
            FIGURES.failed("connect");
            tracing::warn!(target: "database", reason = %chain(error), "no connection");
            Problem::unavailable("The database cannot be reached.")
        }
    }
}

/// A call failed.
pub(crate) fn of_error(error: &Error) -> Problem {
    match error.as_db_error() {
        Some(refused) => of_sqlstate(refused),
        None if error.is_closed() || is_of_the_network(error) => {
            FIGURES.failed("lost");
            tracing::warn!(target: "database", reason = %chain(error), "lost a connection");
            Problem::unavailable("The connection to the database was lost.")
        }
        None => {
            tracing::error!(target: "database", reason = %chain(error), "a call failed");
            unexpected()
        }
    }
}

fn is_of_the_network(error: &Error) -> bool {
    let Some(source) = std::error::Error::source(error) else { return false };
    source.is::<std::io::Error>()
}

fn of_sqlstate(refused: &DbError) -> Problem {
    let (code, message) = (refused.code().code(), refused.message());
    FIGURES.failed(code);
    let problem = match code {
        "28000" => Problem::unauthenticated(),
        "42501" => return forbidden(message, refused.hint()),
        "42704" | "P0002" => Problem::new(StatusCode::NOT_FOUND, "not_found", sentence(message)),
        "21000" => Problem::new(StatusCode::CONFLICT, "conflict", sentence(message)),
        "0A000" => Problem::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", sentence(message)),
        "40001" | "40P01" | "55P03" => Problem::unavailable("Other transactions are in the way."),
        "25006" => Problem::unavailable("This database does not take events now: it is a standby."),
        _ if is_refusal(code) => return refusal(code, message, field_of(message), refused.hint()),
        _ => {
            tracing::error!(target: "database", sqlstate = code, message, "a call failed");
            match code {
                // The extension is older than this program, is being created, restored or altered.
                "42883" | "42P01" | "3F000" | "42703" | "55000" => Problem::unavailable("The log is not ready."),
                _ if is_outage(code) => Problem::unavailable("The database is not available."),
                _ => unexpected(),
            }
        }
    };
    problem.with_code(code)
}

/// Errors of the server's and the connection's resources and operation.
fn is_outage(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "57" | "58"))
}

/// Errors of what the client sent.
fn is_refusal(code: &str) -> bool {
    matches!(code.get(..2), Some("22" | "23")) || matches!(code, "54000" | "54001" | "428C9")
}

/// What the log says of one event of a batch, which is of a class that names the client's fault.
pub(crate) fn of_refusal(code: &str, message: &str, field: Option<&str>, hint: Option<&str>) -> Problem {
    match code {
        "42501" => forbidden(message, hint),
        _ => refusal(code, message, field, hint),
    }
}

/// 422 for what the log refuses of a request.
fn refusal(code: &str, message: &str, field: Option<&str>, hint: Option<&str>) -> Problem {
    let sentence = match (code, field) {
        ("23502", Some(field)) => format!("The {field} field is required."),
        ("54001", _) => String::from("The body is nested too deeply."),
        _ => sentence(message),
    };
    let mut problem = match field {
        Some(field) => Problem::invalid(field, sentence),
        None => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", sentence),
    };
    problem.body.hint = hint.filter(|_| code != "54001").map(str::to_owned);
    problem.with_code(code)
}

/// What the caller's proof does not open is 403. A name that is the log's own is wrong whoever gives it: 422.
fn forbidden(message: &str, hint: Option<&str>) -> Problem {
    if message.ends_with("is reserved for the log itself") {
        return refusal("42501", message, field_of(message), hint);
    }
    let is_address =
        message.contains("may not be used from this address") || message.contains("from some addresses alone");
    let mut problem = match is_address {
        true => Problem::forbidden("Your IP address is not in the workspace allowlist."),
        false => Problem::forbidden(sentence(message)),
    };
    problem.body.hint = hint.map(str::to_owned);
    problem.with_code("42501")
}

/// A message of the log as a sentence: fields keep their names, and other words begin with a capital letter.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let capital = match letters.next().filter(|_| field_of(message).is_none()) {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => message.to_owned(),
    };
    if capital.ends_with('.') {
        capital
    } else {
        capital + "."
    }
}

/// The field that a message of the log is about. The log's messages begin with it, and PostgreSQL's own place for
/// it stays empty, because what raises them cannot fill it.
fn field_of(message: &str) -> Option<&str> {
    if message.starts_with("Action '") {
        return Some("action");
    }
    let field = message.split([' ', ':']).next()?;
    let name = field.split(['[', '.']).next()?;
    FIELDS.contains(&name).then_some(field)
}

const FIELDS: [&str; 38] = [
    "action",
    "action_category",
    "actor_id",
    "actor_name",
    "actor_type",
    "conditions",
    "count",
    "cursor",
    "direction",
    "format",
    "from",
    "id",
    "idempotency_key",
    "ip_address",
    "ip_city",
    "ip_country",
    "limit",
    "metadata",
    "name",
    "occurred_at",
    "on_conflict",
    "order",
    "resource",
    "resource_id",
    "resource_name",
    "resource_type",
    "rule_type",
    "scopes",
    "search",
    "session_id",
    "target_id",
    "target_type",
    "targets",
    "tenant_id",
    "to",
    "ttl",
    "user_agent",
    "version",
];

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences_and_name_their_field() {
        let said = |code, message| {
            let problem = if code == "42501" {
                forbidden(message, None)
            } else {
                refusal(code, message, field_of(message), None)
            };
            let fields: Vec<String> = problem.body.errors.into_keys().collect();
            (problem.status.as_u16(), problem.body.message, fields.join(","))
        };
        let is = |status: u16, message: &str, field: &str| (status, message.to_owned(), field.to_owned());
        assert_eq!(said("23502", "actor_id is required"), is(422, "The actor_id field is required.", "actor_id"));
        assert_eq!(
            said("22023", "targets[3].metadata must be …"),
            is(422, "targets[3].metadata must be ….", "targets[3].metadata")
        );
        assert_eq!(said("22023", "an event must be a JSON object"), is(422, "An event must be a JSON object.", ""));
        let pattern = "Action 'a.b' does not match any configured schema pattern.";
        assert_eq!(said("23514", pattern), is(422, pattern, "action"));
        let reserved = "action \"immutable.x\" is reserved for the log itself";
        assert_eq!(said("42501", reserved), is(422, &format!("{reserved}."), "action"));
        let address = "the API key may not be used from this address";
        assert_eq!(said("42501", address), is(403, "Your IP address is not in the workspace allowlist.", ""));
        let scope = "the API key does not have the scope read";
        assert_eq!(said("42501", scope), is(403, "The API key does not have the scope read.", ""));
    }
}
