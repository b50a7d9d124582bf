//! What is delivered, as it is now: events behind a mark, alerts, dead letters, or a test.

use crate::jobs::alert_list;
use crate::jobs::streams_given::Filters;
use crate::jobs::streams_position::{alert_mark, parse_alert_mark};
use crate::jobs::streams_table::Stored;
use crate::log::columns::{self as c, Layout};
use crate::log::{event, row};
use crate::pg::datum::{any_micros, micros, uuid};
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::pg::tuple::{RowBuffer, Values};
use crate::pg::{random, transaction};
use crate::read::feed;
use immutable_format::id::{parse_uuid, uuid_text};
use immutable_format::json::write_string;
use immutable_format::{time, Id};
use std::collections::HashSet;
use std::fmt::Write;

/// Bytes of items from which on no more are taken at once.
const MOST_BYTES: usize = 8 << 20;

/// How many pieces of the feed are read for one call, while no event passes the filters.
const MOST_PIECES: usize = 100;

/// How long they are read, in microseconds.
const MOST_MICROS: i64 = 1_000_000;

/// The names of items: the id, and the tenant's bytes in hex.
pub fn name_of(id: &Id, tenant_id: &[u8]) -> String {
    format!("{}/{}", uuid_text(id), hex::encode(tenant_id))
}

/// The id and the tenant of a name.
pub fn parse_name(name: &str) -> Option<(Id, String)> {
    let (id, tenant_id) = name.split_once('/')?;
    Some((parse_uuid(id)?, String::from_utf8(hex::decode(tenant_id).ok()?).unwrap_or_default()))
}

/// Items, as JSON, and their names.
#[derive(Default)]
pub struct Items {
    pub names: Vec<String>,
    pub json: Vec<String>,
    bytes: usize,
}

impl Items {
    /// Whether there is room for more.
    fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    fn push(&mut self, name: String, id: &Id, kind: &str, json: &str, document: Option<&str>) {
        let mut item = format!("{{\"id\":\"{}\",\"kind\":\"{kind}\",\"json\":{json},\"document\":", uuid_text(id));
        match document {
            Some(document) => write_string(document, &mut item),
            None => item.push_str("null"),
        }
        item.push('}');
        self.bytes += item.len();
        self.names.push(name);
        self.json.push(item);
    }

    fn push_event(&mut self, name: String, row: &Values, layout: &Layout) {
        let document = row::read(|column| row.get(layout, column)).and_then(|event| event.document()).ok();
        let id = row.get(layout, c::ID).map(uuid).unwrap_or_default();
        self.push(name, &id, "event", &event::json(row, layout), document.as_deref());
    }
}

/// What was read of the feed.
pub struct Read {
    pub items: Items,
    /// Everything before it was delivered.
    pub before: String,
    /// The mark behind the items.
    pub behind: String,
    /// What was acknowledged behind that,
    pub acknowledged: Vec<String>,
    /// and of it what is not among what was read.
    pub left: Vec<String>,
    /// Whether the mark has moved although there is no item.
    pub has_moved: bool,
}

/// Reads the next events of a stream. Pieces without any event that passes are passed over.
pub fn events(
    stream: &Stored,
    filters: &Filters,
    mark: &str,
    since: Option<i64>,
    acknowledged: &[String],
    most: usize,
) -> Read {
    let begun = transaction::now();
    let (mut before, mut left, mut has_moved) = (mark.to_string(), acknowledged.to_vec(), false);
    for _ in 0..MOST_PIECES {
        let (items, reached, rest) = piece(stream, filters, &before, since, &left, most);
        if !items.names.is_empty() {
            return Read { items, before, behind: reached.mark, acknowledged: left, left: rest, has_moved };
        }
        has_moved |= reached.mark != before && (reached.events > 0 || reached.has_more);
        (before, left) = (reached.mark, rest);
        if !reached.has_more || transaction::now() - begun > MOST_MICROS {
            break;
        }
    }
    Read { items: Items::default(), behind: before.clone(), before, acknowledged: left.clone(), left, has_moved }
}

