//! What the nodes of a distributed log know of its shards: whether they agree, whether every tenant has one, and
//! where they are.

use crate::log::log_identity;
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::{Jsonb, Kind, Member};
use crate::pg::spi;
use crate::verify::remote::{run, Node};
use crate::verify::scope::Home;
use immutable_format::id::{parse_uuid, uuid_text};
use immutable_format::link::{Break, BreakType};
use immutable_format::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Asks a node for what it knows. It is a query and not a function of the extension, so that nodes with other versions
/// of it answer too.
const QUESTION: &str = "SELECT pg_catalog.jsonb_build_object( \
     'version', (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'immutable'), \
     'log_id', (SELECT l.log_id FROM immutable.log l LIMIT 1), \
     'placements', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array( \
         c.relname, s.shardid, s.shardminvalue, s.shardmaxvalue, p.groupid, \
         CASE WHEN p.groupid = (SELECT g.groupid FROM pg_catalog.pg_dist_local_group g) THEN pg_catalog.pg_table_size( \
             pg_catalog.to_regclass('immutable.' || c.relname || '_' || s.shardid)) ELSE -1 END)) \
       FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid \
         LEFT JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid AND p.shardstate = 1 \
       WHERE c.relnamespace = 'immutable'::pg_catalog.regnamespace \
         AND c.relname IN ('events', 'event_targets', 'placement')))";

/// How often the nodes are asked again if they do not agree: while a shard moves, one may know it before another.
const TRIES: usize = 4;

/// A shard of a table and its range of hashes, as a node knows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    table: String,
    shard: i64,
    first: Option<i32>,
    last: Option<i32>,
    /// The group of nodes that has it.
    group: Option<i32>,
}

/// A shard of events.
pub struct Shard {
    pub home: Home,
    /// Its place in [`Survey::nodes`].
    pub node: usize,
    pub bytes: i64,
}

/// What was found out.
#[derive(Default)]
pub struct Survey {
    pub nodes: Vec<Node>,
    /// In the order of their ranges.
    pub shards: Vec<Shard>,
    pub log_id: Option<Id>,
    pub breaks: Vec<Break>,
}

/// What one node answered.
#[derive(Default)]
struct Knowledge {
    version: Option<String>,
    log_id: Option<Id>,
    shards: BTreeSet<Known>,
    /// The bytes of the shards that the node has; None for one that it should have.
    sizes: BTreeMap<(String, i64), Option<i64>>,
}

/// Asks all nodes. Raises 08006 if one does not answer, and 55000 if one has another version of the extension.
pub fn survey() -> Survey {
    let mut found = Survey::default();
    for attempt in 0..TRIES {
        if attempt > 0 {
            spi::read("SELECT pg_catalog.pg_sleep(0.2)", &[], |_| {});
        }
        found = ask();
        if found.breaks.is_empty() {
            break;
        }
    }
    found
}

/// A break that is no event's.
pub fn log_break(kind: BreakType, detail: String) -> Break {
    Break { kind, tenant_id: None, lane: None, seq: None, event_id: None, expected: None, actual: None, detail }
}

fn ask() -> Survey {
    let nodes = nodes();
    let commands: Vec<(&Node, String)> = nodes.iter().map(|node| (node, QUESTION.to_string())).collect();
    let mut known: BTreeMap<i32, Knowledge> = BTreeMap::new();
    run(&commands, |node, answer| {
        known.insert(node.group, knowledge(answer));
    });
    check_versions(&nodes, &known);
    let mut breaks = Vec::new();
    let log_id = check_identities(&nodes, &known, &mut breaks);
    let all = check_agreement(&nodes, &known, &mut breaks);
    check_ranges(&all, &mut breaks);
    check_neighbours(&all, &mut breaks);
    let shards = places(&nodes, &known, &all, &mut breaks);
    Survey { nodes, shards, log_id, breaks }
}

