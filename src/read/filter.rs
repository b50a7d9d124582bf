//! The filters of events: what a caller asks for, as conditions that statements are built from.
//! Only the filters that are given are in a statement, so that a kept plan never has to guess which
//! are.

use crate::pg::call::Call;
use crate::pg::datum::{micros, quote, text, Datum};
use crate::pg::error::Fault;
use crate::pg::memory::Memory;
use crate::pg::spi::Arg;
use crate::pg::time::transaction_start;
use crate::read::fold::folded;
use crate::read::time_bound::TimeBound;
use immutable_format::json::write_string;
use immutable_format::time;
use pgrx::pg_sys::{self, Oid};
use std::fmt;

/// The filters, in the order of the functions' arguments. (The bounds of time are given as days,
/// too: see [`TimeBound`].)
pub const FILTERS: [(&str, Oid); 11] = [
    ("actor_id", pg_sys::TEXTOID),
    ("action", pg_sys::TEXTOID),
    ("resource", pg_sys::TEXTOID),
    ("resource_id", pg_sys::TEXTOID),
    ("tenant_id", pg_sys::TEXTOID),
    ("session_id", pg_sys::TEXTOID),
    ("target_type", pg_sys::TEXTOID),
    ("target_id", pg_sys::TEXTOID),
    ("search", pg_sys::TEXTOID),
    ("from_date", pg_sys::TIMESTAMPTZOID),
    ("to_date", pg_sys::TIMESTAMPTZOID),
];

/// The filter by tenant, and the last bound of time, as indexes into [`FILTERS`]. Those before the bounds are texts.
pub const TENANT: usize = 4;

pub const TO_DATE: usize = FILTERS.len() - 1;

/// What `search` looks through, as one text: what the index of enable_search() is on. Folded by the
/// extension and compared by bytes, so that no locale has a say in what is found.
pub const SEARCHED: &str = "immutable.fold((coalesce(immutable.text_of(e.actor_name), '') || E'\\n' || immutable.text_of(e.action) || E'\\n' || \
     coalesce(immutable.text_of(e.resource_name), '') || E'\\n' || immutable.text_of(e.metadata)) COLLATE pg_catalog.\"C\")";

/// The filter whose index a page is read through, from the most to the least selective.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LeadFilter {
    Session,
    ResourceId,
    TargetId,
    Actor,
    Action,
    ResourceType,
    TargetType,
    /// An action with a `*` in it.
    Pattern,
    Search,
    /// No filter but the tenant and the time.
    Page,
}

impl LeadFilter {
    /// Whether its index is on event_targets.
    pub fn is_target(self) -> bool {
        matches!(self, LeadFilter::TargetId | LeadFilter::TargetType)
    }
}

impl fmt::Display for LeadFilter {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            LeadFilter::Session => "session_id",
            LeadFilter::ResourceId => "resource_id",
            LeadFilter::TargetId => "target_id",
            LeadFilter::Actor => "actor_id",
            LeadFilter::Action => "action",
            LeadFilter::ResourceType => "resource",
            LeadFilter::TargetType => "target_type",
            LeadFilter::Pattern => "pattern of actions",
            LeadFilter::Search => "search",
            LeadFilter::Page => "no filter",
        })
    }
}

/// An action with a `*`: the range of the text before the first one, and the pattern for LIKE if
/// there is more.
#[derive(Clone)]
pub struct Pattern {
    pub range: Option<(usize, usize)>,
    pub like: Option<usize>,
}

impl Pattern {
    /// The conditions on a column, for one of the range or the other pattern or both.
    pub fn on(&self, column: &str) -> Vec<String> {
        let range = self.range.map(|(from, to)| format!("{column} >= ${from} AND {column} < ${to}"));
        let like = self.like.map(|like| format!("{column} LIKE ${like}"));
        range.into_iter().chain(like).collect()
    }
}

