//! The rules: who makes, changes and deletes them. Each such decision is an event of the log.

use crate::access::decision::decide;
use crate::access::proof::{self, Opened, Scope};
use crate::access::token::parse_identity;
use crate::jobs::alert_conditions::{Conditions, RuleType};
use crate::jobs::alert_mark;
use crate::jobs::alert_match::Rule;
use crate::log::own_event::LogEvent;
use crate::log::row::stored_text;
use crate::log::tables::events_oid;
use crate::log::{alert_state, distributed};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{micros, text, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::pg::random;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use crate::pg::tuple::Values;
use crate::pg::zone::Zone;
use immutable_format::id::uuid_text;
use immutable_format::json::{write_string, Value};
use immutable_format::{time, Id};
use pgrx::pg_sys;

/// Most rules of a log, and the most bytes of a name.
const MOST_RULES: i64 = 500;
const NAME_BYTES: usize = 255;

/// Bytes and levels of conditions: patterns in an array in an object.
const CONDITION_BYTES: usize = 32_768;
const CONDITION_LEVELS: usize = 3;

/// A row of immutable.alert_rules.
struct Stored {
    id: Id,
    name: String,
    rule_type: String,
    /// As JSON.
    conditions: String,
    tenant_id: Option<String>,
    enabled: bool,
    created_at: i64,
    updated_at: i64,
    since: i64,
    /// Whether a part of the row cannot be read. Such a rule is not evaluated, and can be deleted.
    is_damaged: bool,
}

const COLUMNS: &str = "SELECT r.id, r.name, r.rule_type, r.conditions, r.tenant_id, r.enabled, r.created_at, \
     r.updated_at, r.since FROM immutable.alert_rules r";

impl Stored {
    /// What of a row can be read.
    fn of(row: &Values) -> Stored {
        let mut is_damaged = false;
        let mut read = |part: Option<String>| {
            part.unwrap_or_else(|| {
                is_damaged = true;
                String::new()
            })
        };
        // Longer ones were not written here, and could not be recorded.
        let text_at =
            |place| row.at(place).and_then(stored_text).filter(|text| text.len() <= NAME_BYTES).map(str::to_string);
        let conditions = row.at(3).and_then(Reader::new);
        let conditions = conditions.and_then(|given| given.value(CONDITION_LEVELS, CONDITION_BYTES).ok());
        let conditions = conditions.map(|given| given.canonical());
        let (name, rule_type) = (read(text_at(1)), read(text_at(2)));
        let tenant_id = row.at(4).map(|_| read(text_at(4)));
        let is_damaged = is_damaged || conditions.is_none() || (5..9).any(|place| row.at(place).is_none());
        let at = |place| row.at(place).map_or(0, micros);
        Stored {
            id: row.at(0).map(uuid).unwrap_or_default(),
            name,
            rule_type,
            conditions: conditions.unwrap_or_else(|| "null".to_string()),
            tenant_id,
            enabled: row.at(5).is_some_and(Datum::bool),
            created_at: at(6),
            updated_at: at(7),
            since: at(8),
            is_damaged,
        }
    }

    fn json(&self) -> String {
        let quoted = |text: &str| {
            let mut out = String::new();
            write_string(text, &mut out);
            out
        };
        let at = |micros| time::format(micros).map_or("null".to_string(), |at| quoted(&at));
        let tenant_id = self.tenant_id.as_deref().map_or("null".to_string(), quoted);
        format!(
            "{{\"id\":\"{}\",\"name\":{},\"rule_type\":{},\"conditions\":{},\"tenant_id\":{tenant_id},\"enabled\":{},\
             \"created_at\":{},\"updated_at\":{}}}",
            uuid_text(&self.id),
            quoted(&self.name),
            quoted(&self.rule_type),
            self.conditions,
            self.enabled,
            at(self.created_at),
            at(self.updated_at),
        )
    }

    /// The rule as it is evaluated; 22023 for one that somebody has changed to mean nothing.
    fn rule(self) -> Result<Rule, Fault> {
        if self.is_damaged {
            return Err(damaged());
        }
        let rule_type = RuleType::read(&self.rule_type)?;
        let given = Value::parse(&self.conditions, CONDITION_LEVELS, CONDITION_BYTES);
        let conditions = Conditions::read(rule_type, &given.unwrap_or(Value::Null))?;
        let zone = Zone::named(&conditions.timezone);
        let Stored { id, name, tenant_id, since, .. } = self;
        Ok(Rule { id, name, rule_type, conditions, zone, tenant_id, since })
    }

    /// Records what was decided. The name is left out: somebody may have named a person.
    fn record(&self, action: &str) {
        let tenant_id: &[(&str, &str)] = match &self.tenant_id {
            Some(tenant_id) => &[("tenant_id", tenant_id)],
            None => &[],
        };
        let enabled = self.enabled.to_string();
        decide(&LogEvent {
            action,
            resource_type: Some("alert_rule"),
            resource_id: Some(&uuid_text(&self.id)),
            metadata: &[&[("rule_type", &*self.rule_type)], tenant_id].concat(),
            metadata_json: &[("conditions", &self.conditions), ("enabled", &enabled)],
            ..LogEvent::default()
        });
    }
}

fn damaged() -> Fault {
    Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the alert rule is damaged")
        .field("id")
        .hint("Somebody has changed the table by hand. Delete the rule, and create it again.")
}

/// The rules that are evaluated. The owner's rights are in force. A row that means nothing is left
/// out, with a warning.
pub fn enabled() -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut unread = 0;
    spi::query_now(&format!("{COLUMNS} WHERE r.enabled ORDER BY r.created_at, r.id"), &[], |row| {
        match Stored::of(row).rule() {
            Ok(rule) => rules.push(rule),
            Err(_) => unread += 1,
        }
    });
    if unread > 0 {
        Fault::new(Code::ERRCODE_WARNING, format!("{unread} alert rules are damaged and were not evaluated"))
            .hint("Delete them, and create them again.")
            .warn();
    }
    rules
}

