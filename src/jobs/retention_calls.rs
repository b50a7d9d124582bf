//! set_retention(), reset_retention(), get_retention(), hold() and release().

use crate::access::proof::{self, Scope};
use crate::access::scope::shown_here;
use crate::access::token::parse_identity;
use crate::jobs::retention::{holds_to_change, json, lock, rules_to_change, Holds, Keep, Rule, Rules};
use crate::log::own_event::{reason, record, recorder, LogEvent};
use crate::log::pruned_before::last_pruning;
use crate::log::tables::events_oid;
use crate::log::{distributed, seam, subscription};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::time::Interval;
use crate::pg::{role, transaction};
use crate::settings;
use immutable_format::{time, Id};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CStr;

/// The most months that events are kept if not for ever: a thousand years.
const MOST_MONTHS: i64 = 12_000;

/// Opens the proof of the caller, and lets it change how long events are kept. Raises 25006 where nothing can be recorded,
/// and 0A000 in a distributed log.
pub fn require_change(function: &CStr) {
    proof::require(Scope::Admin).hold_to_all("rules and holds");
    transaction::require_writable(function);
    refuse_distributed();
    let events = OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock);
    subscription::refuse_local_write(events.get());
    seam::refuse_copy(events.get());
}

pub fn refuse_distributed() {
    distributed::refuse("retention and prunings", "Its events are kept for ever.");
}

sql_function!(immutable_set_retention, pg_finfo_immutable_set_retention, set_retention);

/// `immutable.set_retention(keep, tenant_id, require_archive, reason)`
fn set_retention(call: Call) -> Datum {
    require_change(c"immutable.set_retention()");
    let keep = call.arg(0).map(|keep| positive(Interval::of(keep)));
    let tenant_id = parse_identity("tenant_id", call.arg(1));
    let require_archive = call.required(2, "require_archive", "Give true or false.").bool();
    let why = call.arg(3).map(|_| reason(call, 3));
    let next = Rule { keep, require_archive };
    lock(true);
    let now = transaction::now();
    let rules = Rules::at(now);
    let old = match &tenant_id {
        Some(tenant_id) => rules.rule_of(tenant_id),
        None => rules.default.as_ref().map_or(Rule::FOR_EVER, |stored| stored.rule),
    };
    let wait = i64::from(settings::RETENTION_WAIT.get()) * 1_000_000;
    let rule = if wait > 0 { old.at_once(next) } else { next };
    let from = (rule != next).then(|| now.saturating_add(wait));
    if from.is_some() {
        commit_soon(now, wait);
    }
    let change =
        Change { tenant_id: tenant_id.as_deref(), old, next, is_ending: false, from: from.unwrap_or(now), why };
    let event_id = change.record();
    store(tenant_id.as_deref(), rule, from.map(|from| Next { rule: next, from, is_ending: false }), now, event_id);
    timestamptz(from.unwrap_or(now))
}

/// For how many microseconds at the most a change that waits may stay uncommitted. Nobody else sees it until then.
const MOST_UNCOMMITTED: i64 = 60_000_000;

thread_local! {
    /// Until when the transaction must be committed, if it has made a change that waits.
    static COMMITS_UNTIL: Cell<Option<i64>> = const { Cell::new(None) };
    static IS_CHECKED: Cell<bool> = const { Cell::new(false) };
}

/// Refuses to commit the transaction later than a part of the waiting time: else a change that was kept back for as long
/// would count before anybody has seen its record.
fn commit_soon(now: i64, wait: i64) {
    if !IS_CHECKED.replace(true) {
        transaction::before_commit(refuse_late_commit);
        transaction::on_end(|| COMMITS_UNTIL.set(None));
    }
    let until = now.saturating_add(MOST_UNCOMMITTED.min(wait / 10));
    COMMITS_UNTIL.set(Some(COMMITS_UNTIL.get().map_or(until, |known| known.min(until))));
}

/// What the transaction's end calls. A change in a subtransaction that was rolled back counts too.
fn refuse_late_commit(is_prepared: bool) {
    let Some(until) = COMMITS_UNTIL.get() else { return };
    let begin_anew = "Begin a new transaction, call the function again, and commit at once.";
    if is_prepared {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "a transaction that lets events go sooner cannot be prepared")
            .detail("What keeps less counts after a waiting time, in which others must see it.")
            .hint(begin_anew)
            .raise()
    }
    if transaction::now() > until {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the transaction lets events go sooner, and did so too long ago to be committed",
        )
        .detail("What keeps less counts after a waiting time, in which others must see it.")
        .hint(begin_anew)
        .raise()
    }
}

