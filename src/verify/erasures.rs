//! What is erased against what the records of erasures list.

use super::lanes::Sums;
use super::scope::{Scope, Sql};
use crate::function::{text, uuid};
use crate::spi;
use immutable_format::link::{Break, BreakType};
use immutable_format::parse_hex;

/// What is erased against what the event_erased records list. A record may be later than the range, so all are read.
pub unsafe fn check(scope: &Scope, sums: &Sums, report: &mut impl FnMut(Break)) {
    // A record may be later than a range, but not outside its tenant.
    if scope.is_whole() && !sums.erasures {
        return;
    }
    let mut sql = Sql::default();
    let events = scope.events("e.tenant_id, e.lane, e.seq, e.id, e.erased", &mut sql);
    let erased = "SELECT e.tenant_id, e.id, c #>> '{}' AS commitment FROM scope e, LATERAL ( \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.* ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.metadata[*] ? (@.type() == \"string\")') \
             UNION ALL \
             SELECT pg_catalog.jsonb_path_query(e.erased, 'lax $.commitments.targets.* ? (@.type() == \"string\")') \
         ) x(c) WHERE e.erased IS NOT NULL";
    // An id is a text of 36 bytes and a commitment one of 64: anything longer, each repeated once a commitment, would
    // fill a disk, and an object can be small as jsonb and huge as text.
    let recorded = "SELECT r.tenant_id, u.t ->> 'id' AS id, c.c #>> '{}' AS commitment FROM immutable.events r, \
         LATERAL pg_catalog.jsonb_path_query(r.targets, 'lax $[*] ? (@.type == \"immutable.event\" && @.id.type() == \"string\")') t(t), \
         LATERAL (SELECT t.t WHERE pg_catalog.octet_length(t.t ->> 'id') = 36 OFFSET 0) u(t), \
         LATERAL pg_catalog.jsonb_path_query(u.t, 'lax $.metadata.commitments[*] ? (@.type() == \"string\")') c(c) \
         WHERE r.action = 'immutable.event_erased' AND pg_catalog.octet_length(c.c #>> '{}') = 64";
    let statement = format!(
        "WITH scope AS MATERIALIZED (SELECT * FROM {events} e), \
              erased AS (SELECT DISTINCT e.tenant_id, e.id::text AS id, e.commitment FROM ({erased}) e), \
              recorded AS (SELECT DISTINCT r.tenant_id, r.id, r.commitment FROM ({recorded}) r) \
         SELECT e.tenant_id, e.lane, e.seq, e.id, x.recorded, x.erased \
         FROM (SELECT coalesce(d.tenant_id, r.tenant_id) AS tenant_id, coalesce(d.id, r.id) AS id, \
                      r.commitment AS recorded, d.commitment AS erased \
               FROM erased d FULL JOIN recorded r \
                 ON r.tenant_id = d.tenant_id AND r.id = d.id AND r.commitment = d.commitment \
               WHERE d.commitment IS NULL OR r.commitment IS NULL) x \
         JOIN scope e ON e.tenant_id = x.tenant_id AND e.id::text = x.id"
    );
    spi::complete(&statement, &sql.types, &sql.values, |values, nulls| {
        let get = |column: usize| (!nulls[column]).then(|| values[column]);
        let commitment = |column: usize| get(column).map(|hex| text(hex).to_string());
        let (recorded, erased) = (commitment(4), commitment(5));
        let as_bytes = |hex: &Option<String>| hex.as_deref().and_then(parse_hex::<32>).map(|hash| hash.to_vec());
        report(Break {
            kind: BreakType::ErasureMismatch,
            tenant_id: get(0).map(|datum| text(datum).to_string()),
            lane: get(1).map(|lane| lane.value() as i16),
            seq: get(2).map(|seq| seq.value() as i64),
            event_id: get(3).map(|id| uuid(id)),
            expected: as_bytes(&recorded),
            actual: as_bytes(&erased),
            detail: match recorded {
                Some(_) => "a value that was erased is back: erase it again".to_string(),
                None => "a value is erased that no immutable.event_erased event lists".to_string(),
            },
        });
    });
}
