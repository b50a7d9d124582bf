//! The link rule: an event follows the last one of its lane, carries the hash of that event and the
//! next number. [`next`] applies the rule when an event is written, [`Walk`] when a lane is read
//! back.

use crate::hash::Hash;
use crate::id::{uuid_text, Id};
use crate::pruning::Begin;
use crate::time;

/// The last event of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Its position in the lane, from 1.
    pub seq: i64,
    /// Its hash.
    pub event_hash: Hash,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
}

/// The position of the next event of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its position in the lane, from 1.
    pub seq: i64,
    /// The hash of the event before it; `None` if it is the first.
    pub previous_event_hash: Option<Hash>,
    /// Microseconds since 1970-01-01T00:00:00Z. Later than every event before it in the lane.
    pub created_at: i64,
}

/// Returns the position after `tail` (`None`: the lane is empty) when the wall clock shows `now`,
/// in microseconds since 1970. Returns `None` after the greatest seq and the greatest time, which
/// no honest lane reaches.
pub fn next(tail: Option<&Tail>, now: i64) -> Option<Link> {
    let Some(tail) = tail else {
        return Some(Link { seq: 1, previous_event_hash: None, created_at: now });
    };
    let created_at = now.max(tail.created_at.checked_add(1)?);
    let link = Link { seq: tail.seq.checked_add(1)?, previous_event_hash: Some(tail.event_hash), created_at };
    (created_at <= time::MAX).then_some(link)
}

/// The kinds of breaks, which are evidence of tampering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakType {
    /// The content of an event is not what its hash says.
    HashMismatch,
    /// An event does not carry the hash of the one before it, or stands in the wrong lane or log.
    ChainBreak,
    /// An event that must be there is not.
    MissingEvent,
    /// The table of targets does not say what the events say.
    TargetMismatch,
    /// A value is erased without a record of its erasure, or an erased value is back.
    ErasureMismatch,
    /// An event, or the tree over all events, is not what a checkpoint says.
    CheckpointMismatch,
}

impl BreakType {
    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            BreakType::HashMismatch => "hash_mismatch",
            BreakType::ChainBreak => "chain_break",
            BreakType::MissingEvent => "missing_event",
            BreakType::TargetMismatch => "target_mismatch",
            BreakType::ErasureMismatch => "erasure_mismatch",
            BreakType::CheckpointMismatch => "checkpoint_mismatch",
        }
    }
}

/// A break, with the position where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The kind of break.
    pub kind: BreakType,
    /// The tenant, if it is known.
    pub tenant_id: Option<String>,
    /// The lane, if it is known.
    pub lane: Option<i16>,
    /// The position in the lane, if it is known.
    pub seq: Option<i64>,
    /// The event, if it is known.
    pub event_id: Option<Id>,
    /// The hash or commitment that had to be there.
    pub expected: Option<Vec<u8>>,
    /// The hash or commitment that is there.
    pub actual: Option<Vec<u8>>,
    /// What is wrong, in words.
    pub detail: String,
}

/// The part of a stored event that its links need.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The tenant whose event it is.
    pub tenant_id: &'a str,
    /// The lane.
    pub lane: i16,
    /// The position in the lane.
    pub seq: i64,
    /// The id of the event.
    pub id: Id,
    /// The log's identity, which the first event of a lane has.
    pub log_id: Option<Id>,
    /// The stored hash of the event before it.
    pub previous_event_hash: Option<&'a [u8]>,
    /// The stored hash of the event.
    pub event_hash: Option<&'a [u8]>,
    /// The hash of the row's document, or why the row has none.
    pub recomputed: Result<Hash, &'a str>,
    /// The table that holds the row, if that is not the events table itself.
    pub stray: Option<&'a str>,
}

impl Row<'_> {
    /// Reports a row whose content is not what its hash says.
    #[inline]
    fn check_content(&self, report: &mut impl FnMut(Break)) {
        match self.recomputed {
            Ok(hash) if self.event_hash == Some(&hash) => {}
            Ok(hash) => report(self.broken(
                BreakType::HashMismatch,
                Some(&hash),
                self.event_hash,
                "the event's content does not hash to its event_hash".to_string(),
            )),
            Err(why) => report(self.broken(
                BreakType::HashMismatch,
                None,
                self.event_hash,
                format!("the event has no valid document: {why}"),
            )),
        }
    }

    /// The hole between the event with seq `after` and this row.
    pub fn hole_after(&self, after: i64) -> Hole<'_> {
        let Row { tenant_id, lane, seq, id, previous_event_hash, .. } = *self;
        Hole { tenant_id, lane, after, seq, id, previous_event_hash }
    }

    /// A break at this row.
    fn broken(&self, kind: BreakType, expected: Option<&[u8]>, actual: Option<&[u8]>, detail: String) -> Break {
        Break {
            kind,
            tenant_id: Some(self.tenant_id.to_string()),
            lane: Some(self.lane),
            seq: Some(self.seq),
            event_id: Some(self.id),
            expected: expected.map(<[u8]>::to_vec),
            actual: actual.map(<[u8]>::to_vec),
            detail,
        }
    }
}