/// The filters of a call and their arguments.
#[derive(Clone)]
pub struct Filters<'c> {
    /// Where arguments are made.
    pub memory: Memory<'c>,
    pub arguments: Vec<Arg<'c>>,
    /// On the columns of the event, but for tenant and time; and the lead that each can be.
    conditions: Vec<(LeadFilter, String)>,
    /// On one target: its column and the argument.
    target: Vec<(LeadFilter, &'static str, usize)>,
    pub tenant: Option<usize>,
    from: Option<usize>,
    to: Option<usize>,
    /// Bounds of time as a condition, with {} for the column. They are written out, so that the planner leaves out the
    /// segments that have no such event.
    pub window: Option<String>,
    pub pattern: Option<Pattern>,
    /// The condition on [`SEARCHED`], if its index can answer it.
    pub searched: Option<String>,
    /// Whether the caller sees one actor's events alone.
    pub bound: bool,
    /// What a cursor is bound to.
    pub fingerprint: String,
}

impl<'c> Filters<'c> {
    /// No filters.
    fn none(memory: Memory<'c>) -> Filters<'c> {
        Filters {
            memory,
            arguments: Vec::new(),
            conditions: Vec::new(),
            target: Vec::new(),
            tenant: None,
            from: None,
            to: None,
            window: None,
            pattern: None,
            searched: None,
            bound: false,
            fingerprint: String::new(),
        }
    }

    /// Reads the filters of a call.
    pub fn of(call: Call<'c>) -> Filters<'c> {
        Filters::of_values(call.memory(), |index| argument(call, index))
    }

    /// The filters of these values, each a text or a timestamptz, by their index in [`FILTERS`].
    pub fn of_values(memory: Memory<'c>, given: impl Fn(usize) -> Option<Datum<'c>>) -> Filters<'c> {
        let mut filters = Filters::none(memory);
        for (index, (name, oid)) in FILTERS.iter().enumerate() {
            let Some(value) = given(index) else { continue };
            filters.fingerprint.push_str(name);
            filters.fingerprint.push('=');
            match *oid {
                pg_sys::TEXTOID => write_string(text(value), &mut filters.fingerprint),
                _ => filters.fingerprint.push_str(&micros(value).to_string()),
            }
            filters.fingerprint.push(';');
            match *name {
                "action" => filters.action(text(value)),
                "search" => filters.search(text(value)),
                _ => {
                    let n = filters.argument(Arg::Given(*oid, value));
                    match *name {
                        "tenant_id" => filters.tenant = Some(n),
                        "from_date" => filters.from = Some(n),
                        "to_date" => filters.to = Some(n),
                        "target_type" => filters.target.push((LeadFilter::TargetType, "target_type", n)),
                        "target_id" => filters.target.push((LeadFilter::TargetId, "target_id", n)),
                        "actor_id" => filters.narrow(LeadFilter::Actor, "actor_id", n),
                        "resource" => filters.narrow(LeadFilter::ResourceType, "resource_type", n),
                        "resource_id" => filters.narrow(LeadFilter::ResourceId, "resource_id", n),
                        _ => filters.narrow(LeadFilter::Session, "session_id", n),
                    }
                }
            }
        }
        filters
    }

    /// Adds the condition that a column of the event has the value of an argument.
    fn narrow(&mut self, lead: LeadFilter, column: &str, n: usize) {
        self.conditions.push((lead, format!("e.{column} = ${n}")));
    }

    /// Drops the bound `to_date => now()`, which asks for what there is by now: PostgreSQL's now()
    /// is when the transaction began, and what it has recorded since is later. For a cursor it is
    /// no bound either.
    pub fn until_now(&mut self) {
        let began = transaction_start();
        let is_now = self.to.and_then(|n| self.given(n)).is_some_and(|to| micros(to) == began);
        if let Some(before) = self.fingerprint.strip_suffix(&format!("{began};")).filter(|_| is_now) {
            self.fingerprint = format!("{before}now;");
            self.to = None;
        }
    }

    /// Whether there is a bound of time to the end.
    pub fn has_end(&self) -> bool {
        self.to.is_some()
    }

    /// Adds an argument; its number in the statement, counted from 1.
    pub fn argument(&mut self, argument: Arg<'c>) -> usize {
        self.arguments.push(argument);
        self.arguments.len()
    }

    /// Adds a text as an argument; its number.
    pub fn text(&mut self, value: &str) -> usize {
        self.argument(Arg::Given(pg_sys::TEXTOID, self.memory.text(value)))
    }

    /// Adds an array of texts as an argument; its number.
    pub fn texts(&mut self, values: &[String]) -> usize {
        self.argument(Arg::Given(pg_sys::TEXTARRAYOID, self.memory.texts(values)))
    }

    /// The value of an argument, by its number.
    fn given(&self, n: usize) -> Option<Datum<'c>> {
        match self.arguments.get(n.checked_sub(1)?)? {
            Arg::Given(_, value) => Some(*value),
            _ => None,
        }
    }

