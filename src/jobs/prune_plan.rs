//! What a pruning does with the events that are older than their rule says: which go, and why the others stay.

use crate::jobs::prune_lanes::{self, Cuts, Event, Lane, Part, Table, EVENTS, OF_LANE};
use crate::jobs::retention::{Holds, Rules};
use crate::log::pruned::Begins;
use crate::log::segments::Segment;
use crate::pg::datum::{text, Datum};
use crate::pg::spi;
use immutable_format::pruning::{self, Begin};
use std::collections::{BTreeMap, HashMap};

/// What becomes of events, in the order in which it is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    Pruned,
    Held,
    Archive,
    Records,
    Uncovered,
    Unsealed,
    Last,
    Damaged,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            What::Pruned => "pruned",
            What::Held => "held",
            What::Archive => "archive",
            What::Records => "records",
            What::Uncovered => "uncovered",
            What::Unsealed => "unsealed",
            What::Last => "last",
            What::Damaged => "damaged",
        }
    }
}

/// The events of a lane that go.
pub struct Going {
    pub key: (String, i16),
    /// Where the lane begins afterwards.
    pub begin: Begin,
    pub events: i64,
    pub first_at: i64,
    pub last_at: i64,
    /// Where they are; the count of a part is exact if all of it goes.
    pub parts: Vec<Part>,
}

/// How many events of a tenant have something become of them, and the created_at of the first and the last.
#[derive(Default)]
pub struct Sum {
    pub events: i64,
    pub times: Option<(i64, i64)>,
}

/// What a pruning does.
pub struct Plan {
    pub going: Vec<Going>,
    pub sums: BTreeMap<(String, What), Sum>,
    /// How many events the checkpoint covers that vouches for what goes.
    pub checkpoint_size: i64,
}

/// What decides about tenants.
pub struct Terms<'t> {
    pub rules: &'t Rules,
    pub holds: &'t Holds,
    pub cuts: &'t Cuts,
    /// Whether the caller gives an archive.
    pub is_archived: bool,
}

impl Terms<'_> {
    /// Why no event of the tenant may go.
    fn refusal(&self, tenant_id: &str) -> Option<What> {
        if self.holds.of(tenant_id).is_some() {
            return Some(What::Held);
        }
        let needs_archive = self.rules.rule_of(tenant_id).require_archive && !self.is_archived;
        needs_archive.then_some(What::Archive)
    }
}

/// Makes the plan from what is in the tables now.
pub fn make(terms: &Terms, segments: &[Segment], begins: &Begins) -> Plan {
    let mut lanes = prune_lanes::find(terms.cuts, segments, begins);
    let checkpoint_size = prune_lanes::add_coverage(&mut lanes);
    let mut plan = Plan { going: Vec::new(), sums: BTreeMap::new(), checkpoint_size };
    let mut wanted = Vec::new();
    for (key, lane) in &lanes {
        plan.sort(key, lane, terms, &mut wanted);
    }
    let events = read(&wanted, segments);
    plan.complete(wanted, &events);
    plan.leave_records();
    plan.add_up();
    plan
}

/// The events of a lane that may go, before their neighbours are read.
struct Wanted {
    key: (String, i16),
    first: i64,
    upto: i64,
    parts: Vec<Part>,
    /// What becomes of them if nothing is wrong with them.
    what: What,
}

