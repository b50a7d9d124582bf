//! Compares saved heads, and the marks of an incremental run, with the rows in their places.

use crate::pg::datum::uuid;
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::verify::scope::Scope;
use immutable_format::link::{Break, BreakType};
use immutable_format::Id;

/// Reports each saved head whose place holds another event or none.
pub fn check(scope: &Scope, report: &mut impl FnMut(Break)) {
    let marks = scope.since.iter().flat_map(|since| &since.heads);
    for head in scope.heads.iter().chain(marks).filter(|head| head.is_in(scope)) {
        pgrx::check_for_interrupts!();
        let mut found = None;
        spi::read(
            "SELECT e.id, e.event_hash FROM ONLY immutable.events e \
             WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3",
            &[Arg::text(&head.tenant_id), Arg::Int2(head.lane), Arg::Int8(head.seq)],
            |row| {
                let hash = row.at(1).and_then(toast::read);
                found = Some((row.at(0).map_or(Id::default(), uuid), hash.map(<[u8]>::to_vec)));
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
