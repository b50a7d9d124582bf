//! A piece of the feed, evaluated against all rules: events are read once and matched here, actor by
//! actor, and what is to be written is written at once.

use crate::jobs::alert_history::{decode, encode};
use crate::jobs::alert_match::{alerts_of, reason, Rule, Seen};
use crate::log::columns::{self as c, Layout};
use crate::log::row::stored_text;
use crate::pg::datum::{micros, uuid, Datum};
use crate::pg::memory::here;
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::pg::tuple::Values;
use crate::pg::{random, transaction};
use immutable_format::Id;
use pgrx::pg_sys;
use std::collections::{HashMap, HashSet};

/// The texts of events, each once.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_string(), number);
        self.texts.push(text.to_string());
        number
    }

    fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// What is kept of an event; texts by their number.
struct Event {
    id: Id,
    tenant: u32,
    actor: Option<u32>,
    action: u32,
    country: Option<u32>,
    at: i64,
}

/// The events of a piece.
#[derive(Default)]
pub struct Piece {
    texts: Texts,
    events: Vec<Event>,
}

/// Events of one actor, or of one tenant, as indexes in the order of their times; which rules look at
/// them, with the events that each counts.
struct Group {
    tenant: u32,
    /// None for the tenant as a whole.
    actor: Option<u32>,
    counted: Vec<(usize, Vec<usize>)>,
}

/// An alert that is to be written: the rule and the event, as indexes.
struct Raised {
    rule: usize,
    event: usize,
}

/// For how many actors memories are read and written at once.
const GROUPS: usize = 1000;

impl Piece {
    /// Takes an event. One whose tenant, action or time cannot be read is left out: verification
    /// reports it.
    pub fn take(&mut self, row: &Values, layout: &Layout) {
        let get = |column| row.get(layout, column);
        let (Some(id), Some(at)) = (get(c::ID), get(c::CREATED_AT)) else { return };
        let text = |column| get(column).and_then(stored_text);
        let (Some(tenant), Some(action)) = (text(c::TENANT_ID), text(c::ACTION)) else { return };
        let (actor, country) = (text(c::ACTOR_ID).filter(|id| !id.is_empty()), text(c::IP_COUNTRY));
        let texts = &mut self.texts;
        self.events.push(Event {
            id: uuid(id),
            tenant: texts.number(tenant),
            actor: actor.map(|actor| texts.number(actor)),
            action: texts.number(action),
            country: country.map(|country| texts.number(country)),
            at: micros(at),
        });
    }

    /// Evaluates the rules, writes the alerts and what is remembered, and returns the number of alerts. The
    /// owner's rights are in force.
    pub fn evaluate(&self, rules: &[Rule]) -> usize {
        let mut raised = Vec::new();
        for is_of_actor in [true, false] {
            for groups in self.groups(rules, is_of_actor).chunks(GROUPS) {
                self.evaluate_groups(rules, groups, &mut raised);
            }
        }
        raised.sort_by_key(|alert: &Raised| (self.events[alert.event].at, alert.event, alert.rule));
        self.write_alerts(rules, &raised);
        raised.len()
    }

    /// The events that rules of actors, or of whole tenants, count, by actor or tenant.
    fn groups(&self, rules: &[Rule], is_of_actor: bool) -> Vec<Group> {
        let wanted: Vec<usize> =
            (0..rules.len()).filter(|rule| rules[*rule].rule_type.is_of_actor() == is_of_actor).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let key = |event: &Event| (event.tenant, event.actor.filter(|_| is_of_actor));
        let mut order: Vec<usize> =
            (0..self.events.len()).filter(|n| !is_of_actor || self.events[*n].actor.is_some()).collect();
        order.sort_by_key(|n| (key(&self.events[*n]), self.events[*n].at, *n));
        let mut matches: HashMap<u32, Vec<bool>> = HashMap::new();
        for event in &self.events {
            matches.entry(event.action).or_insert_with(|| {
                wanted.iter().map(|rule| rules[*rule].conditions.matches(self.texts.text(event.action))).collect()
            });
        }
        let mut groups = Vec::new();
        for of_one in order.chunk_by(|a, b| key(&self.events[*a]) == key(&self.events[*b])) {
            let (tenant, actor) = key(&self.events[of_one[0]]);
            let tenant_id = self.texts.text(tenant);
            let mut counted = Vec::new();
            for (at, rule) in wanted.iter().enumerate() {
                let Rule { tenant_id: of, since, .. } = &rules[*rule];
                if of.as_ref().is_some_and(|of| of != tenant_id) {
                    continue;
                }
                let is_counted = |n: &&usize| {
                    let event = &self.events[**n];
                    event.at >= *since && matches[&event.action][at]
                };
                let events: Vec<usize> = of_one.iter().filter(is_counted).copied().collect();
                if !events.is_empty() {
                    counted.push((*rule, events));
                }
            }
            if !counted.is_empty() {
                groups.push(Group { tenant, actor, counted });
            }
        }
        groups
    }

    fn evaluate_groups(&self, rules: &[Rule], groups: &[Group], raised: &mut Vec<Raised>) {
        let memories = self.memories(groups);
        let ids: HashSet<Id> = rules.iter().map(|rule| rule.id).collect();
        let mut changed = Vec::new();
        for (group, before) in groups.iter().zip(memories) {
            let mut memories = before.as_deref().and_then(decode).unwrap_or_default();
            // What a rule remembered that was deleted goes away here.
            memories.retain(|id, _| ids.contains(id));
            for (rule, events) in &group.counted {
                let seen: Vec<Seen> = events.iter().map(|n| self.seen(*n)).collect();
                let memory = memories.entry(rules[*rule].id).or_default();
                for n in alerts_of(&rules[*rule], memory, &seen) {
                    raised.push(Raised { rule: *rule, event: events[n] });
                }
            }
            let after = encode(&memories);
            if before.as_ref() != Some(&after) {
                changed.push((group, after));
            }
        }
        self.write_memories(&changed);
    }

