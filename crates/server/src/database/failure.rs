//! What a failed call means for the client.

use crate::http::problem::Problem;
use axum::http::StatusCode;
use deadpool_postgres::PoolError;
use tokio_postgres::error::DbError;
use tokio_postgres::Error;

/// A fault of this program.
pub(crate) fn unexpected() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The server failed.")
}

/// No connection was to be had.
pub(crate) fn of_pool(error: &PoolError) -> Problem {
    tracing::warn!(%error, "no connection");
    Problem::unavailable("The database cannot be reached.")
}

/// A call failed.
pub(crate) fn of_error(error: &Error) -> Problem {
    match error.as_db_error() {
        Some(refused) => of_sqlstate(refused),
        None => Problem::unavailable("The connection to the database was lost."),
    }
}

fn of_sqlstate(refused: &DbError) -> Problem {
    let code = refused.code().code();
    let (status, error) = match code {
        "28000" => return Problem::unauthenticated(),
        "42501" => (StatusCode::FORBIDDEN, "forbidden"),
        _ if code.starts_with("08") || code.starts_with("57") || code.starts_with("53") => {
            return Problem::unavailable("The database is not available.");
        }
        _ if code.starts_with("22") || code.starts_with("23") || code == "54000" || code == "54001" => {
            (StatusCode::UNPROCESSABLE_ENTITY, "validation_failed")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    };
    let mut problem = Problem::new(status, error, refused.message());
    problem.body.hint = refused.hint().map(str::to_owned);
    problem.body.sqlstate = Some(code.to_owned());
    if let Some(field) = refused.column() {
        problem.body.errors.insert(field.to_owned(), vec![refused.message().to_owned()]);
    }
    problem
}
