//! How many events pass a page's filters: counted as far as that is cheap, and beyond it estimated.

use crate::access::lent::with_rights_of_owner;
use crate::log::segments;
use crate::pg::datum::{uuid, Datum};
use crate::pg::spi::{self, Counted};
use crate::pg::toast;
use crate::pg::tuple::Values;
use crate::read::estimate;
use crate::read::filter::{where_all, Filters, LeadFilter, Pattern};
use crate::read::probe::{actions, found, from, pages, whole_tenant, Source, ENTRIES_A_PAGE};
use crate::read::query::Query;
use crate::settings;
use immutable_format::Id;
use std::collections::HashSet;

/// How many events pass the filters.
pub struct Total {
    pub events: i64,
    /// Whether they were counted.
    pub exact: bool,
}

/// Most lanes of the log whose numbers are read, which takes two steps of an index each.
const LANES: usize = 32;

/// The same of one tenant.
const LANES_OF_TENANT: usize = 1024;

/// Counts what passes the filters. It looks at no more than `immutable.max_exact_total` entries of
/// the lead's index, and touches a tenth as many pages of the database; beyond that it is an
/// estimate. A caller whom row security limits gets no estimate, since it is made of everybody's
/// rows, but the number that was counted to. `is_searched`: the index for searches found the page.
pub fn total(query: &Query, is_searched: bool) -> Total {
    let Query { is_limited, is_for_other, plan, .. } = *query;
    let mut filters = query.asked.filters.clone();
    let most = i64::from(settings::MAX_EXACT_TOTAL.get());
    let is_checked = is_limited && !is_for_other;
    let tenant = is_checked.then(whole_tenant).flatten();
    if let Some(tenant_id) = &tenant {
        if filters.narrow_to(tenant_id).is_some() {
            return Total { events: 0, exact: true };
        }
    }
    let is_checked = is_checked && tenant.is_none();
    let is_searched = is_searched && tenant.is_none();
    let mut count = Count { filters, lead: plan.lead, is_checked, is_searched, most };
    let Counted { rows, whole } = match tenant {
        // The policies would ask for each event's actor, which most indexes lack, to find that it
        // does not matter.
        Some(_) => with_rights_of_owner(|| count.run()),
        None => count.run(),
    };
    match whole {
        true => Total { events: rows, exact: true },
        false if is_limited => Total { events: rows.min(most), exact: false },
        false => Total { events: estimate(&count.filters).max(rows), exact: false },
    }
}

/// A count of the events that pass the filters.
struct Count<'c> {
    filters: Filters<'c>,
    lead: LeadFilter,
    /// Whether row security checks the events that are looked at.
    is_checked: bool,
    /// Whether the index for searches found the page.
    is_searched: bool,
    /// How far it counts.
    most: i64,
}

