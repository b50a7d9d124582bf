//! rebuild_tiles(): makes damaged tiles again from the events. The order of the events in the tree is
//! taken from the runs, and nothing is changed unless the root is the one of the tree's head. The leaf of a
//! pruned event is known from its tile alone, so it is kept as it is; the root shows whether it is right.

use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::sequence::{damaged, store_chunk, store_tile};
use crate::evidence::tables::{lock_tree_to_record, read_now, refuse_distributed, CHUNKS, TILES};
use crate::log::columns::{self as c, Layout};
use crate::log::own_event::{record, LogEvent};
use crate::log::pruned::{begins, Begins};
use crate::log::tree::{as_owner, Damaged, StoredTiles, View};
use crate::log::tree_runs::{Runs, TreeRun};
use crate::log::{row, segments};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use crate::pg::tuple::Values;
use immutable_format::document;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::growing::GrowingTree;
use immutable_format::tlog::tile::{hashes_at, Tile, Tiles, WIDTH};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::Hash;
use std::collections::{HashMap, HashSet};

sql_function!(immutable_rebuild_tiles, pg_finfo_immutable_rebuild_tiles, rebuild_tiles);

/// `immutable.rebuild_tiles()`
fn rebuild_tiles(_: Call) -> Datum {
    refuse_distributed();
    transaction::require_writable(c"immutable.rebuild_tiles()");
    lock_tree_to_record();
    let head = head_or_refuse(View::Now);
    let mut wrong: HashSet<Tile> = doubles();
    let begins = as_owner(|| begins(None)).unwrap_or_default();
    let mut right = HashMap::new();
    let (tree, kept) = grow(&head, &begins, &HashMap::new(), |tile, hashes, root| {
        if View::Now.full_tile(tile) != (Some(hashes.to_vec()), Some(*root)) {
            wrong.insert(tile);
            // The leaves of pruned events are nowhere else.
            if tile.level == 0 && !begins.is_empty() {
                right.insert(tile.number, hashes.to_vec());
            }
        }
    });
    if tree.root() != head.root {
        let why = "the events do not have the root of its head, in the order of immutable.tree_runs";
        match kept {
            0 => damaged(&Damaged(why.to_string())),
            kept => lost(&format!("{why} and with the stored leaves of {kept} pruned events")),
        }
    }
    let mut rebuilt = rebuild_chunks(&tree);
    let stray = TILES.delete(|row| is_wrong(row, &head, &wrong));
    if !wrong.is_empty() {
        grow(&head, &begins, &right, |tile, hashes, root| {
            if wrong.contains(&tile) {
                store_tile(tile, hashes.as_flattened(), root);
            }
        });
    }
    rebuilt += wrong.len().max(stray) as i64;
    if rebuilt > 0 {
        record(&LogEvent {
            action: "immutable.tiles_rebuilt",
            metadata_json: &[("tiles", &rebuilt.to_string())],
            ..LogEvent::default()
        });
    }
    Datum::from(rebuilt)
}

/// The tiles that are there more than once, which their key should not allow.
fn doubles() -> HashSet<Tile> {
    let mut doubles = HashSet::new();
    read_now(
        "SELECT t.level, t.number FROM immutable.tree_tiles t GROUP BY t.level, t.number HAVING pg_catalog.count(*) > 1",
        &[],
        |row| doubles.extend(place(row)),
    );
    doubles
}

/// The place that a row of immutable.tree_tiles has.
fn place(row: &Values) -> Option<Tile> {
    let level = u32::try_from(row.at(0)?.i16()).ok()?;
    Some(Tile { level, number: u64::try_from(row.at(1)?.i64()).ok()? })
}

/// Whether a stored tile is to be made again, or is none of the tree's.
fn is_wrong(row: &Values, head: &Checkpoint, wrong: &HashSet<Tile>) -> bool {
    place(row).is_none_or(|tile| wrong.contains(&tile) || tile.number >= hashes_at(tile.level, head.size) / WIDTH)
}

/// Makes the unfinished tile of level 0 again if it is damaged. Returns how many were.
fn rebuild_chunks(tree: &GrowingTree) -> i64 {
    let leaves = tree.unfinished();
    let number = tree.size() / WIDTH;
    let stored = match leaves.is_empty() {
        true => Ok(Vec::new()),
        false => StoredTiles::new(View::Now).tile(Tile { level: 0, number }, leaves.len() as u64),
    };
    let mut bytes = 0;
    read_now("SELECT pg_catalog.octet_length(c.hashes) FROM immutable.tree_chunks c", &[], |row| {
        bytes += row.at(0).map_or(0, Datum::i32) as usize;
    });
    if stored.is_ok_and(|stored| stored == leaves) && bytes == leaves.as_flattened().len() {
        return 0;
    }
    CHUNKS.delete(|_| true);
    store_chunk(number * WIDTH, leaves);
    1
}

