//! Which bound of time is the malformed one: PostgreSQL's error about a text that is no time names no
//! argument.

use super::refusals::is_of;
use crate::app::App;
use crate::database::call::Call;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use std::collections::BTreeMap;

const READ: &str = "SELECT ($1::text::immutable.day_or_time)::text";

/// The same problem with the name of the bound, if it is about one.
pub(crate) async fn named(
    app: &App,
    credentials: &Credentials,
    problem: Problem,
    given: &BTreeMap<String, String>,
) -> Problem {
    let is_of_time = ["22007", "22008", "22009"].iter().any(|sqlstate| is_of(&problem, sqlstate));
    if !is_of_time || !problem.body.errors.is_empty() {
        return problem;
    }
    let Some(to) = given.get("to") else { return of("from", problem) };
    let call = Call { statement: READ, arguments: vec![Some(to.clone())] };
    match app.database.call(credentials, call).await {
        Ok(_) => of("from", problem),
        Err(_) => of("to", problem),
    }
}

fn of(name: &str, mut problem: Problem) -> Problem {
    problem.body.errors.insert(name.to_owned(), vec![problem.body.message.clone()]);
    problem.body.hint = Some(String::from("Write a time as 2026-03-15T14:32:18Z, or a day as 2026-03-15."));
    problem
}
