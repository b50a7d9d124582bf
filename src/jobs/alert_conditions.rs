//! What a rule looks for: its type, and the conditions that the type has.

use crate::pg::error::Fault;
use crate::pg::spi::{self, Arg};
use crate::pg::zone::Zone;
use immutable_format::event::RESERVED;
use immutable_format::json::Value;

/// The types of rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleType {
    NewCountry,
    HighVolumeDestructive,
    IngestionSpike,
    RepeatedAction,
    OffHours,
}

const TYPES: [(&str, RuleType); 5] = [
    ("new_country", RuleType::NewCountry),
    ("high_volume_destructive", RuleType::HighVolumeDestructive),
    ("ingestion_spike", RuleType::IngestionSpike),
    ("repeated_action", RuleType::RepeatedAction),
    ("off_hours", RuleType::OffHours),
];

impl RuleType {
    /// The type of that name; 22023 if there is none.
    pub fn read(name: &str) -> Result<RuleType, Fault> {
        let found = TYPES.iter().find(|(known, _)| *known == name).map(|(_, rule_type)| *rule_type);
        found.ok_or_else(|| {
            let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
            Fault::invalid("rule_type", "rule_type is not a type of rules")
                .hint(format!("The types are {}.", names.join(", ")))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, rule_type)| *rule_type == self).map_or("", |(name, _)| name)
    }

    /// Whether its alerts are about one actor. Those of the others are about a whole tenant.
    pub fn is_of_actor(self) -> bool {
        self != RuleType::IngestionSpike
    }

    /// The conditions that it has.
    fn members(self) -> &'static [&'static str] {
        match self {
            RuleType::NewCountry => &["action_pattern"],
            RuleType::OffHours => &["action_pattern", "timezone", "start_hour", "end_hour"],
            _ => &["action_pattern", "threshold", "window_minutes"],
        }
    }
}

/// Most patterns of a rule, and the most bytes of one: no action is longer.
const MOST_PATTERNS: usize = 20;
const PATTERN_BYTES: usize = 255;

/// The largest threshold: so many times are kept for each actor.
const MOST_THRESHOLD: i64 = 100_000;

/// The longest window, in minutes: a week.
const MOST_MINUTES: i64 = 10_080;

const MINUTE: i64 = 60_000_000;

/// The conditions of a rule, with the defaults of its type.
#[derive(Clone)]
pub struct Conditions {
    /// The actions that count; `*` stands for any text.
    pub patterns: Vec<String>,
    pub threshold: usize,
    /// In microseconds.
    pub window: i64,
    pub timezone: String,
    /// The hours of work.
    pub start_hour: i64,
    pub end_hour: i64,
}

impl Conditions {
    fn default_of(rule_type: RuleType) -> Conditions {
        let (patterns, threshold, minutes): (&[&str], usize, i64) = match rule_type {
            RuleType::HighVolumeDestructive => (&["*.deleted", "*.removed"], 10, 10),
            RuleType::IngestionSpike => (&["*"], 1000, 5),
            _ => (&["*"], 10, 10),
        };
        Conditions {
            patterns: patterns.iter().map(|pattern| (*pattern).to_string()).collect(),
            threshold,
            window: minutes * MINUTE,
            timezone: "UTC".to_string(),
            start_hour: 8,
            end_hour: 18,
        }
    }

    /// Reads the conditions of a rule; 22023, with the member's name, for what means nothing.
    pub fn read(rule_type: RuleType, given: &Value) -> Result<Conditions, Fault> {
        let Value::Object(members) = given else {
            return Err(Fault::invalid("conditions", "conditions must be a JSON object")
                .hint(format!("Members of this type are {}.", rule_type.members().join(", "))));
        };
        let mut conditions = Conditions::default_of(rule_type);
        for (name, value) in members {
            if !rule_type.members().contains(&&**name) {
                let shown: String = name.chars().take(64).collect();
                let message = format!("conditions of rule type {} have no member \"{shown}\"", rule_type.name());
                let hint = format!("They may have {}.", rule_type.members().join(", "));
                return Err(Fault::invalid("conditions", message).hint(hint));
            }
            match &**name {
                "action_pattern" => conditions.patterns = patterns("conditions.action_pattern", value)?,
                "threshold" => {
                    let least = if rule_type == RuleType::RepeatedAction { 2 } else { 1 };
                    conditions.threshold = number(name, value, least, MOST_THRESHOLD)? as usize;
                }
                "window_minutes" => conditions.window = number(name, value, 1, MOST_MINUTES)? * MINUTE,
                "start_hour" => conditions.start_hour = number(name, value, 0, 23)?,
                "end_hour" => conditions.end_hour = number(name, value, 1, 24)?,
                _ => conditions.timezone = timezone(value)?,
            }
        }
        let [start, end] = [conditions.start_hour, conditions.end_hour];
        if start == end || (start, end) == (0, 24) {
            return Err(Fault::invalid(
                "conditions.end_hour",
                "start_hour and end_hour leave no hour of work, or no other",
            )
            .hint(
                "start_hour is the first hour of work, from 0 to 23, and end_hour is when work ends, from 1 to 24.",
            ));
        }
        Ok(conditions)
    }

