//! tile() and entries(): the tree in the pieces in which transparency logs publish theirs (C2SP
//! tlog-tiles). They read the tree with the snapshot of the caller's statement, so they work on a
//! standby.

use crate::access::proof::{self, Scope};
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::proof::VIEW;
use crate::evidence::sequence::damaged;
use crate::evidence::tables::refuse_distributed;
use crate::log::pruned;
use crate::log::row::{hash, stored_text};
use crate::log::tree::{as_owner, Damaged, StoredTiles};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::spi::Arg;
use immutable_format::tlog::tile::{Tile, Tiles, WIDTH};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::Hash;

/// The most levels that tiles of 256 hashes can have over a number of 64 bits.
const LEVELS: i32 = 8;

/// The hashes of a tile of which the tree has at least `width`. Raises P0002 for another tile, 55000
/// before the first checkpoint, and XX001 for a damaged one.
fn hashes_of(tile: Tile, width: u64) -> Vec<Hash> {
    let head = head_or_refuse(VIEW);
    let there = tile.width(head.size);
    if there < width {
        let message = format!("the tree has no tile {} of level {} with {width} hashes", tile.number, tile.level);
        Fault::new(Code::ERRCODE_NO_DATA_FOUND, message)
            .field(if there == 0 { "number" } else { "width" })
            .hint("immutable.tree_head() shows how many events the tree covers.")
            .raise()
    }
    let mut hashes = StoredTiles::new(VIEW).tile(tile, there).unwrap_or_else(|why| damaged(&why));
    hashes.truncate(width as usize);
    hashes
}

/// The number of a tile or a bundle. Raises 22023 below zero.
fn number(call: Call<'_>, index: usize) -> u64 {
    let number = call.required(index, "number", "Tiles are numbered from 0.").i64();
    u64::try_from(number).unwrap_or_else(|_| {
        Fault::invalid("number", "number must not be negative").hint("Tiles are numbered from 0.").raise()
    })
}

/// How many hashes or entries are wanted. Raises 22023 unless it is from 1 to 256.
fn width(call: Call<'_>, index: usize) -> u64 {
    let hint = "256 is a full tile, and less a partial one.";
    let width = call.required(index, "width", hint).i32();
    let fits = u64::try_from(width).ok().filter(|width| (1..=WIDTH).contains(width));
    fits.unwrap_or_else(|| Fault::invalid("width", "width must be from 1 to 256").hint(hint).raise())
}

sql_function!(immutable_tile, pg_finfo_immutable_tile, tile);

/// `immutable.tile(level, number, width)`
fn tile(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify).hold_to_all("tiles");
    let hint = "0 has the leaf hashes, and every other level the roots of the full tiles below.";
    let level = call.required(0, "level", hint).i32();
    if !(0..LEVELS).contains(&level) {
        Fault::invalid("level", format!("level must be from 0 to {}", LEVELS - 1)).hint(hint).raise()
    }
    let tile = Tile { level: level as u32, number: number(call, 1) };
    call.memory().bytes(hashes_of(tile, width(call, 2)).as_flattened())
}

sql_function!(immutable_entries, pg_finfo_immutable_entries, entries);

/// `immutable.entries(number, width)`
fn entries(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify).hold_to_all("entries");
    let number = number(call, 0);
    let leaves = hashes_of(Tile { level: 0, number }, width(call, 1));
    // The newest bundles are of the hot table alone. Both searches have the caller's snapshot.
    let mut entries = Entries::read("ONLY immutable.events", number, leaves.len());
    if entries.hashes.iter().any(Option::is_none) {
        entries = Entries::read("immutable.events", number, leaves.len());
    }
    let is_wrong = |(hash, leaf): (&Option<Hash>, &Hash)| hash.is_some_and(|hash| leaf_hash(&hash) != *leaf);
    if entries.are_damaged || entries.hashes.iter().zip(&leaves).any(is_wrong) {
        differ(number)
    }
    if entries.hashes.iter().any(Option::is_none) {
        entries.refuse()
    }
    let mut bundle = Vec::with_capacity(leaves.len() * 34);
    for hash in entries.hashes.iter().flatten() {
        bundle.extend_from_slice(&(hash.len() as u16).to_be_bytes());
        bundle.extend_from_slice(hash);
    }
    call.memory().bytes(&bundle)
}

