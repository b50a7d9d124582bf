//! Positions in the feed of changes. A position names events, with the beginning of their hashes:
//! in a log that was set back, by a failover that lost events or by a restore, other events have
//! their places. A consumer that went on there would miss those without a sign.

use crate::access::opened::conditions;
use crate::access::proof::Opened;
use crate::log::columns::{self as c, Layout};
use crate::log::pruned_before::last_pruning;
use crate::log::tables::events_oid;
use crate::log::{pruned, seam, segments};
use crate::pg::datum::{bytes, utf8, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::memory::Memory;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::pg::{toast, transaction};
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::pruning::Begin;
use immutable_format::Id;
use pgrx::pg_sys;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// How far a consumer has read.
pub trait Position {
    /// Goes on to an event, given as a row of `e.*`.
    fn advance(&mut self, row: &Values, layout: &Layout);

    /// Whether an event is the next one of its lane.
    fn is_next(&self, row: &Values, layout: &Layout) -> bool;

    /// The position as the consumer gets it, and passes it back.
    fn json(&self) -> String;
}

fn refuse(example: &str) -> ! {
    Fault::invalid("after", "after is not a position of this feed")
        .hint(format!(
            "Pass the member position of the previous answer unchanged, for example \
            {example}. NULL starts at the beginning."
        ))
        .raise()
}

/// Bytes of an event's hash in a position. Two events that were given one place in the log have the
/// same ones by chance once in 2^64 times, and a position proves nothing to anybody: those who do
/// not trust the server compare heads(). All 32 would make a position of a thousand lanes twice as
/// long.
const MARK_BYTES: usize = 8;

/// The beginning of an event's hash, in hex. A hash may be missing, unreadable or too short; its
/// mark then has zeros. The consumer passes that back, and one damaged event does not keep it from
/// those behind.
fn mark(event_hash: Option<Datum>) -> String {
    let event_hash = event_hash.and_then(toast::read).unwrap_or_default();
    let mut mark = [0; MARK_BYTES];
    let there = MARK_BYTES.min(event_hash.len());
    mark[..there].copy_from_slice(&event_hash[..there]);
    hex::encode(mark)
}

fn is_mark(given: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    given.len() == 2 * MARK_BYTES && given.bytes().all(is_digit)
}

/// Whether the event that a position names may be missing because it has yet to arrive: on a
/// standby or a copy that lags behind the server that the position came from.
fn may_arrive() -> bool {
    let is_copy = || seam::is_copy(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get());
    transaction::is_in_recovery() || is_copy()
}

/// Refuses a position (55000). The message is the same whether the event is not there, is hidden
/// from the caller, or is another, so that it tells nothing.
fn set_back(named: &str) -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "after is not a position of this log: the log was set back, or the position comes from \
         another log or reader",
    )
    .field("after")
    .detail(format!("The log has no {named} that matches the position."))
    .hint(
        "If a recovery, a restore, or a failover lost events, call with after => NULL, add the \
         events whose id is new, and mark those that the log no longer has.",
    )
    .raise()
}

/// The last event read of a lane. Positions before 0.3.0 have no mark.
#[derive(Clone)]
struct LanePosition {
    seq: i64,
    mark: Option<String>,
}

impl LanePosition {
    /// Reads a lane's member of a position: `"12:9f86d081884c7d65"`, or `12`.
    fn read(given: &Member) -> Option<LanePosition> {
        let (seq, mark) = match given {
            Member::Number(seq) => (seq.as_str(), None),
            Member::Text(text) => text.split_once(':').map(|(seq, mark)| (seq, Some(mark)))?,
            _ => return None,
        };
        // A number is accepted only as this prints it.
        let number = seq.parse::<i64>().ok().filter(|n| *n >= 0 && n.to_string() == seq)?;
        mark.is_none_or(is_mark).then(|| LanePosition { seq: number, mark: mark.map(str::to_string) })
    }
}

