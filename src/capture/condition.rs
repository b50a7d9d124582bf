//! The condition of track_table(): an SQL expression on the columns of one row, evaluated with the rights of the role that
//! changes the row.

use crate::capture::expression::{evaluated, is_of_expression, problem};
use crate::capture::tracked::Tracked;
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::relation::Relation;
use crate::pg::spi::{self, Arg};
use crate::pg::subtransaction::attempt;
use crate::pg::tuple::Tuple;

/// Refuses an expression that is no condition on the rows of the relation (22023, with PostgreSQL's own message as detail).
pub fn check(relation: Relation, condition: &str) {
    let Some(refused) = problem(relation, condition) else { return };
    Fault::invalid("condition", "condition is not a condition on the columns of a row")
        .detail(format!("{}.", refused.message.trim_end_matches('.')))
        .hint(
            "Give a boolean expression such as 'amount > 100'. Name functions, types and operators that are not \
             PostgreSQL's own with their schema.",
        )
        .raise()
}

/// Whether the tracked relation's condition is true for a row; true if there is none, or if it raises an error: nothing
/// may keep a change from being recorded.
pub fn holds(tracked: &Tracked, row: Tuple<'_>) -> bool {
    let Some(statement) = &tracked.condition else { return true };
    let evaluate = || {
        let mut is_true = false;
        evaluated(|| {
            let given = Arg::Given(row.descriptor().row_type(), row.record());
            spi::read_planned_once(statement, &[given], |answer| is_true = answer.at(0).is_some_and(Datum::bool));
        });
        is_true
    };
    attempt(evaluate, is_of_expression).unwrap_or(true)
}