impl Count<'_> {
    /// How many events pass the filters, as far as that was looked at.
    fn run(&mut self) -> Counted {
        let (most, is_whole) = (self.most, self.filters.are_none() && !self.is_checked);
        let is_of_tenant = self.filters.tenant.is_some();
        let by_lanes = match is_whole && most > 0 {
            true => of_lanes(&self.filters, if is_of_tenant { LANES_OF_TENANT } else { LANES }),
            false => Counted { rows: 0, whole: false },
        };
        // In a log that is much larger, counting would not come to its end.
        if by_lanes.whole || by_lanes.rows > most || is_whole && !is_of_tenant && estimate::of_all() > 2 * most {
            return by_lanes;
        }
        match self.filters.searched.as_deref().filter(|_| self.is_searched) {
            Some(condition) => self.by_search(condition),
            None => self.by_lead(),
        }
    }

    /// Counts what the index for searches finds. It found the page too, so the text is rare, and
    /// this reads less than the next rows of all.
    fn by_search(&self, condition: &str) -> Counted {
        let (conditions, limit) = (self.filters.where_clause(), self.most + 1);
        let statement = format!("SELECT pg_catalog.count(*) FROM (SELECT FROM found e{conditions} LIMIT {limit}) e");
        let mut rows = 0;
        spi::read_planned_once(&found(condition, &statement), &self.filters.arguments, |row| {
            rows = number(row, 0);
        });
        Counted { rows, whole: rows <= self.most }
    }

    /// Counts what the lead filter's index finds, or of that what passes the other filters.
    fn by_lead(&mut self) -> Counted {
        if self.lead.is_target() && self.filters.conditions_but(self.lead).is_empty() {
            return self.of_target();
        }
        if let Some(rows) = self.by_index_alone() {
            return self.up_to(&rows);
        }
        let source = Source::of(self.lead);
        let (candidates, rest) = self.conditions(source);
        let from = format!("{}{}", from(self.lead, &self.filters), where_all(&candidates));
        if rest.is_empty() {
            let (order, limit) = (self.order(source), self.most + 1);
            return self.up_to(&format!("SELECT FROM {from}{order} LIMIT {limit}"));
        }
        let (rest, limit) = (rest.join(" AND "), self.most + 1);
        match self.lead.is_target() {
            true => self.passing_targets(&from, &rest, limit),
            false => self.passing_events(&from, &rest, limit),
        }
    }

    /// A statement that reads nothing but an index, if the lead filter is the only one and has such
    /// an index.
    fn by_index_alone(&mut self) -> Option<String> {
        if !self.filters.conditions_but(self.lead).is_empty() {
            return None;
        }
        if self.lead != LeadFilter::Pattern || self.filters.target_exists().is_some() {
            return None;
        }
        actions(&self.filters, self.is_checked).map(|matching| self.of_actions(&matching))
    }

    /// Counts the events with such a target, in the order of the lead filter's index, so that nothing is sorted. An event
    /// may have the same target twice.
    fn of_target(&self) -> Counted {
        let source = Source::of(self.lead);
        let mut clauses = self.filters.scope(source.tenant_id, source.created_at);
        clauses.extend(self.filters.target("t"));
        let statement = format!(
            "SELECT t.event_id, t.tenant_id FROM immutable.event_targets t{}{} LIMIT {}",
            where_all(&clauses),
            self.oldest_first(source),
            self.most + 1
        );
        let mut events: HashSet<(Id, Vec<u8>)> = HashSet::new();
        let is_of_tenant = self.filters.tenant.is_some();
        let looked = spi::read_within(&statement, &self.filters.arguments, pages(self.most), |row| {
            let tenant_id = row.at(1).filter(|_| !is_of_tenant).and_then(toast::read).unwrap_or_default();
            events.insert((row.at(0).map(uuid).unwrap_or_default(), tenant_id.to_vec()));
        });
        Counted { rows: events.len() as i64, whole: looked.whole && looked.rows <= self.most }
    }

    /// The events of each action, so that nothing but the index is read and no pattern is compared.
    fn of_actions(&mut self, matching: &[String]) -> String {
        let n = self.filters.texts(matching);
        let mut clauses = self.filters.scope("e.tenant_id", "e.created_at");
        clauses.push("e.action = k.action".to_string());
        let (order, most) = (self.oldest_first(Source::of(LeadFilter::Action)), self.most + 1);
        format!(
            "SELECT FROM pg_catalog.unnest(${n}::text[]) k(action), \
             LATERAL (SELECT FROM immutable.events e{}{order} LIMIT {most}) e LIMIT {most}",
            where_all(&clauses)
        )
    }

    /// The conditions that the lead filter's index answers, and those that are left.
    fn conditions(&self, source: &Source) -> (Vec<String>, Vec<String>) {
        let filters = &self.filters;
        let mut candidates = filters.scope(source.tenant_id, source.created_at);
        let mut rest = filters.conditions_but(self.lead);
        match (self.lead, &filters.pattern) {
            (lead, _) if lead.is_target() => candidates.extend(filters.target("t")),
            (LeadFilter::Search, _) => rest.extend(filters.conditions_of(self.lead)),
            // The index finds the range alone.
            (LeadFilter::Pattern, Some(Pattern { range, like })) => {
                candidates.extend(Pattern { range: *range, like: None }.on("e.action"));
                rest.extend(Pattern { range: None, like: *like }.on("e.action"));
            }
            _ => candidates.extend(filters.conditions_of(self.lead)),
        }
        if !self.lead.is_target() {
            rest.extend(filters.target_exists());
        }
        (candidates, rest)
    }

    /// The order that the candidates are counted in.
    fn order(&self, source: &Source) -> String {
        match (self.lead, self.filters.tenant) {
            // The order of the log. Under row security that would lead past everybody's events.
            (LeadFilter::Page, None) if self.is_checked => String::new(),
            (LeadFilter::Page, None) => " ORDER BY e.created_at".to_string(),
            (LeadFilter::Pattern | LeadFilter::Search, _) => String::new(),
            _ => self.oldest_first(source),
        }
    }

    /// The order of the lead filter's index from its other end: it begins with the oldest events, which VACUUM has seen.
    /// It ends before the id, which the indexes of segments do not have. The entries of all tenants in several tables come
    /// in any order, because merging them would cost more than counting.
    fn oldest_first(&self, source: &Source) -> String {
        match self.filters.tenant.is_none() && segments::may_be() {
            true => String::new(),
            false => format!(" ORDER BY {} DESC, {}", source.tenant_id, source.created_at),
        }
    }

    /// Counts the events that have such a target and pass the rest. An event may have the same
    /// target twice.
    fn passing_targets(&self, from: &str, rest: &str, limit: i64) -> Counted {
        let statement = format!(
            "SELECT pg_catalog.count(DISTINCT (e.tenant_id, e.id)) FILTER (WHERE {rest}), pg_catalog.count(*) \
             FROM (SELECT e.* FROM {from} LIMIT {limit}) e"
        );
        let (mut passed, mut looked) = (0, 0);
        spi::read_planned_once(&statement, &self.filters.arguments, |row| {
            (passed, looked) = (number(row, 0), number(row, 1));
        });
        Counted { rows: passed, whole: looked <= self.most }
    }

    /// Counts the events that pass the rest.
    fn passing_events(&self, from: &str, rest: &str, limit: i64) -> Counted {
        let statement = format!("SELECT ({rest}) IS TRUE FROM (SELECT e.* FROM {from} LIMIT {limit}) e");
        // Every event is looked at, in the table. A caller who is bound to an actor did not ask for
        // that filter.
        let pages = if self.filters.bound { pages(self.most) } else { pages(self.most) * ENTRIES_A_PAGE };
        let mut passed = 0;
        let looked = spi::read_within(&statement, &self.filters.arguments, pages, |row| {
            passed += i64::from(row.at(0).is_some_and(Datum::bool));
        });
        Counted { rows: passed, whole: looked.whole && looked.rows <= self.most }
    }

    /// Counts the rows of a query that gives no more than `most` and one.
    fn up_to(&self, rows: &str) -> Counted {
        let counted = spi::count_within(rows, &self.filters.arguments, pages(self.most));
        Counted { whole: counted.whole && counted.rows <= self.most, ..counted }
    }
}

