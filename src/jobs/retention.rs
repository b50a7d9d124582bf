//! How long events are kept: the rules and the holds, as their tables have them.
//!
//! A change of a rule that keeps more counts at once, and one that keeps less only after a while. Until then both count:
//! of each part of the old and the new rule, the one that keeps more.

use crate::log::small_table::SmallTable;
use crate::pg::datum::{any_micros, micros, text, Datum};
use crate::pg::lock::ObjectLock;
use crate::pg::relation::named;
use crate::pg::time::Interval;
use crate::pg::transaction;
use crate::pg::tuple::Values;
use pgrx::pg_sys::{self, Oid};
use std::collections::HashMap;
use std::fmt::Write;

/// `immutable.retention`; its columns are tenant_id, keep, require_archive, next_keep, next_require_archive, next_from,
/// changed_at, changed_by, event_id, next_is_default.
const RULES: [Oid; 10] = [
    pg_sys::TEXTOID,
    pg_sys::INTERVALOID,
    pg_sys::BOOLOID,
    pg_sys::INTERVALOID,
    pg_sys::BOOLOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
    pg_sys::BOOLOID,
];

/// `immutable.holds`; its columns are tenant_id, reason, held_at, held_by, event_id.
const HOLDS: [Oid; 6] = [
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::UUIDOID,
    pg_sys::TIMESTAMPTZOID,
];

const DAY: i64 = 86_400_000_000;

/// How many days so many months in a row have at the least and at the most, for each number of months below a year.
const FEWEST: [i64; 12] = [0, 28, 59, 89, 120, 150, 181, 212, 242, 273, 303, 334];
const MOST: [i64; 12] = [0, 31, 62, 92, 123, 153, 184, 215, 245, 276, 306, 337];

/// How long events are kept; None for ever.
pub type Keep = Option<Interval>;

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    pub keep: Keep,
    /// Whether events go only once they are archived.
    pub require_archive: bool,
}

impl Rule {
    /// What counts where nobody has said anything.
    pub const FOR_EVER: Rule = Rule { keep: None, require_archive: false };

    /// What counts at once when `next` replaces this rule: each part of it that keeps more.
    pub fn at_once(self, next: Rule) -> Rule {
        let keep = if keeps_as_long(next.keep, self.keep) { next.keep } else { self.keep };
        Rule { keep, require_archive: self.require_archive || next.require_archive }
    }
}

/// Whether one time is at least as long as another on every day of the calendar.
fn keeps_as_long(one: Keep, other: Keep) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() };
    let months = i64::from(one.months) - i64::from(other.months);
    let days = match months >= 0 {
        true => fewest_days(months),
        false => -most_days(-months),
    };
    let rest = (i64::from(one.days) - i64::from(other.days) + days) * DAY;
    rest + one.micros - other.micros >= 0
}

fn fewest_days(months: i64) -> i64 {
    let (years, months) = (months / 12, (months % 12) as usize);
    // Of eight years in a row, one at least has a leap day.
    years * 365 + years / 8 + FEWEST[months]
}

fn most_days(months: i64) -> i64 {
    let (years, months) = (months / 12, (months % 12) as usize);
    years * 365 + (years + 3) / 4 + MOST[months]
}

/// A row of `immutable.retention`.
pub struct Stored {
    /// What counts now.
    pub rule: Rule,
    /// What counts later, and from when on.
    pub next: Option<(Rule, i64)>,
    /// Whether what counts later is that the tenant has no rule of its own.
    is_ending: bool,
    pub changed_at: i64,
}

impl Stored {
    fn of(row: &Values, now: i64) -> Stored {
        let rule = |keep, archive| Rule {
            keep: row.at(keep).map(Interval::of),
            require_archive: row.at(archive).is_some_and(Datum::bool),
        };
        let next = row.at(5).map(|from| (rule(3, 4), micros(from)));
        let is_ending = row.at(9).is_some_and(Datum::bool);
        let stored = Stored { rule: rule(1, 2), next, is_ending, changed_at: row.at(6).map_or(0, any_micros) };
        match next {
            Some((next, from)) if from <= now => Stored { rule: next, next: None, ..stored },
            _ => stored,
        }
    }

    /// Whether what counts now and what waits both keep at least as much as a rule.
    pub fn keeps_as_much(&self, rule: Rule) -> bool {
        self.rule.at_once(rule) == self.rule && self.next.is_none_or(|(next, _)| next.at_once(rule) == next)
    }
}

