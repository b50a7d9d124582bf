//! The ways in which a page can be read, the choice among them, and the reading itself.

use crate::log::segments;
use crate::pg::error::{debug, internal};
use crate::pg::spi;
use crate::pg::tuple::Tuple;
use crate::read::filter::LeadFilter;
use crate::read::lead::ReadPlan;
use crate::read::page::Page;
use crate::read::probe::{actions, has_search_index, LIGHT};
use std::fmt;

/// How many of the next rows are looked through for the page.
const WALKED: usize = 2500;

/// The same where the targets of each one have to be looked up.
const WALKED_BY_TARGET: usize = 1000;

/// The same before a search is left to its index.
const WALKED_SEARCHING: usize = 5000;

/// The same for several filters that are all frequent.
const WALKED_FAR: usize = 20_000;

/// So many tenants are merged without looking through the next rows first.
const FEW_TENANTS: usize = 50;

/// A filter with fewer entries has all of them put in order, whatever tenants they are of, if
/// nothing but the index is read.
const LISTED: i64 = 5000;

/// The same if each entry's event is read too.
const LISTED_BY_EVENT: i64 = LIGHT;

/// The same two in a log with segments, where the segment of the page's end is soon read instead, and an event is looked
/// up in every segment.
const LISTED_IN_SEGMENTS: i64 = LIGHT;
const LISTED_IN_SEGMENTS_BY_EVENT: i64 = 200;

/// So many lookups in all segments take as long as planning a statement for each segment, which looks up in it alone.
const LOOKED_UP: i64 = 5000;

/// A way to read a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// Puts all entries of the lead filter in order, which are few.
    ListEntries,
    /// Looks for the page among so many next rows of all. It may not be there as a whole; then
    /// another way is tried.
    Walk(usize),
    /// Looks for the page tenant by tenant, in stretches of time that grow. The first one holds a
    /// few times so many rows.
    Widen(usize),
    /// Puts all that the index for searches finds in order.
    SearchIndex,
    /// Merges the actions that a pattern matches, each in the order of the index. There may be too
    /// many actions for that; then another way is tried.
    MergeActions,
    /// Puts all that pass the filters in order, through whatever index finds them.
    Gather,
    /// Merges the tenants, each in the order of the lead filter's index.
    MergeTenants,
    /// The same, one segment after the other.
    MergeInSegments,
    /// Follows the order of the lead filter's index.
    FollowIndex,
}

impl fmt::Display for Strategy {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Strategy::ListEntries => "list entries",
            Strategy::Walk(rows) => return write!(out, "walk {rows} rows"),
            Strategy::Widen(_) => "widen stretches of time",
            Strategy::SearchIndex => "search index",
            Strategy::MergeActions => "merge actions",
            Strategy::Gather => "gather",
            Strategy::MergeTenants => "merge tenants",
            Strategy::MergeInSegments => "merge tenants in segments",
            Strategy::FollowIndex => "follow index",
        })
    }
}

