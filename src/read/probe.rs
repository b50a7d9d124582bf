//! Questions asked before a page is read: which actions there are, how many rows a condition finds,
//! what limits the caller.

use crate::access::lent::{are_policies_as_made, with_rights_of_owner};
use crate::access::proof::Opened;
use crate::access::scope::{visible_actor, visible_whole_tenant};
use crate::pg::datum::{text, Datum};
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::read::filter::{where_all, Filters, LeadFilter, Pattern};

/// How many rows a query gives, which must give no more than `most`. The answer is `most`, too,
/// where counting would touch too many pages of the database.
pub fn count(rows: &str, filters: &Filters, most: i64) -> i64 {
    let counted = spi::count_within(rows, &filters.arguments, pages(most));
    if counted.whole {
        counted.rows
    } else {
        most
    }
}

/// A filter with fewer entries is good enough to lead, and the others need not be weighed.
pub const LIGHT: i64 = 1000;

/// Different actions of the log that are looked at one by one for a caller bound by row security.
const ACTIONS: usize = 2000;

/// The order of a page's rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

impl Order {
    /// The other order.
    pub fn reversed(self) -> Order {
        match self {
            Order::OldestFirst => Order::NewestFirst,
            Order::NewestFirst => Order::OldestFirst,
        }
    }

    /// The order as SQL has it.
    pub fn word(self) -> &'static str {
        match self {
            Order::OldestFirst => "ASC",
            Order::NewestFirst => "DESC",
        }
    }
}

/// Where a statement reads from, and what it calls the columns of the order there.
pub struct Source {
    /// The table of the lead's index, as `e`.
    pub entries: &'static str,
    pub created_at: &'static str,
    pub id: &'static str,
    pub tenant_id: &'static str,
}

/// The events themselves.
pub const EVENTS: Source =
    Source { entries: "immutable.events e", created_at: "e.created_at", id: "e.id", tenant_id: "e.tenant_id" };

const TARGETS: Source = Source {
    entries: "immutable.event_targets e",
    created_at: "t.created_at",
    id: "t.event_id",
    tenant_id: "t.tenant_id",
};

impl Source {
    /// Where the lead filter's index is.
    pub fn of(lead: LeadFilter) -> &'static Source {
        if lead.is_target() {
            &TARGETS
        } else {
            &EVENTS
        }
    }
}

/// What a statement reads from, with the event as `e`, and the lead's entry as `t` where that is a target.
pub fn from(lead: LeadFilter, filters: &Filters) -> String {
    match lead.is_target() {
        false => "immutable.events e".to_string(),
        // OFFSET keeps it what it is: the target's entries in order, and each one's event looked up.
        true => format!(
            "immutable.event_targets t, LATERAL (SELECT e.* FROM immutable.events e \
             WHERE e.id = t.event_id AND e.tenant_id = t.tenant_id{} OFFSET 0) e",
            filters.window_after("e.created_at")
        ),
    }
}

/// Whether row security shows the caller less than everything. An auditor's policy shows all.
pub fn is_limited() -> bool {
    asks(
        "pg_catalog.row_security_active('immutable.events'::pg_catalog.regclass) \
         AND NOT pg_catalog.pg_has_role('immutable_auditor', 'USAGE')",
    )
}

/// Asks the database something about the caller, as an expression that is true or false.
pub fn asks(question: &str) -> bool {
    let mut answer = true;
    spi::read_planned_once(&format!("SELECT {question}"), &[], |row| {
        answer = row.at(0).is_some_and(Datum::bool);
    });
    answer
}

/// A statement about the events that the index for searches finds, as `found`.
pub fn found(condition: &str, statement: &str) -> String {
    format!("WITH found AS MATERIALIZED (SELECT e.* FROM immutable.events e WHERE {condition}) {statement}")
}

/// The actions that the pattern matches; nothing if there are too many to look at.
pub fn actions(filters: &Filters, limited: bool) -> Option<Vec<String>> {
    let pattern = filters.pattern.as_ref()?;
    let range = Pattern { range: pattern.range, like: None }.on("e.action").join(" AND ");
    let found = match limited {
        true => visible_actions(filters)?,
        false => skip("immutable.events e", "action", &range, &filters.arguments, usize::MAX),
    };
    let mut arguments = filters.arguments.clone();
    arguments.push(Arg::Texts(found));
    let statement = format!(
        "SELECT a FROM pg_catalog.unnest(${}::text[]) a{}",
        arguments.len(),
        where_all(&pattern.on("a COLLATE pg_catalog.\"C\""))
    );
    let mut matching = Vec::new();
    spi::read_planned_once(&statement, &arguments, |row| matching.extend(text_at(row)));
    Some(matching)
}