/// The nodes that have shards or are in use, by the catalog of this one.
fn nodes() -> Vec<Node> {
    let mut nodes = Vec::new();
    spi::read(
        "SELECT n.groupid, n.nodename, n.nodeport, n.hasmetadata OR n.groupid = 0 FROM pg_catalog.pg_dist_node n \
         WHERE n.noderole = 'primary' AND n.nodecluster = pg_catalog.current_setting('citus.cluster_name')::pg_catalog.name \
           AND (n.isactive OR EXISTS (SELECT FROM pg_catalog.pg_dist_placement p WHERE p.groupid = n.groupid)) \
         ORDER BY n.groupid",
        &[],
        |row| {
            nodes.push(Node {
                group: row.at(0).map_or(-1, Datum::i32),
                host: row.at(1).map_or("", text).to_string(),
                port: row.at(2).map_or(0, Datum::i32),
                has_metadata: row.at(3).is_some_and(Datum::bool),
            });
        },
    );
    nodes
}

fn knowledge(answer: Jsonb<'_>) -> Knowledge {
    let mut found = Knowledge::default();
    answer.members(|name, value| match (name, value) {
        ("version", Member::Text(version)) => found.version = Some(version),
        ("log_id", Member::Text(id)) => found.log_id = parse_uuid(&id),
        ("placements", Member::Nested(rows)) => rows.each_element(|row| {
            let Member::Nested(row) = row else { return };
            if row.kind() == Kind::Array {
                found.add(row);
            }
        }),
        _ => {}
    });
    found
}

impl Knowledge {
    fn add(&mut self, row: Jsonb<'_>) {
        let mut values = Vec::new();
        row.each_element(|value| {
            values.push(match value {
                Member::Text(text) | Member::Number(text) => Some(text),
                _ => None,
            });
        });
        let mut values = values.into_iter();
        let mut next = || values.next().flatten();
        let (table, shard) = (next().unwrap_or_default(), next().and_then(|n| n.parse().ok()).unwrap_or(0));
        let mut number = || next().and_then(|n| n.parse::<i32>().ok());
        let (first, last, group) = (number(), number(), number());
        let bytes: Option<i64> = next().and_then(|n| n.parse().ok());
        if bytes != Some(-1) {
            self.sizes.insert((table.clone(), shard), bytes);
        }
        self.shards.insert(Known { table, shard, first, last, group });
    }
}

fn check_versions(nodes: &[Node], known: &BTreeMap<i32, Knowledge>) {
    let mut here = None;
    spi::read("SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'immutable'", &[], |row| {
        here = row.at(0).map(|version| text(version).to_string());
    });
    for node in nodes {
        let version = known.get(&node.group).and_then(|known| known.version.as_ref());
        if version != here.as_ref() {
            let (there, here) = (version.map_or("none", String::as_str), here.as_deref().unwrap_or("none"));
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("node {} has version {there} of the extension, and this node {here}", node.name()),
            )
            .hint(
                "Nothing was verified. Install the same library on every node, and run ALTER EXTENSION immutable \
                 UPDATE on the coordinator.",
            )
            .raise()
        }
    }
}

/// The log's identity. A node without one is no break: it has no shards yet, or else they report it.
fn check_identities(nodes: &[Node], known: &BTreeMap<i32, Knowledge>, breaks: &mut Vec<Break>) -> Option<Id> {
    let of = |node: &Node| known.get(&node.group).and_then(|known| known.log_id);
    let log_id = log_identity::known().or_else(|| nodes.iter().find_map(of));
    for node in nodes {
        let (Some(own), Some(log_id)) = (of(node), log_id) else { continue };
        if own != log_id {
            let detail =
                format!("immutable.log of node {} has the identity of another log, {}", node.name(), uuid_text(&own));
            let mut found = log_break(BreakType::ChainBreak, detail);
            (found.expected, found.actual) = (Some(log_id.to_vec()), Some(own.to_vec()));
            breaks.push(found);
        }
    }
    log_id
}