fn piece(
    stream: &Stored,
    filters: &Filters,
    mark: &str,
    since: Option<i64>,
    acknowledged: &[String],
    most: usize,
) -> (Items, feed::Reached, Vec<String>) {
    let mut most = most;
    loop {
        let (mut items, mut seen, mut fit) = (Items::default(), HashSet::new(), 0);
        let mut read = 0;
        let known: HashSet<&str> = acknowledged.iter().map(String::as_str).collect();
        let reached = feed::read(Some(mark), most, |row, layout| {
            if items.is_full() {
                return;
            }
            read += 1;
            if !is_wanted(stream, filters, since, row, layout) {
                return fit = read;
            }
            let id = row.get(layout, c::ID).map(uuid).unwrap_or_default();
            let name = name_of(&id, row.get(layout, c::TENANT_ID).and_then(toast::read).unwrap_or_default());
            if known.contains(&*name) {
                seen.insert(name);
            } else {
                items.push_event(name, row, layout);
            }
            fit = read;
        });
        if items.is_full() && reached.events > fit {
            // Fewer are read, so that the mark is behind what is taken.
            most = fit.min(most - 1).max(1);
            continue;
        }
        let left = acknowledged.iter().filter(|name| !seen.contains(*name)).cloned().collect();
        return (items, reached, left);
    }
}

fn is_wanted(stream: &Stored, filters: &Filters, since: Option<i64>, row: &Values, layout: &Layout) -> bool {
    let of_tenant = || row.get(layout, c::TENANT_ID).and_then(row::stored_text);
    let at = || row.get(layout, c::CREATED_AT).map_or(i64::MAX, micros);
    stream.tenant_id.as_deref().is_none_or(|wanted| of_tenant() == Some(wanted))
        && since.is_none_or(|since| at() >= since)
        && filters.pass(row, layout)
}

/// Reads the next alerts of a stream.
pub fn alerts(stream: &Stored, filters: &Filters, mark: &str, acknowledged: &[String], most: usize) -> Read {
    let Some((at, id)) = parse_alert_mark(mark) else {
        Fault::new(Code::ERRCODE_DATA_CORRUPTED, "the position of a stream of alerts is damaged")
            .field("mark")
            .hint("Give immutable.update_stream() a start.")
            .raise()
    };
    let statement = format!(
        "SELECT e.*, {} FROM immutable.alerts a LEFT JOIN immutable.events e \
           ON e.id OPERATOR(pg_catalog.=) a.event_id AND e.tenant_id OPERATOR(pg_catalog.=) a.tenant_id \
         WHERE (a.triggered_at, a.id) OPERATOR(pg_catalog.>) ($1, $2) \
           AND ($3 IS NULL OR a.tenant_id OPERATOR(pg_catalog.=) $3) \
           AND ($4 IS NULL OR a.rule_type OPERATOR(pg_catalog.=) $4) \
         ORDER BY a.triggered_at, a.id LIMIT {}",
        alert_list::COLUMNS,
        most + acknowledged.len()
    );
    let arguments = [
        Arg::Time(at),
        Arg::Uuid(id),
        Arg::maybe_text(stream.tenant_id.as_deref()),
        Arg::maybe_text(filters.rule_type.as_deref()),
    ];
    let known: HashSet<&str> = acknowledged.iter().map(String::as_str).collect();
    let (mut items, mut seen, mut behind) = (Items::default(), HashSet::new(), mark.to_string());
    each(&statement, &arguments, |row, layout| {
        if items.is_full() {
            return;
        }
        let at = |place| alert_list::at(row, layout, place);
        let id = at(0).map(uuid).unwrap_or_default();
        let name = name_of(&id, at(4).and_then(toast::read).unwrap_or_default());
        behind = alert_mark(at(8).map(any_micros).unwrap_or_default(), &id);
        if known.contains(&*name) {
            seen.insert(name);
        } else {
            items.push(name, &id, "alert", &alert_list::json(row, layout), None);
        }
    });
    let left: Vec<String> = acknowledged.iter().filter(|name| !seen.contains(*name)).cloned().collect();
    let has_moved = items.names.is_empty() && behind != mark;
    let (before, acknowledged) = match has_moved {
        true => (behind.clone(), left.clone()),
        false => (mark.to_string(), acknowledged.to_vec()),
    };
    Read { items, before, behind, acknowledged, left, has_moved }
}