/// The lane that a walk is in.
struct WalkedLane {
    tenant_id: String,
    lane: i16,
    /// The last event seen; 0 before the first.
    seq: i64,
    event_hash: Option<Vec<u8>>,
    /// Up to where events may be missing, because a record says that they were pruned.
    begin: Option<Begin>,
}

/// A hole in a lane, as [`hole`] reports it.
#[derive(Debug, Clone, Copy)]
pub struct Hole<'a> {
    /// The tenant whose lane it is.
    pub tenant_id: &'a str,
    /// The lane.
    pub lane: i16,
    /// The last event before the hole; 0 if there is none.
    pub after: i64,
    /// The event behind the hole,
    pub seq: i64,
    /// its id,
    pub id: Id,
    /// and the hash of the event before it that it carries.
    pub previous_event_hash: Option<&'a [u8]>,
}

/// What a walk comes upon.
pub enum Noted<'a> {
    /// A break.
    Break(Break),
    /// A hole, and where the lane begins since a pruning.
    Hole(Hole<'a>, Option<&'a Begin>),
}

/// Reports a hole in a lane, unless a record of a pruning says why it is there. Nothing is said about events before the
/// one that the record names: some may be there still. The event after that one must carry the hash in the record.
pub fn hole(hole: &Hole<'_>, begin: Option<&Begin>) -> Option<Break> {
    let Hole { tenant_id, lane, after, seq, id, previous_event_hash: previous } = *hole;
    let pruned = begin.map_or(0, |begin| begin.seq);
    let found = Break {
        kind: BreakType::MissingEvent,
        tenant_id: Some(tenant_id.to_string()),
        lane: Some(lane),
        seq: Some(seq),
        event_id: Some(id),
        expected: previous.map(<[u8]>::to_vec),
        actual: None,
        detail: String::new(),
    };
    let (first, last) = (after.max(pruned).saturating_add(1), seq - 1);
    if first <= last {
        let detail = match first == last {
            true => format!("the event with seq {first} is missing"),
            false => format!("the events with seq {first} to {last} are missing"),
        };
        return Some(Break { seq: Some(first), event_id: None, detail, ..found });
    }
    let begin = begin.filter(|begin| begin.seq == last && previous != Some(&begin.event_hash))?;
    Some(Break {
        kind: BreakType::ChainBreak,
        expected: Some(begin.event_hash.to_vec()),
        actual: found.expected.clone(),
        detail: "previous_event_hash is not the hash of the last event that was pruned, as its record says it"
            .to_string(),
        ..found
    })
}

/// Reports a lane that ends with seq `last`, although a record says that events up to a later one were pruned: the last
/// event of a lane is never pruned.
pub fn pruned_end(tenant_id: &str, begin: &Begin, last: i64) -> Option<Break> {
    let Begin { lane, seq, event_hash } = begin;
    (last < *seq).then(|| Break {
        kind: BreakType::MissingEvent,
        tenant_id: Some(tenant_id.to_string()),
        lane: Some(*lane),
        seq: Some(seq.saturating_add(1)),
        event_id: None,
        expected: Some(event_hash.to_vec()),
        actual: None,
        detail: format!("the events up to seq {seq} were pruned, as a record says, and none follows"),
    })
}

/// Reads rows in the order of tenant, lane and seq, and reports every break. It keeps the state of
/// one lane, whatever the number of rows.
pub struct Walk {
    log_id: Option<Id>,
    at: Option<WalkedLane>,
    /// Events read so far.
    pub events: u64,
    /// Lanes read so far.
    pub lanes: u64,
    /// Tenants read so far.
    pub tenants: u64,
}

impl Walk {
    /// Begins a walk through the log that has this identity. `None` takes the identity from the
    /// first lane.
    pub fn new(log_id: Option<Id>) -> Self {
        Walk { log_id, at: None, events: 0, lanes: 0, tenants: 0 }
    }

    /// Returns whether a row of this lane begins another lane than the row before it.
    pub fn begins_lane(&self, tenant_id: &str, lane: i16) -> bool {
        self.at.as_ref().is_none_or(|at| at.lane != lane || at.tenant_id != tenant_id)
    }