/// The text that is a row's first value.
fn text_at(row: &Values) -> Option<String> {
    row.at(0).map(|value| text(value).to_string())
}

/// The actions that a caller who is bound by row security can see; nothing if the log has too many.
/// Skipping through the index would have to look at everybody's entries for each of them. So the
/// log's actions are listed with the owner's rights, all of them whatever is asked, and each is
/// looked for with the caller's rights. How long that takes tells the caller how many actions the
/// log has, and nothing of what they are or who has them.
fn visible_actions(filters: &Filters) -> Option<Vec<String>> {
    let all = with_rights_of_owner(|| skip("immutable.events e", "action", "", &[], ACTIONS + 1));
    if all.len() > ACTIONS {
        return None;
    }
    let mut arguments = filters.arguments.clone();
    arguments.push(Arg::Texts(all));
    let tenant = filters.tenant.map_or(String::new(), |n| format!(" AND e.tenant_id = ${n}"));
    let statement = format!(
        "SELECT a FROM pg_catalog.unnest(${}::text[]) a \
         WHERE (SELECT true FROM immutable.events e WHERE e.action = a{tenant} LIMIT 1)",
        arguments.len()
    );
    let mut visible = Vec::new();
    spi::read_planned_once(&statement, &arguments, |row| visible.extend(text_at(row)));
    Some(visible)
}

/// The different values of a column under a condition, found by skipping from one to the next
/// through an index that has the condition's columns and then this one; at most so many.
pub fn skip(relation: &str, column: &str, condition: &str, arguments: &[Arg], most: usize) -> Vec<String> {
    let limit = if most == usize::MAX { String::new() } else { format!(" LIMIT {most}") };
    let (first, next) = match condition {
        "" => (String::new(), format!(" WHERE e.{column} > k.value")),
        _ => (format!(" WHERE {condition}"), format!(" WHERE {condition} AND e.{column} > k.value")),
    };
    let statement = format!(
        "WITH RECURSIVE k(value) AS ( \
             (SELECT e.{column} FROM {relation}{first} ORDER BY e.{column} LIMIT 1) \
             UNION ALL \
             SELECT (SELECT e.{column} FROM {relation}{next} ORDER BY e.{column} LIMIT 1) FROM k WHERE k.value IS NOT NULL) \
         SELECT k.value FROM k WHERE k.value IS NOT NULL{limit}"
    );
    let mut found = Vec::new();
    spi::read_planned_once(&statement, arguments, |row| found.extend(text_at(row)));
    found
}

/// Whether enable_search() has made its index, and that is valid.
pub fn has_search_index() -> bool {
    let mut has = false;
    spi::read_planned_once(
        "SELECT FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass('immutable.events_search') AND indisvalid",
        &[],
        |_| has = true,
    );
    has
}

/// Entries looked at for each page of the database that may be touched: an index gives many a page,
/// and one that VACUUM has not seen yet has to be looked up in the table.
pub const ENTRIES_A_PAGE: i64 = 10;

/// Pages that are touched at the least.
const PAGES: i64 = 100;

/// How many pages of the database may be touched to look at so many entries.
pub fn pages(most: i64) -> i64 {
    most / ENTRIES_A_PAGE + PAGES
}

/// Puts into the filters what the caller's proof opens, and what it is bound to as a viewer, so that
/// an index finds it: the policies' check does not. Raises 42501 for a filter by a tenant that an API
/// key does not open; a viewer's token finds nothing there.
pub fn bind(filters: &mut Filters, limited: bool, opened: &Opened) {
    if let Some(tenant_id) = &opened.tenant_id {
        if let Some(asked) = filters.narrow_to(tenant_id).filter(|_| opened.key.is_some() || !limited) {
            opened.hold_to("tenant_id", &asked);
        }
    }
    if let Some(actor_id) = &opened.actor_id {
        filters.bind_actor(actor_id);
    } else if limited && asks("pg_catalog.pg_has_role('immutable_viewer', 'USAGE')") {
        if let Some(actor_id) = visible_actor() {
            filters.bind_actor(&actor_id);
        }
    }
}

/// The tenant whose events, all of them and no others, row security shows the caller: a viewer's or an
/// API key's whom no actor narrows, if the extension's own policies, as they were made, are the only
/// ones that concern the caller.
pub fn whole_tenant() -> Option<String> {
    are_policies_as_made().then(visible_whole_tenant).flatten()
}