    /// Raises 22023 unless the time zone is one of PostgreSQL's names. It reads all names, which takes a
    /// while.
    pub fn require_timezone(&self) {
        let mut is_known = self.timezone == "UTC";
        if !is_known {
            spi::query_now(
                "SELECT FROM pg_catalog.pg_timezone_names z WHERE z.name OPERATOR(pg_catalog.=) $1",
                &[Arg::text(&*self.timezone)],
                |_| is_known = true,
            );
        }
        if !is_known || Zone::named(&self.timezone).is_none() {
            Fault::invalid("conditions.timezone", "timezone is not a time zone that the server knows")
                .hint("Give a name such as Europe/Berlin. The view pg_timezone_names lists them.")
                .raise()
        }
    }

    /// Whether an action counts. One of the log's own does only where a pattern begins as they do.
    pub fn matches(&self, action: &str) -> bool {
        let is_own = action.starts_with(RESERVED);
        self.patterns.iter().any(|pattern| (!is_own || pattern.starts_with(RESERVED)) && is_like(action, pattern))
    }

    /// The conditions of a type as JSON, defaults included.
    pub fn json(&self, rule_type: RuleType) -> String {
        fn text(text: &str) -> Value<'_> {
            Value::String(text.into())
        }
        let number = |number: i64| Value::Number(number.to_string().into());
        let member = |name: &&'static str| {
            let value = match *name {
                "action_pattern" if self.patterns.len() == 1 => text(&self.patterns[0]),
                "action_pattern" => Value::Array(self.patterns.iter().map(|pattern| text(pattern)).collect()),
                "threshold" => number(self.threshold as i64),
                "window_minutes" => number(self.minutes()),
                "start_hour" => number(self.start_hour),
                "end_hour" => number(self.end_hour),
                _ => text(&self.timezone),
            };
            ((*name).into(), value)
        };
        Value::Object(rule_type.members().iter().map(member).collect()).canonical()
    }

    /// The window, in minutes.
    pub fn minutes(&self) -> i64 {
        self.window / MINUTE
    }
}

/// Whether the text is like the pattern, in which `*` stands for any text. It looks at no place twice.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// One pattern, or an array of them; `field` names where they were given.
pub fn patterns(field: &str, value: &Value) -> Result<Vec<String>, Fault> {
    let name = field.rsplit('.').next().unwrap_or(field);
    let refused = |message: &str| {
        Fault::invalid(field, message.to_string()).hint(
            "Give an action such as document.deleted, in which * stands for any text, or an array of 1 to 20 of them.",
        )
    };
    let given: Vec<&Value> = match value {
        Value::Array(given) => given.iter().collect(),
        one => vec![one],
    };
    if given.is_empty() || given.len() > MOST_PATTERNS {
        return Err(refused(&format!("{name} must have 1 to {MOST_PATTERNS} patterns, not {}", given.len())));
    }
    let read = |value: &&Value| match value.as_str() {
        None => Err(refused(&format!("{name} must be a string, or an array of strings"))),
        Some(pattern) if pattern.is_empty() || pattern.len() > PATTERN_BYTES => {
            Err(refused(&format!("a pattern must have 1 to {PATTERN_BYTES} bytes, not {}", pattern.len())))
        }
        Some(pattern) => Ok(pattern.to_string()),
    };
    given.iter().map(read).collect()
}

fn number(name: &str, value: &Value, least: i64, most: i64) -> Result<i64, Fault> {
    let read = match value {
        Value::Number(number) => number.parse::<i64>().ok(),
        _ => None,
    };
    read.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        Fault::invalid(&format!("conditions.{name}"), format!("{name} must be a whole number from {least} to {most}"))
            .hint("Numbers stand without quotation marks in JSON.")
    })
}

fn timezone(value: &Value) -> Result<String, Fault> {
    let given = value.as_str().filter(|name| !name.is_empty() && name.len() <= PATTERN_BYTES);
    given.map(str::to_string).ok_or_else(|| {
        Fault::invalid("conditions.timezone", "timezone must be the name of a time zone")
            .hint("Give a name such as Europe/Berlin. The view pg_timezone_names lists them.")
    })
}