    /// Begins a lane. `before` is the seq and the hash of the stored event that the first row must
    /// follow, where a check begins in the middle of a lane. `begin` says up to where events were pruned.
    pub fn begin_lane(&mut self, tenant_id: &str, lane: i16, before: Option<(i64, Vec<u8>)>, begin: Option<Begin>) {
        self.lanes += 1;
        if self.at.as_ref().is_none_or(|at| at.tenant_id != tenant_id) {
            self.tenants += 1;
        }
        let (seq, event_hash) = before.map_or((0, None), |(seq, hash)| (seq, Some(hash)));
        self.at = Some(WalkedLane { tenant_id: tenant_id.to_string(), lane, seq, event_hash, begin });
    }

    /// Returns the seq and the hash of the last event that was read of the current lane; seq 0
    /// before the first event.
    pub fn last(&self) -> (i64, Option<&[u8]>) {
        self.at.as_ref().map_or((0, None), |at| (at.seq, at.event_hash.as_deref()))
    }

    /// Returns up to where events of the current lane were pruned, if they were.
    pub fn begin(&self) -> Option<&Begin> {
        self.at.as_ref()?.begin.as_ref()
    }

    /// Goes on in the same lane behind `before`, the seq and hash of an event, where a filter has
    /// left out what is between.
    pub fn skip_to(&mut self, before: (i64, Option<Vec<u8>>)) {
        if let Some(at) = self.at.as_mut() {
            (at.seq, at.event_hash) = before;
        }
    }

    /// Reads the next row and reports what is wrong with it and with its link to the row before.
    pub fn push(&mut self, row: &Row<'_>, mut report: impl FnMut(Break)) {
        self.push_noting(row, |noted| match noted {
            Noted::Break(found) => report(found),
            Noted::Hole(found, begin) => hole(&found, begin).into_iter().for_each(&mut report),
        });
    }

    /// The same, where it is not known yet which holes a record explains.
    pub fn push_noting(&mut self, row: &Row<'_>, mut note: impl FnMut(Noted<'_>)) {
        if self.begins_lane(row.tenant_id, row.lane) {
            self.begin_lane(row.tenant_id, row.lane, None, None);
        }
        self.events += 1;
        row.check_content(&mut |found| note(Noted::Break(found)));
        let Some(at) = self.at.as_mut() else { return };
        let expected = at.event_hash.as_deref();
        if let Some(table) = row.stray {
            let detail = format!("the event is stored in {table}, not in the events table");
            note(Noted::Break(row.broken(BreakType::ChainBreak, expected, row.previous_event_hash, detail)));
            return;
        }
        if row.seq > at.seq.saturating_add(1) {
            note(Noted::Hole(row.hole_after(at.seq), at.begin.as_ref()));
        } else if row.seq <= at.seq {
            let detail = format!("seq {} occurs more than once, or is below 1", row.seq);
            note(Noted::Break(row.broken(BreakType::ChainBreak, expected, row.previous_event_hash, detail)));
            return; // the lane goes on from the first of them
        } else if row.previous_event_hash != expected {
            let detail = "previous_event_hash is not the hash of the event before it in the lane".to_string();
            note(Noted::Break(row.broken(BreakType::ChainBreak, expected, row.previous_event_hash, detail)));
        }
        if row.seq == 1 {
            match (self.log_id, row.log_id) {
                (None, own) => self.log_id = own,
                (Some(log), own) if own == Some(log) => {}
                (Some(log), own) => {
                    let begins = own.map_or("no log".to_string(), |id| format!("log {}", uuid_text(&id)));
                    let detail = format!("the lane belongs to {begins}, but this is log {}", uuid_text(&log));
                    note(Noted::Break(row.broken(BreakType::ChainBreak, None, row.previous_event_hash, detail)));
                }
            }
        }
        at.seq = row.seq;
        at.event_hash = row.event_hash.map(<[u8]>::to_vec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_number_only_go_forward() {
        let tail = Tail { seq: 7, event_hash: [1; 32], created_at: 1000 };
        let link = next(Some(&tail), 5000).unwrap();
        assert_eq!((link.seq, link.previous_event_hash, link.created_at), (8, Some([1; 32]), 5000));
        assert_eq!(next(Some(&tail), 10).unwrap().created_at, 1001); // the clock went back
        assert_eq!(next(None, 10).unwrap(), Link { seq: 1, previous_event_hash: None, created_at: 10 });
    }

    #[test]
    fn a_tail_that_nothing_can_follow() {
        let tail = Tail { seq: i64::MAX, event_hash: [1; 32], created_at: 0 };
        assert_eq!(next(Some(&tail), 1), None);
        for created_at in [time::MAX, i64::MAX] {
            assert_eq!(next(Some(&Tail { seq: 1, event_hash: [1; 32], created_at }), 1), None);
        }
    }
}
