//! One page of events, newest or oldest first: which statement reads it, so that it costs what the page holds and not
//! what the table does.
//!
//! Every filter has an index of (filter, tenant_id, created_at, id). Within one tenant a page is the next entries of the
//! most selective filter's index. Without a tenant it is the merge of that for each tenant which has such events: they
//! are found by skipping through the index. Filters with few different values are looked for among the next rows of
//! all first, where a frequent one is soon found.
//!
//! Whoever row security binds to a tenant needs no such merge, and must not look for tenants: PostgreSQL puts the
//! policy's tenant into the conditions.

use crate::pg::datum::{any_micros, micros, Datum};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Tuple;
use crate::read::filter::{where_all, Filters, Lead};
use crate::read::lead::{entries, Through};
use crate::read::probe::{actions, count, found, has_search_index, skip, Order, Source, EVENTS, LIGHT};
use immutable_format::cursor::Place;

/// Rows of all that are looked through for a filter with few values.
const WALKED: usize = 2500;

/// The same where each one's targets have to be looked up.
const WALKED_BY_TARGET: usize = 1000;

/// The same before a search is left to its index.
const WALKED_SEARCHING: usize = 5000;

/// The same for several filters that are all frequent.
const WALKED_FAR: usize = 20_000;

/// Tenants that are merged without looking through the next rows first.
const FEW: usize = 50;

/// Entries of a filter that are all put in order, whatever tenants they are of: reading the index alone, or each one's
/// event too.
const LISTED: i64 = 5000;

const LISTED_BY_EVENT: i64 = LIGHT;

/// By how much a stretch of time is widened that did not hold a page.
const WIDENED: i64 = 4;

/// What to read.
pub struct Page<'a> {
    pub filters: Filters<'a>,
    /// The number of the first argument of the place that the rows come after.
    after: Option<usize>,
    order: Order,
    rows: usize,
    /// What to select of the alias `e`.
    columns: &'a str,
    /// Whether the rows are shown in the reverse of the order they are read in.
    reverse: bool,
}

