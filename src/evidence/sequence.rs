//! Appends events to the tree, outside of the way of an insert. What a snapshot sees of a lane is a
//! prefix of it, because a lane's commits are in the order of its seq. So each pass appends to the
//! tree what a snapshot sees of each lane that has moved.
//!
//! Events may move to a segment before the tree has them. The last event of a lane never does, so the hot
//! table alone shows which lanes have moved and how far: a lane's last event committed after all others.

use crate::evidence::position;
use crate::evidence::tables::{read_now, CHUNKS, PENDING, RUNS, TILES, TREE};
use crate::log::pruned::{begins, Begins};
use crate::log::row::{hash, stored_text};
use crate::log::segments;
use crate::log::tables::events_oid;
use crate::log::tree::{Damaged, StoredTiles, View};
use crate::pg::datum::{timestamptz, uuid, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::relation::OpenRelation;
use crate::pg::spi::{self, Arg};
use crate::pg::tuple::Values;
use crate::pg::{procedure, setting, transaction};
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::growing::GrowingTree;
use immutable_format::tlog::tile::{Tile, TiledNodes, WIDTH};
use immutable_format::tlog::tree::{leaf_hash, Nodes};
use immutable_format::Hash;
use pgrx::pg_sys;
use std::collections::BTreeMap;

/// The most events that one transaction appends, and how long it should take, in microseconds. An
/// open transaction holds back changes() over all tenants, and VACUUM.
const MOST_EVENTS: i64 = 100_000;
const FIRST_EVENTS: i64 = 20_000;
const MOST_MICROS: i64 = 500_000;

/// After how many microseconds all lanes are compared again.
const COMPARE_AFTER: i64 = 86_400_000_000;

/// A lane whose events from `after` (exclusive) to `upto` are to be appended.
struct Moved {
    tenant_id: String,
    lane: i16,
    after: i64,
    upto: i64,
}

/// For each lane whose next event cannot be appended, the seq of that event, and why.
type Pending = BTreeMap<(String, i16), (i64, String)>;

/// Why a lane is pending whose tenant nobody knows. When it is repaired, only a comparison of all
/// lanes finds it.
const UNREADABLE: &str = "the tenant cannot be read";

/// A pass over the lanes that had moved when its snapshot was taken.
pub struct Pass {
    snapshot: String,
    compared_all: bool,
    /// Whether a lane has moved since the last snapshot that was noted.
    has_moved: bool,
    /// The lanes that are still to do, the next one last.
    lanes: Vec<Moved>,
    pending: Pending,
    /// Where lanes begin that the tree does not have, and whose first events are pruned.
    begins: Begins,
    /// How many events the next transaction appends.
    events: i64,
}

/// Begins a pass: finds the lanes that have moved. The tree is locked.
pub fn begin() -> Pass {
    let now = transaction::now();
    let position = position::read();
    let since = position.as_ref().and_then(|position| position.compared_since(now - COMPARE_AFTER));
    let pending = stored_pending();
    let since = since.filter(|_| !pending.values().any(|(_, why)| why == UNREADABLE));
    // A lane without any event in the hot table has lost its last one.
    let looks_for_lost = since.is_none() || !pending.is_empty();
    if since.is_none() {
        require_runs();
    }
    let mut pass = Pass {
        snapshot: String::new(),
        compared_all: since.is_none(),
        has_moved: false,
        lanes: Vec::new(),
        pending: Pending::new(),
        begins: Begins::new(),
        events: FIRST_EVENTS,
    };
    // Bitmaps and sorts would be chosen for ranges that the planner takes for large.
    setting::for_transaction(c"enable_bitmapscan", c"off");
    setting::for_transaction(c"enable_seqscan", c"off");
    setting::for_transaction(c"jit", c"off");
    let mut each = |row: &Values| pass.note(row);
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    spi::as_owner(events.get(), || match since {
        None => {
            let all = "SELECT h.tenant_id, h.lane, true AS has_moved FROM immutable.heads() h";
            spi::query_now(&moved_of(all, looks_for_lost), &[], &mut each);
        }
        Some(since) => spi::query_now_planned_each_time(
            &moved_of(
                // A transaction that ran when the last snapshot was taken is among xip or began later.
                "SELECT e.tenant_id, e.lane, true AS has_moved FROM ONLY immutable.events e \
                   WHERE e.xact >= $1::text::pg_catalog.xid8 \
                     AND e.xact < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
                 UNION SELECT e.tenant_id, e.lane, true \
                   FROM pg_catalog.unnest($2::text[]) x JOIN ONLY immutable.events e ON e.xact = x::pg_catalog.xid8 \
                 UNION SELECT p.tenant_id, p.lane, false FROM immutable.tree_pending p",
                looks_for_lost,
            ),
            &[Arg::text(since.xmax), Arg::Texts(since.xip)],
            &mut each,
        ),
    });
    if pass.compared_all {
        pass.begin_where_pruned();
    }
    pass.lanes.reverse();
    pass
}

/// The statement that returns the snapshot, and for each lane that `lanes` selects the last run of it
/// in the tree, the seq of its last event that the snapshot sees, and whether it has moved. That event is in
/// the hot table, unless somebody has removed it: where the statement `looks_for_lost`, the last one that is left
/// takes its place.
fn moved_of(lanes: &str, looks_for_lost: bool) -> String {
    let last = match looks_for_lost {
        false => "h.seq".to_string(),
        true => format!(
            "coalesce(h.seq, (SELECT e.seq FROM immutable.events e WHERE NOT {} \
               AND e.tenant_id = m.tenant_id AND e.lane = m.lane ORDER BY e.seq DESC LIMIT 1))",
            segments::stray(&segments::now(), "e", "events")
        ),
    };
    format!(
        "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, m.tenant_id, m.lane, {last}, \
           r.first_seq, r.count, m.has_moved \
         FROM (SELECT) s LEFT JOIN (SELECT l.tenant_id, l.lane, pg_catalog.bool_or(l.has_moved) AS has_moved \
           FROM ({lanes}) l GROUP BY l.tenant_id, l.lane) m ON true \
         LEFT JOIN LATERAL (SELECT r.first_seq, r.count FROM immutable.tree_runs r \
           WHERE r.tenant_id = m.tenant_id AND r.lane = m.lane ORDER BY r.first_seq DESC LIMIT 1) r ON true \
         LEFT JOIN LATERAL (SELECT e.seq FROM ONLY immutable.events e \
           WHERE e.tenant_id = m.tenant_id AND e.lane = m.lane ORDER BY e.seq DESC LIMIT 1) h ON true \
         ORDER BY m.tenant_id, m.lane"
    )
}

/// The seq of the last event of a run. Raises XX001 for a run that no checkpoint has made.
fn last_of(first_seq: i64, count: i64) -> i64 {
    match first_seq.checked_add(count) {
        Some(next) if first_seq > 0 && count > 0 => next - 1,
        _ => damaged(&Damaged("a row of immutable.tree_runs has impossible numbers".to_string())),
    }
}

/// Refuses (XX001) to begin a tree where one has lost its head.
pub fn require_no_runs() {
    let mut found = false;
    read_now("SELECT FROM immutable.tree_runs LIMIT 1", &[], |_| found = true);
    if found {
        damaged(&Damaged("the table immutable.tree is empty, and immutable.tree_runs is not".to_string()))
    }
}

/// Raises XX001 if the runs do not cover the tree: an event whose run is lost would be appended twice.
fn require_runs() {
    let mut do_cover = false;
    read_now(
        "SELECT coalesce(pg_catalog.sum(r.count), 0) = t.size \
           AND coalesce(pg_catalog.max(r.first_index::pg_catalog.numeric + r.count), 0) = t.size \
         FROM immutable.tree t LEFT JOIN immutable.tree_runs r ON true GROUP BY t.size",
        &[],
        |row| do_cover = row.at(0).is_some_and(Datum::bool),
    );
    if !do_cover {
        damaged(&Damaged("the rows of immutable.tree_runs do not cover it".to_string()))
    }
}

/// Raises XX001 unless the stored tiles have the root of the head.
pub fn require_root(head: &Checkpoint) {
    match View::Now.root(head.size) {
        Ok(root) if root == head.root => {}
        Ok(_) => damaged(&Damaged("its right edge does not have the root of its head".to_string())),
        Err(why) => damaged(&why),
    }
}

/// A row of immutable.tree_pending.
fn pending_of(row: &Values) -> ((String, i16), (i64, String)) {
    let text_at = |place| row.at(place).and_then(stored_text).unwrap_or_default().to_string();
    ((text_at(0), row.at(1).map_or(0, Datum::i16)), (row.at(2).map_or(0, Datum::i64), text_at(3)))
}

/// What is pending, as it was noted.
fn stored_pending() -> Pending {
    let mut pending = Pending::new();
    read_now("SELECT p.tenant_id, p.lane, p.seq, p.why FROM immutable.tree_pending p", &[], |row| {
        pending.extend([pending_of(row)]);
    });
    pending
}

/// The seq and the index of the last event of a lane in the tree.
fn last_leaf(tenant_id: &str, lane: i16) -> Option<(i64, u64)> {
    let mut last = None;
    read_now(
        "SELECT r.first_index, r.first_seq, r.count FROM immutable.tree_runs r \
         WHERE r.tenant_id = $1 AND r.lane = $2 ORDER BY r.first_seq DESC LIMIT 1",
        &[Arg::text(tenant_id), Arg::Int2(lane)],
        |row| last = Some([0, 1, 2].map(|place| row.at(place).map_or(0, Datum::i64))),
    );
    last.map(|[first_index, first_seq, count]| {
        (last_of(first_seq, count), (first_index as u64).saturating_add(count as u64 - 1))
    })
}

impl Pass {
    /// Takes a row of [`moved_of`].
    fn note(&mut self, row: &Values) {
        if self.snapshot.is_empty() {
            self.snapshot = row.at(0).and_then(stored_text).unwrap_or_default().to_string();
        }
        let (Some(tenant_id), Some(lane)) = (row.at(1), row.at(2).map(Datum::i16)) else { return };
        let run = row.at(4).map(Datum::i64).zip(row.at(5).map(Datum::i64));
        let after = run.map_or(0, |(first_seq, count)| last_of(first_seq, count));
        let upto = row.at(3).map_or(0, Datum::i64);
        self.has_moved |= row.at(6).is_some_and(Datum::bool);
        match stored_text(tenant_id) {
            Some(tenant_id) if upto > after => {
                self.lanes.push(Moved { tenant_id: tenant_id.to_string(), lane, after, upto });
            }
            Some(tenant_id) if upto < after => {
                self.pend(tenant_id, lane, upto + 1, "the events that the tree has are no longer there");
            }
            Some(_) => {}
            None => self.pend("", lane, after + 1, UNREADABLE),
        }
    }

    /// Skips the pruned beginning of lanes that the tree does not have. Only a tree that was begun anew has such,
    /// and its first pass compares all lanes.
    fn begin_where_pruned(&mut self) {
        if self.lanes.iter().all(|moved| moved.after > 0) {
            return;
        }
        let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
        self.begins = spi::as_owner(events.get(), || begins(None));
        for moved in self.lanes.iter_mut().filter(|moved| moved.after == 0) {
            if let Some(begin) = self.begins.get(&(moved.tenant_id.clone(), moved.lane)) {
                moved.after = begin.seq.min(moved.upto);
            }
        }
        self.lanes.retain(|moved| moved.after < moved.upto);
    }

    fn pend(&mut self, tenant_id: &str, lane: i16, seq: i64, why: &str) {
        self.pending.entry((tenant_id.to_string(), lane)).or_insert_with(|| (seq, why.to_string()));
    }

    /// Whether nothing is left to append.
    pub fn is_done(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Appends the next events. The tree is locked. Raises XX001 if the stored tree does not have the
    /// root of its head.
    pub fn step(&mut self) {
        procedure::commit_durably();
        let begun = transaction::now();
        let mut part = Vec::new();
        let mut left = self.events;
        while left > 0 {
            let Some(mut moved) = self.lanes.pop() else { break };
            let count = (moved.upto - moved.after).min(left);
            left -= count;
            let upto = moved.after + count;
            part.push(Moved { tenant_id: moved.tenant_id.clone(), lane: moved.lane, after: moved.after, upto });
            if upto < moved.upto {
                moved.after = upto;
                self.lanes.push(moved);
            }
        }
        let mut appending = Appending::begin();
        appending.append(part, self);
        appending.store();
        let micros = (transaction::now() - begun).max(1);
        let appended = self.events - left;
        self.events = (appended.saturating_mul(MOST_MICROS) / micros).clamp(1_000, MOST_EVENTS);
    }

    /// Ends the pass when everything is appended: notes what is pending, and how far the tree has got.
    /// Writes nothing where nothing has changed.
    pub fn end(&self) {
        let before = stored_pending();
        if before != self.pending {
            PENDING.delete(|row| {
                let (lane, what) = pending_of(row);
                self.pending.get(&lane) != Some(&what)
            });
            for (lane, what) in self.pending.iter().filter(|(lane, what)| before.get(lane) != Some(what)) {
                here(|memory| {
                    PENDING.insert(&[
                        Some(memory.text(&lane.0)),
                        Some(Datum::from(lane.1)),
                        Some(Datum::from(what.0)),
                        Some(memory.text(&what.1)),
                        Some(timestamptz(transaction::now())),
                    ]);
                });
            }
        }
        if self.has_moved || self.compared_all {
            position::advance(&self.snapshot, self.compared_all);
        }
    }
}

/// Raises XX001: the stored tree is not the one whose head was committed.
pub fn damaged(what: &Damaged) -> ! {
    Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("the stored tree of the log is damaged: {}", what.0))
        .hint(
            "Call immutable.verify_chain(). If only tiles are damaged, immutable.rebuild_tiles() makes them again \
             from the events.",
        )
        .raise()
}

/// The tree while events are appended in one transaction.
struct Appending {
    head: Checkpoint,
    tree: GrowingTree,
    nodes: TiledNodes<StoredTiles>,
    full: Vec<(Tile, Vec<u8>, Hash)>,
}

/// What the next event of a lane must follow.
enum Before {
    /// Nothing: the event is the first of its lane.
    Nothing,
    /// The event whose leaf in the tree has this hash.
    Leaf(Hash),
    /// The event with this hash, which was appended just now.
    Event(Hash),
}

impl Before {
    fn is(&self, previous: Option<Hash>) -> bool {
        match (self, previous) {
            (Before::Nothing, None) => true,
            (Before::Leaf(leaf), Some(previous)) => leaf_hash(&previous) == *leaf,
            (Before::Event(event), Some(previous)) => *event == previous,
            _ => false,
        }
    }
}

/// A lane to which events are appended.
struct Growth {
    next_seq: i64,
    before: Option<Before>,
    first_index: u64,
    count: u64,
    /// Whether the statement has not found the next event.
    is_missing: bool,
    /// Why the next event cannot be appended.
    why: Option<&'static str>,
}

impl Appending {
    fn begin() -> Appending {
        let head = match View::Now.head() {
            Some(Ok(head)) => head,
            Some(Err(why)) => damaged(&why),
            None => damaged(&Damaged("the table immutable.tree is empty".to_string())),
        };
        let tree = GrowingTree::resume(head.size, StoredTiles::new(View::Now)).unwrap_or_else(|why| damaged(&why));
        if tree.root() != head.root {
            damaged(&Damaged("its right edge does not have the root of its head".to_string()))
        }
        let nodes = View::Now.nodes(head.size);
        Appending { head, tree, nodes, full: Vec::new() }
    }

    /// Appends the events of these lanes, as far as each follows the one before it.
    fn append(&mut self, part: Vec<Moved>, pass: &mut Pass) {
        let mut lanes: Vec<(Growth, Moved)> = Vec::with_capacity(part.len());
        for mut moved in part {
            lanes.push((self.growth(&mut moved, &pass.begins), moved));
        }
        self.read(&events_of_lanes("ONLY immutable.events e WHERE"), &mut lanes);
        let mut short = Vec::new();
        for (growth, moved) in lanes {
            match growth.is_short(&moved) {
                false => growth.end(&moved, pass),
                true => short.push(growth.go_on(moved)),
            }
        }
        if short.is_empty() {
            return;
        }
        // Some events have moved to segments. One statement over all tables finds each of them once.
        let stray = segments::stray(&segments::now(), "e", "events");
        self.read(&events_of_lanes(&format!("immutable.events e WHERE NOT {stray} AND")), &mut short);
        for (growth, moved) in short {
            growth.end(&moved, pass);
        }
    }

    /// Appends the events that a statement finds, in the order of lanes and seq.
    fn read(&mut self, statement: &str, lanes: &mut [(Growth, Moved)]) {
        let (mut tenants, mut numbers) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for (_, moved) in &*lanes {
            tenants.push(moved.tenant_id.clone());
            numbers[0].push(Datum::from(moved.lane));
            numbers[1].push(Datum::from(moved.after));
            numbers[2].push(Datum::from(moved.upto));
        }
        let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
        here(|memory| {
            let [lane, after, upto] = &numbers;
            let lane = memory.array(lane, pg_sys::INT2OID, 2, true, pg_sys::TYPALIGN_SHORT);
            let seqs = [after, upto].map(|seqs| memory.array(seqs, pg_sys::INT8OID, 8, true, pg_sys::TYPALIGN_DOUBLE));
            let arguments = [
                Arg::Texts(tenants),
                Arg::Given(pg_sys::INT2ARRAYOID, lane),
                Arg::Given(pg_sys::INT8ARRAYOID, seqs[0]),
                Arg::Given(pg_sys::INT8ARRAYOID, seqs[1]),
            ];
            spi::as_owner(events.get(), || {
                spi::stream_now(statement, &arguments, |tuple| {
                    let row = tuple.values();
                    let lane = row.at(0).map_or(0, Datum::i64) as usize;
                    if let Some((growth, _)) = lanes.get_mut(lane.wrapping_sub(1)) {
                        self.event(growth, &row);
                    }
                });
            });
        });
    }

    /// Where the lane continues. Another session may have appended events to it since the pass began.
    fn growth(&mut self, moved: &mut Moved, begins: &Begins) -> Growth {
        let last = last_leaf(&moved.tenant_id, moved.lane);
        let before = match last {
            None if moved.after == 0 => Some(Before::Nothing),
            None => {
                let begin = begins.get(&(moved.tenant_id.clone(), moved.lane));
                begin.filter(|begin| begin.seq == moved.after).map(|begin| Before::Event(begin.event_hash))
            }
            Some((seq, index)) if seq >= moved.after && index < self.head.size => {
                moved.after = seq;
                Some(Before::Leaf(self.nodes.node(0, index).unwrap_or_else(|why| damaged(&why))))
            }
            Some(_) => None,
        };
        Growth::after(moved.after, before)
    }

    /// Appends an event if it follows the one before it in its lane.
    fn event(&mut self, growth: &mut Growth, row: &Values) {
        if growth.has_ended() {
            return;
        }
        let seq = row.at(1).map_or(0, Datum::i64);
        if seq != growth.next_seq {
            growth.is_missing = true;
            return;
        }
        let (event_hash, previous) = (row.at(2).and_then(hash), row.at(3).map(hash));
        growth.why = match (event_hash, previous, &growth.before) {
            (None, _, _) => Some("its event_hash is not 32 bytes"),
            (_, Some(None), _) => Some("its previous_event_hash is not 32 bytes"),
            (_, _, None) => Some("the event before it has no place in the tree"),
            (Some(event_hash), previous, Some(before)) if before.is(previous.flatten()) => {
                if growth.count == 0 {
                    growth.first_index = self.tree.size();
                }
                growth.count += 1;
                growth.next_seq += 1;
                growth.before = Some(Before::Event(event_hash));
                let full = &mut self.full;
                self.tree.push(leaf_hash(&event_hash), &mut |tile, hashes, root| {
                    full.push((tile, hashes.as_flattened().to_vec(), *root));
                });
                None
            }
            _ => Some("its previous_event_hash is not the hash of the event before it in the tree"),
        };
    }

    /// Stores what has become of the tree.
    fn store(self) {
        for (tile, hashes, root) in &self.full {
            store_tile(*tile, hashes, root);
        }
        let (before, after) = (self.head.size, self.tree.size());
        if after == before {
            return;
        }
        let mut new = self.tree.unfinished();
        let mut first = after - new.len() as u64;
        if after / WIDTH == before / WIDTH {
            new = &new[(before % WIDTH) as usize..];
            first = before;
        } else {
            CHUNKS.delete(|_| true);
        }
        store_chunk(first, new);
        replace_head(&Checkpoint { origin: self.head.origin.clone(), size: after, root: self.tree.root() });
    }
}

/// Stores a full tile, given the bytes of its hashes and their root.
pub fn store_tile(tile: Tile, hashes: &[u8], root: &Hash) {
    here(|memory| {
        TILES.insert(&[
            Some(Datum::from(tile.level as i16)),
            Some(Datum::from(tile.number as i64)),
            Some(memory.bytes(root)),
            Some(memory.bytes(hashes)),
        ]);
    });
}

/// Stores leaves of the unfinished tile, if there are any.
pub fn store_chunk(first: u64, leaves: &[Hash]) {
    if !leaves.is_empty() {
        here(|memory| {
            CHUNKS.insert(&[Some(Datum::from(first as i64)), Some(memory.bytes(leaves.as_flattened()))]);
        });
    }
}

/// The statement that returns the events of the lanes given, in the order of lanes and seq. `from` names the
/// tables, and ends where conditions follow. A subquery that is sorted cannot become part of another kind of
/// join, so the lanes come in their order.
fn events_of_lanes(from: &str) -> String {
    format!(
        "SELECT l.n, e.seq, e.event_hash, e.previous_event_hash \
         FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int2[]), pg_catalog.unnest($3::int8[]), \
           pg_catalog.unnest($4::int8[])) WITH ORDINALITY l(tenant_id, lane, after, upto, n) \
         CROSS JOIN LATERAL (SELECT e.seq, e.event_hash, e.previous_event_hash FROM {from} \
           e.tenant_id = l.tenant_id AND e.lane = l.lane AND e.seq > l.after AND e.seq <= l.upto \
           ORDER BY e.seq) e"
    )
}

impl Growth {
    /// Nothing is appended yet behind the event with this seq.
    fn after(seq: i64, before: Option<Before>) -> Growth {
        Growth { next_seq: seq + 1, before, first_index: 0, count: 0, is_missing: false, why: None }
    }

    fn has_ended(&self) -> bool {
        self.is_missing || self.why.is_some()
    }

    /// Whether events are left that the statement has not found.
    fn is_short(&self, moved: &Moved) -> bool {
        self.why.is_none() && self.next_seq <= moved.upto
    }

    /// Stores the run of the events that were appended to the lane.
    fn store(&self, moved: &Moved) {
        if self.count == 0 {
            return;
        }
        here(|memory| {
            RUNS.insert(&[
                Some(Datum::from(self.first_index as i64)),
                Some(memory.text(&moved.tenant_id)),
                Some(Datum::from(moved.lane)),
                Some(Datum::from(moved.after + 1)),
                Some(Datum::from(self.count as i64)),
            ]);
        });
    }

    /// What is left of the lane, behind the events that were appended.
    fn go_on(self, moved: Moved) -> (Growth, Moved) {
        self.store(&moved);
        let after = self.next_seq - 1;
        (Growth::after(after, self.before), Moved { after, ..moved })
    }

    /// Stores the run, and notes why there are no more.
    fn end(self, moved: &Moved, pass: &mut Pass) {
        self.store(moved);
        if self.next_seq <= moved.upto {
            let missing = || format!("the event with seq {} is missing", self.next_seq);
            let why = self.why.map_or_else(missing, str::to_string);
            pass.pend(&moved.tenant_id, moved.lane, self.next_seq, &why);
            // If there is more of this lane, it is what was put back last.
            let is_same = |other: &mut Moved| other.lane == moved.lane && other.tenant_id == moved.tenant_id;
            pass.lanes.pop_if(is_same);
        }
    }
}

/// Replaces the head of the tree. Raises 55000 if there is none.
pub fn replace_head(head: &Checkpoint) {
    here(|memory| {
        let mut kept = None;
        read_now("SELECT t.log_id, t.begun_at FROM immutable.tree t", &[], |row| {
            kept = Some((row.at(0).map(uuid).unwrap_or_default(), row.at(1).map_or(0, Datum::i64)));
        });
        let Some((log_id, begun_at)) = kept else { damaged(&Damaged("the table immutable.tree is empty".to_string())) };
        TREE.delete(|_| true);
        TREE.insert(&[
            Some(memory.text(&head.origin)),
            Some(Datum::from(head.size as i64)),
            Some(memory.bytes(&head.root)),
            Some(memory.uuid(&log_id)),
            Some(Datum::from(begun_at)),
            Some(Datum::from(true)),
        ]);
    });
}