sql_function!(immutable_reset_retention, pg_finfo_immutable_reset_retention, reset_retention);

/// `immutable.reset_retention(tenant_id, reason)`
fn reset_retention(call: Call) -> Datum {
    require_change(c"immutable.reset_retention()");
    call.required(0, "tenant_id", "immutable.set_retention() changes the rule of all tenants without their own.");
    let tenant_id = parse_identity("tenant_id", call.arg(0)).unwrap_or_default();
    let why = call.arg(1).map(|_| reason(call, 1));
    lock(true);
    let now = transaction::now();
    let rules = Rules::at(now);
    let Some(own) = rules.own.get(&tenant_id) else {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the tenant has no rule of its own")
            .field("tenant_id")
            .hint("immutable.retention has the rules.")
            .raise()
    };
    // The events without a tenant follow no default.
    let default = rules.default.as_ref().filter(|_| !tenant_id.is_empty());
    let next = default.map_or(Rule::FOR_EVER, |default| default.rule);
    let wait = i64::from(settings::RETENTION_WAIT.get()) * 1_000_000;
    let is_at_once = wait <= 0 || default.is_none_or(|default| default.keeps_as_much(own.rule));
    let from = if is_at_once { now } else { now.saturating_add(wait) };
    if !is_at_once {
        commit_soon(now, wait);
    }
    let change = Change { tenant_id: Some(&tenant_id), old: own.rule, next, is_ending: true, from, why };
    let event_id = change.record();
    if is_at_once {
        let statement = format!("DELETE FROM immutable.retention WHERE {IS_OF}");
        rules_to_change().execute(&statement, &[Arg::text(tenant_id.as_str())]);
    } else {
        let next = Next { rule: next, from, is_ending: true };
        store(Some(&tenant_id), own.rule.at_once(next.rule), Some(next), now, event_id);
    }
    timestamptz(from)
}

/// A time that events can be kept. Raises 22023 for any other.
fn positive(keep: Interval) -> Interval {
    let Interval { months, days, micros } = keep;
    let hint = "Give a time such as interval '1 year', or NULL to keep the events for ever.";
    let refuse = |why: &str| Fault::invalid("keep", format!("keep must {why}")).hint(hint).raise();
    if months < 0 || days < 0 || micros < 0 || (months, days, micros) == (0, 0, 0) {
        refuse("be positive, and so must each part of it");
    }
    let whole = i64::from(months) + i64::from(days) / 28 + micros / (28 * 86_400_000_000);
    if whole > MOST_MONTHS {
        refuse("be 1,000 years at the most");
    }
    if months == 0 && days == 0 && micros < 86_400_000_000 {
        Fault::new(Code::ERRCODE_WARNING, "events will be kept for less than a day").field("keep").warn();
    }
    keep
}

/// A change of a rule, for its record.
struct Change<'c> {
    tenant_id: Option<&'c str>,
    old: Rule,
    next: Rule,
    /// Whether the tenant has no rule of its own from then on.
    is_ending: bool,
    from: i64,
    why: Option<&'c str>,
}

impl Change<'_> {
    fn record(&self) -> Id {
        let from = time::format(self.from).unwrap_or_default();
        let mut metadata = vec![("counts_from", from.as_str())];
        metadata.extend(self.tenant_id.map(|tenant_id| ("tenant_id", tenant_id)));
        metadata.extend(self.why.map(|why| ("reason", why)));
        let [keep, old_keep] = [json(self.next.keep), json(self.old.keep)];
        let [archive, old_archive] = [self.next.require_archive.to_string(), self.old.require_archive.to_string()];
        let mut of_rules: Vec<(&str, &str)> = vec![
            ("keep", &keep),
            ("require_archive", &archive),
            ("old_keep", &old_keep),
            ("old_require_archive", &old_archive),
        ];
        of_rules.extend(self.is_ending.then_some(("is_default", "true")));
        record(&LogEvent {
            action: "immutable.retention_set",
            resource_type: Some("retention"),
            metadata: &metadata,
            metadata_json: &of_rules,
            ..LogEvent::default()
        })
    }
}

