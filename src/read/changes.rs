//! The feed for consumers that must see every event once: changes(). In a tenant the position is the seq of each lane,
//! which has no gaps and is reached in the order of commits. Over all tenants it is the recording transaction, and what
//! a transaction older than one still running recorded is held back, because that one may yet commit before it.
//!
//! A position names events, with the beginning of their hashes: of a log that was set back, by a failover that lost events
//! or by a restore, other events have their places, and whoever went on there would miss them without a sign.

use crate::log::columns::{self as c, Layout};
use crate::log::tables::events_oid;
use crate::log::{event, seam};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{bytes_datum, utf8, uuid, uuid_datum, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{self, Jsonb, Kind, Member};
use crate::pg::tuple::Values;
use crate::pg::{spi, toast};
use immutable_format::document::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys;
use std::collections::BTreeMap;

/// Most events of one call.
const MAX_CHANGES: i32 = 10_000;

sql_function!(immutable_changes, pg_finfo_immutable_changes, changes);

/// `immutable.changes(tenant_id, after, limit)`
fn changes(call: Call) -> Datum {
    let limit = call.arg(2).map_or(100, |limit| limit.i32());
    if !(1..=MAX_CHANGES).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {MAX_CHANGES}, not {limit}"))
            .hint("Call again with the position that came with the events.")
            .raise()
    }
    let after = call.arg(1).map(|after| Jsonb::new(after));
    match call.arg(0) {
        Some(tenant) => of_tenant(tenant, after, limit as usize),
        None => of_all(after, limit as usize),
    }
}

fn refuse(example: &str) -> ! {
    Fault::invalid("after", "after is no position of this feed")
        .hint(format!("Pass the member position of the answer before as it is, for example {example}; NULL begins."))
        .raise()
}

/// Bytes of an event's hash in a position. Two events that were given one place in the log have the same ones by chance
/// once in 2^64 times, and a position proves nothing to anybody: those who do not trust the server compare heads(). All 32
/// would make a position of a thousand lanes twice as long.
const MARK_BYTES: usize = 8;

/// The same for whatever is stored in its place: nothing, what cannot be read, or a few bytes. The consumer passes it back,
/// and one damaged event must not keep it from those behind.
fn mark(event_hash: Option<Datum>) -> String {
    let event_hash = event_hash.and_then(|datum| toast::read(datum)).unwrap_or_default();
    let mut mark = [0; MARK_BYTES];
    let there = MARK_BYTES.min(event_hash.len());
    mark[..there].copy_from_slice(&event_hash[..there]);
    hex::encode(mark)
}

fn is_mark(given: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    given.len() == 2 * MARK_BYTES && given.bytes().all(is_digit)
}

/// Whether the event that a position names is missing because it has yet to arrive: on a standby or a copy that lags
/// behind the server that the position came from.
fn may_arrive() -> bool {
    let is_fed = || {
        let events = pg_sys::table_open(events_oid(), pg_sys::AccessShareLock as i32);
        let is_fed = seam::is_copy(events);
        pg_sys::table_close(events, pg_sys::NoLock as i32);
        is_fed
    };
    pg_sys::RecoveryInProgress() || is_fed()
}

/// The same for an event that is not there, is not for the caller's eyes, or is another, so that it tells nothing.
fn set_back(named: &str) -> ! {
    Fault::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "after is no position of the log as it is: the log was set back, or the position is another log's or reader's",
    )
    .field("after")
    .detail(format!("There is no {named} as the position has it."))
    .hint(
        "After a recovery, a restore, or a failover that lost events: call with after => NULL, take the events that are \
         new by their id, and mark those that the log no longer has.",
    )
    .raise()
}

/// An answer ends with the event that passes this, however many were asked for: a jsonb array holds 256 MB, in which numbers
/// take more room than as text.
const MAX_BYTES: usize = 16 << 20;

fn answer(events: &[String], position: &str, has_more: bool) -> Datum {
    let events = events.join(",");
    // SAFETY: allocates in the current memory context.
    unsafe { jsonb::datum(&format!("{{\"data\":[{events}],\"position\":{position},\"has_more\":{has_more}}}")) }
}