/// Runs `body` with the owner's rights and the lock of the alerts, so that no evaluation runs.
fn locked<T>(body: impl FnOnce() -> T) -> T {
    distributed::refuse("alert rules", "Watch the events with immutable.changes() and a tenant_id, tenant by tenant.");
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    if let Some(lock) = alert_state::lock() {
        lock.acquire(true);
    }
    spi::as_owner(events.get(), body)
}

/// The name that an argument gives; 22023 for one that is empty or too long.
fn name(given: Datum) -> String {
    let name = text(given);
    if name.trim().is_empty() || name.len() > NAME_BYTES {
        Fault::invalid("name", format!("name must have 1 to {NAME_BYTES} bytes, and not only spaces"))
            .hint("Alerts show the name: say what the rule looks for.")
            .raise()
    }
    name.to_string()
}

/// The conditions that an argument gives, complete, as JSON.
fn conditions(rule_type: RuleType, given: Option<Datum>) -> String {
    let given = match given.map(Reader::new) {
        None => Ok(Value::Object(Vec::new())),
        Some(None) => Ok(Value::Null),
        Some(Some(reader)) => reader.value(CONDITION_LEVELS, CONDITION_BYTES),
    };
    let given = given.unwrap_or_else(|_| {
        Fault::invalid("conditions", "conditions are too large or too deeply nested")
            .hint("Members are texts, numbers, or an array of texts.")
            .raise()
    });
    let conditions = Conditions::read(rule_type, &given).unwrap_or_else(|fault| fault.raise());
    if rule_type == RuleType::OffHours {
        conditions.require_timezone();
    }
    conditions.json(rule_type)
}

sql_function!(immutable_create_alert_rule, pg_finfo_immutable_create_alert_rule, create_alert_rule);

/// `immutable.create_alert_rule(name, rule_type, conditions, tenant_id)`
fn create_alert_rule(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Admin);
    let name = name(call.required(0, "name", "Say what the rule looks for."));
    let rule_type = text(call.required(1, "rule_type", "Give a type, such as repeated_action."));
    let rule_type = RuleType::read(rule_type).unwrap_or_else(|fault| fault.raise());
    let tenant_id = opened.tenant_or_own("tenant_id", parse_identity("tenant_id", call.arg(3)));
    let conditions = conditions(rule_type, call.arg(2));
    let rule = locked(|| {
        refuse_too_many();
        let at = transaction::now();
        let rule = Stored {
            id: random::id(at),
            name,
            rule_type: rule_type.name().to_string(),
            conditions,
            tenant_id,
            enabled: true,
            created_at: at,
            updated_at: at,
            since: at,
            is_damaged: false,
        };
        spi::execute(
            "INSERT INTO immutable.alert_rules (id, name, rule_type, conditions, tenant_id, enabled, created_at, \
               updated_at, since) VALUES ($1, $2, $3, $4, $5, true, $6, $6, $6)",
            &[
                Arg::Uuid(rule.id),
                Arg::text(&*rule.name),
                Arg::text(&*rule.rule_type),
                Arg::Json((&*rule.conditions).into()),
                Arg::maybe_text(rule.tenant_id.as_deref()),
                Arg::Time(at),
            ],
        );
        alert_mark::begin();
        rule
    });
    rule.record("immutable.alert_rule_created");
    call.memory().jsonb(&rule.json())
}

