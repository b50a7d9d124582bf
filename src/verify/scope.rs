//! What is to be verified: the arguments of verify_chain() and verify_breaks(), and the SQL for
//! them.

use crate::access::proof::Opened;
use crate::pg::call::Call;
use crate::pg::datum::{hash, text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::memory::here;
use crate::pg::spi::Arg;
use crate::pg::transaction::now;
use immutable_format::json::write_string;
use immutable_format::link::{Break, BreakType};
use immutable_format::tlog::checkpoint::SignedCheckpoint;
use immutable_format::{parse_hex, Hash};
use pgrx::pg_sys::{self, Oid};

/// How many breaks one jsonb lists by default, and at most. A jsonb is limited in size;
/// verify_breaks() is not.
pub const MAX_LISTED: usize = 1000;

const MOST_LISTED: i32 = 100_000;

/// What is to be verified.
#[derive(Default)]
pub struct Scope<'c> {
    pub tenant_id: Option<Datum<'c>>,
    pub from_date: Option<Datum<'c>>,
    pub to_date: Option<Datum<'c>>,
    pub max_events: Option<i64>,
    pub heads: Vec<SavedHead>,
    /// The marks up to which an earlier run has verified.
    pub since: Option<Marks<'c>>,
    pub targets: bool,
    pub progress: bool,
    /// Signed checkpoints that the caller gave.
    pub checkpoints: Vec<SignedCheckpoint>,
    /// How many seconds the run may take.
    pub max_seconds: Option<f64>,
    /// Whether these are the events of a shard, which may have none.
    pub of_shard: bool,
    /// The tenants that belong to the shard.
    pub home: Option<Home>,
    /// How many breaks the caller looks at.
    pub listed: usize,
}

/// The tenants of a shard: those whose hashes are from the first to the last.
#[derive(Clone, Copy)]
pub struct Home {
    pub shard: i64,
    pub first: i32,
    pub last: i32,
}

impl Home {
    /// The break of a lane whose tenant does not belong here; None if it does.
    pub fn misplaced(&self, tenant_id: &str, lane: i16, seq: i64) -> Option<Break> {
        if (self.first..=self.last).contains(&hash_of(tenant_id)) {
            return None;
        }
        Some(Break {
            kind: BreakType::ChainBreak,
            tenant_id: Some(tenant_id.to_string()),
            lane: Some(lane),
            seq: Some(seq),
            event_id: None,
            expected: None,
            actual: None,
            detail: format!(
                "the lane has events in immutable.events_{}, which is not the shard of this tenant",
                self.shard
            ),
        })
    }
}

/// The hash by which Citus finds the shard of a tenant.
pub fn hash_of(tenant_id: &str) -> i32 {
    here(|memory| hash(memory.text(tenant_id)))
}

/// A saved head: the last event of a lane when the heads were saved.
pub struct SavedHead {
    pub tenant_id: String,
    pub lane: i16,
    pub seq: i64,
    pub event_hash: Hash,
}

/// The heads that an earlier run saw, and the jsonb they came in.
pub struct Marks<'c> {
    pub heads: Vec<SavedHead>,
    jsonb: Datum<'c>,
}

impl<'c> Marks<'c> {
    pub fn of(since: Jsonb<'c>) -> Marks<'c> {
        Marks { heads: read_heads("since", since), jsonb: since.datum() }
    }
}

/// The arguments that a part of a statement refers to.
#[derive(Default)]
pub struct Sql<'a> {
    pub arguments: Vec<Arg<'a>>,
}

impl<'a> Sql<'a> {
    /// Adds an argument, and returns its placeholder.
    pub fn argument(&mut self, argument: Arg<'a>) -> String {
        self.arguments.push(argument);
        format!("${}", self.arguments.len())
    }

    /// The same for a value of the caller's, with its type.
    pub fn given(&mut self, oid: Oid, value: Datum<'a>) -> String {
        self.argument(Arg::Given(oid, value))
    }
}

