//! One page of events, newest or oldest first: which statement reads it, so that it costs what the
//! page holds and not what the table does.
//!
//! Every filter has an index of (filter, tenant_id, created_at, id). Within one tenant a page is
//! the next entries of the most selective filter's index. Without a tenant it is the merge of that
//! for each tenant that has such events; the tenants are found by skipping through the index. Where
//! that costs much, the page is first looked for among the next rows of all, where a frequent value
//! is soon found.
//!
//! A caller whom row security binds to a tenant needs no such merge, and must not look for tenants:
//! PostgreSQL puts the policy's tenant into the conditions.

use crate::pg::datum::{micros, Datum};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Tuple;
use crate::read::filter::{where_all, Filters, LeadFilter};
use crate::read::lead::{entries, ReadPlan};
use crate::read::probe::{count, found, from, skip, Order, Source, EVENTS};
use immutable_format::cursor::PageCursor;
use pgrx::pg_sys;

/// By how much a stretch of time is widened that did not hold a page.
const WIDENED: i64 = 4;

/// A page to be read.
pub struct Page<'a> {
    pub filters: Filters<'a>,
    pub plan: ReadPlan,
    /// Whether row security shows the caller less than everything.
    pub is_limited: bool,
    /// The number of the first argument of the cursor that the rows come after.
    after: Option<usize>,
    /// The created_at of the cursor.
    pub after_time: Option<i64>,
    /// The order in which the rows are read.
    pub order: Order,
    pub rows: usize,
    /// Whether the rows are shown in the reverse of that order.
    pub is_reversed: bool,
}

