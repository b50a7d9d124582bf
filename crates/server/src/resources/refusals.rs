//! What an SQLSTATE means to the client of one resource, where that is more than it means in general.

use crate::http::problem::Problem;
use axum::http::StatusCode;

/// Another problem, if the log raised one of these SQLSTATEs.
pub(crate) fn instead_of(problem: Problem, sqlstates: &[&str], other: impl FnOnce() -> Problem) -> Problem {
    match sqlstates.iter().any(|sqlstate| is_of(&problem, sqlstate)) {
        true => other(),
        false => problem,
    }
}

/// Whether the log raised this SQLSTATE.
pub(crate) fn is_of(problem: &Problem, sqlstate: &str) -> bool {
    problem.body.sqlstate.as_deref() == Some(sqlstate)
}

/// Something that is not there, or not the caller's to see.
pub(crate) fn not_found(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
}

/// The same problem with the names that HTTP has for two arguments.
pub(crate) fn with_names_of_http(mut problem: Problem) -> Problem {
    for (argument, name) in [("from_date", "from"), ("to_date", "to")] {
        if let Some(sentences) = problem.body.errors.remove(argument) {
            problem.body.message = problem.body.message.replace(argument, name);
            let sentences = sentences.iter().map(|sentence| sentence.replace(argument, name)).collect();
            problem.body.errors.insert(name.to_owned(), sentences);
        }
    }
    problem
}