/// Every shard that any node knows. Reports what another node does not know, or knows differently.
fn check_agreement(nodes: &[Node], known: &BTreeMap<i32, Knowledge>, breaks: &mut Vec<Break>) -> BTreeSet<Known> {
    let all: BTreeSet<Known> = known.values().flat_map(|known| known.shards.iter().cloned()).collect();
    for node in nodes.iter().filter(|node| node.has_metadata) {
        let Some(own) = known.get(&node.group) else { continue };
        for shard in all.difference(&own.shards) {
            let Known { table, shard: number, .. } = shard;
            let other = own.shards.iter().find(|own| own.shard == *number);
            let (kind, how) = match other {
                None => (BreakType::MissingEvent, "does not know"),
                Some(_) => (BreakType::ChainBreak, "has another range or another node for"),
            };
            breaks.push(log_break(kind, format!("node {} {how} the shard immutable.{table}_{number}", node.name())));
        }
    }
    all
}

const TABLES: [&str; 3] = ["events", "event_targets", "placement"];

/// Reports gaps and overlaps in the ranges of hashes of each table.
fn check_ranges(all: &BTreeSet<Known>, breaks: &mut Vec<Break>) {
    for table in TABLES {
        let mut ranges: Vec<(i64, i64, i64)> = Vec::new();
        for shard in all.iter().filter(|shard| shard.table == table) {
            match (shard.first, shard.last) {
                (Some(first), Some(last)) if first <= last => {
                    ranges.push((i64::from(first), i64::from(last), shard.shard));
                }
                _ => {
                    let detail = format!("the shard immutable.{table}_{} has no range of hashes", shard.shard);
                    breaks.push(log_break(BreakType::ChainBreak, detail));
                }
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        let mut next = i64::from(i32::MIN);
        for (first, last, shard) in ranges {
            gap(table, next, first - 1, breaks);
            if first < next {
                let detail = format!(
                    "the shard immutable.{table}_{shard} has the tenants with the hashes from {first} to {} as another \
                     shard does",
                    last.min(next - 1)
                );
                breaks.push(log_break(BreakType::ChainBreak, detail));
            }
            next = next.max(last + 1);
        }
        gap(table, next, i64::from(i32::MAX), breaks);
    }
}

fn gap(table: &str, first: i64, last: i64, breaks: &mut Vec<Break>) {
    if first <= last {
        let detail = format!("no shard of immutable.{table} has the tenants with the hashes from {first} to {last}");
        breaks.push(log_break(BreakType::MissingEvent, detail));
    }
}

/// Reports shards of events without shards of the other tables beside them.
fn check_neighbours(all: &BTreeSet<Known>, breaks: &mut Vec<Break>) {
    for shard in all.iter().filter(|shard| shard.table == TABLES[0]) {
        for table in &TABLES[1..] {
            let is_beside = |other: &&Known| {
                other.table == *table
                    && (other.first, other.last, other.group) == (shard.first, shard.last, shard.group)
            };
            if !all.iter().any(|other| is_beside(&other)) {
                let detail = format!("no shard of immutable.{table} is beside immutable.events_{}", shard.shard);
                breaks.push(log_break(BreakType::ChainBreak, detail));
            }
        }
    }
}

/// Where the shards of events are. Reports those that are nowhere.
fn places(
    nodes: &[Node],
    known: &BTreeMap<i32, Knowledge>,
    all: &BTreeSet<Known>,
    breaks: &mut Vec<Break>,
) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut seen = BTreeSet::new();
    for known_shard in all.iter().filter(|shard| shard.table == TABLES[0]) {
        let Known { shard, first, last, group, .. } = known_shard;
        let (Some(first), Some(last)) = (*first, *last) else { continue };
        let place = nodes.iter().position(|node| Some(node.group) == *group);
        let size_of = |table: &str| {
            let sizes = &known.get(&(*group)?)?.sizes;
            sizes.get(&(table.to_string(), *shard)).copied().flatten()
        };
        match (place, size_of("events")) {
            (Some(node), Some(bytes)) => {
                if seen.insert(*shard) {
                    shards.push(Shard { home: Home { shard: *shard, first, last }, node, bytes });
                }
            }
            (None, _) => breaks
                .push(log_break(BreakType::MissingEvent, format!("the shard immutable.events_{shard} is on no node"))),
            (Some(node), None) => breaks.push(log_break(
                BreakType::MissingEvent,
                format!("the table immutable.events_{shard} is not on its node {}", nodes[node].name()),
            )),
        }
    }
    shards.sort_unstable_by_key(|shard| shard.home.first);
    shards
}