/// How far a lane was read: the seq of the last event and the beginning of its hash, which positions before 0.3.0 lack.
struct Read {
    seq: i64,
    mark: Option<String>,
}

type Lanes = BTreeMap<i16, Read>;

/// A lane's member of a position: `"12:9f86d081884c7d65"`, or `12`.
fn read_lane(given: Member) -> Option<Read> {
    let (seq, mark) = match &given {
        Member::Number(seq) => (seq.as_str(), None),
        Member::Text(text) => text.split_once(':').map(|(seq, mark)| (seq, Some(mark)))?,
        _ => return None,
    };
    // Written as here and no other way.
    let number = seq.parse::<i64>().ok().filter(|n| *n >= 0 && n.to_string() == seq)?;
    mark.is_none_or(is_mark).then(|| Read { seq: number, mark: mark.map(str::to_string) })
}

fn read_lanes(after: Option<Jsonb>) -> Lanes {
    let example = "{\"0\": \"12:9f86d081884c7d65\"}";
    let mut lanes = Lanes::new();
    let Some(after) = after else { return lanes };
    if after.kind() != Kind::Object {
        refuse(example)
    }
    after.members(|lane, read| {
        // "0" and "00" would be one lane's position twice. Lanes below 0 are somebody's forgery, and no reason to stop at.
        let lane = lane.parse::<i16>().ok().filter(|n| n.to_string() == lane);
        match (lane, read_lane(read)) {
            (Some(lane), Some(read)) => lanes.insert(lane, read),
            _ => refuse(example),
        };
    });
    lanes
}

/// Looks every event of the position up, one step of an index each, with the caller's rights: nobody learns of an event
/// that he may not see.
fn check_lanes(tenant: Datum, position: &Lanes) {
    let given: Vec<(i16, &Read)> =
        position.iter().filter(|(_, read)| read.seq > 0).map(|(n, read)| (*n, read)).collect();
    if given.is_empty() {
        return;
    }
    // A subquery, so that it is one probe a lane whatever the planner expects.
    let statement = "SELECT (SELECT coalesce(e.event_hash, '') FROM immutable.events e \
                       WHERE e.tenant_id = $1 AND e.lane = p.lane AND e.seq = p.seq) \
                     FROM ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) \
                       WITH ORDINALITY p(lane, seq, n) ORDER BY p.n";
    let lanes: Vec<Datum> = given.iter().map(|(lane, _)| Datum::from(*lane)).collect();
    let seqs: Vec<Datum> = given.iter().map(|(_, read)| Datum::from(read.seq)).collect();
    let types = [pg_sys::TEXTOID, pg_sys::INT2ARRAYOID, pg_sys::INT8ARRAYOID];
    let values = [Some(tenant), Some(array(&lanes, pg_sys::INT2OID)), Some(array(&seqs, pg_sys::INT8OID))];
    let mut found = Vec::with_capacity(given.len());
    spi::read_planned_once(statement, &types, &values, |row| {
        found.push((!row.nulls[0]).then(|| mark(Some(row.values[0]))))
    });
    for ((lane, read), there) in given.iter().zip(found) {
        let as_given = match &there {
            Some(there) => read.mark.as_ref().is_none_or(|mark| mark == there),
            None => may_arrive(),
        };
        if !as_given {
            set_back(&format!("event {} of lane {lane}", read.seq))
        }
    }
}

