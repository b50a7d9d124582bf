//! Compares event_targets with the targets of the events. If all of both are in scope, sums show
//! whether they agree: the sum of the events' targets is computed while the events are read, and
//! that of the rows takes one scan. Only if the sums differ are the two joined, which costs a sort
//! or a hash table of both.

use crate::pg::datum::{bytes, text, uuid, Datum};
use crate::pg::spi::{self, Arg};
use crate::pg::toast::readable_text;
use crate::verify::basis::Basis;
use crate::verify::budget;
use crate::verify::lanes::Sums;
use crate::verify::run::{Counts, Run};
use crate::verify::scope::{Scope, Sql};
use crate::verify::sums::TargetSum;
use immutable_format::link::{Break, BreakType};
use immutable_format::sum::Sum;

/// Compares event_targets with the targets of the events in scope, and reports every difference.
/// After the time of the run is up, nothing is compared and `counts` says so.
pub fn check(
    scope: &Scope,
    basis: &Basis,
    counts: &mut Counts,
    run: &Run,
    sums: &Sums,
    report: &mut impl FnMut(Break),
) {
    if !scope.targets {
        return;
    }
    let agree = |of_events| scope.since.is_none() && of_rows(scope, basis, run) == Some(of_events);
    if !budget::is_up(run) && sums.targets.is_some_and(agree) {
        return;
    }
    // Rows that were passed over are missing from the sum.
    match budget::is_up(run) {
        true => counts.cut = true,
        false => join(scope, basis, counts.cut, report),
    }
}

/// The sum of the rows in scope; None if a row cannot belong to an event.
fn of_rows(scope: &Scope, basis: &Basis, run: &Run) -> Option<Sum> {
    let mut sql = Sql::default();
    let argument = sql.argument(Arg::Bytes(run.to_bytes().to_vec().into()));
    let conditions = scope.conditions("d", &mut sql);
    let statement = format!(
        "SELECT immutable.verify_targets({argument}, {}, \
           d.tenant_id, d.event_id, d.position, d.target_type, d.target_id, d.target_name, d.target_metadata, \
           d.created_at) FROM immutable.event_targets d{conditions}",
        basis.stray_target("d")
    );
    let mut found = TargetSum::default();
    spi::complete(&statement, &sql.arguments, |row| {
        if let Some(sum) = row.at(0) {
            found = TargetSum::from_bytes(bytes(sum)).unwrap_or(TargetSum { odd: true, ..found });
        }
    });
    (!found.odd).then_some(found.sum)
}

/// Joins the two and reports each difference. A value that cannot be read is not passed to
/// PostgreSQL's functions, which would raise an error or read beyond it; OFFSET also keeps it from
/// a Memoize node. An event whose targets cannot be read is already a break, so its rows are not
/// reported.
fn join(scope: &Scope, basis: &Basis, cut: bool, report: &mut impl FnMut(Break)) {
    let mut sql = Sql::default();
    let statement = differences(scope, basis, cut, &mut sql);
    spi::complete(&statement, &sql.arguments, |row| {
        let get = |column| row.at(column);
        report(Break {
            kind: BreakType::TargetMismatch,
            tenant_id: get(0).map(|datum| readable_text(datum).to_string()),
            lane: get(1).map(Datum::i16),
            seq: get(2).map(Datum::i64),
            event_id: get(3).map(uuid),
            expected: None,
            actual: None,
            detail: format!("target {} {}", get(4).map_or(-1, Datum::i16), get(5).map_or("", text)),
        });
    });
}

/// The statement that joins the two. A row has the event's tenant, lane, seq and id, the position
/// of the target, and how it differs.
fn differences<'c>(scope: &Scope<'c>, basis: &Basis, cut: bool, sql: &mut Sql<'c>) -> String {
    let (events, stray) = (scope.events("e.*", sql), basis.stray_target("d"));
    // If only some events are in scope, the rows of all others would look like strays.
    let derived = match cut || scope.since.is_some() {
        true => format!(
            "(SELECT d.*, {stray} AS stray \
              FROM immutable.event_targets d \
              WHERE (d.tenant_id, d.event_id) IN (SELECT s.tenant_id, s.id FROM {events} s))"
        ),
        false => {
            let conditions = scope.conditions("d", &mut Sql::default()); // the same arguments once more
            format!(
                "(SELECT d.*, {stray} AS stray \
              FROM immutable.event_targets d{conditions})"
            )
        }
    };
    format!(
        "SELECT coalesce(x.tenant_id, d.tenant_id), \
                coalesce(x.lane, (SELECT e.lane FROM immutable.events e \
                                  WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id LIMIT 1)), \
                coalesce(x.seq, (SELECT e.seq FROM immutable.events e \
                                 WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id LIMIT 1)), \
                coalesce(x.id, d.event_id), \
                coalesce(x.position, d.position), \
                CASE WHEN d.stray THEN 'is in a child table of event_targets' \
                     WHEN d.event_id IS NULL THEN 'is missing from event_targets' \
                     WHEN x.id IS NULL THEN 'is in event_targets but not in the event' \
                     ELSE 'differs in event_targets' END \
         FROM (SELECT e.tenant_id, e.lane, e.seq, e.id, e.created_at, (t.n - 1)::pg_catalog.int2 AS position, t.target \
               FROM (SELECT e.tenant_id, e.lane, e.seq, e.id, e.created_at, \
                            CASE WHEN NOT immutable.is_readable(e.targets) THEN '[]' \
                                 WHEN pg_catalog.jsonb_typeof(e.targets) <> 'array' THEN '[]' \
                                 WHEN pg_catalog.jsonb_array_length(e.targets) > {} THEN '[]' \
                                 ELSE e.targets END AS targets \
                     FROM {events} e OFFSET pg_catalog.int8 '0') e, \
                    LATERAL pg_catalog.jsonb_array_elements(e.targets) WITH ORDINALITY t(target, n)) x \
         FULL JOIN {derived} d ON d.tenant_id = x.tenant_id AND d.event_id = x.id AND d.position = x.position \
         WHERE CASE WHEN d.event_id IS NULL OR d.stray THEN true \
                    WHEN x.id IS NULL THEN NOT EXISTS ( \
                      SELECT FROM immutable.events e \
                      WHERE e.tenant_id = d.tenant_id AND e.id = d.event_id AND NOT immutable.is_readable(e.targets)) \
                    WHEN d.created_at IS DISTINCT FROM x.created_at THEN true \
                    WHEN NOT (immutable.is_readable(d.target_type) AND immutable.is_readable(d.target_id) \
                              AND immutable.is_readable(d.target_name) AND immutable.is_readable(d.target_metadata)) \
                    THEN true \
                    ELSE d.target_type IS DISTINCT FROM x.target ->> 'type' \
                      OR d.target_id IS DISTINCT FROM x.target ->> 'id' \
                      OR d.target_name IS DISTINCT FROM x.target ->> 'name' \
                      OR d.target_metadata::text IS DISTINCT FROM (x.target -> 'metadata')::text END",
        immutable_format::limits::TARGETS,
    )
}