/// Counts all events of the tenant or of the log by the numbers in its lanes. These have no gaps: a
/// statement that sees an event of a lane sees all before it.
fn of_lanes(filters: &Filters, most: usize) -> Counted {
    let (tenant, before) = match filters.tenant {
        Some(n) => (format!("e.tenant_id = ${n}"), "e.lane < h.lane"),
        None => ("true".to_string(), "(e.tenant_id, e.lane) < (h.tenant_id, h.lane)"),
    };
    // The last event of the last lane, of the lane before it, and so on. No segment has one.
    let head = |before: &str| {
        format!(
            "(SELECT e.tenant_id, e.lane, e.seq FROM ONLY immutable.events e WHERE {tenant}{before} \
             ORDER BY e.tenant_id DESC, e.lane DESC, e.seq DESC LIMIT 1)"
        )
    };
    let statement = format!(
        "WITH RECURSIVE h(tenant_id, lane, seq) AS ({} UNION ALL SELECT n.* FROM h, LATERAL {} n) \
         SELECT least(pg_catalog.sum(1::numeric + h.seq - (SELECT e.seq FROM immutable.events e \
             WHERE e.tenant_id = h.tenant_id AND e.lane = h.lane ORDER BY e.seq LIMIT 1)), {})::bigint, pg_catalog.count(*) \
         FROM (SELECT h.* FROM h LIMIT {}) h",
        head(""),
        head(&format!(" AND {before}")),
        i64::MAX,
        most + 1
    );
    let mut all = Counted { rows: 0, whole: true };
    spi::read_planned_once(&statement, &filters.arguments, |row| {
        if let (Some(events), Some(lanes)) = (row.at(0), row.at(1)) {
            all = Counted { rows: events.i64(), whole: lanes.i64() <= most as i64 };
        }
    });
    all
}

fn number(row: &Values, place: usize) -> i64 {
    row.at(place).map_or(0, Datum::i64)
}

/// How many events pass the filters by the planner's estimate. The planner has no statistics about
/// tenants, since EXPLAIN would show them to everybody. A tenant's share of the log is known from
/// its lanes, whose numbers have no gaps.
fn estimate(filters: &Filters) -> i64 {
    if filters.tenant.is_none() {
        return estimate::of_passing(filters);
    }
    let of_tenant = of_lanes(filters, LANES_OF_TENANT).rows;
    let share = of_tenant as f64 / estimate::of_all().max(1) as f64;
    (estimate::of_passing(&filters.in_any_tenant()) as f64 * share) as i64
}
