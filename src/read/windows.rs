//! Pages of a filter over all tenants of a log with segments: segment by segment, from where the page begins. A segment
//! has the events of a stretch of time. The statement names the bounds of that time, so that the planner leaves the
//! other segments out. What the bounds are decides how fast a page is and never what is in it: together they are all
//! time.

use crate::log::segments::{self, State};
use crate::pg::spi;
use crate::pg::tuple::Tuple;
use crate::read::page::Page;
use crate::read::probe::Order;
use immutable_format::time;

/// So many stretches are read one by one before the rest is read as one.
const SINGLE: usize = 3;

/// A stretch of time, in microseconds since 1970: the first moment, and the first one after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    from: Option<i64>,
    to: Option<i64>,
}

impl Window {
    /// Whether it has a moment of a stretch that has both its ends.
    fn meets(&self, first: Option<i64>, last: Option<i64>) -> bool {
        let ends_before = self.to.zip(first).is_some_and(|(to, first)| to <= first);
        let begins_after = self.from.zip(last).is_some_and(|(from, last)| from > last);
        !ends_before && !begins_after
    }

    /// The condition, with {} for the column; None for all time.
    fn condition(self) -> Option<String> {
        let bound = |sign: &str, at: Option<i64>| Some(format!("{{}} {sign} '{}'::timestamptz", time::format(at?)?));
        let bounds: Vec<String> = [bound(">=", self.from), bound("<", self.to)].into_iter().flatten().collect();
        (!bounds.is_empty()).then(|| bounds.join(" AND "))
    }
}

/// All time, cut at the bounds, in the order in which it is read: those stretches that have a moment between `first` and
/// `last`, those after the first `single` ones joined.
fn windows(bounds: &[i64], order: Order, first: Option<i64>, last: Option<i64>, single: usize) -> Vec<Window> {
    let ends: Vec<Option<i64>> = [None].into_iter().chain(bounds.iter().copied().map(Some)).chain([None]).collect();
    let mut all: Vec<Window> = ends.windows(2).map(|pair| Window { from: pair[0], to: pair[1] }).collect();
    all.retain(|window| window.meets(first, last));
    if order == Order::NewestFirst {
        all.reverse();
    }
    if all.len() > single.saturating_add(1) {
        let (next, end) = (all[single], all[all.len() - 1]);
        all.truncate(single);
        all.push(match order {
            Order::NewestFirst => Window { from: end.from, to: next.to },
            Order::OldestFirst => Window { from: next.from, to: end.to },
        });
    }
    all
}

impl Page<'_> {
    /// Merges the tenants of the segment where the page begins, then of the next one, until the page is full. The page of
    /// one tenant follows the index of each.
    pub(super) fn in_windows(&mut self, each: &mut impl FnMut(Tuple<'_>)) {
        let [mut first, mut last] = self.filters.bounds();
        match self.order {
            Order::OldestFirst => first = first.max(self.after_time),
            Order::NewestFirst => last = [last, self.after_time].into_iter().flatten().min(),
        }
        let mut bounds: Vec<i64> = segments::seen()
            .iter()
            .filter(|segment| segment.state == State::Sealed)
            .map(|segment| segment.to)
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        bounds.retain(|at| time::format(*at).is_some());
        // Each lookup is a step in every table that the statement reads.
        let single = if self.looks_up() { usize::MAX } else { SINGLE };
        let mut left = self.rows;
        for window in windows(&bounds, self.order, first, last, single) {
            self.filters.window = window.condition();
            let given = self.filters.arguments.len();
            let statement = match self.is_by_tenants() {
                true => {
                    let tenants = self.tenants(usize::MAX);
                    if tenants.is_empty() {
                        continue;
                    }
                    self.merged_tenants(&tenants)
                }
                false => self.straight(),
            };
            spi::stream_planned_once(&statement, &self.filters.arguments, |tuple| {
                if left > 0 {
                    left -= 1;
                    each(tuple);
                }
            });
            self.filters.arguments.truncate(given);
            if left == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bounds: &[i64], order: Order, first: Option<i64>, last: Option<i64>) -> Vec<(Option<i64>, Option<i64>)> {
        windows(bounds, order, first, last, SINGLE).iter().map(|window| (window.from, window.to)).collect()
    }

    #[test]
    fn cuts_all_time() {
        assert_eq!(of(&[], Order::NewestFirst, None, None), [(None, None)]);
        assert_eq!(of(&[10], Order::NewestFirst, None, None), [(Some(10), None), (None, Some(10))]);
        assert_eq!(
            of(&[10, 20], Order::OldestFirst, None, None),
            [(None, Some(10)), (Some(10), Some(20)), (Some(20), None)]
        );
    }

    #[test]
    fn joins_the_rest() {
        let bounds = [10, 20, 30, 40, 50];
        assert_eq!(
            of(&bounds, Order::NewestFirst, None, None),
            [(Some(50), None), (Some(40), Some(50)), (Some(30), Some(40)), (None, Some(30))]
        );
        assert_eq!(
            of(&bounds, Order::OldestFirst, None, None),
            [(None, Some(10)), (Some(10), Some(20)), (Some(20), Some(30)), (Some(30), None)]
        );
    }

    #[test]
    fn leaves_out_what_is_not_asked_for() {
        let bounds = [10, 20, 30];
        assert_eq!(
            of(&bounds, Order::NewestFirst, None, Some(20)),
            [(Some(20), Some(30)), (Some(10), Some(20)), (None, Some(10))]
        );
        assert_eq!(of(&bounds, Order::NewestFirst, Some(10), Some(19)), [(Some(10), Some(20))]);
        assert_eq!(of(&bounds, Order::OldestFirst, Some(25), None), [(Some(20), Some(30)), (Some(30), None)]);
    }
}