    /// Narrows to the actor that the caller is bound to. Cursors are not bound to it, since the
    /// caller did not ask for it.
    pub fn bind_actor(&mut self, actor_id: &str) {
        let n = self.text(actor_id);
        self.narrow(LeadFilter::Actor, "actor_id", n);
        self.bound = true;
    }

    /// Narrows to a tenant, or returns the other one that the caller asked for.
    pub fn narrow_to(&mut self, tenant_id: &str) -> Option<String> {
        match self.tenant.and_then(|n| self.given(n)) {
            Some(asked) => Some(text(asked)).filter(|asked| *asked != tenant_id).map(str::to_string),
            None => {
                self.tenant = Some(self.text(tenant_id));
                None
            }
        }
    }

    /// Whether nothing but a tenant is asked for.
    pub fn are_none(&self) -> bool {
        self.conditions.is_empty() && self.target.is_empty() && self.from.is_none() && self.to.is_none()
    }

    /// Adds the filter of actions: an action, or a pattern such as `document.*`. A `*` stands for
    /// any text, in any place and number; everything else stands for itself.
    fn action(&mut self, pattern: &str) {
        if pattern.contains(',') {
            Fault::invalid("action", "action must be one action or pattern, not a list")
                .hint("Call once for each action. If a comma is part of a name, write * in its place.")
                .raise()
        }
        let Some((prefix, rest)) = pattern.split_once('*') else {
            let n = self.text(pattern);
            self.narrow(LeadFilter::Action, "action", n);
            return;
        };
        let end = end_of_prefix(prefix);
        let whole = rest.is_empty() && end.is_some();
        // A range, unlike LIKE, can use the index below a row security policy.
        let range = end.map(|end| (self.text(prefix), self.text(&end)));
        let like = (!whole).then(|| {
            let like: Vec<String> = pattern.split('*').map(escape_like).collect();
            self.text(&like.join("%"))
        });
        let pattern = Pattern { range, like };
        self.conditions.push((LeadFilter::Pattern, pattern.on("e.action").join(" AND ")));
        self.pattern = Some(pattern);
    }

    /// Adds the filter of texts, which ignores case. In metadata it looks for the text as it is,
    /// and as a value is written there: JSON escapes `"` and `\`.
    fn search(&mut self, needle: &str) {
        let needle = folded(needle);
        let mut json = String::new();
        write_string(&needle, &mut json);
        let in_json = &json[1..json.len() - 1];
        let n = self.text(&format!("%{}%", escape_like(&needle)));
        let m = if in_json == needle { n } else { self.text(&format!("%{}%", escape_like(in_json))) };
        let like = |column: &str, n: usize| format!("immutable.fold({column} COLLATE pg_catalog.\"C\") LIKE ${n}");
        let mut each: Vec<String> = ["e.actor_name", "e.action", "e.resource_name", "immutable.text_of(e.metadata)"]
            .map(|column| like(column, n))
            .into();
        if n != m {
            each.push(like("immutable.text_of(e.metadata)", m));
        }
        self.conditions.push((LeadFilter::Search, format!("({})", each.join(" OR "))));
        let like = |n: usize| format!("{SEARCHED} LIKE ${n}");
        // Its index knows three letters at a time: of a shorter needle it knows nothing.
        self.searched = (needle.chars().count() >= 3).then(|| match n == m {
            true => like(n),
            false => format!("({} OR {})", like(n), like(m)),
        });
    }

