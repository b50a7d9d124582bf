//! tile() and entries(): the tree in the pieces in which transparency logs publish theirs (C2SP
//! tlog-tiles). They read the tree with the snapshot of the caller's statement, so they work on a
//! standby.

use crate::access::proof::{self, Scope};
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::proof::VIEW;
use crate::evidence::sequence::damaged;
use crate::evidence::tables::refuse_distributed;
use crate::log::row::hash;
use crate::log::tree::{Damaged, StoredTiles};
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
    let first = number * WIDTH;
    let hashes = event_hashes(first, first + leaves.len() as u64);
    if hashes.len() != leaves.len() || hashes.iter().zip(&leaves).any(|(hash, leaf)| leaf_hash(hash) != *leaf) {
        damaged(&Damaged(format!("the events of bundle {number} are not those that the tree covers")))
    }
    let mut bundle = Vec::with_capacity(hashes.len() * 34);
    for hash in &hashes {
        bundle.extend_from_slice(&(hash.len() as u16).to_be_bytes());
        bundle.extend_from_slice(hash);
    }
    call.memory().bytes(&bundle)
}

/// The hashes that the rows of the events have from one index of the tree to before another; fewer
/// where an event is missing or damaged.
fn event_hashes(from: u64, to: u64) -> Vec<Hash> {
    let mut hashes = Vec::new();
    VIEW.read(
        "SELECT e.event_hash FROM immutable.tree_runs r CROSS JOIN LATERAL ( \
             SELECT e.seq, e.event_hash FROM ONLY immutable.events e \
             WHERE e.tenant_id = r.tenant_id AND e.lane = r.lane \
               AND e.seq >= r.first_seq + greatest(0, $1 - r.first_index) \
               AND e.seq < r.first_seq + least(r.count, $2 - r.first_index) \
             ORDER BY e.seq LIMIT 256) e \
         WHERE r.first_index < $2 AND r.first_index >= coalesce( \
             (SELECT pg_catalog.max(b.first_index) FROM immutable.tree_runs b WHERE b.first_index <= $1), 0) \
         ORDER BY r.first_index, e.seq",
        &[Arg::Int8(from as i64), Arg::Int8(to as i64)],
        |row| hashes.extend(row.at(0).and_then(hash)),
    );
    hashes
}
