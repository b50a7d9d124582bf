//! How many events pass a page's filters: counted as far as that is cheap, and beyond it estimated.

use crate::pg::spi::{self, Counted};
use crate::pg::tuple::Values;
use crate::read::filter::{where_all, Filters, Lead, Pattern};
use crate::read::probe::{actions, found, pages, whole_tenant, with_rights_of_owner, Source, ENTRIES_A_PAGE};
use crate::settings;

/// How many events pass the filters.
pub struct Total {
    pub events: i64,
    /// Whether they were counted.
    pub exact: bool,
}

/// Lanes of the log whose numbers are read: two steps of an index each.
const LANES: usize = 32;

/// The same of one tenant, which may have as many.
const LANES_OF_TENANT: usize = 1024;

/// Looks at no more than `immutable.max_exact_total` entries of the lead's index, and touches a tenth as many pages of the
/// database; beyond that it is an estimate. Whom row security limits gets no estimate, since it is made of everybody's
/// rows, but the number that was counted to. `is_searched`: the index for searches found the page.
pub fn total(mut filters: Filters, lead: Lead, limited: bool, is_searched: bool) -> Total {
    let most = i64::from(settings::MAX_EXACT_TOTAL.get());
    let Counted { rows, whole } = match limited.then(|| whole_tenant()).flatten() {
        Some(tenant_id) if !filters.narrow_to(&tenant_id) => Counted { rows: 0, whole: true },
        // The policies would ask for each event's actor, which most indexes lack, to find that it does not matter.
        Some(_) => with_rights_of_owner(|| counted(&mut filters, lead, false, false, most)),
        None => counted(&mut filters, lead, limited, is_searched, most),
    };
    match whole {
        true => Total { events: rows, exact: true },
        false if limited => Total { events: rows.min(most), exact: false },
        false => Total { events: estimate(&filters).max(rows), exact: false },
    }
}

/// How many events pass the filters, as far as that was looked at.
pub fn counted(filters: &mut Filters, lead: Lead, limited: bool, is_searched: bool, most: i64) -> Counted {
    let is_whole = filters.are_none() && !limited;
    let by_lanes = match is_whole && most > 0 {
        true => of_lanes(filters, if filters.tenant.is_some() { LANES_OF_TENANT } else { LANES }),
        false => Counted { rows: 0, whole: false },
    };
    // Of a log that is much larger nothing would come of counting.
    if by_lanes.whole || by_lanes.rows > most || is_whole && filters.tenant.is_none() && planned_events("") > 2 * most {
        return by_lanes;
    }
    match filters.searched.clone().filter(|_| is_searched) {
        Some(condition) => by_search(filters, &condition, most),
        None => look(filters, lead, limited, most),
    }
}