/// What counts later.
struct Next {
    rule: Rule,
    from: i64,
    is_ending: bool,
}

/// Writes the row of a rule.
fn store(tenant_id: Option<&str>, rule: Rule, next: Option<Next>, now: i64, event_id: Id) {
    here(|memory| {
        let interval = |keep: Keep| Arg::given(pg_sys::INTERVALOID, keep.map(|keep| keep.datum(memory)));
        let boolean = |value: Option<bool>| Arg::given(pg_sys::BOOLOID, value.map(Datum::from));
        rules_to_change().execute(
            "INSERT INTO immutable.retention (tenant_id, keep, require_archive, next_keep, next_require_archive, next_from, \
               changed_at, changed_by, event_id, next_is_default) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT ON CONSTRAINT retention_tenant_id_key DO UPDATE SET keep = EXCLUDED.keep, \
               require_archive = EXCLUDED.require_archive, next_keep = EXCLUDED.next_keep, \
               next_require_archive = EXCLUDED.next_require_archive, next_from = EXCLUDED.next_from, \
               changed_at = EXCLUDED.changed_at, changed_by = EXCLUDED.changed_by, event_id = EXCLUDED.event_id, \
               next_is_default = EXCLUDED.next_is_default",
            &[
                Arg::maybe_text(tenant_id),
                interval(rule.keep),
                boolean(Some(rule.require_archive)),
                interval(next.as_ref().and_then(|next| next.rule.keep)),
                boolean(next.as_ref().map(|next| next.rule.require_archive)),
                next.as_ref().map_or(Arg::Null(pg_sys::TIMESTAMPTZOID), |next| Arg::Time(next.from)),
                Arg::Time(now),
                Arg::text(recorder()),
                Arg::Uuid(event_id),
                boolean(Some(next.is_some_and(|next| next.is_ending))),
            ],
        );
    });
}

/// Where a tenant's hold is among the holds.
const IS_OF: &str = "tenant_id IS NOT DISTINCT FROM $1";

/// What a hold is about, in a sentence.
fn named(tenant_id: Option<&str>) -> String {
    match tenant_id {
        Some("") => "the events without a tenant are".to_string(),
        Some(tenant_id) => format!("tenant \"{tenant_id}\" is"),
        None => "all events are".to_string(),
    }
}

/// Records that a hold began or ended.
fn record_hold(action: &'static str, tenant_id: Option<&str>, reason: &str) -> Id {
    let mut metadata = vec![("reason", reason)];
    metadata.extend(tenant_id.map(|tenant_id| ("tenant_id", tenant_id)));
    record(&LogEvent { action, resource_type: Some("retention"), metadata: &metadata, ..LogEvent::default() })
}

sql_function!(immutable_hold, pg_finfo_immutable_hold, hold);

/// `immutable.hold(tenant_id, reason)`
fn hold(call: Call) -> Datum {
    require_change(c"immutable.hold()");
    let tenant_id = parse_identity("tenant_id", call.arg(0));
    let reason = reason(call, 1);
    lock(true);
    let holds = Holds::now();
    let held = match &tenant_id {
        Some(tenant_id) => holds.tenants.get(tenant_id),
        None => holds.all.as_ref(),
    };
    if held.is_some_and(|hold| hold.ends_at.is_none()) {
        Fault::new(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} held already", named(tenant_id.as_deref())),
        )
        .field("tenant_id")
        .hint("immutable.get_retention() shows why. Keep that hold until no reason is left.")
        .raise()
    }
    let event_id = record_hold("immutable.held", tenant_id.as_deref(), reason);
    holds_to_change().execute(
        "INSERT INTO immutable.holds (tenant_id, reason, held_at, held_by, event_id) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (tenant_id) DO UPDATE SET reason = excluded.reason, held_at = excluded.held_at, \
           held_by = excluded.held_by, event_id = excluded.event_id, ends_at = NULL",
        &[
            Arg::maybe_text(tenant_id.as_deref()),
            Arg::text(reason),
            Arg::Time(transaction::now()),
            Arg::text(recorder()),
            Arg::Uuid(event_id),
        ],
    );
    call.void()
}

sql_function!(immutable_release, pg_finfo_immutable_release, release);