/// The next events of every lane, in the order of created_at. A lane's events are in the order of its seq that way too,
/// so wherever the page is cut, each lane is cut after its last event in the page. An event whose created_at somebody
/// changed must not come before those before it, which would be passed over: it counts as no older than they are.
fn of_tenant(tenant: Datum, after: Option<Jsonb>, limit: usize) -> Datum {
    let mut position = read_lanes(after);
    check_lanes(tenant, &position);
    let lanes: Vec<Datum> = position.keys().map(|lane| Datum::from(*lane)).collect();
    let seqs: Vec<Datum> = position.values().map(|read| Datum::from(read.seq)).collect();
    let statement = format!(
        "WITH RECURSIVE k(lane) AS ( \
             (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 ORDER BY e.lane LIMIT 1) \
             UNION ALL \
             SELECT (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 AND e.lane > k.lane \
                     ORDER BY e.lane LIMIT 1) FROM k WHERE k.lane IS NOT NULL) \
         SELECT e.* \
         FROM k LEFT JOIN ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) p(lane, seq) \
                ON p.lane = k.lane, \
         LATERAL (SELECT e.*, pg_catalog.max(coalesce(e.created_at, '-infinity')) \
                           OVER (ORDER BY e.seq ROWS UNBOUNDED PRECEDING) AS reached \
                  FROM (SELECT e.* FROM immutable.events e \
                        WHERE e.tenant_id = $1 AND e.lane = k.lane AND e.seq > coalesce(p.seq, 0) \
                        ORDER BY e.seq LIMIT {}) e) e \
         ORDER BY e.reached, e.lane, e.seq LIMIT {}",
        limit + 1,
        limit + 1
    );
    let types = [pg_sys::TEXTOID, pg_sys::INT2ARRAYOID, pg_sys::INT8ARRAYOID];
    let values = [Some(tenant), Some(array(&lanes, pg_sys::INT2OID)), Some(array(&seqs, pg_sys::INT8OID))];
    let mut events = Vec::new();
    let mut layout = None;
    let (mut is_cut, mut bytes) = (false, 0);
    spi::stream_planned_once(&statement, &types, &values, |tuple, descriptor| {
        if is_cut || events.len() == limit || bytes > MAX_BYTES {
            is_cut = true;
            return;
        }
        let row = Values::of(tuple, descriptor);
        let layout = layout.get_or_insert_with(|| Layout::of_events(descriptor));
        let get = |column| row.get(layout, column).map_or(0, |number| number.i64());
        let (lane, seq) = (get(c::LANE) as i16, get(c::SEQ));
        events.push(event::json(&row, layout));
        bytes += events.last().map_or(0, String::len);
        let mark = Some(mark(row.get(layout, c::EVENT_HASH)));
        position.insert(lane, Read { seq, mark });
    });
    let member = |(lane, read): (&i16, &Read)| match &read.mark {
        Some(mark) => format!("\"{lane}\":\"{}:{mark}\"", read.seq),
        None => format!("\"{lane}\":{}", read.seq),
    };
    let position: Vec<String> = position.iter().map(member).collect();
    answer(&events, &format!("{{{}}}", position.join(",")), is_cut)
}

fn array(elements: &[Datum], of: pg_sys::Oid) -> Datum {
    let (bytes, align) = if of == pg_sys::INT2OID { (2, pg_sys::TYPALIGN_SHORT) } else { (8, pg_sys::TYPALIGN_DOUBLE) };
    let mut elements = elements.to_vec();
    let count = elements.len() as i32;
    Datum::from(pg_sys::construct_array(elements.as_mut_ptr(), count, of, bytes, true, align as std::ffi::c_char))
}

/// A place in the feed of all tenants: an event, by whose transaction and key the feed is ordered. Positions before 0.3.0
/// have no mark.
struct Place {
    xact: u64,
    id: Id,
    /// What is stored, UTF-8 or not.
    tenant_id: Vec<u8>,
    mark: Option<String>,
}

fn read_place(after: Jsonb) -> Option<Place> {
    let example = "{\"xact\": \"7391\", \"id\": \"0195d3a0-6c1e-7c3a-9f00-000000000001\", \"tenant_id\": \"acme\", \
                   \"hash\": \"9f86d081884c7d65\"}";
    if after.kind() != Kind::Object {
        refuse(example)
    }
    let (mut xact, mut id, mut tenant_id, mut mark) = (None, None, None, None);
    after.members(|key, value| match (key, value) {
        ("xact", Member::Text(text)) => xact = text.parse::<u64>().ok(),
        ("id", Member::Text(text)) => id = uuid::Uuid::try_parse(&text).ok(),
        ("tenant_id", Member::Text(text)) => tenant_id = Some(text.into_bytes()),
        ("tenant_hex", Member::Text(text)) => tenant_id = Some(hex::decode(text).unwrap_or_else(|_| refuse(example))),
        ("hash", Member::Text(text)) if is_mark(&text) => mark = Some(text),
        _ => refuse(example),
    });
    // {} is where a log without events ends.
    match (xact, id, tenant_id) {
        (Some(xact), Some(id), Some(tenant_id)) => Some(Place { xact, id: *id.as_bytes(), tenant_id, mark }),
        _ if after.len() == 0 => None,
        _ => refuse(example),
    }
}

