//! Which events of one actor, or of one tenant as a whole, raise alerts. Nothing here knows
//! PostgreSQL but for time zones.

use crate::jobs::alert_conditions::{Conditions, RuleType};
use crate::jobs::alert_history::{Memory, MOST_COUNTRIES};
use crate::pg::zone::Zone;
use immutable_format::Id;
use std::collections::BTreeMap;

/// A rule that is evaluated.
pub struct Rule {
    pub id: Id,
    pub name: String,
    pub rule_type: RuleType,
    pub conditions: Conditions,
    /// The zone of the conditions.
    pub zone: Option<Zone>,
    /// The tenant; None for all of them.
    pub tenant_id: Option<String>,
    /// Events are looked at that were recorded from then on (microseconds since 1970).
    pub since: i64,
}

/// What a rule must know of an event.
pub struct Seen<'e> {
    pub at: i64,
    pub action: &'e str,
    pub country: Option<&'e str>,
}

/// Which of the events raise an alert, as indexes. The events are those of one actor, or of one
/// tenant, which the rule counts, in the order of their times.
pub fn alerts_of(rule: &Rule, memory: &mut Memory, events: &[Seen]) -> Vec<usize> {
    if memory.since != rule.since {
        *memory = Memory { since: rule.since, ..Memory::default() };
    }
    match rule.rule_type {
        RuleType::NewCountry => new_countries(memory, events),
        RuleType::OffHours => off_hours(rule, memory, events),
        _ => bursts(rule, memory, events),
    }
}

/// The events from countries that were not known. The first country of an actor is no news.
fn new_countries(memory: &mut Memory, events: &[Seen]) -> Vec<usize> {
    let mut alerts = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let Some(country) = event.country.filter(|country| !country.is_empty()) else { continue };
        if memory.countries.iter().any(|known| known == country) || memory.countries.len() >= MOST_COUNTRIES {
            continue;
        }
        if !memory.countries.is_empty() {
            alerts.push(n);
        }
        memory.countries.push(country.to_string());
    }
    alerts
}

/// Seconds of a day and of an hour.
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// The first event of each time off work, which begins each day when work ends.
fn off_hours(rule: &Rule, memory: &mut Memory, events: &[Seen]) -> Vec<usize> {
    let Conditions { start_hour, end_hour, .. } = rule.conditions;
    let mut alerts = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let Some(local) = rule.zone.and_then(|zone| zone.local_seconds(event.at)) else { continue };
        let hour = local.rem_euclid(DAY) / HOUR;
        let is_work = match start_hour < end_hour {
            true => (start_hour..end_hour).contains(&hour),
            false => hour >= start_hour || hour < end_hour,
        };
        let period = (local - end_hour * HOUR).div_euclid(DAY);
        if !is_work && !memory.has_alerted(|known| known == period) {
            memory.note_alert(period);
            alerts.push(n);
        }
    }
    alerts
}

/// The events that make so many within the window, the threshold, wherever the window begins. After
/// an alert there is no other within a window of it.
fn bursts(rule: &Rule, memory: &mut Memory, events: &[Seen]) -> Vec<usize> {
    let mut counted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (n, event) in events.iter().enumerate() {
        let by = if rule.rule_type == RuleType::RepeatedAction { event.action } else { "" };
        counted.entry(by).or_default().push(n);
    }
    let Conditions { threshold, window, .. } = rule.conditions;
    let mut found = Vec::new();
    for (by, new) in counted {
        let known = memory.times.entry(by.to_string()).or_default();
        // Each time, and the new event that it is of.
        let mut times: Vec<(i64, Option<usize>)> = known.iter().map(|at| (*at, None)).collect();
        times.extend(new.iter().map(|n| (events[*n].at, Some(*n))));
        times.sort_by_key(|(at, n)| (*at, n.is_some(), *n));
        let mut last_new = None;
        for end in 0..times.len() {
            last_new = if times[end].1.is_some() { Some(end) } else { last_new };
            let Some(begin) = (end + 1).checked_sub(threshold) else { continue };
            // An event that came late may complete a window with events that came before it.
            let of = last_new.filter(|last| *last >= begin).and_then(|last| times[last].1);
            if times[end].0.saturating_sub(times[begin].0) < window {
                found.extend(of);
            }
        }
        let newest = times.last().map_or(0, |(at, _)| *at);
        let is_kept = |(at, n): &&(i64, Option<usize>)| n.is_some() || newest.saturating_sub(*at) < window;
        *known = times.iter().filter(is_kept).map(|(at, _)| *at).collect();
        let excess = known.len().saturating_sub(4 * threshold);
        known.drain(..excess);
    }
    memory.bound_actions();
    found.sort_unstable();
    found.dedup();
    found.retain(|n| {
        let at = events[*n].at;
        let is_first = !memory.has_alerted(|known| known.abs_diff(at) < window as u64);
        if is_first {
            memory.note_alert(at);
        }
        is_first
    });
    found
}

/// Why there is an alert, without a value that can be erased.
pub fn reason(rule: &Rule, action: &str) -> String {
    let Conditions { patterns, threshold, timezone, start_hour, end_hour, .. } = &rule.conditions;
    let within = match rule.conditions.minutes() {
        1 => "one minute".to_string(),
        minutes => format!("{minutes} minutes"),
    };
    match rule.rule_type {
        RuleType::NewCountry => "an event from a country that no event of this actor came from before".to_string(),
        RuleType::HighVolumeDestructive => {
            format!("{threshold} events like {} by one actor within {within}", patterns.join(", "))
        }
        RuleType::IngestionSpike => format!("{threshold} events of one tenant within {within}"),
        RuleType::RepeatedAction => format!("{action} {threshold} times by one actor within {within}"),
        RuleType::OffHours => {
            format!("{action} outside of {start_hour:02}:00 to {end_hour:02}:00 ({timezone})")
        }
    }
}
