//! What nodes are asked to verify, and what they answer, as JSON: a connection between nodes carries texts. Both ends
//! are written here, so that they fit.

use crate::pg::datum::{any_micros, timestamptz};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::verify::run::{refuse, Counts};
use crate::verify::scope::{read_heads, Home, Marks, SavedHead, Scope};
use crate::verify::verdict::Verdict;
use immutable_format::id::{parse_uuid, uuid_text};
use immutable_format::json::write_string;
use immutable_format::link::{Break, BreakType};
use immutable_format::Id;

/// A shard, or the shard of one tenant, and what is to be verified there.
#[derive(Default)]
pub struct Piece<'s> {
    /// The shard; None if the function's own tenant names it.
    pub home: Option<Home>,
    pub max_events: Option<i64>,
    pub heads: Vec<&'s SavedHead>,
    pub since: Option<Vec<&'s SavedHead>>,
}

/// The request to verify some pieces within so many seconds, or to count the lanes of their first events.
pub fn request(scope: &Scope, seconds: Option<f64>, lanes: Option<i64>, pieces: &[Piece]) -> String {
    let mut members = Vec::new();
    let mut member = |name: &str, value: Option<String>| {
        members.extend(value.map(|value| format!("\"{name}\":{value}")));
    };
    member("from", scope.from_date.map(|from| any_micros(from).to_string()));
    member("to", scope.to_date.map(|to| any_micros(to).to_string()));
    member("targets", Some(u8::from(scope.targets).to_string()));
    member("listed", Some(scope.listed.to_string()));
    member("seconds", seconds.map(|seconds| format!("{seconds:.6}")));
    member("lanes", lanes.map(|most| most.to_string()));
    member("pieces", Some(array(pieces, piece)));
    format!("{{{}}}", members.join(","))
}

fn array<T>(items: &[T], json: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(json).collect();
    format!("[{}]", items.join(","))
}

fn piece(piece: &Piece) -> String {
    let heads = |heads: &[&SavedHead]| array(heads, |head| head.json());
    let mut members = vec![format!("\"heads\":{}", heads(&piece.heads))];
    if let Some(Home { shard, first, last }) = piece.home {
        members.push(format!("\"shard\":{shard},\"first\":{first},\"last\":{last}"));
    }
    members.extend(piece.max_events.map(|most| format!("\"max_events\":{most}")));
    members.extend(piece.since.as_ref().map(|since| format!("\"since\":{}", heads(since))));
    format!("{{{}}}", members.join(","))
}

/// A request as a node reads it.
#[derive(Default)]
pub struct Request<'c> {
    /// What is to be verified of each piece.
    pub pieces: Vec<Scope<'c>>,
    pub seconds: Option<f64>,
    /// If lanes are to be counted: of how many events.
    pub lanes: Option<i64>,
}