    fn seen(&self, n: usize) -> Seen<'_> {
        let Event { action, country, at, .. } = &self.events[n];
        Seen { at: *at, action: self.texts.text(*action), country: country.map(|country| self.texts.text(country)) }
    }

    fn key(&self, group: &Group) -> (String, String) {
        let actor_id = group.actor.map_or("", |actor| self.texts.text(actor));
        (self.texts.text(group.tenant).to_string(), actor_id.to_string())
    }

    /// What is remembered of each group, as it is stored.
    fn memories(&self, groups: &[Group]) -> Vec<Option<Vec<u8>>> {
        let (tenants, actors) = groups.iter().map(|group| self.key(group)).unzip();
        let mut memories = vec![None; groups.len()];
        spi::query_now_planned_each_time(
            "SELECT g.n, s.state FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
               pg_catalog.unnest($2::pg_catalog.text[])) WITH ORDINALITY g(tenant_id, actor_id, n) \
             JOIN immutable.alert_state s ON s.tenant_id OPERATOR(pg_catalog.=) g.tenant_id \
               AND s.actor_id OPERATOR(pg_catalog.=) g.actor_id",
            &[Arg::Texts(tenants), Arg::Texts(actors)],
            |row| {
                let at = row.at(0).map_or(0, Datum::i64).wrapping_sub(1) as usize;
                if let Some(memory) = memories.get_mut(at) {
                    *memory = row.at(1).and_then(toast::read).map(<[u8]>::to_vec);
                }
            },
        );
        memories
    }

    fn write_memories(&self, changed: &[(&Group, Vec<u8>)]) {
        if changed.is_empty() {
            return;
        }
        let (tenants, actors) = changed.iter().map(|(group, _)| self.key(group)).unzip();
        here(|memory| {
            let states: Vec<Datum> = changed.iter().map(|(_, state)| memory.bytes(state)).collect();
            let states = memory.array(&states, pg_sys::BYTEAOID, -1, false, pg_sys::TYPALIGN_INT);
            spi::execute(
                "INSERT INTO immutable.alert_state (tenant_id, actor_id, state) \
                 SELECT * FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
                   pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.bytea[])) g \
                 ON CONFLICT (tenant_id, actor_id) DO UPDATE SET state = excluded.state",
                &[Arg::Texts(tenants), Arg::Texts(actors), Arg::Given(pg_sys::BYTEAARRAYOID, states)],
            );
        });
    }

    fn write_alerts(&self, rules: &[Rule], raised: &[Raised]) {
        if raised.is_empty() {
            return;
        }
        let now = after_the_last(transaction::now());
        let of = |alert: &Raised| (&rules[alert.rule], &self.events[alert.event]);
        let texts = |text: &dyn Fn(&Raised) -> String| Arg::Texts(raised.iter().map(text).collect());
        here(|memory| {
            let ids = |id: &dyn Fn(usize, &Raised) -> Id| {
                let ids: Vec<Datum> = raised.iter().enumerate().map(|(n, alert)| memory.uuid(&id(n, alert))).collect();
                Arg::Given(pg_sys::UUIDARRAYOID, memory.array(&ids, pg_sys::UUIDOID, 16, false, pg_sys::TYPALIGN_CHAR))
            };
            let of_actor: Vec<Datum> =
                raised.iter().map(|alert| Datum::from(of(alert).0.rule_type.is_of_actor())).collect();
            let of_actor = memory.array(&of_actor, pg_sys::BOOLOID, 1, true, pg_sys::TYPALIGN_CHAR);
            let arguments = [
                ids(&|n, _| random::id(now + n as i64)),
                ids(&|_, alert| of(alert).0.id),
                texts(&|alert| of(alert).0.name.clone()),
                texts(&|alert| of(alert).0.rule_type.name().to_string()),
                texts(&|alert| self.texts.text(of(alert).1.tenant).to_string()),
                ids(&|_, alert| of(alert).1.id),
                Arg::Given(pg_sys::BOOLARRAYOID, of_actor),
                texts(&|alert| reason(of(alert).0, self.texts.text(of(alert).1.action))),
                Arg::Time(now),
            ];
            spi::execute(
                "INSERT INTO immutable.alerts (id, rule_id, rule_name, rule_type, tenant_id, event_id, is_of_actor, \
                   reason, triggered_at) \
                 SELECT g.*, $9 FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]), \
                   pg_catalog.unnest($2::pg_catalog.uuid[]), pg_catalog.unnest($3::pg_catalog.text[]), \
                   pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.text[]), \
                   pg_catalog.unnest($6::pg_catalog.uuid[]), pg_catalog.unnest($7::pg_catalog.bool[]), \
                   pg_catalog.unnest($8::pg_catalog.text[])) g",
                &arguments,
            );
        });
        // It has no payload, because every role of the database may listen.
        spi::execute("NOTIFY immutable_alerts", &[]);
    }
}

/// A time after that of every alert, so that alerts are delivered in the order in which they were
/// committed, also where the clock was set back. The lock of the alerts is held.
fn after_the_last(now: i64) -> i64 {
    let mut last = i64::MIN;
    spi::query_now("SELECT pg_catalog.max(a.triggered_at) FROM immutable.alerts a", &[], |row| {
        last = row.at(0).map_or(last, micros);
    });
    now.max(last.saturating_add(1))
}
