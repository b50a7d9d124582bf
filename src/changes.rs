//! The feed for consumers that must see every event once: changes(). In a tenant the position is the seq of each lane,
//! which has no gaps and is reached in the order of commits. Over all tenants it is the recording transaction, and what
//! a transaction older than one still running recorded is held back, because that one may yet commit before it.

use crate::columns::{self as c, Layout, Values};
use crate::error::Fault;
use crate::event;
use crate::function::{readable_text, sql_function, text_datum, uuid, uuid_datum, Call};
use crate::jsonb::{self, Jsonb, Kind, Member};
use crate::spi;
use immutable_format::document::uuid_text;
use immutable_format::json::write_string;
use immutable_format::Id;
use pgrx::pg_sys::{self, Datum};

/// Most events of one call.
const MAX_CHANGES: i32 = 10_000;

sql_function!(immutable_changes, pg_finfo_immutable_changes, changes);

/// `immutable.changes(tenant_id, after, limit)`
unsafe fn changes(call: Call) -> Datum {
    let limit = call.arg(2).map_or(100, |limit| limit.value() as i32);
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

/// An answer ends with the event that passes this, however many were asked for: a jsonb array holds 256 MB, in which numbers
/// take more room than as text.
const MAX_BYTES: usize = 16 << 20;

fn answer(events: &[String], position: &str, has_more: bool) -> Datum {
    let events = events.join(",");
    // SAFETY: allocates in the current memory context.
    unsafe { jsonb::datum(&format!("{{\"data\":[{events}],\"position\":{position},\"has_more\":{has_more}}}")) }
}

/// The next events of every lane, in the order of created_at. A lane's events are in the order of its seq that way too,
/// so wherever the page is cut, each lane is cut after its last event in the page.
unsafe fn of_tenant(tenant: Datum, after: Option<Jsonb>, limit: usize) -> Datum {
    let example = "{\"0\": 12}";
    let mut position: Vec<(i16, i64)> = Vec::new();
    if let Some(after) = after {
        if after.kind() != Kind::Object {
            refuse(example)
        }
        after.members(|lane, seq| {
            // Written as here and no other way: "0" and "00" would be one lane's position twice.
            let lane = lane.parse::<i16>().ok().filter(|n| *n >= 0 && n.to_string() == lane);
            match (lane, seq) {
                (Some(lane), Member::Number(seq)) => match seq.parse::<i64>() {
                    Ok(seq) if seq >= 0 => position.push((lane, seq)),
                    _ => refuse(example),
                },
                _ => refuse(example),
            }
        });
    }
    let lanes: Vec<Datum> = position.iter().map(|(lane, _)| Datum::from(*lane)).collect();
    let seqs: Vec<Datum> = position.iter().map(|(_, seq)| Datum::from(*seq)).collect();
    let statement = format!(
        "WITH RECURSIVE k(lane) AS ( \
             (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 ORDER BY e.lane LIMIT 1) \
             UNION ALL \
             SELECT (SELECT e.lane FROM immutable.events e WHERE e.tenant_id = $1 AND e.lane > k.lane \
                     ORDER BY e.lane LIMIT 1) FROM k WHERE k.lane IS NOT NULL) \
         SELECT e.* \
         FROM k LEFT JOIN ROWS FROM (pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[])) p(lane, seq) \
                ON p.lane = k.lane, \
         LATERAL (SELECT e.* FROM immutable.events e \
                  WHERE e.tenant_id = $1 AND e.lane = k.lane AND e.seq > coalesce(p.seq, 0) \
                  ORDER BY e.seq LIMIT {}) e \
         ORDER BY e.created_at, e.lane, e.seq LIMIT {}",
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
        let get = |column| row.get(layout, column).map_or(0, |number| number.value() as i64);
        let (lane, seq) = (get(c::LANE) as i16, get(c::SEQ));
        events.push(event::json(&row, layout));
        bytes += events.last().map_or(0, String::len);
        match position.iter_mut().find(|(known, _)| *known == lane) {
            Some(known) => known.1 = seq,
            None => position.push((lane, seq)),
        }
    });
    position.sort_unstable();
    let position: Vec<String> = position.iter().map(|(lane, seq)| format!("\"{lane}\":{seq}")).collect();
    answer(&events, &format!("{{{}}}", position.join(",")), is_cut)
}

unsafe fn array(elements: &[Datum], of: pg_sys::Oid) -> Datum {
    let (bytes, align) = if of == pg_sys::INT2OID { (2, pg_sys::TYPALIGN_SHORT) } else { (8, pg_sys::TYPALIGN_DOUBLE) };
    let mut elements = elements.to_vec();
    let count = elements.len() as i32;
    Datum::from(pg_sys::construct_array(elements.as_mut_ptr(), count, of, bytes, true, align as std::ffi::c_char))
}

/// A place in the feed of all tenants.
struct Place {
    xact: u64,
    id: Id,
    tenant_id: String,
}

/// The next events in the order of their transactions, as far as none that is running can come before them.
unsafe fn of_all(after: Option<Jsonb>, limit: usize) -> Datum {
    let example = "{\"xact\": \"7391\", \"id\": \"0195d3a0-6c1e-7c3a-9f00-000000000001\", \"tenant_id\": \"acme\"}";
    let mut place = None;
    if let Some(after) = after {
        if after.kind() != Kind::Object {
            refuse(example)
        }
        let (mut xact, mut id, mut tenant_id) = (None, None, None);
        after.members(|key, value| match (key, value) {
            ("xact", Member::Text(text)) => xact = text.parse::<u64>().ok(),
            ("id", Member::Text(text)) => id = uuid::Uuid::try_parse(&text).ok(),
            ("tenant_id", Member::Text(text)) => tenant_id = Some(text),
            _ => refuse(example),
        });
        // {} is where a log without events ends.
        place = match (xact, id, tenant_id) {
            (Some(xact), Some(id), Some(tenant_id)) => Some(Place { xact, id: *id.as_bytes(), tenant_id }),
            _ if after.len() == 0 => None,
            _ => refuse(example),
        };
    }
    let mut types = Vec::new();
    let mut values = Vec::new();
    let mut condition = String::new();
    if let Some(place) = &place {
        types.extend([pg_sys::XID8OID, pg_sys::TEXTOID, pg_sys::UUIDOID]);
        values.extend([Some(Datum::from(place.xact)), Some(text_datum(&place.tenant_id)), Some(uuid_datum(&place.id))]);
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
            tenant_id: row.get(layout, c::TENANT_ID).map_or("", |tenant_id| readable_text(tenant_id)).to_string(),
        });
    });
    let position = place.map_or("{}".to_string(), |place| {
        let mut tenant_id = String::new();
        write_string(&place.tenant_id, &mut tenant_id);
        format!("{{\"xact\":\"{}\",\"id\":\"{}\",\"tenant_id\":{tenant_id}}}", place.xact, uuid_text(&place.id))
    });
    answer(&events, &position, is_cut)
}