impl<'c> Request<'c> {
    /// Raises 22023 for what [`request`] did not write.
    pub fn read(json: Jsonb<'c>) -> Request<'c> {
        if json.kind() != Kind::Object {
            refuse("request")
        }
        let mut request = Request::default();
        let (mut from, mut to, mut targets, mut listed, mut pieces) = (None, None, true, 0, None);
        json.members(|name, value| match (name, value) {
            ("from", Member::Number(micros)) => from = Some(number(&micros)),
            ("to", Member::Number(micros)) => to = Some(number(&micros)),
            ("targets", Member::Number(is)) => targets = is != "0",
            ("listed", Member::Number(most)) => listed = number(&most),
            ("seconds", Member::Number(most)) => request.seconds = Some(number(&most)),
            ("lanes", Member::Number(most)) => request.lanes = Some(number(&most)),
            ("pieces", Member::Nested(array)) if array.kind() == Kind::Array => pieces = Some(array),
            _ => refuse("request"),
        });
        let Some(pieces) = pieces else { refuse("request") };
        pieces.each_element(|element| {
            let Member::Nested(piece) = element else { refuse("request") };
            request.pieces.push(Scope {
                from_date: from.map(timestamptz),
                to_date: to.map(timestamptz),
                targets,
                listed,
                ..scope_of(piece)
            });
        });
        request
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| refuse("request"))
}

fn scope_of(piece: Jsonb<'_>) -> Scope<'_> {
    if piece.kind() != Kind::Object {
        refuse("request")
    }
    let mut scope = Scope { of_shard: true, ..Scope::default() };
    let (mut shard, mut first, mut last) = (None, None, None);
    piece.members(|name, value| match (name, value) {
        ("shard", Member::Number(value)) => shard = Some(number(&value)),
        ("first", Member::Number(value)) => first = Some(number(&value)),
        ("last", Member::Number(value)) => last = Some(number(&value)),
        ("max_events", Member::Number(value)) => scope.max_events = Some(number(&value)),
        ("heads", Member::Nested(heads)) => scope.heads = read_heads("heads", heads),
        ("since", Member::Nested(since)) => scope.since = Some(Marks::of(since)),
        _ => refuse("request"),
    });
    scope.home = match (shard, first, last) {
        (Some(shard), Some(first), Some(last)) => Some(Home { shard, first, last }),
        (None, None, None) => None,
        _ => refuse("request"),
    };
    scope
}

/// One break as JSON: with all members, or only with those of immutable.verify().
pub fn break_json(found: &Break, in_full: bool) -> String {
    let mut json = String::from("{");
    let mut member = |name: &str, value: Option<String>, quoted: bool| {
        if json.len() > 1 {
            json.push(',');
        }
        write_string(name, &mut json);
        json.push(':');
        match value {
            None => json.push_str("null"),
            Some(value) if quoted => write_string(&value, &mut json),
            Some(value) => json.push_str(&value),
        }
    };
    if in_full {
        member("tenant_id", found.tenant_id.clone(), true);
        member("lane", found.lane.map(|lane| lane.to_string()), false);
        member("seq", found.seq.map(|seq| seq.to_string()), false);
    }
    member("event_id", found.event_id.map(|id| uuid_text(&id)), true);
    member("type", Some(found.kind.name().to_string()), true);
    member("expected_hash", found.expected.as_ref().map(hex::encode), true);
    member("actual_hash", found.actual.as_ref().map(hex::encode), true);
    if in_full {
        member("detail", Some(found.detail.clone()), true);
    }
    json.push('}');
    json
}

/// What a node answers about a piece.
pub fn answer(home: Option<Home>, verdict: &Verdict, breaks: &[String]) -> String {
    let Counts { events, chains, tenants, erased, breaks: found, pruned, cut, passed_over, log_id, .. } =
        &verdict.counts;
    let shard = home.map_or(0, |home| home.shard);
    let log_id = log_id.map_or("null".to_string(), |id| format!("\"{}\"", uuid_text(&id)));
    let (cut, passed_over) = (u8::from(*cut), u8::from(*passed_over));
    let (total, heads) = (verdict.events_total, verdict.heads_checked);
    format!(
        "{{\"shard\":{shard},\"log_id\":{log_id},\"events\":{events},\"chains\":{chains},\"tenants\":{tenants},\
         \"erased\":{erased},\"found\":{found},\"cut\":{cut},\"passed_over\":{passed_over},\"total\":{total},\
         \"heads\":{heads},\"pruned\":{pruned},\"breaks\":[{}]}}",
        breaks.join(",")
    )
}

/// The lanes of a shard, with the number of events of each.
pub fn lanes_answer(home: Option<Home>, lanes: &[(String, i16, i64)]) -> String {
    let shard = home.map_or(0, |home| home.shard);
    let lanes = array(lanes, |(tenant_id, lane, events)| {
        let mut quoted = String::new();
        write_string(tenant_id, &mut quoted);
        format!("[{quoted},{lane},{events}]")
    });
    format!("{{\"shard\":{shard},\"lanes\":{lanes}}}")
}

/// A lane of a shard, and how many events of it are meant.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    pub tenant_id: Vec<u8>,
    pub lane: i16,
    pub shard: i64,
    pub events: i64,
}

/// The lanes in an answer that [`lanes_answer`] wrote.
pub fn lanes_in(json: Jsonb<'_>) -> Vec<Counted> {
    let (mut shard, mut lanes) = (0, Vec::new());
    json.members(|name, value| match (name, value) {
        ("shard", Member::Number(value)) => shard = number(&value),
        ("lanes", Member::Nested(array)) => array.each_element(|lane| {
            let Member::Nested(lane) = lane else { return };
            let mut found = Counted { tenant_id: Vec::new(), lane: -1, shard: 0, events: 0 };
            let mut place = 0;
            lane.each_element(|value| {
                match (place, value) {
                    (0, Member::Text(tenant_id)) => found.tenant_id = tenant_id.into_bytes(),
                    (1, Member::Number(value)) => found.lane = number(&value),
                    (_, Member::Number(value)) => found.events = number(&value),
                    _ => {}
                }
                place += 1;
            });
            lanes.push(found);
        }),
        _ => {}
    });
    for lane in &mut lanes {
        lane.shard = shard;
    }
    lanes
}

/// The answers of nodes, added up.
#[derive(Default)]
pub struct Answers {
    pub counts: Counts,
    pub events_total: i64,
    pub heads_checked: i64,
    pub breaks: Vec<Break>,
    /// The identity of the log on the node that answered last.
    pub log_id: Option<Id>,
}

impl Answers {
    /// Adds an answer that [`answer`] wrote.
    pub fn add(&mut self, json: Jsonb<'_>) {
        let counts = &mut self.counts;
        json.members(|name, value| {
            let number = match &value {
                Member::Number(text) => text.parse::<i64>().unwrap_or(0),
                _ => 0,
            };
            match (name, value) {
                ("log_id", Member::Text(id)) => self.log_id = parse_uuid(&id),
                ("events", _) => counts.events += number as u64,
                ("chains", _) => counts.chains += number as u64,
                ("tenants", _) => counts.tenants += number as u64,
                ("erased", _) => counts.erased += number as u64,
                ("pruned", _) => counts.pruned = counts.pruned.saturating_add(number),
                ("found", _) => counts.breaks += number as u64,
                ("cut", _) => counts.cut |= number != 0,
                ("passed_over", _) => counts.passed_over |= number != 0,
                ("total", _) => self.events_total = self.events_total.saturating_add(number),
                ("heads", _) => self.heads_checked += number,
                ("breaks", Member::Nested(breaks)) => breaks.each_element(|found| {
                    if let Member::Nested(found) = found {
                        self.breaks.push(read_break(found));
                    }
                }),
                _ => {}
            }
        });
    }
}

const KINDS: [BreakType; 6] = [
    BreakType::HashMismatch,
    BreakType::ChainBreak,
    BreakType::MissingEvent,
    BreakType::TargetMismatch,
    BreakType::ErasureMismatch,
    BreakType::CheckpointMismatch,
];

/// The break that [`break_json`] wrote. One of a kind that this version does not know is a chain break.
fn read_break(json: Jsonb<'_>) -> Break {
    let mut found = Break {
        kind: BreakType::ChainBreak,
        tenant_id: None,
        lane: None,
        seq: None,
        event_id: None,
        expected: None,
        actual: None,
        detail: String::new(),
    };
    let hash = |text: String| hex::decode(text).ok();
    json.members(|name, value| match (name, value) {
        ("tenant_id", Member::Text(tenant_id)) => found.tenant_id = Some(tenant_id),
        ("lane", Member::Number(lane)) => found.lane = lane.parse().ok(),
        ("seq", Member::Number(seq)) => found.seq = seq.parse().ok(),
        ("event_id", Member::Text(id)) => found.event_id = parse_uuid(&id),
        ("type", Member::Text(name)) => {
            found.kind = KINDS.into_iter().find(|kind| kind.name() == name).unwrap_or(BreakType::ChainBreak);
        }
        ("expected_hash", Member::Text(text)) => found.expected = hash(text),
        ("actual_hash", Member::Text(text)) => found.actual = hash(text),
        ("detail", Member::Text(detail)) => found.detail = detail,
        _ => {}
    });
    found
}

/// Brings breaks of several shards into the order of a log that is on one machine: what is wrong with events, then
/// with targets, then with erasures, each by tenant, lane and seq. Those of no tenant come first.
pub fn sort(breaks: &mut [Break]) {
    let group = |kind| match kind {
        BreakType::TargetMismatch => 1,
        BreakType::ErasureMismatch => 2,
        _ => 0,
    };
    breaks.sort_by(|a, b| {
        let tenants = a.tenant_id.as_ref().map(String::as_bytes).cmp(&b.tenant_id.as_ref().map(String::as_bytes));
        group(a.kind).cmp(&group(b.kind)).then(tenants).then((a.lane, a.seq).cmp(&(b.lane, b.seq)))
    });
}
