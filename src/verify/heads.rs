//! Compares saved heads, and the marks of an incremental run, with the rows in their places. Where the event was pruned,
//! the record of that or the tree still says which event it was.

use crate::log::tree::{as_owner, View};
use crate::pg::datum::uuid;
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::verify::basis::Basis;
use crate::verify::differences::CachedTile;
use crate::verify::scope::{SavedHead, Scope};
use immutable_format::link::{Break, BreakType};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::Id;
use pgrx::notice;

/// The saved heads and marks that were compared.
#[derive(Default)]
pub struct Compared {
    pub heads: i64,
    /// How many of them say something about the events that are there.
    pub anchoring: i64,
}

/// What is in the place of a saved head.
enum Found {
    Row(Id, Option<Vec<u8>>),
    /// The record of the pruning says whether it was the last event that was pruned.
    Record(bool),
    /// The tree says whether it was this event that was pruned.
    Leaf(bool),
    /// It was pruned, and nothing says which event it was.
    Pruned,
    Nothing,
}

/// Reports each saved head whose place holds another event or none.
pub fn check(scope: &Scope, basis: &Basis, report: &mut impl FnMut(Break)) -> Compared {
    let marks = scope.since.iter().flat_map(|since| &since.heads);
    let mut compared = Compared::default();
    let mut unknown = 0;
    let mut tile = CachedTile::default();
    for head in scope.heads.iter().chain(marks).filter(|head| head.is_in(scope)) {
        pgrx::check_for_interrupts!();
        let found = find(head, basis, &mut tile);
        compared.heads += i64::from(!matches!(found, Found::Pruned));
        compared.anchoring += i64::from(!matches!(found, Found::Pruned | Found::Leaf(_)));
        let (event_id, actual, detail) = match found {
            Found::Row(_, actual) if actual.as_deref() == Some(&head.event_hash) => continue,
            Found::Record(true) | Found::Leaf(true) => continue,
            Found::Pruned => {
                unknown += 1;
                continue;
            }
            Found::Row(id, actual) => (Some(id), actual, "another event is in the place of a saved head"),
            Found::Nothing => (None, None, "the event of a saved head is gone"),
            Found::Record(false) | Found::Leaf(false) => {
                (None, None, "another event was in the place of a saved head when it was pruned")
            }
        };
        report(Break {
            kind: BreakType::MissingEvent,
            tenant_id: Some(head.tenant_id.clone()),
            lane: Some(head.lane),
            seq: Some(head.seq),
            event_id,
            expected: Some(head.event_hash.to_vec()),
            actual,
            detail: detail.to_string(),
        });
    }
    if unknown > 0 {
        notice!("{unknown} saved heads were not compared, because their events were pruned");
    }
    compared
}

fn find(head: &SavedHead, basis: &Basis, tile: &mut CachedTile) -> Found {
    let mut found = None;
    let statement = format!(
        "SELECT e.id, e.event_hash FROM immutable.events e \
         WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq = $3 AND NOT {}",
        basis.stray_event("e")
    );
    spi::read_planned_once(
        &statement,
        &[Arg::text(&head.tenant_id), Arg::Int2(head.lane), Arg::Int8(head.seq)],
        |row| {
            let hash = row.at(1).and_then(toast::read);
            found = Some(Found::Row(row.at(0).map_or(Id::default(), uuid), hash.map(<[u8]>::to_vec)));
        },
    );
    let begin = basis.begin(&head.tenant_id, head.lane).filter(|begin| head.seq <= begin.seq);
    match (found, begin) {
        (Some(found), _) => found,
        (None, Some(begin)) if head.seq == begin.seq => Found::Record(begin.event_hash == head.event_hash),
        (None, Some(_)) if head.seq >= 1 => {
            let index = || View::Statement.index_of(&head.tenant_id, head.lane, head.seq);
            let leaf = as_owner(|| index().and_then(|index| tile.leaf(index))).flatten();
            leaf.map_or(Found::Pruned, |leaf| Found::Leaf(leaf == leaf_hash(&head.event_hash)))
        }
        (None, _) => Found::Nothing,
    }
}