/// `immutable.release(tenant_id, reason)`
fn release(call: Call) -> Datum {
    require_change(c"immutable.release()");
    let tenant_id = parse_identity("tenant_id", call.arg(0));
    let reason = reason(call, 1);
    lock(true);
    let (now, wait) = (transaction::now(), i64::from(settings::RETENTION_WAIT.get()) * 1_000_000);
    let ends_at = now.saturating_add(wait);
    if wait > 0 {
        commit_soon(now, wait);
    }
    let statement =
        format!("UPDATE immutable.holds SET ends_at = $2 WHERE {IS_OF} AND ends_at IS NULL RETURNING held_at");
    if holds_to_change().execute(&statement, &[Arg::maybe_text(tenant_id.as_deref()), Arg::Time(ends_at)]) == 0 {
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, format!("{} not held", named(tenant_id.as_deref())))
            .field("tenant_id")
            .hint("immutable.holds has the holds, and when those end that were released. A hold of all events has no tenant_id.")
            .raise()
    }
    record_hold("immutable.released", tenant_id.as_deref(), reason);
    timestamptz(ends_at)
}

sql_function!(immutable_get_retention, pg_finfo_immutable_get_retention, get_retention);

/// `immutable.get_retention(tenant_id)`
fn get_retention(call: Call) -> Datum {
    refuse_distributed();
    let given = parse_identity("tenant_id", call.arg(0));
    let sees_reasons = sees_every_tenant();
    let tenant_id = match sees_reasons {
        true => given,
        false => Some(own_tenant(given.as_deref())),
    };
    let (rules, holds) = (Rules::at(transaction::now()), Holds::now());
    let (stored, is_own) = match &tenant_id {
        Some(tenant_id) => rules.of(tenant_id),
        None => (rules.default.as_ref(), false),
    };
    let held = tenant_id.as_deref().map_or(holds.all.as_ref(), |tenant_id| holds.of(tenant_id));
    let rule = stored.map_or(Rule::FOR_EVER, |stored| stored.rule);
    let next = stored.and_then(|stored| stored.next);
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    let pruned = spi::as_owner(events.get(), || tenant_id.as_deref().and_then(last_pruning));
    let memory = call.memory();
    let interval = |keep: Keep| keep.map(|keep| keep.datum(memory));
    call.rows().put(&[
        tenant_id.as_deref().map(|tenant_id| memory.text(tenant_id)),
        interval(rule.keep),
        Some(Datum::from(rule.require_archive)),
        Some(Datum::from(!is_own)),
        stored.map(|stored| timestamptz(stored.changed_at)),
        interval(next.and_then(|(next, _)| next.keep)),
        next.map(|(next, _)| Datum::from(next.require_archive)),
        next.map(|(_, from)| timestamptz(from)),
        held.map(|hold| timestamptz(hold.since)),
        held.filter(|_| sees_reasons).map(|hold| memory.text(&hold.reason)),
        pruned.and_then(|pruned| pruned.before).map(timestamptz),
        pruned.map(|pruned| timestamptz(pruned.at)),
    ]);
    call.null()
}

/// Whether the caller sees the rules of all tenants.
fn sees_every_tenant() -> bool {
    let role = role::current();
    let events = OpenRelation::briefly(events_oid());
    let is_of = |group| role::by_name(group).is_some_and(|group| role::has_rights_of(role, group));
    let by_role = role::is_superuser_role(role)
        || role == events.get().owner()
        || is_of(c"immutable_auditor")
        || is_of(c"immutable_retainer");
    let opened = proof::require(Scope::Read);
    (by_role || proof::is_needed()) && opened.tenant_id.is_none() && settings::viewer_token().is_none()
}

/// The tenant that the caller sees as a viewer or by its key. Raises 42501 for another one.
fn own_tenant(given: Option<&str>) -> String {
    let opened = proof::require(Scope::Read);
    let own = opened.tenant_id.or_else(|| shown_here().and_then(|shown| shown.tenant_id));
    match own {
        Some(own) if given.is_none_or(|given| given == own) => own,
        _ => Fault::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the caller may not see how long this tenant's events are kept",
        )
        .field("tenant_id")
        .hint("A viewer sees the tenant of its token, an API key of one tenant that tenant.")
        .raise(),
    }
}
