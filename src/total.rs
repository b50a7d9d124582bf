//! How many events pass a page's filters: counted as far as that is cheap, and beyond it estimated.

use crate::filter::{where_all, Filters, Lead, Pattern};
use crate::function::{text, text_array};
use crate::page::{actions, found, Source};
use crate::settings;
use crate::spi;
use pgrx::pg_sys;

/// How many events pass the filters.
pub struct Total {
    pub events: i64,
    /// Whether they were counted.
    pub exact: bool,
}

/// Looks at no more than `immutable.max_exact_total` entries of the lead's index; beyond that it is an estimate. Whom
/// row security limits gets no estimate, since it is made of everybody's rows, but the number that was counted to.
/// `is_searched`: the index for searches found the page.
pub unsafe fn total(mut filters: Filters, lead: Lead, limited: bool, is_searched: bool) -> Total {
    let most = i64::from(settings::MAX_EXACT_TOTAL.get());
    let Looked { passed, at } = match filters.searched.clone().filter(|_| is_searched) {
        Some(condition) => by_search(&filters, &condition, most + 1),
        None => look(&mut filters, lead, limited, most + 1),
    };
    match at <= most {
        true => Total { events: passed, exact: true },
        false if limited => Total { events: passed.min(most), exact: false },
        false => Total { events: estimate(&filters).max(passed), exact: false },
    }
}

/// How many rows passed the filters, of how many that were looked at.
struct Looked {
    passed: i64,
    at: i64,
}

unsafe fn look(filters: &mut Filters, lead: Lead, limited: bool, most: i64) -> Looked {
    let is_alone = filters.own(lead).is_empty();
    let by_target = matches!(lead, Lead::TargetId | Lead::TargetType);
    if by_target && is_alone {
        return all_passed(by_target_alone(filters, lead, most), filters);
    }
    if lead == Lead::Pattern && is_alone && filters.has_target().is_none() {
        if let Some(matching) = actions(filters, limited) {
            let rows = by_action(filters, matching, most);
            return all_passed(rows, filters);
        }
    }
    let Source { from, created_at, tenant_id, .. } = Source::of(lead);
    let mut candidates = filters.scope(tenant_id, created_at);
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
    if rest.is_empty() {
        return all_passed(format!("SELECT FROM {from}{candidates} LIMIT {most}"), filters);
    }
    // An event may have such a target twice.
    let what = if by_target { "DISTINCT (e.tenant_id, e.id)" } else { "*" };
    let statement = format!(
        "SELECT pg_catalog.count({what}) FILTER (WHERE {}), pg_catalog.count(*) \
         FROM (SELECT e.* FROM {from}{candidates} LIMIT {most}) e",
        rest.join(" AND ")
    );
    let mut looked = Looked { passed: 0, at: 0 };
    spi::read_planned_once(&statement, &filters.types, &filters.values, |row| {
        looked = Looked { passed: row.values[0].value() as i64, at: row.values[1].value() as i64 };
    });
    looked
}

/// All that the index for searches finds, as the page was found: of a rare text that is less than the next rows of all.
unsafe fn by_search(filters: &Filters, condition: &str, most: i64) -> Looked {
    let mut counted = 0;
    let statement =
        format!("SELECT pg_catalog.count(*) FROM (SELECT FROM found e{} LIMIT {most}) e", filters.where_clause());
    spi::read_planned_once(&found(condition, &statement), &filters.types, &filters.values, |row| {
        counted = row.values[0].value() as i64;
    });
    Looked { passed: counted, at: counted }
}

unsafe fn all_passed(rows: String, filters: &Filters) -> Looked {
    let passed = count(&rows, filters);
    Looked { passed, at: passed }
}

/// How many rows a query gives.
pub unsafe fn count(rows: &str, filters: &Filters) -> i64 {
    let mut counted = 0;
    let statement = format!("SELECT pg_catalog.count(*) FROM ({rows}) e");
    spi::read_planned_once(&statement, &filters.types, &filters.values, |row| counted = row.values[0].value() as i64);
    counted
}

/// The events with such a target, in the order of the lead's index, so that it alone is read and nothing is sorted.
fn by_target_alone(filters: &Filters, lead: Lead, most: i64) -> String {
    let Source { created_at, tenant_id, .. } = Source::of(lead);
    let mut clauses = filters.scope(tenant_id, created_at);
    clauses.extend(filters.target("t"));
    format!(
        "SELECT DISTINCT t.tenant_id, t.created_at, t.event_id FROM immutable.event_targets t{} \
         ORDER BY t.tenant_id, t.created_at DESC, t.event_id DESC LIMIT {most}",
        where_all(&clauses)
    )
}

/// Action by action, so that the index alone is read and no pattern compared.
unsafe fn by_action(filters: &mut Filters, matching: Vec<String>, most: i64) -> String {
    let n = filters.argument(pg_sys::TEXTARRAYOID, text_array(&matching));
    let mut clauses = filters.scope("e.tenant_id", "e.created_at");
    clauses.push("e.action = k.action".to_string());
    format!(
        "SELECT FROM pg_catalog.unnest(${n}::text[]) k(action), \
         LATERAL (SELECT FROM immutable.events e{} LIMIT {most}) e LIMIT {most}",
        where_all(&clauses)
    )
}

/// The planner's. About tenants it has no statistics, since EXPLAIN would tell them to everybody; a tenant's share of the
/// log is known from its lanes, whose numbers have no gaps.
unsafe fn estimate(filters: &Filters) -> i64 {
    let Some(tenant) = filters.tenant else { return planned_rows(&filters.where_literally()) };
    let mut of_tenant = 0;
    // The last event of the tenant's last lane, of the lane before it, and so on.
    let head = |before: &str| {
        format!(
            "(SELECT e.lane, e.seq FROM immutable.events e WHERE e.tenant_id = ${tenant}{before} \
             ORDER BY e.lane DESC, e.seq DESC LIMIT 1)"
        )
    };
    let statement = format!(
        "WITH RECURSIVE h(lane, seq) AS ({} UNION ALL SELECT n.* FROM h, LATERAL {} n) \
         SELECT pg_catalog.sum(h.seq)::bigint FROM h",
        head(""),
        head(" AND e.lane < h.lane")
    );
    spi::read_planned_once(&statement, &filters.types, &filters.values, |row| of_tenant = row.values[0].value() as i64);
    let elsewhere = filters.in_any_tenant();
    let share = of_tenant as f64 / planned_rows("").max(1) as f64;
    (planned_rows(&elsewhere.where_literally()) as f64 * share) as i64
}

/// How many events the planner expects under a condition.
unsafe fn planned_rows(condition: &str) -> i64 {
    let mut rows = 0;
    spi::explain(&format!("EXPLAIN (FORMAT JSON) SELECT FROM immutable.events e{condition}"), |row| {
        let digits = text(row.values[0]).split("\"Plan Rows\": ").nth(1).unwrap_or_default();
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        rows = digits.parse().unwrap_or(0);
    });
    rows
}