fn refuse_too_many() {
    let mut rules = 0;
    spi::query_now("SELECT pg_catalog.count(*) FROM immutable.alert_rules", &[], |row| {
        rules = row.at(0).map_or(0, Datum::i64);
    });
    if rules >= MOST_RULES {
        Fault::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, format!("a log has at most {MOST_RULES} alert rules"))
            .hint("Delete rules that are not used. One rule can look at all tenants, and for several actions.")
            .raise()
    }
}

/// The rule that an argument names, if the proof opens it. Raises P0002 if there is none.
fn find(id: Datum, opened: &Opened) -> Stored {
    let mut found = None;
    spi::query_now(
        &format!("{COLUMNS} WHERE r.id OPERATOR(pg_catalog.=) $1"),
        &[Arg::Given(pg_sys::UUIDOID, id)],
        |row| found = Some(Stored::of(row)),
    );
    let is_open = |rule: &Stored| opened.tenant_id.is_none() || opened.tenant_id == rule.tenant_id;
    found.filter(is_open).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NO_DATA_FOUND, format!("there is no alert rule {}", uuid_text(&uuid(id))))
            .field("id")
            .hint("immutable.get_alert_rules() lists the rules.")
            .raise()
    })
}

const ID: &str = "Give the id that create_alert_rule() returned. immutable.get_alert_rules() lists the rules.";

sql_function!(immutable_update_alert_rule, pg_finfo_immutable_update_alert_rule, update_alert_rule);

/// `immutable.update_alert_rule(id, name, conditions, enabled)`
fn update_alert_rule(call: Call<'_>) -> Datum<'_> {
    let opened = proof::require(Scope::Admin);
    let id = call.required(0, "id", ID);
    let rule = locked(|| {
        let mut rule = find(id, &opened);
        if rule.is_damaged {
            damaged().raise()
        }
        rule.name = call.arg(1).map_or(rule.name, name);
        let at = transaction::now();
        let (conditions_before, was_enabled) = (rule.conditions.clone(), rule.enabled);
        if let Some(given) = call.arg(2) {
            let rule_type = RuleType::read(&rule.rule_type).unwrap_or_else(|fault| fault.raise());
            rule.conditions = conditions(rule_type, Some(given));
        }
        rule.enabled = call.arg(3).map_or(rule.enabled, Datum::bool);
        rule.updated_at = at;
        if rule.conditions != conditions_before || rule.enabled && !was_enabled {
            rule.since = at;
        }
        spi::execute(
            "UPDATE immutable.alert_rules r SET name = $2, conditions = $3, enabled = $4, updated_at = $5, since = $6 \
             WHERE r.id OPERATOR(pg_catalog.=) $1",
            &[
                Arg::Uuid(rule.id),
                Arg::text(&*rule.name),
                Arg::Json((&*rule.conditions).into()),
                Arg::Given(pg_sys::BOOLOID, Datum::from(rule.enabled)),
                Arg::Time(at),
                Arg::Time(rule.since),
            ],
        );
        if rule.enabled {
            alert_mark::begin();
        }
        rule
    });
    rule.record("immutable.alert_rule_updated");
    call.memory().jsonb(&rule.json())
}

sql_function!(immutable_delete_alert_rule, pg_finfo_immutable_delete_alert_rule, delete_alert_rule);

/// `immutable.delete_alert_rule(id)`
fn delete_alert_rule(call: Call) -> Datum {
    let opened = proof::require(Scope::Admin);
    let id = call.required(0, "id", ID);
    let rule = locked(|| {
        let rule = find(id, &opened);
        spi::execute("DELETE FROM immutable.alert_rules r WHERE r.id OPERATOR(pg_catalog.=) $1", &[Arg::Uuid(rule.id)]);
        rule
    });
    rule.record("immutable.alert_rule_deleted");
    call.void()
}

sql_function!(immutable_get_alert_rules, pg_finfo_immutable_get_alert_rules, get_alert_rules);

/// `immutable.get_alert_rules()`
fn get_alert_rules(call: Call) -> Datum {
    let opened = proof::require(Scope::Admin);
    let mut rules = Vec::new();
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), || {
        spi::query_now(&format!("{COLUMNS} ORDER BY r.created_at, r.id"), &[], |row| {
            let is_open = |rule: &Stored| opened.tenant_id.is_none() || opened.tenant_id == rule.tenant_id;
            rules.extend(Some(Stored::of(row)).filter(is_open).map(|rule| rule.json()));
        });
    });
    call.memory().jsonb(&format!("{{\"data\":[{}]}}", rules.join(",")))
}
