//! Which segments become one, so that there are few however long the log is.

use crate::log::segments::{Segment, State};
use crate::settings::SEGMENT_EVENTS;

/// So many small segments, one after the other, become one.
const SMALL: usize = 8;

/// Beyond so many segments, the two neighbours that have the fewest events become one.
const MOST: usize = 30 + SMALL;

/// The segments that become one now, or the one that is written anew without what was pruned from it, in the order of their time; none if there are none to merge.
pub fn chosen(known: &[Segment]) -> Vec<Segment> {
    let enough = i64::from(SEGMENT_EVENTS.get());
    let sealed: Vec<&Segment> = known.iter().filter(|segment| segment.state == State::Sealed).collect();
    // Of which more than a third is pruned.
    if let Some(thinned) =
        sealed.iter().find(|segment| segment.unreadable == 0 && segment.events * 3 < segment.held * 2)
    {
        return vec![(*thinned).clone()];
    }
    let mut run: Vec<&Segment> = Vec::new();
    for segment in &sealed {
        if segment.events >= enough || segment.unreadable > 0 {
            run.clear();
            continue;
        }
        run.push(segment);
        let events: i64 = run.iter().map(|segment| segment.events).sum();
        if run.len() >= SMALL || run.len() > 1 && events >= enough {
            return run.into_iter().cloned().collect();
        }
    }
    if sealed.len() <= MOST {
        return Vec::new();
    }
    let can_merge = |pair: &&[&Segment]| pair.iter().all(|segment| segment.unreadable == 0);
    let fewest = sealed.windows(2).filter(can_merge).min_by_key(|pair| pair[0].events + pair[1].events);
    fewest.map_or_else(Vec::new, |pair| pair.iter().map(|segment| (*segment).clone()).collect())
}

/// Whether there are so many segments that some are merged before another one is made: whoever reads the log opens and
/// locks all of them.
pub fn has_too_many(known: &[Segment]) -> bool {
    known.iter().filter(|segment| segment.state == State::Sealed).count() > MOST && !chosen(known).is_empty()
}