/// All events of the tenant or of the log, by the numbers of its lanes, which have no gaps: whatever the statement sees of
/// a lane, it sees everything before that.
fn of_lanes(filters: &Filters, most: usize) -> Counted {
    let (tenant, before) = match filters.tenant {
        Some(n) => (format!("e.tenant_id = ${n}"), "e.lane < h.lane"),
        None => ("true".to_string(), "(e.tenant_id, e.lane) < (h.tenant_id, h.lane)"),
    };
    // The last event of the last lane, of the lane before it, and so on.
    let head = |before: &str| {
        format!(
            "(SELECT e.tenant_id, e.lane, e.seq FROM immutable.events e WHERE {tenant}{before} \
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

/// The order of the lead's index from its other end: the oldest events first, which VACUUM has seen.
fn oldest_first(source: &Source) -> String {
    format!(" ORDER BY {} DESC, {}, {}", source.tenant_id, source.created_at, source.id)
}

fn look(filters: &mut Filters, lead: Lead, limited: bool, most: i64) -> Counted {
    let is_alone = filters.own(lead).is_empty();
    let by_target = matches!(lead, Lead::TargetId | Lead::TargetType);
    if by_target && is_alone {
        return up_to(&by_target_alone(filters, lead, most), filters, most);
    }
    if lead == Lead::Pattern && is_alone && filters.has_target().is_none() {
        if let Some(matching) = actions(filters, limited) {
            let rows = by_action(filters, matching, most);
            return up_to(&rows, filters, most);
        }
    }
    let source = Source::of(lead);
    let mut candidates = filters.scope(source.tenant_id, source.created_at);
    let mut rest = filters.own(lead);
    match (lead, &filters.pattern) {
        (Lead::TargetId | Lead::TargetType, _) => candidates.extend(filters.target("t")),
        (Lead::Search, _) => rest.extend(filters.own_of(lead)),
        // The index finds the range alone.
        (Lead::Pattern, Some(Pattern { range, like })) => {
            candidates.extend(Pattern { range: *range, like: None }.on("e.action"));
            rest.extend(Pattern { range: None, like: *like }.on("e.action"));
        }
        _ => candidates.extend(filters.own_of(lead)),
    }
    if !by_target {
        rest.extend(filters.has_target());
    }
    let candidates = where_all(&candidates);
    let from = source.from;
    if rest.is_empty() {
        let order = match (lead, filters.tenant) {
            // The log's own order. Under row security it would lead past everybody's events.
            (Lead::Page, None) if limited => String::new(),
            (Lead::Page, None) => " ORDER BY e.created_at, e.id".to_string(),
            (Lead::Pattern | Lead::Search, _) => String::new(),
            _ => oldest_first(source),
        };
        return up_to(&format!("SELECT FROM {from}{candidates}{order} LIMIT {}", most + 1), filters, most);
    }
    let (rest, most_looked) = (rest.join(" AND "), most + 1);
    let mut passed = 0;
    if by_target {
        // An event may have such a target twice.
        let mut at = 0;
        let statement = format!(
            "SELECT pg_catalog.count(DISTINCT (e.tenant_id, e.id)) FILTER (WHERE {rest}), pg_catalog.count(*) \
             FROM (SELECT e.* FROM {from}{candidates} LIMIT {most_looked}) e"
        );
        spi::read_planned_once(&statement, &filters.arguments, |row| {
            (passed, at) = (number(row, 0), number(row, 1));
        });
        return Counted { rows: passed, whole: at <= most };
    }
    let statement = format!("SELECT ({rest}) IS TRUE FROM (SELECT e.* FROM {from}{candidates} LIMIT {most_looked}) e");
    // Every event is looked at, in the table; whose own the filters are not was asked for the actor's alone.
    let pages = if filters.bound { pages(most) } else { pages(most) * ENTRIES_A_PAGE };
    let looked = spi::read_within(&statement, &filters.arguments, pages, |row| {
        passed += i64::from(row.at(0).is_some_and(|passes| passes.bool()));
    });
    Counted { rows: passed, whole: looked.whole && looked.rows <= most }
}

/// Counts the rows of a query that gives one more than `most` at the most.
fn up_to(rows: &str, filters: &Filters, most: i64) -> Counted {
    let counted = spi::count_within(rows, &filters.arguments, pages(most));
    Counted { whole: counted.whole && counted.rows <= most, ..counted }
}

/// All that the index for searches finds, as the page was found: of a rare text that is less than the next rows of all.
fn by_search(filters: &Filters, condition: &str, most: i64) -> Counted {
    let mut rows = 0;
    let statement =
        format!("SELECT pg_catalog.count(*) FROM (SELECT FROM found e{} LIMIT {}) e", filters.where_clause(), most + 1);
    spi::read_planned_once(&found(condition, &statement), &filters.arguments, |row| {
        rows = number(row, 0);
    });
    Counted { rows, whole: rows <= most }
}

/// The events with such a target, in the order of the lead's index, so that it alone is read and nothing is sorted.
fn by_target_alone(filters: &Filters, lead: Lead, most: i64) -> String {
    let source = Source::of(lead);
    let mut clauses = filters.scope(source.tenant_id, source.created_at);
    clauses.extend(filters.target("t"));
    format!(
        "SELECT DISTINCT t.tenant_id, t.created_at, t.event_id FROM immutable.event_targets t{}{} LIMIT {}",
        where_all(&clauses),
        oldest_first(source),
        most + 1
    )
}

/// Action by action, so that the index alone is read and no pattern compared.
fn by_action(filters: &mut Filters, matching: Vec<String>, most: i64) -> String {
    let n = filters.texts(&matching);
    let mut clauses = filters.scope("e.tenant_id", "e.created_at");
    clauses.push("e.action = k.action".to_string());
    let (order, most) = (oldest_first(Source::of(Lead::Action)), most + 1);
    format!(
        "SELECT FROM pg_catalog.unnest(${n}::text[]) k(action), \
         LATERAL (SELECT FROM immutable.events e{}{order} LIMIT {most}) e LIMIT {most}",
        where_all(&clauses)
    )
}

fn number(row: &Values, place: usize) -> i64 {
    row.at(place).map_or(0, |number| number.i64())
}

/// How many events the planner expects under these conditions.
fn planned_events(conditions: &str) -> i64 {
    spi::planned_rows(&format!("SELECT FROM immutable.events e{conditions}"), &[])
}

/// The planner's. About tenants it has no statistics, since EXPLAIN would tell them to everybody; a tenant's share of the
/// log is known from its lanes, whose numbers have no gaps.
fn estimate(filters: &Filters) -> i64 {
    if filters.tenant.is_none() {
        return planned_events(&filters.where_literally());
    }
    let of_tenant = of_lanes(filters, LANES_OF_TENANT).rows;
    let elsewhere = filters.in_any_tenant();
    let share = of_tenant as f64 / planned_events("").max(1) as f64;
    (planned_events(&elsewhere.where_literally()) as f64 * share) as i64
}