impl<'c> Scope<'c> {
    /// The arguments, in the order in which both functions have them.
    pub fn of(call: Call<'c>, opened: &Opened) -> Scope<'c> {
        let max_events = call.arg(3).map(Datum::i64);
        if max_events.is_some_and(|most| most < 1) {
            Fault::invalid("max_events", "max_events must be at least 1").raise()
        }
        let scope = Scope {
            tenant_id: own_tenant(call, opened, call.arg(0)),
            from_date: call.arg(1),
            to_date: call.arg(2),
            max_events,
            heads: call.arg(4).map_or(Vec::new(), |heads| read_heads("heads", Jsonb::new(heads))),
            since: call.arg(5).map(|since| Marks::of(Jsonb::new(since))),
            targets: call.arg(6).is_none_or(Datum::bool),
            progress: call.arg(8).is_some_and(Datum::bool),
            checkpoints: call.new_arg(9).map_or(Vec::new(), |notes| read_checkpoints(text(notes))),
            ..Scope::default()
        };
        if scope.since.is_some() && (scope.is_range() || scope.max_events.is_some()) {
            Fault::invalid("since", "since cannot be combined with from_date, to_date or max_events")
                .hint("With since, all events after the given heads are verified. Leave the other arguments out.")
                .raise()
        }
        if !scope.checkpoints.is_empty() && !scope.is_log() {
            Fault::invalid(
                "checkpoint",
                "checkpoint cannot be combined with tenant_id, from_date, to_date, max_events or since",
            )
            .hint("A checkpoint is about all events of the log. Leave the other arguments out.")
            .raise()
        }
        scope
    }

    /// When the time of a run that begins now is up, in microseconds since 1970.
    pub fn deadline(&self) -> i64 {
        self.max_seconds.map_or(i64::MAX, |seconds| now().saturating_add((seconds * 1e6) as i64))
    }

    /// How many breaks verify_chain() lists.
    pub fn most_listed(call: Call) -> usize {
        match call.arg(7).map(Datum::i32) {
            None => MAX_LISTED,
            Some(most @ 0..=MOST_LISTED) => most as usize,
            Some(_) => Fault::invalid("max_breaks", format!("max_breaks must be from 0 to {MOST_LISTED}"))
                .hint("Use immutable.verify_breaks(), which returns any number of breaks as rows.")
                .raise(),
        }
    }

    /// How many breaks verify_breaks() returns.
    pub fn most_rows(call: Call) -> u64 {
        match call.arg(7).map(Datum::i64) {
            None => u64::MAX,
            Some(most @ 0..) => most as u64,
            Some(_) => Fault::invalid("max_breaks", "max_breaks must not be negative").raise(),
        }
    }

    /// Whether only a range of times is in scope.
    pub fn is_range(&self) -> bool {
        self.from_date.is_some() || self.to_date.is_some()
    }

    /// Whether every event of the tenants in scope is looked at.
    pub fn is_whole(&self) -> bool {
        !self.is_range() && self.max_events.is_none() && self.since.is_none()
    }

    /// Whether every event of the log is looked at.
    pub fn is_log(&self) -> bool {
        self.is_whole() && self.tenant_id.is_none() && !self.of_shard
    }

    /// Why no event was verified. None if that is right, because a log that has not begun is valid
    /// without events.
    pub fn why_nothing(&self, events_total: i64, has_begun: bool) -> Option<String> {
        match self.tenant_id {
            Some(tenant) if events_total == 0 => Some(format!("there are no events of tenant \"{}\"", text(tenant))),
            _ if events_total > 0 => Some("the range has no events".to_string()),
            None if has_begun && !self.of_shard => Some("the log has an identity but no events".to_string()),
            _ => None,
        }
    }

    /// The conditions on the rows of `alias`: events, or event_targets.
    pub fn conditions(&self, alias: &str, sql: &mut Sql<'c>) -> String {
        let mut clauses = Vec::new();
        for (argument, oid, condition) in [
            (self.tenant_id, pg_sys::TEXTOID, "tenant_id ="),
            (self.from_date, pg_sys::TIMESTAMPTZOID, "created_at >="),
            (self.to_date, pg_sys::TIMESTAMPTZOID, "created_at <="),
        ] {
            if let Some(argument) = argument {
                clauses.push(format!("{alias}.{condition} {}", sql.given(oid, argument)));
            }
        }
        if clauses.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", clauses.join(" AND "))
        }
    }

    /// The FROM item, and the conditions, that select the events in scope as `e`. The caller
    /// applies max_events.
    pub fn from(&self, sql: &mut Sql<'c>) -> String {
        let Some(since) = &self.since else {
            return format!("immutable.events e{}", self.conditions("e", sql));
        };
        let marks = sql.given(pg_sys::JSONBOID, since.jsonb);
        let tenant = self.tenant_id.map(|tenant| sql.given(pg_sys::TEXTOID, tenant));
        let first = tenant.as_ref().map_or(String::new(), |tenant| format!("WHERE f.tenant_id = {tenant}"));
        let next = tenant.as_ref().map_or(String::new(), |tenant| format!("AND f.tenant_id = {tenant}"));
        // One index scan for each lane finds the next lane, and another one the events of the lane
        // from its mark on.
        format!(
            "(WITH RECURSIVE lanes AS ( \
                (SELECT f.tenant_id, f.lane FROM immutable.events f {first} ORDER BY f.tenant_id, f.lane LIMIT 1) \
                UNION ALL \
                SELECT n.tenant_id, n.lane FROM lanes l CROSS JOIN LATERAL ( \
                  SELECT f.tenant_id, f.lane FROM immutable.events f \
                  WHERE (f.tenant_id, f.lane) > (l.tenant_id, l.lane) {next} \
                  ORDER BY f.tenant_id, f.lane LIMIT 1) n), \
              marks AS ( \
                SELECT m.tenant_id, m.lane, pg_catalog.min(m.seq) AS seq \
                FROM pg_catalog.jsonb_to_recordset({marks}) m(tenant_id text COLLATE \"C\", lane int2, seq int8) \
                GROUP BY m.tenant_id, m.lane) \
              SELECT l.tenant_id, l.lane, coalesce(m.seq, pg_catalog.int8 '-9223372036854775808') AS seq \
              FROM lanes l LEFT JOIN marks m ON m.tenant_id = l.tenant_id AND m.lane = l.lane OFFSET 0) l \
             CROSS JOIN LATERAL (SELECT f.tableoid, f.* FROM immutable.events f \
               WHERE f.tenant_id = l.tenant_id AND f.lane = l.lane AND f.seq >= l.seq OFFSET 0) e"
        )
    }