/// Looks the event of the position up, with the caller's rights. It must be of the same transaction too: a restore gives
/// another number to every event, and the numbers of this server have nothing to do with those of the other.
fn check_place(place: &Place) {
    let mut there = None;
    spi::read_planned_once(
        "SELECT e.xact, e.event_hash FROM immutable.events e WHERE e.id = $1 AND e.tenant_id = $2",
        &[pg_sys::UUIDOID, pg_sys::TEXTOID],
        &[Some(uuid_datum(&place.id)), Some(bytes_datum(&place.tenant_id))],
        |row| there = Some((row.values[0].value() as u64, mark((!row.nulls[1]).then(|| row.values[1])))),
    );
    let as_given = match there {
        Some((xact, mark)) => xact == place.xact && place.mark.as_ref().is_none_or(|given| *given == mark),
        None => may_arrive(),
    };
    if !as_given {
        set_back(&format!("event {} of transaction {}", uuid_text(&place.id), place.xact))
    }
}

/// The next events in the order of their transactions, as far as none that is running can come before them.
fn of_all(after: Option<Jsonb>, limit: usize) -> Datum {
    let mut place = after.and_then(|after| read_place(after));
    let mut types = Vec::new();
    let mut values = Vec::new();
    let mut condition = String::new();
    if let Some(place) = &place {
        check_place(place);
        types.extend([pg_sys::XID8OID, pg_sys::TEXTOID, pg_sys::UUIDOID]);
        values.extend([
            Some(Datum::from(place.xact)),
            Some(bytes_datum(&place.tenant_id)),
            Some(uuid_datum(&place.id)),
        ]);
        condition.push_str(" AND (e.xact, e.tenant_id, e.id) > ($1, $2, $3)");
    }
    let statement = format!(
        "SELECT e.* FROM immutable.events e \
         WHERE e.xact < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()){condition} \
         ORDER BY e.xact, e.tenant_id, e.id LIMIT {}",
        limit + 1
    );
    let mut events = Vec::new();
    let mut layout = None;
    let (mut is_cut, mut bytes) = (false, 0);
    spi::stream_planned_once(&statement, &types, &values, |tuple, descriptor| {
        if is_cut || events.len() == limit || bytes > MAX_BYTES {
            is_cut = true;
            return;
        }
        let row = Values::of(tuple, descriptor);
        let layout = layout.get_or_insert_with(|| Layout::of_events(descriptor));
        events.push(event::json(&row, layout));
        bytes += events.last().map_or(0, String::len);
        place = Some(Place {
            xact: row.get(layout, c::XACT).map_or(0, |xact| xact.value() as u64),
            id: row.get(layout, c::ID).map(|id| uuid(id)).unwrap_or_default(),
            tenant_id: row.get(layout, c::TENANT_ID).and_then(|id| toast::read(id)).unwrap_or_default().to_vec(),
            mark: Some(mark(row.get(layout, c::EVENT_HASH))),
        });
    });
    answer(&events, &place.map_or("{}".to_string(), |place| place.json()), is_cut)
}

impl Place {
    fn json(&self) -> String {
        let Place { xact, id, tenant_id, mark } = self;
        let mut tenant = String::new();
        // Somebody may have damaged it, and the next call has to find this place again.
        match utf8(tenant_id) {
            Some(tenant_id) => {
                tenant.push_str("\"tenant_id\":");
                write_string(tenant_id, &mut tenant);
            }
            None => tenant.push_str(&format!("\"tenant_hex\":\"{}\"", hex::encode(tenant_id))),
        }
        let mark = mark.as_ref().map_or(String::new(), |mark| format!(",\"hash\":\"{mark}\""));
        format!("{{\"xact\":\"{xact}\",\"id\":\"{}\",{tenant}{mark}}}", uuid_text(id))
    }
}
