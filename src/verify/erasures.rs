//! Compares what is erased with what the erasure records list.

use crate::pg::datum::{text, uuid, Datum};
use crate::pg::spi;
use crate::pg::toast::readable_text;
use crate::verify::budget;
use crate::verify::lanes::Sums;
use crate::verify::run::{Counts, Run};
use crate::verify::scope::{Scope, Sql};
use crate::verify::sums::RECORD;
use immutable_format::link::{Break, BreakType};
use immutable_format::parse_hex;
use pgrx::pg_sys;

/// An id as uuid prints it.
const UUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

/// Reports what is erased but in no erasure record, and what a record lists but is not erased. A
/// record may be later than the range, so all records are read.
pub fn check(scope: &Scope, counts: &mut Counts, run: &Run, sums: &Sums, report: &mut impl FnMut(Break)) {
    // A record may be later than a range, but not outside its tenant.
    if scope.is_whole() && !counts.passed_over && !sums.erasures {
        return;
    }
    if budget::is_up(run) {
        counts.cut = true;
        return;
    }
    let mut sql = Sql::default();
    let statement = comparison(scope, &mut sql);
    spi::complete(&statement, &sql.arguments, |row| {
        let get = |column| row.at(column);
        let commitment = |column: usize| get(column).map(|hex| text(hex).to_string());
        let (recorded, erased) = (commitment(4), commitment(5));
        let as_bytes = |hex: &Option<String>| hex.as_deref().and_then(parse_hex::<32>).map(|hash| hash.to_vec());
        report(Break {
            kind: BreakType::ErasureMismatch,
            tenant_id: get(0).map(|datum| readable_text(datum).to_string()),
            lane: get(1).map(Datum::i16),
            seq: get(2).map(Datum::i64),
            event_id: get(3).map(uuid),
            expected: as_bytes(&recorded),
            actual: as_bytes(&erased),
            detail: match recorded {
                Some(_) => "a value that was erased is back: erase it again".to_string(),
                None => "a value is erased that no immutable.event_erased event lists".to_string(),
            },
        });
    });
}

/// The statement that selects what is erased and in no record, and what is in a record and not
/// erased. A row has the event's tenant, lane, seq and id, then the commitment in the record and
/// the one in the event; one of the two is NULL.
fn comparison<'c>(scope: &Scope<'c>, sql: &mut Sql<'c>) -> String {
    let erased = scope.events("e.tenant_id, e.lane, e.seq, e.id, e.erased", sql);
    let events = scope.events("e.tenant_id, e.lane, e.seq, e.id, e.erased", sql);
    let tenant = match scope.tenant_id {
        Some(tenant) => format!("AND r.tenant_id = {}", sql.given(pg_sys::TEXTOID, tenant)),
        None => String::new(),
    };
    // An id is a text of 36 bytes, and a commitment is one of 64. Longer texts are left out: they
    // are repeated for each commitment and could fill a disk, and an object can be small as jsonb
    // but huge as text. Only events that are erased, or that a record lists, are looked up; in most
    // logs they are few. A value that cannot be read is already a break. It is not passed to
    // PostgreSQL's functions, and OFFSET also keeps it from a Memoize node. num_nulls() is used
    // because the planner has no statistics of the column and expects that a function is seldom 0.
    format!(
        "WITH erased AS ( \
           SELECT DISTINCT e.tenant_id, e.lane, e.seq, e.id, x.c #>> '{{}}' AS commitment FROM ( \
             SELECT e.tenant_id, e.lane, e.seq, e.id, \
                    CASE WHEN immutable.is_readable(e.erased) THEN e.erased END AS erased \
             FROM {erased} e WHERE pg_catalog.num_nulls(e.erased) = 0 OFFSET pg_catalog.int8 '0') e, LATERAL ( \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.* ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, \
                                                'lax $.commitments.metadata[*] ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.targets.* ? (@.type() == \"string\")') \
           ) x(c)), \
         recorded AS MATERIALIZED ( \
           SELECT DISTINCT r.tenant_id, u.id::pg_catalog.uuid AS id, c.c #>> '{{}}' AS commitment \
           FROM (SELECT r.tenant_id, CASE WHEN immutable.is_readable(r.targets) THEN r.targets END AS targets \
                 FROM immutable.events r WHERE r.action = '{RECORD}' {tenant} OFFSET pg_catalog.int8 '0') r, \
             LATERAL pg_catalog.jsonb_path_query( \
               r.targets, 'lax $[*] ? (@.type == \"immutable.event\" && @.id.type() == \"string\")') t(t), \
             LATERAL (SELECT t.t, t.t ->> 'id' AS id OFFSET 0) u, \
             LATERAL pg_catalog.jsonb_path_query( \
               u.t, 'lax $.metadata.commitments[*] ? (@.type() == \"string\")') c(c) \
           WHERE pg_catalog.octet_length(c.c #>> '{{}}') = 64 \
             AND CASE WHEN pg_catalog.octet_length(u.id) = 36 THEN u.id ~ '{UUID}' END), \
         listed AS ( \
           SELECT e.tenant_id, e.lane, e.seq, e.id, e.erased, r.commitment \
           FROM recorded r JOIN {events} e ON e.tenant_id = r.tenant_id AND e.id = r.id) \
         SELECT coalesce(d.tenant_id, l.tenant_id), coalesce(d.lane, l.lane), coalesce(d.seq, l.seq), \
                coalesce(d.id, l.id), l.commitment, d.commitment \
         FROM erased d FULL JOIN listed l ON l.tenant_id = d.tenant_id AND l.id = d.id AND l.lane = d.lane \
           AND l.seq = d.seq AND l.commitment = d.commitment \
         WHERE l.commitment IS NULL OR d.commitment IS NULL AND immutable.is_readable(l.erased)"
    )
}