    /// The most selective kind of filter that is given.
    pub fn lead(&self) -> LeadFilter {
        let of_event = self.conditions.iter().map(|(lead, _)| *lead);
        of_event.chain(self.target.iter().map(|(lead, _, _)| *lead)).min().unwrap_or(LeadFilter::Page)
    }

    /// The filters whose indexes find exactly their events, from the most to the least selective.
    pub fn exact_leads(&self) -> Vec<LeadFilter> {
        let of_event = self.conditions.iter().map(|(lead, _)| *lead).filter(|lead| *lead < LeadFilter::Pattern);
        let mut leads: Vec<LeadFilter> = of_event.chain(self.target.iter().map(|(lead, _, _)| *lead)).collect();
        leads.sort_unstable();
        leads
    }

    /// The conditions on tenant and time, for the columns given.
    pub fn scope(&self, tenant_id: &str, created_at: &str) -> Vec<String> {
        let mut scope = self.time(created_at);
        scope.extend(self.tenant.map(|n| format!("{tenant_id} = ${n}")));
        scope
    }

    /// The conditions on time alone.
    pub fn time(&self, created_at: &str) -> Vec<String> {
        let from = self.from.map(|n| format!("{created_at} >= ${n}"));
        let to = self.to.map(|n| format!("{created_at} <= ${n}"));
        from.into_iter().chain(to).chain(self.window_on(created_at)).collect()
    }

    /// The condition that a column lies in the window.
    pub fn window_on(&self, created_at: &str) -> Option<String> {
        self.window.as_ref().map(|window| window.replace("{}", created_at))
    }

    /// The same behind an AND, or nothing.
    pub fn window_after(&self, created_at: &str) -> String {
        self.window_on(created_at).map_or(String::new(), |window| format!(" AND {window}"))
    }

    /// The bounds of time, in microseconds since 1970.
    pub fn bounds(&self) -> [Option<i64>; 2] {
        [self.from, self.to].map(|n| n.and_then(|n| self.given(n)).map(micros))
    }

    /// Whether events are asked for by their targets.
    pub fn has_target(&self) -> bool {
        !self.target.is_empty()
    }

    /// All conditions on the event `e`, but for tenant and time.
    pub fn conditions(&self) -> Vec<String> {
        let mut conditions = self.conditions_but(LeadFilter::Page);
        conditions.extend(self.target_exists());
        conditions
    }

    /// The conditions on the columns of the event `e`, but for tenant, time and `without`.
    pub fn conditions_but(&self, without: LeadFilter) -> Vec<String> {
        self.conditions.iter().filter(|(lead, _)| *lead != without).map(|(_, clause)| clause.clone()).collect()
    }

    /// The conditions on the columns of the event `e` that are the lead's.
    pub fn conditions_of(&self, lead: LeadFilter) -> Vec<String> {
        self.conditions.iter().filter(|(of, _)| *of == lead).map(|(_, clause)| clause.clone()).collect()
    }

    /// The conditions on one target, for this alias.
    pub fn target(&self, alias: &str) -> Vec<String> {
        self.target.iter().map(|(_, column, n)| format!("{alias}.{column} = ${n}")).collect()
    }

    /// The same for targets that are looked up by their event, written so that no index on the
    /// target itself can be used.
    pub fn looked_up_target(&self, alias: &str) -> String {
        let each = self.target.iter().map(|(_, column, n)| format!("{alias}.{column} IS NOT DISTINCT FROM ${n}"));
        each.collect::<Vec<_>>().join(" AND ")
    }