/// Raises XX001: a leaf that no event can give is damaged.
fn lost(why: &str) -> ! {
    Fault::new(Code::ERRCODE_DATA_CORRUPTED, format!("the stored tree of the log is damaged: {why}"))
        .hint("The leaves of pruned events cannot be made again. Restore immutable.tree_tiles from a backup.")
        .raise()
}

/// The tree of the events, in the order of the runs, and how many leaves of it are of pruned events: those in the tiles
/// of level 0 that are given, and others as they are stored. Raises XX001 if an event is missing or damaged.
fn grow(
    head: &Checkpoint,
    begins: &Begins,
    tiles: &HashMap<u64, Vec<Hash>>,
    full: impl FnMut(Tile, &[Hash], &Hash),
) -> (GrowingTree, u64) {
    let stray = segments::stray(&segments::now(), "e", "events");
    let statement = format!(
        "SELECT e.* FROM immutable.events e WHERE NOT {stray} \
         AND e.tenant_id = $1 AND e.lane = $2 AND e.seq >= $3 AND e.seq < $4 ORDER BY e.seq"
    );
    let mut growing = Growing { tree: GrowingTree::default(), full, head, tiles, kept: 0, tile: None };
    as_owner(|| {
        let mut runs = Runs::open(View::Now);
        while growing.tree.size() < head.size {
            let index = growing.tree.size();
            match runs.next() {
                Some(Ok(run)) if run.first_index == index && run.end() <= head.size => {
                    let begin = begins.get(&(run.tenant_id.clone(), run.lane));
                    growing.append(&run, begin.map_or(0, |begin| begin.seq), &statement);
                }
                _ => damaged(&Damaged(format!("no run of immutable.tree_runs has the index {index}"))),
            }
        }
        runs.close();
    });
    (growing.tree, growing.kept)
}

/// A tree that grows.
struct Growing<'h, F> {
    tree: GrowingTree,
    full: F,
    head: &'h Checkpoint,
    tiles: &'h HashMap<u64, Vec<Hash>>,
    /// How many leaves were taken from the stored tiles.
    kept: u64,
    /// The stored tile of which leaves were taken last.
    tile: Option<(u64, Vec<Hash>)>,
}

impl<F: FnMut(Tile, &[Hash], &Hash)> Growing<'_, F> {
    /// Appends the events of a run. Those up to `pruned` need not be there.
    fn append(&mut self, run: &TreeRun, pruned: i64, statement: &str) {
        let refuse = |seq: i64, what: &str| -> ! {
            let TreeRun { tenant_id, lane, .. } = run;
            damaged(&Damaged(format!("the event with seq {seq} in lane {lane} of tenant \"{tenant_id}\" {what}")))
        };
        let end = run.first_seq + run.count as i64;
        let given = [Arg::text(&*run.tenant_id), Arg::Int2(run.lane), Arg::Int8(run.first_seq), Arg::Int8(end)];
        let mut layout = None;
        spi::stream_now_planned_once(statement, &given, |tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            let values = tuple.values();
            let get = |column| values.get(layout, column);
            let seq = get(c::SEQ).map(Datum::i64);
            self.keep_up_to(run, pruned.min(seq.unwrap_or(0) - 1));
            let expected = run.seq(self.tree.size());
            if seq != Some(expected) {
                refuse(expected, "is missing");
            }
            let document = row::read(get).and_then(|stored| stored.document());
            let Ok(document) = document else { refuse(expected, "is damaged") };
            self.tree.push(leaf_hash(&document::hash(&document)), &mut self.full);
        });
        self.keep_up_to(run, pruned.min(end - 1));
        if self.tree.size() < run.end() {
            refuse(run.seq(self.tree.size()), "is missing");
        }
    }

    /// Appends the stored leaves of a run up to this seq.
    fn keep_up_to(&mut self, run: &TreeRun, seq: i64) {
        while self.tree.size() < run.end() && run.seq(self.tree.size()) <= seq {
            let leaf = self.stored(self.tree.size());
            self.tree.push(leaf, &mut self.full);
            self.kept += 1;
        }
    }

    /// The stored leaf of a pruned event.
    fn stored(&mut self, index: u64) -> Hash {
        let (number, place) = (index / WIDTH, (index % WIDTH) as usize);
        if let Some(leaf) = self.tiles.get(&number).and_then(|hashes| hashes.get(place)) {
            return *leaf;
        }
        if self.tile.as_ref().is_none_or(|(stored, _)| *stored != number) {
            let tile = Tile { level: 0, number };
            let hashes = StoredTiles::new(View::Now).tile(tile, tile.width(self.head.size));
            let hashes = hashes.unwrap_or_else(|Damaged(why)| lost(&format!("{why}, and has leaves of pruned events")));
            self.tile = Some((number, hashes));
        }
        let hashes = self.tile.as_ref().map_or(&[][..], |(_, hashes)| hashes);
        hashes.get(place).copied().unwrap_or_default()
    }
}