impl<'a> Page<'a> {
    /// The `rows` rows after `place`, in this order; shown in the reverse if `reverse`.
    pub fn new(
        mut filters: Filters<'a>,
        place: Option<&Place>,
        order: Order,
        rows: usize,
        columns: &'a str,
        reverse: bool,
    ) -> Page<'a> {
        let after = place.map(|place| {
            let first = filters.argument(Arg::Time(place.created_at));
            filters.argument(Arg::Uuid(place.id));
            if filters.tenant.is_none() {
                filters.argument(Arg::RawText(place.tenant_id.clone().into()));
            }
            first
        });
        Page { filters, after, order, rows, columns, reverse }
    }

    /// Gives the page's rows to `each`; says whether the index for searches had to find them, which means they are rare.
    pub fn read(
        mut self,
        Through { lead, is_frequent }: Through,
        limited: bool,
        mut each: impl FnMut(Tuple<'_>),
    ) -> bool {
        let by_tenants = self.filters.tenant.is_none() && !limited && lead < Lead::Pattern;
        if by_tenants && !is_frequent && self.has_few_entries(lead) {
            let statement = self.listed(lead);
            spi::stream_planned_once(&statement, &self.filters.arguments, each);
            return false;
        }
        let condition = self.filters.searched.clone().filter(|_| lead == Lead::Search && !limited);
        let by_index = condition.filter(|_| has_search_index());
        let near = if matches!(lead, Lead::TargetId | Lead::TargetType) { WALKED_BY_TARGET } else { WALKED };
        let walks = match lead {
            // The index gives all that it finds, in no order: dear unless that is rare.
            Lead::Search if by_index.is_some() => [0, WALKED_SEARCHING],
            // They walk in any case, as far as they must.
            Lead::Search | Lead::Page => [0, 0],
            // So far only where every filter is frequent and only what passes all of them is rare.
            _ if is_frequent => [near, WALKED_FAR],
            Lead::Pattern => [near, 0],
            _ if by_tenants && self.tenants(lead, FEW + 1).len() > FEW => [near, 0],
            _ => [0, 0],
        };
        for rows in walks {
            if self.rows <= rows / 4 && self.walk(rows, &mut each) {
                return false;
            }
        }
        if by_tenants && !self.rest(lead).is_empty() {
            self.widened(lead, walks[1].max(WALKED), each);
            return false;
        }
        let is_searched = by_index.is_some();
        let statement = match (lead, by_index) {
            (_, Some(condition)) => self.searched(&condition),
            (Lead::Pattern, _) => match actions(&self.filters, limited) {
                Some(actions) => self.merged_actions(actions, limited),
                None if self.filters.pattern.as_ref().is_some_and(|pattern| pattern.range.is_some()) => self.gathered(),
                None => self.straight(lead),
            },
            _ if by_tenants => self.merged_tenants(lead),
            _ => self.straight(lead),
        };
        spi::stream_planned_once(&statement, &self.filters.arguments, each);
        is_searched
    }

    fn after_place(&self, source: &Source) -> Option<String> {
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

    /// Tenant, time and place.
    fn scope(&self, source: &Source) -> Vec<String> {
        let mut clauses = self.filters.scope(source.tenant_id, source.created_at);
        clauses.extend(self.after_place(source));
        clauses
    }

    /// Within a tenant ids are unique; without one the tenant is the last word.
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
        let order = if self.reverse { self.order_by(&EVENTS, self.order.reversed()) } else { order };
        format!("SELECT {} FROM ({page}) e{order}", self.columns)
    }

    /// The next rows through the lead's index, under the conditions `clauses` beside the filters' own.
    fn next_rows(&self, lead: Lead, mut clauses: Vec<String>, columns: &str, rows: usize) -> String {
        let source = Source::of(lead);
        let order = self.order_by(source, self.order);
        clauses.extend(self.filters.own(Lead::Page));
        match lead {
            Lead::TargetId | Lead::TargetType => {
                let target = self.filters.target("t");
                // An event may have such a target twice.
                clauses.push(format!(
                    "(SELECT true FROM immutable.event_targets o WHERE o.event_id = t.event_id \
                     AND o.tenant_id = t.tenant_id AND o.position < t.position AND {} LIMIT 1) IS NULL",
                    self.filters.looked_up_target("o")
                ));
                clauses.extend(target);
            }
            _ => clauses.extend(self.filters.has_target()),
        }
        format!("SELECT {columns} FROM {}{}{order} LIMIT {rows}", source.from, where_all(&clauses))
    }

    /// In order through the lead's index, within the one tenant there is.
    fn straight(&self, lead: Lead) -> String {
        self.shown(&self.next_rows(lead, self.scope(Source::of(lead)), "e.*", self.rows))
    }

    /// In order through the lead's index for each of `keys`, merged. Only the keys whose first rows come first of all
    /// can have one in the page, and there are no more of them than the page has rows; if there are as many, no row
    /// that comes after all of their first ones can be in the page either.
    fn merged(&self, lead: Lead, keys: &str, columns: &str, mut clauses: Vec<String>) -> String {
        let source = Source::of(lead);
        clauses.extend(self.filters.time(source.created_at));
        clauses.extend(self.after_place(source));
        let place = format!("{}, {}, {}", source.created_at, source.id, source.tenant_id);
        let first = self.next_rows(lead, clauses.clone(), &place, 1);
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
            self.next_rows(lead, clauses, "e.*", rows)
        ))
    }

    /// For each tenant that has such events.
    fn merged_tenants(&mut self, lead: Lead) -> String {
        let tenants = self.tenants(lead, usize::MAX);
        let n = self.filters.texts(&tenants);
        let clauses = vec![format!("{} = k.tenant_id", Source::of(lead).tenant_id)];
        self.merged(lead, &format!("pg_catalog.unnest(${n}::text[]) k(tenant_id)"), "k.tenant_id", clauses)
    }

    /// For each action that the pattern matches: in the tenant, or in each that has it.
    fn merged_actions(&mut self, matching: Vec<String>, limited: bool) -> String {
        let mut clauses = vec!["e.action = k.action".to_string()];
        if limited || self.filters.tenant.is_some() {
            clauses.extend(self.filters.tenant.map(|tenant| format!("e.tenant_id = ${tenant}")));
            let n = self.filters.texts(&matching);
            let keys = format!("pg_catalog.unnest(${n}::text[]) k(action)");
            return self.merged(Lead::Pattern, &keys, "k.action", clauses);
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
        self.merged(Lead::Pattern, &keys, "k.action, k.tenant_id", clauses)
    }

    /// The conditions on an event that is found through the lead's index.
    fn rest(&self, lead: Lead) -> Vec<String> {
        let mut rest = self.filters.own(lead);
        rest.extend(self.filters.has_target().filter(|_| !matches!(lead, Lead::TargetId | Lead::TargetType)));
        rest
    }

    fn has_few_entries(&self, lead: Lead) -> bool {
        let most = if self.rest(lead).is_empty() { LISTED } else { LISTED_BY_EVENT };
        count(&entries(&self.filters, lead, "", most), &self.filters, most) < most
    }

    /// All entries of the lead that are in scope, put in order, and the page's events looked up.
    fn listed(&self, lead: Lead) -> String {
        let source = Source::of(lead);
        let mut clauses = self.scope(source);
        let (entries, distinct) = match lead {
            Lead::TargetId | Lead::TargetType => {
                clauses.extend(self.filters.target("t"));
                // An event may have such a target twice.
                ("immutable.event_targets t", "DISTINCT ")
            }
            _ => {
                clauses.extend(self.filters.own_of(lead));
                (source.entries, "")
            }
        };
        let rest = self.rest(lead);
        // With nothing more to pass, the first entries are the page. OFFSET keeps them together, in no order: whatever
        // gives the order would be read instead, all of it.
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

    /// Looks for the page in a stretch of time after its place that holds some times so many rows of all, tenant by tenant
    /// through the lead's index, and then in longer ones, until it is there as a whole. Merging the tenants from the start would read each one's events until
    /// one passes all the filters, in tenants where none may.
    fn widened(&mut self, lead: Lead, rows: usize, mut each: impl FnMut(Tuple<'_>)) {
        let next = |order, offset| {
            let (events, order) = (where_all(&self.scope(&EVENTS)), self.order_by(&EVENTS, order));
            let statement =
                format!("SELECT e.created_at FROM immutable.events e{events}{order} OFFSET {offset} LIMIT 1");
            let mut at = None;
            spi::read_planned_once(&statement, &self.filters.arguments, |row| {
                at = row.at(0).map(micros);
            });
            at
        };
        let (Some(from), Some(last)) = (next(self.order, 0), next(self.order.reversed(), 0)) else { return };
        let whole = last.saturating_sub(from).saturating_abs();
        let mut stretch = next(self.order, rows).map_or(whole, |to| to.saturating_sub(from).saturating_abs().max(1));

        let tenants = self.tenants(lead, usize::MAX);
        let n = self.filters.texts(&tenants);
        let bound = self.filters.argument(Arg::Time(last));
        let source = Source::of(lead);
        let mut clauses = self.scope(source);
        let sign = if self.order == Order::OldestFirst { "<=" } else { ">=" };
        clauses.push(format!("{} = k.tenant_id", source.tenant_id));
        clauses.push(format!("{} {sign} ${bound}", source.created_at));
        let statement = self.shown(&format!(
            "SELECT e.* FROM pg_catalog.unnest(${n}::text[]) k(tenant_id), LATERAL ({}) e",
            self.next_rows(lead, clauses, "e.*", self.rows)
        ));
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
            if spi::read_if(&statement, &self.filters.arguments, self.rows, &mut each) {
                return;
            }
        }
        // To the end, also of what somebody made infinite.
        let end = if self.order == Order::OldestFirst { i64::MAX } else { i64::MIN };
        self.filters.arguments[bound - 1] = Arg::Time(any_micros(Datum::from(end)));
        spi::stream_planned_once(&statement, &self.filters.arguments, each);
    }

    /// All that match, through whatever index finds them, and only then in order: for what few rows match.
    fn gathered(&self) -> String {
        let mut clauses = self.scope(&EVENTS);
        clauses.extend(self.filters.own(Lead::Page));
        clauses.extend(self.filters.has_target());
        let all = format!("SELECT e.* FROM immutable.events e{}", where_all(&clauses));
        format!("WITH found AS MATERIALIZED ({all}) {}", self.shown("SELECT e.* FROM found e"))
    }

    /// All that the index for searches finds, alone, so that no plan prefers to read the tenant's events; and of those
    /// what passes the other filters, in order.
    fn searched(&self, condition: &str) -> String {
        let mut clauses = self.scope(&EVENTS);
        clauses.extend(self.filters.own(Lead::Page));
        clauses.extend(self.filters.has_target());
        found(condition, &self.shown(&format!("SELECT e.* FROM found e{}", where_all(&clauses))))
    }

    /// Looks for the page among the next rows of all; gives it and says true if it is there as a whole.
    fn walk(&self, among: usize, each: &mut impl FnMut(Tuple<'_>)) -> bool {
        let mut rest = self.filters.own(Lead::Page);
        rest.extend(self.filters.has_target());
        let order = self.order_by(&EVENTS, self.order);
        let next =
            format!("SELECT e.* FROM immutable.events e{}{order} LIMIT {among}", where_all(&self.scope(&EVENTS)));
        let statement = self.shown(&format!("SELECT e.* FROM ({next}) e{}", where_all(&rest)));
        spi::read_if(&statement, &self.filters.arguments, self.rows, each)
    }

    /// The tenants that have events of the lead, at most so many.
    fn tenants(&self, lead: Lead, most: usize) -> Vec<String> {
        let condition = self.filters.of_lead(lead);
        skip(Source::of(lead).entries, "tenant_id", &condition, &self.filters.arguments, most)
    }
}
