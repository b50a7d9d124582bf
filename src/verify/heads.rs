//! Saved heads, and the marks of an incremental run, against the rows in their places.

use crate::pg::datum::{text_datum, uuid, Datum};
use crate::pg::{spi, toast};
use crate::verify::scope::Scope;
use immutable_format::link::{Break, BreakType};
use immutable_format::Id;
use pgrx::pg_sys;

/// Saved heads against the rows in their places.
pub fn check(scope: &Scope, report: &mut impl FnMut(Break)) {
    let marks = scope.since.iter().flat_map(|since| &since.heads);
    for head in scope.heads.iter().chain(marks).filter(|head| head.is_in(scope)) {
        pgrx::check_for_interrupts!();
        let mut found = None;
        spi::read(
            "SELECT e.id, e.event_hash FROM ONLY immutable.events e \
             WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
            &[pg_sys::TEXTOID, pg_sys::INT2OID, pg_sys::INT8OID],
            &[Some(text_datum(&head.tenant_id)), Some(Datum::from(head.lane)), Some(Datum::from(head.seq))],
            |row| {
                let hash = if row.nulls[1] { None } else { toast::read(row.values[1]) };
                let id = if row.nulls[0] { Id::default() } else { uuid(row.values[0]) };
                found = Some((id, hash.map(<[u8]>::to_vec)));
            },
        );
        let (event_id, actual) = found.map_or((None, None), |(id, hash)| (Some(id), hash));
        if actual.as_deref() == Some(&head.event_hash) {
            continue;
        }
        report(Break {
            kind: BreakType::MissingEvent,
            tenant_id: Some(head.tenant_id.clone()),
            lane: Some(head.lane),
            seq: Some(head.seq),
            event_id,
            expected: Some(head.event_hash.to_vec()),
            actual,
            detail: match event_id {
                None => "the event of a saved head is gone".to_string(),
                Some(_) => "another event is in the place of a saved head".to_string(),
            },
        });
    }
}