/// Raises XX001: the events are not those of the tree.
fn differ(number: u64) -> ! {
    damaged(&Damaged(format!("the events of bundle {number} are not those that the tree covers")))
}

/// The hashes that the rows of a bundle's events have.
struct Entries {
    number: u64,
    /// None where there is no such event.
    hashes: Vec<Option<Hash>>,
    /// Whether an event is there twice, or its hash is none.
    are_damaged: bool,
}

/// The runs that have a part in the indexes from $1 to before $2.
const RUNS: &str = "immutable.tree_runs r WHERE r.first_index < $2 AND r.first_index >= coalesce( \
    (SELECT pg_catalog.max(b.first_index) FROM immutable.tree_runs b WHERE b.first_index <= $1), 0)";

impl Entries {
    fn read(tables: &str, number: u64, width: usize) -> Entries {
        let mut entries = Entries { number, hashes: vec![None; width], are_damaged: false };
        let statement = format!(
            "SELECT r.first_index + e.seq - r.first_seq - $1, e.event_hash FROM (SELECT r.* FROM {RUNS}) r \
             CROSS JOIN LATERAL (SELECT e.seq, e.event_hash FROM {tables} e \
               WHERE e.tenant_id = r.tenant_id AND e.lane = r.lane \
                 AND e.seq >= r.first_seq + greatest(0, $1 - r.first_index) \
                 AND e.seq < r.first_seq + least(r.count, $2 - r.first_index) \
               ORDER BY e.seq LIMIT 256) e"
        );
        VIEW.read(&statement, &entries.range(), |row| {
            let place = row.at(0).map(Datum::i64).and_then(|place| usize::try_from(place).ok());
            match (place.and_then(|place| entries.hashes.get_mut(place)), row.at(1).and_then(hash)) {
                (Some(entry @ None), Some(hash)) => *entry = Some(hash),
                _ => entries.are_damaged = true,
            }
        });
        entries
    }

    /// The indexes of the first and behind the last.
    fn range(&self) -> [Arg<'static>; 2] {
        let first = (self.number * WIDTH) as i64;
        [Arg::Int8(first), Arg::Int8(first + self.hashes.len() as i64)]
    }

    /// Raises P0002 if every event that is not there is pruned, and XX001 otherwise. The leaf of a pruned event stays
    /// in its tile, but does not tell the hash of the event.
    fn refuse(&self) -> ! {
        let (mut runs, mut pruned) = (Vec::new(), 0);
        let statement = format!("SELECT r.first_index, r.tenant_id, r.lane, r.first_seq, r.count FROM {RUNS}");
        VIEW.read(&statement, &self.range(), |row| {
            let number = |place| row.at(place).map_or(0, Datum::i64);
            let tenant_id = row.at(1).and_then(stored_text).unwrap_or_default().to_string();
            let lane = (tenant_id, row.at(2).map_or(0, Datum::i16));
            runs.push((number(0), lane, number(3), number(4)));
        });
        let begins = as_owner(|| pruned::begins(None)).unwrap_or_default();
        for (place, _) in self.hashes.iter().enumerate().filter(|(_, hash)| hash.is_none()) {
            let index = (self.number * WIDTH) as i64 + place as i64;
            let run = runs.iter().find(|(first, _, _, count)| (0..*count).contains(&index.wrapping_sub(*first)));
            let last = run.and_then(|(_, lane, ..)| begins.get(lane)).map_or(0, |begin| begin.seq);
            match run.is_some_and(|(first, _, first_seq, _)| first_seq + (index - first) <= last) {
                true => pruned += 1,
                false => differ(self.number),
            }
        }
        let (all, number) = (self.hashes.len(), self.number);
        let message = format!("{pruned} of the {all} entries of bundle {number} are of events that were pruned");
        Fault::new(Code::ERRCODE_NO_DATA_FOUND, message)
            .field("number")
            .hint("The leaves are still in immutable.tile(), which proofs need. An export from before has the events.")
            .raise()
    }
}