impl LanePosition {
    /// Whether the event is gone because retention has removed it: a consumer that was late goes on with what is left.
    fn is_pruned(&self, lane: i16, begins: &HashMap<i16, Begin>) -> bool {
        let fits = |begin: &Begin| match &self.mark {
            Some(mark) if begin.seq == self.seq => hex::encode(&begin.event_hash[..MARK_BYTES]) == *mark,
            _ => self.seq <= begin.seq,
        };
        begins.get(&lane).is_some_and(fits)
    }
}

/// How far each lane of a tenant was read.
#[derive(Clone)]
pub struct LanePositions(BTreeMap<i16, LanePosition>);

impl LanePositions {
    /// Reads the position that a consumer passes; NULL is before every event. Raises 22023 for
    /// anything else.
    pub fn read(after: Option<Jsonb>) -> LanePositions {
        let example = "{\"0\": \"12:9f86d081884c7d65\"}";
        let mut lanes = BTreeMap::new();
        let Some(after) = after else { return LanePositions(lanes) };
        if after.kind() != Kind::Object {
            refuse(example)
        }
        after.members(|lane, last| {
            // "0" and "00" would be one lane's position twice. A lane below 0 is a forgery, and no
            // reason to stop at it.
            let lane = lane.parse::<i16>().ok().filter(|n| n.to_string() == lane);
            match (lane, LanePosition::read(&last)) {
                (Some(lane), Some(last)) => lanes.insert(lane, last),
                _ => refuse(example),
            };
        });
        LanePositions(lanes)
    }

    /// The lanes as an `int2[]`, and the seq of each as an `int8[]`.
    pub fn arguments<'c>(&self, memory: Memory<'c>) -> [Arg<'c>; 2] {
        arrays(memory, self.0.iter())
    }

    /// A check for a caller who sees no event of the tenant: raises 55000 if it names one.
    pub fn check_that_none(&self) {
        if let Some((lane, last)) = self.0.iter().find(|(_, last)| last.seq > 0) {
            set_back(&format!("event {} of lane {lane}", last.seq))
        }
    }

    /// Looks up every event of the position, with one step of an index each and the caller's
    /// rights: a caller learns nothing of events that row security hides. Raises 55000 if one is
    /// not there.
    pub fn check<'c>(&self, memory: Memory<'c>, tenant: Datum<'c>, opened: &'c Opened) {
        let given: Vec<(&i16, &LanePosition)> = self.0.iter().filter(|(_, last)| last.seq > 0).collect();
        if given.is_empty() {
            return;
        }
        let [lanes, seqs] = arrays(memory, given.iter().copied());
        let mut arguments = vec![Arg::Given(pg_sys::TEXTOID, tenant), lanes, seqs];
        let conditions = conditions(opened, &mut arguments);
        // Subqueries, so that they are one probe a lane whatever the planner expects. Consumers are mostly near the end.
        let of = |events: &str| {
            format!(
                "(SELECT coalesce(e.event_hash, '') FROM {events} e \
                   WHERE e.tenant_id = $1 AND e.lane = p.lane AND e.seq = p.seq{conditions})"
            )
        };
        let hash = match segments::may_be() {
            true => format!("coalesce({}, {})", of("ONLY immutable.events"), of("immutable.events")),
            false => of("immutable.events"),
        };
        let statement = format!(
            "SELECT {hash} \
             FROM ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) \
               WITH ORDINALITY p(lane, seq, n) ORDER BY p.n"
        );
        let mut found = Vec::with_capacity(given.len());
        spi::read_planned_once(&statement, &arguments, |row| {
            found.push(row.at(0).map(|hash| mark(Some(hash))));
        });
        let mut pruned = None;
        for ((lane, last), there) in given.iter().zip(found) {
            let as_given = match &there {
                Some(there) => last.mark.as_ref().is_none_or(|mark| mark == there),
                None => may_arrive() || last.is_pruned(**lane, pruned.get_or_insert_with(|| begins_of(tenant))),
            };
            if !as_given {
                set_back(&format!("event {} of lane {lane}", last.seq))
            }
        }
    }
}