    /// The lead's condition on the table it reads from, for the alias `e`.
    pub fn lead_condition(&self, lead: LeadFilter) -> String {
        let target = self.target.iter().find(|(of, _, _)| *of == lead);
        match target {
            Some((_, column, n)) => format!("e.{column} = ${n}"),
            None => self.conditions_of(lead).join(" AND "),
        }
    }

    /// The condition that the event `e` has such a target: looked up for each event, never joined.
    pub fn target_exists(&self) -> Option<String> {
        (!self.target.is_empty()).then(|| {
            format!(
                "(SELECT true FROM immutable.event_targets t \
                 WHERE t.event_id = e.id AND t.tenant_id = e.tenant_id AND {}{} LIMIT 1)",
                self.looked_up_target("t"),
                self.window_after("t.created_at")
            )
        })
    }

    /// The same without the tenant.
    pub fn in_any_tenant(&self) -> Filters<'c> {
        Filters { tenant: None, ..self.clone() }
    }

    /// All conditions, for the alias `e`, with the keyword in front if there are any.
    pub fn where_clause(&self) -> String {
        let mut clauses = self.scope("e.tenant_id", "e.created_at");
        clauses.extend(self.conditions());
        where_all(&clauses)
    }

    /// All conditions with their arguments written out, for an estimate by what they are.
    pub fn where_literally(&self) -> String {
        self.literally(&self.where_clause())
    }

    /// The same of the conditions on the columns of the event, but for time.
    pub fn columns_literally(&self) -> String {
        self.literally(&where_all(&self.conditions_but(LeadFilter::Page)))
    }

    /// The same of the conditions on the columns of the event.
    pub fn times_and_columns_literally(&self) -> String {
        let mut clauses = self.time("e.created_at");
        clauses.extend(self.conditions_but(LeadFilter::Page));
        self.literally(&where_all(&clauses))
    }

    /// A clause with the arguments written out.
    fn literally(&self, clause: &str) -> String {
        let mut parts = clause.split('$');
        let mut written = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let digits = part.chars().take_while(char::is_ascii_digit).count();
            let n = part[..digits].parse::<usize>().unwrap_or(0);
            written.push_str(&self.literal(n));
            written.push_str(&part[digits..]);
        }
        written
    }

    /// An argument, by its number, as an SQL literal.
    fn literal(&self, n: usize) -> String {
        match self.arguments.get(n.wrapping_sub(1)) {
            Some(Arg::Given(pg_sys::TEXTOID, value)) => format!("{}::text", quote(text(*value))),
            // In a form that every session reads alike. No event is of a year beyond these.
            Some(Arg::Given(_, value)) => {
                let at = time::format(micros(*value).clamp(time::MIN, time::MAX)).unwrap_or_default();
                format!("'{at}'::timestamptz")
            }
            _ => "NULL".to_string(),
        }
    }
}

/// The value of a filter of a call whose arguments begin with the filters, if it is given.
pub fn argument<'c>(call: Call<'c>, index: usize) -> Option<Datum<'c>> {
    let (name, oid) = FILTERS[index];
    let given = call.arg(index)?;
    Some(if oid == pg_sys::TEXTOID { given } else { bound(given, name) })
}

/// A bound of time as a timestamptz: a day begins with its first microsecond and ends with its last.
pub fn bound(given: Datum, name: &str) -> Datum<'static> {
    let TimeBound { first, last } = TimeBound::of(given);
    Datum::from(if name == "to_date" { last } else { first })
}

/// ` WHERE …`, or nothing.
pub fn where_all(clauses: &[String]) -> String {
    match clauses.len() {
        0 => String::new(),
        _ => format!(" WHERE {}", clauses.join(" AND ")),
    }
}

/// `%`, `_` and `\` taken literally.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The least text, in byte order, after every text with this prefix.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back().filter(char::is_ascii)?;
    let next = char::from_u32(u32::from(last) + 1).filter(char::is_ascii)?;
    Some(format!("{}{next}", &prefix[..prefix.len() - 1]))
}
