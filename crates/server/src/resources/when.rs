//! Which bound of time is the malformed one: PostgreSQL's error about a text that is no time names no
//! argument.

use super::refusals::is_of;
use crate::app::App;
use crate::database::call::Call;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use std::collections::BTreeMap;

const READ: &str = "SELECT ($1::text::immutable.day_or_time)::text";

/// The same problem with the names of the bounds that are wrong, if it is about one.
pub(crate) async fn named(
    app: &App,
    credentials: &Credentials,
    problem: Problem,
    given: &BTreeMap<String, String>,
) -> Problem {
    let is_of_time = |problem: &Problem| ["22007", "22008", "22009"].iter().any(|sqlstate| is_of(problem, sqlstate));
    if !is_of_time(&problem) || !problem.body.errors.is_empty() {
        return problem;
    }
    let mut named = problem;
    for bound in ["from", "to"] {
        let Some(text) = given.get(bound) else { continue };
        let call = Call { statement: READ, arguments: vec![Some(text.clone())] };
        let Err(refused) = app.database.call(credentials, call).await else { continue };
        if !is_of_time(&refused) {
            continue;
        }
        // The first one that is wrong says what the answer says.
        if named.body.errors.is_empty() {
            named.body.message.clone_from(&refused.body.message);
        }
        named.body.errors.insert(bound.to_owned(), vec![refused.body.message]);
    }
    if !named.body.errors.is_empty() {
        named.body.hint = Some(String::from("Write a time as 2026-03-15T14:32:18Z, or a day as 2026-03-15."));
    }
    named
}