/// Where the lanes of a tenant begin, as far as the caller may read that.
fn begins_of(tenant: Datum) -> HashMap<i16, Begin> {
    let Some(tenant_id) = utf8(bytes(tenant)) else { return HashMap::new() };
    pruned::begins(Some(tenant_id)).into_values().map(|begin| (begin.lane, begin)).collect()
}

fn arrays<'c, 'p>(memory: Memory<'c>, of: impl Iterator<Item = (&'p i16, &'p LanePosition)>) -> [Arg<'c>; 2] {
    let (lanes, seqs): (Vec<Datum>, Vec<Datum>) =
        of.map(|(lane, last)| (Datum::from(*lane), Datum::from(last.seq))).unzip();
    let lanes = memory.array(&lanes, pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT);
    let seqs = memory.array(&seqs, pg_sys::INT8OID, 8, true, pg_sys::TYPALIGN_DOUBLE);
    [Arg::Given(pg_sys::INT2ARRAYOID, lanes), Arg::Given(pg_sys::INT8ARRAYOID, seqs)]
}

impl Position for LanePositions {
    fn is_next(&self, row: &Values, layout: &Layout) -> bool {
        let lane = row.get(layout, c::LANE).map_or(0, Datum::i16);
        let seq = row.get(layout, c::SEQ).map_or(0, Datum::i64);
        self.0.get(&lane).map_or(0, |last| last.seq).checked_add(1) == Some(seq)
    }

    fn advance(&mut self, row: &Values, layout: &Layout) {
        let lane = row.get(layout, c::LANE).map_or(0, Datum::i16);
        let seq = row.get(layout, c::SEQ).map_or(0, Datum::i64);
        let mark = Some(mark(row.get(layout, c::EVENT_HASH)));
        self.0.insert(lane, LanePosition { seq, mark });
    }

