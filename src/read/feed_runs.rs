//! In which order the feed gives what transactions recorded.
//!
//! A transaction holds a lane until it ends, so what it recorded there is a run of the lane's seq
//! without a gap, and the runs of a lane are in the order of commits. Transaction IDs are not: they
//! are in the order of beginnings. So a transaction waits here until those are given that were
//! before it in a lane.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// What a transaction recorded in a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pub xact: u64,
    pub tenant_id: String,
    pub lane: i16,
    /// The first seq
    pub first: i64,
    /// and the last one.
    pub last: i64,
}

/// The runs by transaction, in the order in which they may be given. Those that wait for a
/// transaction in `blocked`, directly or not, are left out.
pub fn in_order(runs: Vec<Run>, blocked: &BTreeSet<u64>) -> Vec<(u64, Vec<Run>)> {
    let waits = waits(&runs);
    let mut of: BTreeMap<u64, Vec<Run>> = BTreeMap::new();
    for run in runs {
        of.entry(run.xact).or_default().push(run);
    }
    let mut before: HashMap<u64, usize> = HashMap::new();
    for after in waits.values().flatten() {
        *before.entry(*after).or_default() += 1;
    }
    let is_free = |xact: &u64| !before.contains_key(xact) && !blocked.contains(xact);
    let mut free: BinaryHeap<Reverse<u64>> = of.keys().copied().filter(is_free).map(Reverse).collect();
    let mut order = Vec::with_capacity(of.len());
    while let Some(Reverse(xact)) = free.pop() {
        let mut own = of.remove(&xact).unwrap_or_default();
        own.sort();
        order.push((xact, own));
        for after in waits.get(&xact).into_iter().flatten() {
            if let Some(count) = before.get_mut(after) {
                *count -= 1;
                if *count == 0 && !blocked.contains(after) {
                    free.push(Reverse(*after));
                }
            }
        }
    }
    order
}

/// For each transaction those that follow it in a lane.
fn waits(runs: &[Run]) -> HashMap<u64, Vec<u64>> {
    let mut lanes: Vec<&Run> = runs.iter().collect();
    lanes.sort_by(|a, b| (&a.tenant_id, a.lane, a.first).cmp(&(&b.tenant_id, b.lane, b.first)));
    let mut waits: HashMap<u64, Vec<u64>> = HashMap::new();
    for pair in lanes.windows(2) {
        let is_same_lane = pair[0].tenant_id == pair[1].tenant_id && pair[0].lane == pair[1].lane;
        if is_same_lane && pair[0].xact != pair[1].xact {
            waits.entry(pair[0].xact).or_default().push(pair[1].xact);
        }
    }
    waits
}

/// The runs whose predecessor in the lane is not among them, which may wait for others.
pub fn first_of_lanes(runs: &[Run]) -> Vec<&Run> {
    let ends: BTreeSet<(&str, i16, i64)> = runs.iter().map(|run| (&*run.tenant_id, run.lane, run.last)).collect();
    let is_first = |run: &&Run| run.first > 1 && !ends.contains(&(&*run.tenant_id, run.lane, run.first - 1));
    runs.iter().filter(is_first).collect()
}

/// Joins runs that follow each other in a lane.
pub fn joined(runs: impl Iterator<Item = Run>) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if last.lane == run.lane && last.last + 1 == run.first && last.tenant_id == run.tenant_id => {
                last.last = run.last;
            }
            _ => joined.push(run),
        }
    }
    joined
}