impl<'a> Page<'a> {
    /// The `rows` rows after the cursor, in this order.
    pub fn new(
        mut filters: Filters<'a>,
        plan: ReadPlan,
        is_limited: bool,
        cursor: Option<&PageCursor>,
        order: Order,
        rows: usize,
    ) -> Page<'a> {
        let after = cursor.map(|cursor| {
            let first = filters.argument(Arg::Time(cursor.created_at));
            filters.argument(Arg::Uuid(cursor.id));
            if filters.tenant.is_none() {
                filters.argument(Arg::RawText(cursor.tenant_id.clone().into()));
            }
            first
        });
        let after_time = cursor.map(|cursor| cursor.created_at);
        Page { filters, plan, is_limited, after, after_time, order, rows, is_reversed: false }
    }

    /// The same rows, shown in the reverse of the order they are read in.
    pub fn reversed(self) -> Page<'a> {
        Page { is_reversed: true, ..self }
    }

    /// Whether the lead filter's index is read tenant by tenant.
    pub fn is_by_tenants(&self) -> bool {
        self.filters.tenant.is_none() && !self.is_limited && self.plan.lead < LeadFilter::Pattern
    }

    /// The conditions on an event that is found through the lead filter's index.
    pub fn other_conditions(&self) -> Vec<String> {
        let lead = self.plan.lead;
        let mut conditions = self.filters.conditions_but(lead);
        conditions.extend(self.filters.target_exists().filter(|_| !lead.is_target()));
        conditions
    }

    /// How many entries the lead filter has, of at most so many.
    pub fn count_entries(&self, most: i64) -> i64 {
        count(&entries(&self.filters, self.plan.lead, "", most), &self.filters, most)
    }

    /// The tenants that have events of the lead filter, at most so many.
    pub fn tenants(&self, most: usize) -> Vec<String> {
        let window = self.filters.window_after("e.created_at");
        let condition = format!("{}{window}", self.filters.lead_condition(self.plan.lead));
        skip(Source::of(self.plan.lead).entries, "tenant_id", &condition, &self.filters.arguments, most)
    }

    fn after_cursor(&self, source: &Source) -> Option<String> {
        let first = self.after?;
        let sign = match self.order {
            Order::OldestFirst => ">",
            Order::NewestFirst => "<",
        };
        let Source { created_at, id, tenant_id, .. } = source;
        Some(match self.filters.tenant {
            Some(_) => format!("({created_at}, {id}) {sign} (${first}, ${})", first + 1),
            None => format!("({created_at}, {id}, {tenant_id}) {sign} (${first}, ${}, ${})", first + 1, first + 2),
        })
    }

    /// Tenant, time and cursor.
    fn scope(&self, source: &Source) -> Vec<String> {
        let mut clauses = self.filters.scope(source.tenant_id, source.created_at);
        clauses.extend(self.after_cursor(source));
        clauses
    }

    /// The order of the rows. Within a tenant ids are unique; over all tenants the tenant decides
    /// between equal ones.
    fn order_by(&self, source: &Source, order: Order) -> String {
        let word = order.word();
        let tenant = match self.filters.tenant {
            Some(_) => String::new(),
            None => format!(", {} {word}", source.tenant_id),
        };
        format!(" ORDER BY {} {word}, {} {word}{tenant}", source.created_at, source.id)
    }

    /// The statement that shows the page of the events that `inner` gives.
    fn shown(&self, inner: &str) -> String {
        let order = self.order_by(&EVENTS, self.order);
        let page = format!("SELECT e.* FROM ({inner}) e{order} LIMIT {}", self.rows);
        let order = if self.is_reversed { self.order_by(&EVENTS, self.order.reversed()) } else { order };
        format!("SELECT e.* FROM ({page}) e{order}")
    }

    /// The next rows through the lead filter's index that pass the filters and meet `clauses`.
    fn next_rows(&self, mut clauses: Vec<String>, columns: &str, rows: usize) -> String {
        let source = Source::of(self.plan.lead);
        let order = self.order_by(source, self.order);
        clauses.extend(self.filters.conditions_but(LeadFilter::Page));
        if self.plan.lead.is_target() {
            // An event may have the same target twice.
            clauses.push(format!(
                "(SELECT true FROM immutable.event_targets o WHERE o.event_id = t.event_id \
                 AND o.tenant_id = t.tenant_id AND o.position < t.position AND {}{} LIMIT 1) IS NULL",
                self.filters.looked_up_target("o"),
                self.filters.window_after("o.created_at")
            ));
            clauses.extend(self.filters.target("t"));
        } else {
            clauses.extend(self.filters.target_exists());
        }
        format!(
            "SELECT {columns} FROM {}{}{order} LIMIT {rows}",
            from(self.plan.lead, &self.filters),
            where_all(&clauses)
        )
    }

    /// In the order of the lead filter's index.
    pub(super) fn straight(&self) -> String {
        self.shown(&self.next_rows(self.scope(Source::of(self.plan.lead)), "e.*", self.rows))
    }

    /// In the order of the lead filter's index for each of `keys`, merged. Only the keys whose
    /// first rows come first of all can have a row in the page. There are no more of them than the
    /// page has rows; if there are as many, a row that comes after all of their first ones cannot
    /// be in the page either.
    fn merged(&self, keys: &str, columns: &str, mut clauses: Vec<String>) -> String {
        let source = Source::of(self.plan.lead);
        clauses.extend(self.filters.time(source.created_at));
        clauses.extend(self.after_cursor(source));
        let place = format!("{}, {}, {}", source.created_at, source.id, source.tenant_id);
        let first = self.next_rows(clauses.clone(), &place, 1);
        let (word, rows) = (self.order.word(), self.rows);
        let (last, beyond, sign) = match self.order {
            Order::OldestFirst => ("max", "infinity", "<="),
            Order::NewestFirst => ("min", "-infinity", ">="),
        };
        clauses.push(format!("{} {sign} k.bound", source.created_at));
        self.shown(&format!(
            "SELECT e.* FROM (SELECT k.*, CASE WHEN pg_catalog.count(*) OVER () >= {rows} \
                     THEN pg_catalog.{last}(k.created_at) OVER () ELSE '{beyond}' END AS bound \
                 FROM (SELECT {columns}, f.created_at FROM {keys}, LATERAL ({first}) f(created_at, id, tenant_id) \
                       ORDER BY f.created_at {word}, f.id {word}, f.tenant_id {word} LIMIT {rows}) k) k, \
             LATERAL ({}) e",
            self.next_rows(clauses, "e.*", rows)
        ))
    }

    /// Merged from each tenant that has events of the lead filter.
    pub(super) fn merged_tenants(&mut self, tenants: &[String]) -> String {
        let n = self.filters.texts(tenants);
        let clauses = vec![format!("{} = k.tenant_id", Source::of(self.plan.lead).tenant_id)];
        self.merged(&format!("pg_catalog.unnest(${n}::text[]) k(tenant_id)"), "k.tenant_id", clauses)
    }

    /// Merged from each action that the pattern matches: in the tenant, or in each that has it.
    pub(super) fn merged_actions(&mut self, matching: Vec<String>) -> String {
        let mut clauses = vec!["e.action = k.action".to_string()];
        if self.is_limited || self.filters.tenant.is_some() {
            clauses.extend(self.filters.tenant.map(|tenant| format!("e.tenant_id = ${tenant}")));
            let n = self.filters.texts(&matching);
            let keys = format!("pg_catalog.unnest(${n}::text[]) k(action)");
            return self.merged(&keys, "k.action", clauses);
        }
        let (mut actions, mut tenants) = (Vec::new(), Vec::new());
        for action in matching {
            let given = [Arg::text(action.as_str())];
            for tenant in skip("immutable.events e", "tenant_id", "e.action = $1", &given, usize::MAX) {
                actions.push(action.clone());
                tenants.push(tenant);
            }
        }
        clauses.push("e.tenant_id = k.tenant_id".to_string());
        let n = self.filters.texts(&actions);
        let m = self.filters.texts(&tenants);
        let keys = format!(
            "ROWS FROM (pg_catalog.unnest(${n}::text[]), pg_catalog.unnest(${m}::text[])) k(action, tenant_id)"
        );
        self.merged(&keys, "k.action, k.tenant_id", clauses)
    }

    /// All entries of the lead filter that are in scope, put in order; then the page's events are
    /// looked up.
    pub(super) fn listed(&self) -> String {
        let lead = self.plan.lead;
        let source = Source::of(lead);
        let mut clauses = self.scope(source);
        let (entries, distinct) = if lead.is_target() {
            clauses.extend(self.filters.target("t"));
            // An event may have the same target twice.
            ("immutable.event_targets t", "DISTINCT ")
        } else {
            clauses.extend(self.filters.conditions_of(lead));
            (source.entries, "")
        };
        let rest = self.other_conditions();
        // If there is no other condition, the first entries are the page. OFFSET 0 keeps the
        // planner from reading all of another index that gives the order.
        let first = match rest.is_empty() {
            true => format!("{} LIMIT {}", self.order_by(&EVENTS, self.order), self.rows),
            false => String::new(),
        };
        let place =
            format!("{} AS created_at, {} AS id, {} AS tenant_id", source.created_at, source.id, source.tenant_id);
        let entries = format!("SELECT {distinct}{place} FROM {entries}{} OFFSET 0", where_all(&clauses));
        let entries = format!("SELECT e.created_at, e.id, e.tenant_id FROM ({entries}) e{first}");
        let mut of_entry = vec!["e.id = k.id".to_string(), "e.tenant_id = k.tenant_id".to_string()];
        of_entry.extend(rest);
        let event = format!("SELECT e.* FROM immutable.events e{} OFFSET 0", where_all(&of_entry));
        let page = self.shown(&format!("SELECT e.* FROM k, LATERAL ({event}) e"));
        format!("WITH k AS MATERIALIZED ({entries}) {page}")
    }

    /// Looks for the page tenant by tenant through the lead filter's index, in a stretch of time
    /// after its cursor that holds some times so many rows of all, and then in longer ones, until
    /// it is there as a whole. Merging the tenants from the start would read each one's events
    /// until one passes all the filters, in tenants where none may.
    pub(super) fn widen(&mut self, rows: usize, each: &mut impl FnMut(Tuple<'_>)) {
        let (from, last) = (self.time_of_row(self.order, 0), self.time_of_row(self.order.reversed(), 0));
        let (Some(from), Some(last)) = (from, last) else { return };
        let whole = last.saturating_sub(from).saturating_abs();
        let first = self.time_of_row(self.order, rows).map(|to| to.saturating_sub(from).saturating_abs().max(1));
        let mut stretch = first.unwrap_or(whole);
        let tenants = self.tenants(usize::MAX);
        let tenants = self.filters.texts(&tenants);
        let bound = self.filters.argument(Arg::Time(last));
        let statement = self.bounded(tenants, bound);
        loop {
            stretch = stretch.saturating_mul(WIDENED);
            if stretch >= whole {
                break;
            }
            let to = match self.order {
                Order::OldestFirst => from.saturating_add(stretch),
                Order::NewestFirst => from.saturating_sub(stretch),
            };
            self.filters.arguments[bound - 1] = Arg::Time(to);
            if spi::read_if(&statement, &self.filters.arguments, self.rows, each) {
                return;
            }
        }
        // To the end, and what somebody made infinite is there too.
        let end = if self.order == Order::OldestFirst { i64::MAX } else { i64::MIN };
        self.filters.arguments[bound - 1] = Arg::Given(pg_sys::TIMESTAMPTZOID, Datum::from(end));
        spi::stream_planned_once(&statement, &self.filters.arguments, each);
    }

    /// The created_at of the row after so many, in microseconds since 1970.
    fn time_of_row(&self, order: Order, offset: usize) -> Option<i64> {
        let (events, order) = (where_all(&self.scope(&EVENTS)), self.order_by(&EVENTS, order));
        let statement = format!("SELECT e.created_at FROM immutable.events e{events}{order} OFFSET {offset} LIMIT 1");
        let mut at = None;
        spi::read_planned_once(&statement, &self.filters.arguments, |row| at = row.at(0).map(micros));
        at
    }

    /// The page of what the tenants have up to a bound of time, both given as numbers of arguments.
    fn bounded(&self, tenants: usize, bound: usize) -> String {
        let source = Source::of(self.plan.lead);
        let mut clauses = self.scope(source);
        let sign = if self.order == Order::OldestFirst { "<=" } else { ">=" };
        clauses.push(format!("{} = k.tenant_id", source.tenant_id));
        clauses.push(format!("{} {sign} ${bound}", source.created_at));
        self.shown(&format!(
            "SELECT e.* FROM pg_catalog.unnest(${tenants}::text[]) k(tenant_id), LATERAL ({}) e",
            self.next_rows(clauses, "e.*", self.rows)
        ))
    }

    /// All that pass the filters, through whatever index finds them, and only then in order: for
    /// few.
    pub(super) fn gathered(&self) -> String {
        let all = format!("SELECT e.* FROM immutable.events e{}", self.all_conditions());
        format!("WITH found AS MATERIALIZED ({all}) {}", self.shown("SELECT e.* FROM found e"))
    }

    /// All that the index for searches finds, alone, so that no plan prefers to read the tenant's
    /// events; and of those what passes the other filters, in order.
    pub(super) fn searched(&self) -> String {
        let condition = self.filters.searched.as_deref().unwrap_or("true");
        found(condition, &self.shown(&format!("SELECT e.* FROM found e{}", self.all_conditions())))
    }

    /// Tenant, time, cursor and all other conditions.
    fn all_conditions(&self) -> String {
        let mut clauses = self.scope(&EVENTS);
        clauses.extend(self.filters.conditions());
        where_all(&clauses)
    }

    /// The page of what pass the filters among the next rows of all.
    pub(super) fn walk(&self, among: usize) -> String {
        let (scope, order) = (where_all(&self.scope(&EVENTS)), self.order_by(&EVENTS, self.order));
        let next = format!("SELECT e.* FROM immutable.events e{scope}{order} LIMIT {among}");
        self.shown(&format!("SELECT e.* FROM ({next}) e{}", where_all(&self.filters.conditions())))
    }
}