/// The dead letters of a stream that somebody asked to deliver again, as their events are now. Those whose
/// event is gone, or of another tenant than the stream, stay dead.
pub fn replays(stream: &Stored, most: usize) -> Items {
    let of = "FROM immutable.dead_letters d";
    let (kind, joined) = match &*stream.content {
        "alerts" => (
            "alert",
            format!(
                "SELECT e.*, d.id, {} {of} LEFT JOIN immutable.alerts a ON a.id OPERATOR(pg_catalog.=) d.item_id \
                   AND ($2 IS NULL OR a.tenant_id OPERATOR(pg_catalog.=) $2) \
                 LEFT JOIN immutable.events e ON e.id OPERATOR(pg_catalog.=) a.event_id \
                   AND e.tenant_id OPERATOR(pg_catalog.=) a.tenant_id",
                alert_list::COLUMNS
            ),
        ),
        _ => (
            "event",
            format!(
                "SELECT e.*, d.id {of} LEFT JOIN immutable.events e ON e.id OPERATOR(pg_catalog.=) d.item_id \
                   AND e.tenant_id OPERATOR(pg_catalog.=) d.tenant_id \
                   AND ($2 IS NULL OR e.tenant_id OPERATOR(pg_catalog.=) $2)"
            ),
        ),
    };
    let statement = format!(
        "{joined} WHERE d.stream_id OPERATOR(pg_catalog.=) $1 AND d.replay_at IS NOT NULL \
         ORDER BY d.died_at, d.id LIMIT {most}"
    );
    let (mut items, mut gone) = (Items::default(), Vec::new());
    let arguments = [Arg::Uuid(stream.id), Arg::maybe_text(stream.tenant_id.as_deref())];
    each(&statement, &arguments, |row, layout| {
        if items.is_full() {
            return;
        }
        let place = layout.width - 1 - if kind == "alert" { alert_list::WIDTH } else { 0 };
        let letter = row.at(place).map(uuid).unwrap_or_default();
        let id = match kind {
            "alert" => alert_list::at(row, layout, 0),
            _ => row.get(layout, c::ID),
        };
        match id.map(uuid) {
            None => gone.push(letter),
            Some(id) if kind == "alert" => {
                items.push(uuid_text(&letter), &id, kind, &alert_list::json(row, layout), None);
            }
            Some(_) => items.push_event(uuid_text(&letter), row, layout),
        }
    });
    for letter in gone {
        spi::execute(
            "UPDATE immutable.dead_letters d SET replay_at = NULL, error = 'it is not in the log any more' \
             WHERE d.id OPERATOR(pg_catalog.=) $1",
            &[Arg::Uuid(letter)],
        );
    }
    items
}

fn each(statement: &str, arguments: &[Arg], mut take: impl FnMut(&Values, &Layout)) {
    let (mut layout, mut buffer) = (None, RowBuffer::default());
    spi::stream_now(statement, arguments, |tuple| {
        let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
        buffer.take_apart(tuple, |row| take(row, layout));
    });
}

/// An event that is not in the log, shaped as those that are, or an alert that was not raised.
pub fn test(stream: &Stored) -> Items {
    let at = transaction::now();
    let id = random::id(at);
    let at = time::format(at).unwrap_or_default();
    let tenant_id = crate::jobs::streams_table::quoted(stream.tenant_id.as_deref().filter(|id| !id.is_empty()));
    let mut json = String::new();
    let action = "immutable.delivery_tested";
    let _ = match &*stream.content {
        "alerts" => write!(
            json,
            "{{\"id\":\"{}\",\"rule_id\":null,\"rule_name\":\"Test of the delivery\",\"rule_type\":\"repeated_action\",\
             \"reason\":\"somebody tests the delivery\",\"event_id\":null,\"event\":null,\"notified_at\":null,\
             \"triggered_at\":\"{at}\"}}",
            uuid_text(&id)
        ),
        _ => write!(
            json,
            "{{\"id\":\"{}\",\"actor\":{{\"id\":\"immutable\",\"name\":null,\"type\":\"extension\"}},\
             \"action\":\"{action}\",\"action_category\":null,\"resource\":{{\"type\":\"stream\",\"id\":\"{}\",\
             \"name\":null}},\"targets\":[],\"metadata\":{{}},\"tenant_id\":{tenant_id},\"session_id\":null,\
             \"ip_address\":null,\"ip_country\":null,\"ip_city\":null,\"user_agent\":null,\"idempotency_key\":null,\
             \"version\":null,\"integrity\":{{\"event_hash\":null,\"previous_event_hash\":null,\"lane\":null,\
             \"seq\":null}},\"occurred_at\":\"{at}\",\"created_at\":\"{at}\"}}",
            uuid_text(&id),
            uuid_text(&stream.id)
        ),
    };
    let kind = if stream.content == "alerts" { "alert" } else { "event" };
    let mut items = Items::default();
    items.push(uuid_text(&id), &id, kind, &json, None);
    items
}