/// What counts from a time on where nothing changes before, for ever if nobody has said anything.
fn rule_from(stored: Option<&Stored>, at: i64) -> Rule {
    let Some(stored) = stored else { return Rule::FOR_EVER };
    stored.next.filter(|(_, from)| *from <= at).map_or(stored.rule, |(next, _)| next)
}

/// All rules, as they count at some time.
pub struct Rules {
    /// The rule of tenants without one of their own.
    pub default: Option<Stored>,
    pub own: HashMap<String, Stored>,
}

impl Rules {
    /// The rules that are committed by now.
    pub fn at(now: i64) -> Rules {
        let mut rules = Rules { default: None, own: HashMap::new() };
        SmallTable::read(c"retention", &RULES).rows(None, &[], |row| {
            let stored = Stored::of(row, now);
            match row.at(0).map(text) {
                Some(tenant_id) => drop(rules.own.insert(tenant_id.to_string(), stored)),
                None => rules.default = Some(stored),
            }
        });
        // A rule that has ended is none, and what waits where one ends is what counts for all others.
        rules.own.retain(|_, stored| !stored.is_ending || stored.next.is_some());
        for stored in rules.own.values_mut().filter(|stored| stored.is_ending) {
            stored.next = stored.next.map(|(_, from)| (rule_from(rules.default.as_ref(), from), from));
        }
        rules
    }

    /// The rule of a tenant, and whether it is its own. The events without a tenant are the operator's, most of them the
    /// log's own, and follow their own rule alone.
    pub fn of(&self, tenant_id: &str) -> (Option<&Stored>, bool) {
        match self.own.get(tenant_id) {
            Some(own) => (Some(own), true),
            None if tenant_id.is_empty() => (None, false),
            None => (self.default.as_ref(), false),
        }
    }

    /// What counts for a tenant now.
    pub fn rule_of(&self, tenant_id: &str) -> Rule {
        self.of(tenant_id).0.map_or(Rule::FOR_EVER, |stored| stored.rule)
    }
}

/// A row of `immutable.holds`.
pub struct Hold {
    pub since: i64,
    pub reason: String,
    /// When it ends, if it was released.
    pub ends_at: Option<i64>,
}

/// All holds.
pub struct Holds {
    /// The hold of all events.
    pub all: Option<Hold>,
    pub tenants: HashMap<String, Hold>,
}

impl Holds {
    /// The holds that are committed by now and have not ended.
    pub fn now() -> Holds {
        let now = transaction::now();
        let mut holds = Holds { all: None, tenants: HashMap::new() };
        SmallTable::read(c"holds", &HOLDS).rows(None, &[], |row| {
            let reason = row.at(1).map_or(String::new(), |reason| text(reason).to_string());
            let hold = Hold { since: row.at(2).map_or(0, any_micros), reason, ends_at: row.at(5).map(any_micros) };
            if hold.ends_at.is_some_and(|ends_at| ends_at <= now) {
                return;
            }
            match row.at(0).map(text) {
                Some(tenant_id) => drop(holds.tenants.insert(tenant_id.to_string(), hold)),
                None => holds.all = Some(hold),
            }
        });
        holds
    }

    /// What holds a tenant's events.
    pub fn of(&self, tenant_id: &str) -> Option<&Hold> {
        self.tenants.get(tenant_id).or(self.all.as_ref())
    }
}

/// Opens the table of the rules to change it.
pub fn rules_to_change() -> SmallTable {
    SmallTable::open(c"retention", &RULES, pg_sys::RowExclusiveLock)
}

/// Opens the table of the holds to change it.
pub fn holds_to_change() -> SmallTable {
    SmallTable::open(c"holds", &HOLDS, pg_sys::RowExclusiveLock)
}

/// Keeps the rules and the holds as they are until the transaction ends. A pruning and every change of them take this
/// lock: a hold waits for a pruning that runs, and the next pruning sees it.
/// Returns false if `wait` is false and another session has it.
pub fn lock(wait: bool) -> bool {
    ObjectLock { relation: named(c"retention"), object: 0, part: 0 }.acquire(wait)
}

/// A time as ISO 8601 has it, which is what the records say; null for ever.
pub fn json(keep: Keep) -> String {
    let Some(Interval { months, days, micros }) = keep else { return "null".to_string() };
    let mut iso = String::from("P");
    for (number, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if number != 0 {
            let _ = write!(iso, "{number}{unit}");
        }
    }
    if micros != 0 {
        let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let _ = write!(iso, "T{}S", seconds.trim_end_matches('0').trim_end_matches('.'));
    }
    format!("\"{iso}\"")
}