impl Page<'_> {
    /// Gives the page's rows to `each`; says how they were read, here and to whoever reads messages
    /// of level DEBUG1.
    pub fn read(mut self, mut each: impl FnMut(Tuple<'_>)) -> Strategy {
        let has_segments = segments::may_be();
        // In a log with segments each tenant costs a step in each of them, and the next rows of all cost the least.
        let walks = has_segments && self.is_by_tenants() && !self.plan.lead.is_target() && self.rows <= WALKED / 4;
        let first = walks.then_some(Strategy::Walk(WALKED));
        if let Some(strategy) = first.filter(|strategy| self.read_by(*strategy, &mut each)) {
            return self.was_read_by(strategy);
        }
        for strategy in self.strategies(has_segments) {
            if Some(strategy) != first && self.read_by(strategy, &mut each) {
                return self.was_read_by(strategy);
            }
        }
        internal("no strategy has read the page")
    }

    fn was_read_by(&self, strategy: Strategy) -> Strategy {
        debug(format_args!("page read by: {strategy}, lead filter: {}", self.plan.lead));
        strategy
    }

    /// Gives the page's rows to `each`; says no, and gives none, where this way does not find the
    /// page as a whole.
    fn read_by(&mut self, strategy: Strategy, each: &mut impl FnMut(Tuple<'_>)) -> bool {
        let statement = match strategy {
            Strategy::Walk(rows) => {
                return spi::read_if(&self.walk(rows), &self.filters.arguments, self.rows, each);
            }
            Strategy::Widen(rows) => {
                self.widen(rows, each);
                return true;
            }
            Strategy::MergeInSegments => {
                self.in_windows(each);
                return true;
            }
            Strategy::MergeActions => match actions(&self.filters, self.is_limited) {
                Some(actions) => self.merged_actions(actions),
                None => return false,
            },
            Strategy::ListEntries => self.listed(),
            Strategy::SearchIndex => self.searched(),
            Strategy::Gather => self.gathered(),
            Strategy::MergeTenants => {
                let tenants = self.tenants(usize::MAX);
                self.merged_tenants(&tenants)
            }
            Strategy::FollowIndex => self.straight(),
        };
        spi::stream_planned_once(&statement, &self.filters.arguments, each);
        true
    }

    /// The ways to read the page, in the order in which they are tried. The last one always gives
    /// it.
    pub fn strategies(&self, has_segments: bool) -> Vec<Strategy> {
        let ReadPlan { lead, is_frequent } = self.plan;
        if self.is_by_tenants() && !is_frequent && self.has_few_entries(has_segments) {
            return vec![self.of_few_entries(has_segments)];
        }
        if has_segments && self.is_by_tenants() && self.other_conditions().is_empty() && !self.is_reversed {
            return vec![Strategy::MergeInSegments];
        }
        let is_searchable = lead == LeadFilter::Search && !self.is_limited && self.filters.searched.is_some();
        let is_indexed = is_searchable && has_search_index();
        let walks = self.walks(is_indexed);
        let mut strategies: Vec<Strategy> =
            walks.into_iter().filter(|rows| self.rows <= rows / 4).map(Strategy::Walk).collect();
        let is_ranged = self.filters.pattern.as_ref().is_some_and(|pattern| pattern.range.is_some());
        strategies.extend(match lead {
            _ if has_segments && self.is_by_tenants() && !self.is_reversed && self.looks_many_up() => {
                vec![Strategy::MergeInSegments]
            }
            _ if self.is_by_tenants() && !self.other_conditions().is_empty() => {
                vec![Strategy::Widen(walks[1].max(WALKED))]
            }
            _ if self.is_by_tenants() => vec![Strategy::MergeTenants],
            _ if is_indexed => vec![Strategy::SearchIndex],
            LeadFilter::Pattern if is_ranged => vec![Strategy::MergeActions, Strategy::Gather],
            LeadFilter::Pattern => vec![Strategy::MergeActions, Strategy::FollowIndex],
            // Each entry's event is looked up in all segments that the statement names.
            _ if has_segments && lead.is_target() && !self.is_reversed => vec![Strategy::MergeInSegments],
            _ => vec![Strategy::FollowIndex],
        });
        strategies
    }

    /// How many of the next rows are looked through, at first and then; 0 is none.
    fn walks(&self, is_indexed: bool) -> [usize; 2] {
        let near = if self.plan.lead.is_target() { WALKED_BY_TARGET } else { WALKED };
        match self.plan.lead {
            // The index gives all that it finds, in no order, which costs much unless it is rare.
            LeadFilter::Search if is_indexed => [0, WALKED_SEARCHING],
            // These read the next rows in any case, as far as they must.
            LeadFilter::Search | LeadFilter::Page => [0, 0],
            // So far only where every filter is frequent and only what passes all of them is rare.
            _ if self.plan.is_frequent => [near, WALKED_FAR],
            LeadFilter::Pattern => [near, 0],
            _ if self.is_by_tenants() && self.tenants(FEW_TENANTS + 1).len() > FEW_TENANTS => [near, 0],
            _ => [0, 0],
        }
    }

    /// Whether each entry's target or event is looked up and may not pass, so that entries are looked up that no page shows.
    pub(super) fn looks_up(&self) -> bool {
        self.filters.target_exists().is_some() && !self.other_conditions().is_empty()
    }

    fn looks_many_up(&self) -> bool {
        self.looks_up() && self.count_entries(LOOKED_UP) >= LOOKED_UP
    }

    fn has_few_entries(&self, has_segments: bool) -> bool {
        let most = match (self.other_conditions().is_empty(), has_segments) {
            (true, false) => LISTED,
            (true, true) => LISTED_IN_SEGMENTS,
            (false, true) if self.plan.lead.is_target() => LISTED_IN_SEGMENTS_BY_EVENT,
            (false, _) => LISTED_BY_EVENT,
        };
        self.count_entries(most) < most
    }

    /// An entry's event is looked up in every segment. Where all of them are needed, they are read at once.
    fn of_few_entries(&self, has_segments: bool) -> Strategy {
        match has_segments && !self.plan.lead.is_target() && !self.other_conditions().is_empty() {
            true => Strategy::Gather,
            false => Strategy::ListEntries,
        }
    }
}