impl Plan {
    fn add(&mut self, tenant_id: &str, what: What, events: i64, times: Option<(i64, i64)>) {
        if events == 0 {
            return;
        }
        let sum = self.sums.entry((tenant_id.to_string(), what)).or_default();
        sum.events += events;
        sum.times = match (sum.times, times) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (one, other) => one.or(other),
        };
    }

    /// Sorts the old events of a lane by what becomes of them.
    fn sort(&mut self, key: &(String, i16), lane: &Lane, terms: &Terms, wanted: &mut Vec<Wanted>) {
        let old: i64 = lane.parts.iter().map(|part| part.count).sum();
        let (Some(first), Some(tail)) = (lane.parts.first().map(|part| part.first), lane.tail) else {
            return self.add(&key.0, What::Damaged, old, None);
        };
        let last_old = lane.parts.iter().map(|part| part.last).max().unwrap_or(0);
        let hot = lane.parts.iter().filter(|part| part.table == Table::Hot).map(|part| part.first).min();
        let sealed = hot.map_or(last_old, |hot| hot - 1).min(tail - 1);
        let upto = sealed.min(lane.covered);
        let is_last_old = i64::from(last_old >= tail);
        let begin = lane.begin.map_or(0, |begin| begin.seq);
        let parts: Vec<Part> = lane.parts.iter().filter_map(|part| up_to(part, upto)).collect();
        let going: i64 = parts.iter().map(|part| part.count).sum();
        let expected = upto - begin.min(first - 1);
        if first > begin + 1 || upto >= first && going != expected || last_old > tail {
            return self.add(&key.0, What::Damaged, old, None);
        }
        let uncovered: i64 = lane.parts.iter().filter_map(|part| up_to(part, sealed)).map(|part| part.count).sum();
        self.add(&key.0, What::Uncovered, uncovered - going, None);
        self.add(&key.0, What::Last, is_last_old, None);
        self.add(&key.0, What::Unsealed, old - uncovered - is_last_old, None);
        if going > 0 {
            let what = terms.refusal(&key.0).unwrap_or(What::Pruned);
            wanted.push(Wanted { key: key.clone(), first, upto, parts, what });
        }
    }

    /// Takes what the neighbours say, and keeps a lane whose next event does not carry the hash of the last one that
    /// would go.
    fn complete(&mut self, wanted: Vec<Wanted>, events: &HashMap<(String, i16, i64), Event>) {
        for Wanted { key, first, upto, parts, what } in wanted {
            let at = |seq| events.get(&(key.0.clone(), key.1, seq)).copied();
            let count = parts.iter().map(|part| part.count).sum();
            let (Some(first), Some(last), Some(next)) = (at(first), at(upto), at(upto + 1)) else {
                self.add(&key.0, What::Damaged, count, None);
                continue;
            };
            let times = (first.created_at, last.created_at);
            let Some(event_hash) = last.hash.filter(|hash| next.previous == Some(*hash)) else {
                self.add(&key.0, What::Damaged, count, Some(times));
                continue;
            };
            if what != What::Pruned {
                self.add(&key.0, what, count, Some(times));
                continue;
            }
            let begin = Begin { lane: key.1, seq: upto, event_hash };
            self.going.push(Going { key, begin, events: count, first_at: times.0, last_at: times.1, parts });
        }
    }

    /// Keeps the records of earlier prunings where nothing else of the tenant would go: the record of their removal
    /// would take their place for ever.
    fn leave_records(&mut self) {
        let mut records: HashMap<String, i64> = HashMap::new();
        let statement = format!(
            "SELECT e.tenant_id, pg_catalog.count(*) FROM {EVENTS} JOIN immutable.events e ON {OF_LANE} AND e.seq <= p.seq \
             WHERE e.action = '{}' GROUP BY e.tenant_id",
            pruning::ACTION
        );
        let given = prune_lanes::given(self.going.iter().map(|going| (&going.key, going.begin.seq)));
        spi::complete(&statement, &given, |row| {
            if let (Some(tenant_id), Some(count)) = (row.at(0).map(text), row.at(1).map(Datum::i64)) {
                records.insert(tenant_id.to_string(), count);
            }
        });
        let mut all: HashMap<&str, i64> = HashMap::new();
        for going in &self.going {
            *all.entry(&going.key.0).or_default() += going.events;
        }
        records.retain(|tenant_id, count| all.get(tenant_id.as_str()) == Some(count));
        let (left, going) =
            std::mem::take(&mut self.going).into_iter().partition(|going: &Going| records.contains_key(&going.key.0));
        self.going = going;
        for Going { key, events, first_at, last_at, .. } in left {
            self.add(&key.0, What::Records, events, Some((first_at, last_at)));
        }
    }

    fn add_up(&mut self) {
        for going in std::mem::take(&mut self.going) {
            self.add(&going.key.0, What::Pruned, going.events, Some((going.first_at, going.last_at)));
            self.going.push(going);
        }
    }
}

/// What of a part is not behind an event. It is counted as if no event of it were missing: what is deleted is compared
/// with that.
fn up_to(part: &Part, upto: i64) -> Option<Part> {
    let is_whole = part.last <= upto;
    let count = if is_whole { part.count } else { upto - part.first + 1 };
    (part.first <= upto).then_some(Part { last: part.last.min(upto), count, ..*part })
}

/// An event by its lane and its seq.
type Place<'w> = (&'w (String, i16), i64);

/// Reads the first event of each lane that goes, the last one, and the one after it.
fn read(wanted: &[Wanted], segments: &[Segment]) -> HashMap<(String, i16, i64), Event> {
    let mut found = HashMap::new();
    let mut by_table: BTreeMap<Table, Vec<Place<'_>>> = BTreeMap::new();
    for wanted in wanted {
        for seq in [wanted.first, wanted.upto] {
            if let Some(part) = wanted.parts.iter().find(|part| (part.first..=part.last).contains(&seq)) {
                by_table.entry(part.table).or_default().push((&wanted.key, seq));
            }
        }
        if let Some(part) = wanted.parts.iter().max_by_key(|part| part.last) {
            by_table.entry(part.table).or_default().push((&wanted.key, wanted.upto + 1));
        }
        by_table.entry(Table::Hot).or_default().push((&wanted.key, wanted.upto + 1));
    }
    for (table, events) in by_table {
        let table = match table {
            Table::Segment(place) => format!("ONLY immutable.{}", segments[place].events_table()),
            Table::Left | Table::Hot => "ONLY immutable.events".to_string(),
        };
        prune_lanes::read(&table, events.into_iter(), &mut found);
    }
    let missing: Vec<_> = wanted
        .iter()
        .flat_map(|wanted| [wanted.first, wanted.upto, wanted.upto + 1].map(|seq| (&wanted.key, seq)))
        .filter(|(key, seq)| !found.contains_key(&(key.0.clone(), key.1, *seq)))
        .collect();
    prune_lanes::read("immutable.events", missing.into_iter(), &mut found);
    found
}
