//! Events that are not in an export because they were pruned. The record of that is an event of the tenant, which may stand
//! behind the hole that it explains.

use super::read::Event;
use crate::hash::Hash;
use crate::id::Id;
use crate::link::{hole, pruned_end, Break, BreakType, Hole};
use crate::pruning::Begin;
use std::collections::HashMap;

/// How many holes, and breaks behind them, wait for a record at most.
const WAITING: usize = 100_000;

/// What waits until the records of the tenant are known. Breaks wait too, so that they keep their order.
enum Waiting {
    Hole { lane: i16, after: i64, seq: i64, id: Id, previous_event_hash: Option<Vec<u8>> },
    Break(Break),
}

/// The holes in the lanes of one tenant.
#[derive(Default)]
pub struct Holes {
    waiting: Vec<Waiting>,
    tenant_id: String,
    begins: HashMap<i16, Begin>,
    /// The last seq of each lane that has ended.
    ends: HashMap<i16, i64>,
    pruned: u64,
}

impl Holes {
    /// Adds a hole.
    pub fn add(&mut self, hole: &Hole<'_>, report: &mut impl FnMut(Break)) {
        if self.waiting.len() >= WAITING {
            self.flush(report);
        }
        if self.tenant_id != hole.tenant_id {
            self.tenant_id = hole.tenant_id.to_string();
        }
        let Hole { lane, after, seq, id, previous_event_hash, .. } = *hole;
        let previous_event_hash = previous_event_hash.map(<[u8]>::to_vec);
        self.waiting.push(Waiting::Hole { lane, after, seq, id, previous_event_hash });
    }

    /// Reports a break, behind those that wait.
    pub fn broken(&mut self, found: Break, report: &mut impl FnMut(Break)) {
        if self.waiting.len() >= WAITING {
            self.flush(report);
        }
        match self.waiting.is_empty() {
            true => report(found),
            false => self.waiting.push(Waiting::Break(found)),
        }
    }

    /// Notes what a record says. Of each lane the greatest seq counts.
    pub fn record(&mut self, begins: &[Begin]) {
        for begin in begins {
            let known = self.begins.entry(begin.lane).or_insert(*begin);
            if known.seq < begin.seq {
                *known = *begin;
            }
        }
    }

    /// Notes where a lane ends.
    pub fn end_lane(&mut self, lane: i16, last: i64) {
        let end = self.ends.entry(lane).or_insert(last);
        *end = last.max(*end);
    }

    /// Reports what no record explains. `is_whole` says whether every lane must be there. Returns how many events were
    /// pruned, and where lanes begin.
    pub fn end(mut self, tenant_id: &str, is_whole: bool, report: &mut impl FnMut(Break)) -> (u64, Vec<Begin>) {
        self.flush(report);
        let mut begins: Vec<Begin> = self.begins.into_values().collect();
        begins.sort_unstable_by_key(|begin| begin.lane);
        for begin in begins.iter().filter(|_| is_whole) {
            let last = self.ends.get(&begin.lane).copied().unwrap_or(0);
            if let Some(found) = pruned_end(tenant_id, begin, last) {
                report(found);
            }
        }
        (self.pruned, begins)
    }

    fn flush(&mut self, report: &mut impl FnMut(Break)) {
        for waiting in std::mem::take(&mut self.waiting) {
            let found = match waiting {
                Waiting::Break(found) => Some(found),
                Waiting::Hole { lane, after, seq, id, previous_event_hash } => {
                    let begin = self.begins.get(&lane);
                    let gone = begin.map_or(0, |begin| begin.seq.min(seq - 1) - after);
                    self.pruned += u64::try_from(gone).unwrap_or(0);
                    let previous_event_hash = previous_event_hash.as_deref();
                    hole(&Hole { tenant_id: &self.tenant_id, lane, after, seq, id, previous_event_hash }, begin)
                }
            };
            if let Some(found) = found {
                report(found);
            }
        }
    }
}

/// Records of erasures for which an export has no erased value, although it has records of prunings. If the event of such a
/// record is there, the value is back; and if it is not, it was pruned. To know that, the events have to be read again.
#[derive(Default)]
pub struct Doubts {
    recorded: HashMap<(String, Id), Vec<Hash>>,
}

impl Doubts {
    pub(super) fn add(&mut self, tenant_id: &str, id: &Id, commitment: &Hash) {
        self.recorded.entry((tenant_id.to_string(), *id)).or_default().push(*commitment);
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.recorded.is_empty()
    }

    /// Reads an event again.
    pub fn event(&self, event: &Event<'_>, report: &mut impl FnMut(Break)) {
        let position = &event.position;
        let key = (position.tenant_id.to_string(), position.id);
        for commitment in self.recorded.get(&key).into_iter().flatten().filter(|hash| !event.erased.contains(hash)) {
            report(Break {
                kind: BreakType::ErasureMismatch,
                tenant_id: Some(key.0.clone()),
                lane: None,
                seq: None,
                event_id: Some(key.1),
                expected: Some(commitment.to_vec()),
                actual: None,
                detail: "a value that was erased is back".to_string(),
            });
        }
    }
}