    /// The events in scope as a subquery, for the statements other than the walk.
    pub fn events(&self, columns: &str, sql: &mut Sql<'c>) -> String {
        let from = self.from(sql);
        let limit =
            self.max_events.map_or(String::new(), |most| format!(" ORDER BY e.tenant_id, e.lane, e.seq LIMIT {most}"));
        format!("(SELECT {columns} FROM {from}{limit})")
    }
}

/// The tenant that is asked for, or else the proof's own. Raises 42501 for a tenant that the proof does
/// not open.
pub fn own_tenant<'c>(call: Call<'c>, opened: &Opened, asked: Option<Datum<'c>>) -> Option<Datum<'c>> {
    if let Some(asked) = asked {
        opened.hold_to("tenant_id", text(asked));
    }
    asked.or_else(|| opened.tenant_id.as_ref().map(|own| call.memory().text(own)))
}

fn refuse(field: &str) -> ! {
    Fault::invalid(field, format!("{field} must be a JSON array of {{tenant_id, lane, seq, event_hash}}"))
        .hint("Save them with bytea_output = hex and SELECT jsonb_agg(h) FROM immutable.heads() h.")
        .raise()
}

/// The signed checkpoints in a text, one after the other. Raises 22023 for any other text.
pub fn read_checkpoints(notes: &str) -> Vec<SignedCheckpoint> {
    SignedCheckpoint::parse_all(notes).unwrap_or_else(|malformed| {
        Fault::invalid("checkpoint", format!("checkpoint is not a signed checkpoint: {}", malformed.0))
            .hint("Pass the text as immutable.checkpoint() or a witness gave it, with its empty line and its signature lines. Several may follow each other.")
            .raise()
    })
}

/// The heads in a jsonb. Raises 22023 for anything else.
pub fn read_heads(field: &str, heads: Jsonb) -> Vec<SavedHead> {
    if heads.kind() != Kind::Array {
        refuse(field)
    }
    let mut read = Vec::with_capacity(heads.len());
    heads.each_element(|element| {
        let Member::Nested(object) = element else { refuse(field) };
        if object.kind() != Kind::Object {
            refuse(field)
        }
        let (mut tenant_id, mut lane, mut seq, mut event_hash) = (None, None, None, None);
        object.members(|key, value| match (key, value) {
            ("tenant_id", Member::Text(text)) => tenant_id = Some(text),
            ("lane", Member::Number(number)) => lane = number.parse().ok(),
            ("seq", Member::Number(number)) => seq = number.parse().ok(),
            // In hex, with or without the \x that jsonb shows for a bytea.
            ("event_hash", Member::Text(text)) => event_hash = parse_hex(text.strip_prefix("\\x").unwrap_or(&text)),
            _ => {}
        });
        match (tenant_id, lane, seq, event_hash) {
            (Some(tenant_id), Some(lane), Some(seq), Some(event_hash)) => {
                read.push(SavedHead { tenant_id, lane, seq, event_hash });
            }
            _ => refuse(field),
        }
    });
    read
}

impl SavedHead {
    /// As immutable.heads() gives it.
    pub fn json(&self) -> String {
        let SavedHead { tenant_id, lane, seq, event_hash } = self;
        let mut name = String::new();
        write_string(tenant_id, &mut name);
        let hash = hex::encode(event_hash);
        format!("{{\"tenant_id\":{name},\"lane\":{lane},\"seq\":{seq},\"event_hash\":\"{hash}\"}}")
    }

    /// Whether the head is in scope.
    pub fn is_in(&self, scope: &Scope) -> bool {
        scope.tenant_id.is_none_or(|tenant| text(tenant) == self.tenant_id)
    }
}

/// Raises 55000 for a table that has lost a column.
pub fn unfit(column: &str) -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("immutable.events has no column {column} of the expected type"),
    )
    .raise()
}