    fn json(&self) -> String {
        let member = |(lane, last): (&i16, &LanePosition)| match &last.mark {
            Some(mark) => format!("\"{lane}\":\"{}:{mark}\"", last.seq),
            None => format!("\"{lane}\":{}", last.seq),
        };
        let members: Vec<String> = self.0.iter().map(member).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// The last event read of the feed of all tenants, which is ordered by transaction and key.
/// Positions before 0.3.0 have no mark.
struct FeedEvent {
    xact: u64,
    id: Id,
    /// What is stored, UTF-8 or not.
    tenant_id: Vec<u8>,
    mark: Option<String>,
}

impl FeedEvent {
    /// Whether the event may be gone because retention has removed it: its id says that it is of a time of which events
    /// of its tenant were removed. An event that a failover has lost is younger than that.
    fn is_pruned(&self) -> bool {
        let Some(made_at) = uuid_time(&self.id) else { return false };
        let before = utf8(&self.tenant_id).and_then(last_pruning).and_then(|pruned| pruned.before);
        before.is_some_and(|before| made_at < before)
    }
}

/// The time in a UUIDv7, in microseconds since 1970; None for an id of another version.
fn uuid_time(id: &Id) -> Option<i64> {
    let mut milliseconds = [0; 8];
    milliseconds[2..].copy_from_slice(&id[..6]);
    (id[6] >> 4 == 7).then(|| i64::from_be_bytes(milliseconds) * 1000)
}

/// How far the feed of all tenants was read; nothing is before its first event, and where a log
/// without events ends.
pub struct FeedPosition(Option<FeedEvent>);

impl FeedPosition {
    /// Reads the position that a consumer passes; NULL is before every event, and so is `{}`.
    /// Raises 22023 for anything else.
    pub fn read(after: Option<Jsonb>) -> FeedPosition {
        let example =
            "{\"xact\": \"7391\", \"id\": \"0195d3a0-6c1e-7c3a-9f00-000000000001\", \"tenant_id\": \"acme\", \
                       \"hash\": \"9f86d081884c7d65\"}";
        let Some(after) = after else { return FeedPosition(None) };
        if after.kind() != Kind::Object {
            refuse(example)
        }
        let (mut xact, mut id, mut tenant_id, mut mark) = (None, None, None, None);
        after.members(|key, value| match (key, value) {
            ("xact", Member::Text(text)) => xact = text.parse::<u64>().ok(),
            ("id", Member::Text(text)) => id = uuid::Uuid::try_parse(&text).ok(),
            ("tenant_id", Member::Text(text)) => tenant_id = Some(text.into_bytes()),
            ("tenant_hex", Member::Text(text)) => {
                tenant_id = Some(hex::decode(text).unwrap_or_else(|_| refuse(example)));
            }
            ("hash", Member::Text(text)) if is_mark(&text) => mark = Some(text),
            _ => refuse(example),
        });
        FeedPosition(match (xact, id, tenant_id) {
            (Some(xact), Some(id), Some(tenant_id)) => Some(FeedEvent { xact, id: *id.as_bytes(), tenant_id, mark }),
            _ if after.len() == 0 => None,
            _ => refuse(example),
        })
    }

    /// The transaction of the last event; None before the first.
    pub fn xact(&self) -> Option<u64> {
        self.0.as_ref().map(|last| last.xact)
    }

    /// The transaction, the tenant and the id of the last event; nothing before the first.
    pub fn arguments(&self) -> Vec<Arg<'static>> {
        let Some(last) = &self.0 else { return Vec::new() };
        let tenant_id = Arg::RawText(last.tenant_id.clone().into());
        vec![Arg::Given(pg_sys::XID8OID, Datum::from(last.xact)), tenant_id, Arg::Uuid(last.id)]
    }

    /// Looks up the event of the position, with the caller's rights; raises 55000 if it is not
    /// there. It must be of the same transaction too: a restore gives another number to every
    /// event, and the numbers of this server have nothing to do with those of the other.
    pub fn check(&self) {
        let Some(last) = &self.0 else { return };
        let mut there = None;
        spi::read_planned_once(
            "SELECT e.xact, e.event_hash FROM immutable.events e WHERE e.id = $1 AND e.tenant_id = $2",
            &[Arg::Uuid(last.id), Arg::RawText(last.tenant_id.as_slice().into())],
            |row| there = Some((xact(row.at(0)), mark(row.at(1)))),
        );
        let as_given = match there {
            Some((xact, mark)) => xact == last.xact && last.mark.as_ref().is_none_or(|given| *given == mark),
            None => may_arrive() || last.is_pruned(),
        };
        if !as_given {
            set_back(&format!("event {} of transaction {}", uuid_text(&last.id), last.xact))
        }
    }
}

fn xact(datum: Option<Datum>) -> u64 {
    datum.map_or(0, |xact| xact.i64() as u64)
}

impl Position for FeedPosition {
    /// The order of transactions has no numbers without gaps.
    fn is_next(&self, _: &Values, _: &Layout) -> bool {
        true
    }

    fn advance(&mut self, row: &Values, layout: &Layout) {
        self.0 = Some(FeedEvent {
            xact: xact(row.get(layout, c::XACT)),
            id: row.get(layout, c::ID).map(uuid).unwrap_or_default(),
            tenant_id: row.get(layout, c::TENANT_ID).and_then(toast::read).unwrap_or_default().to_vec(),
            mark: Some(mark(row.get(layout, c::EVENT_HASH))),
        });
    }

    fn json(&self) -> String {
        let Some(FeedEvent { xact, id, tenant_id, mark }) = &self.0 else { return "{}".to_string() };
        let mut tenant = String::new();
        // It may be damaged, and the next call has to find this event again.
        match utf8(tenant_id) {
            Some(tenant_id) => {
                tenant.push_str("\"tenant_id\":");
                write_string(tenant_id, &mut tenant);
            }
            None => {
                let _ = write!(tenant, "\"tenant_hex\":\"{}\"", hex::encode(tenant_id));
            }
        }
        let mark = mark.as_ref().map_or(String::new(), |mark| format!(",\"hash\":\"{mark}\""));
        format!("{{\"xact\":\"{xact}\",\"id\":\"{}\",{tenant}{mark}}}", uuid_text(id))
    }
}
