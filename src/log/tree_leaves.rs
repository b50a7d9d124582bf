//! Reads the leaves of the stored tree from the first on, without trust: a value of another length, a
//! missing or a double row is an answer, not an error. They are to be read inside of
//! [`as_owner`](super::tree::as_owner).

use crate::log::row::hash;
use crate::pg::datum::Datum;
use crate::pg::spi;
use crate::pg::toast;
use immutable_format::tlog::tile::{self, WIDTH};
use immutable_format::Hash;

/// Leaf hashes that are stored together.
pub struct Piece<'p> {
    /// The index of the first of them.
    pub first: u64,
    pub hashes: &'p [Hash],
    /// For a full tile, the root that is stored with it, if that can be read.
    pub root: Option<Option<Hash>>,
}

/// How far the leaves can be read.
#[derive(Default)]
pub struct Leaves {
    /// How many there are, from the first without a gap.
    pub count: u64,
    /// Why the next cannot be read, if something that should be the next was found.
    pub damage: Option<String>,
}

/// Calls `each` with all leaves from index 0, in order, until it returns false.
pub fn leaves(mut each: impl FnMut(Piece<'_>) -> bool) -> Leaves {
    let mut leaves = Leaves::default();
    let mut goes_on = true;
    let tiles = "SELECT t.number, t.hashes, t.root FROM immutable.tree_tiles t WHERE t.level = 0 ORDER BY t.number";
    spi::stream_while(tiles, &[], |tuple| {
        let row = tuple.values();
        let number = row.at(0).map_or(-1, Datum::i64);
        let expected = leaves.count / WIDTH;
        if number != expected as i64 {
            leaves.damage = Some(match number < expected as i64 {
                true => format!("tile 0/{number} is there more than once, or below 0"),
                false => format!("tile 0/{expected} is missing"),
            });
            return false;
        }
        let hashes = row.at(1).and_then(toast::read).and_then(tile::hashes);
        let Some(hashes) = hashes.filter(|hashes| hashes.len() as u64 == WIDTH) else {
            leaves.damage = Some(format!("tile 0/{number} cannot be read, or does not have 256 hashes"));
            return false;
        };
        goes_on = each(Piece { first: leaves.count, hashes, root: Some(row.at(2).and_then(hash)) });
        leaves.count += WIDTH;
        goes_on
    });
    if goes_on && leaves.damage.is_none() {
        chunks(&mut leaves, &mut each);
    }
    leaves
}

/// The leaves that do not fill a tile yet.
fn chunks(leaves: &mut Leaves, each: &mut impl FnMut(Piece<'_>) -> bool) {
    let end = leaves.count + WIDTH;
    let chunks = "SELECT c.first_index, c.hashes FROM immutable.tree_chunks c ORDER BY c.first_index";
    spi::stream_while(chunks, &[], |tuple| {
        let row = tuple.values();
        let first = row.at(0).map_or(-1, Datum::i64);
        let hashes = row.at(1).and_then(toast::read).and_then(tile::hashes);
        let Some(hashes) = hashes.filter(|hashes| !hashes.is_empty()) else {
            leaves.damage = Some(format!("the chunk of index {first} cannot be read, or has no whole hashes"));
            return false;
        };
        if first != leaves.count as i64 {
            leaves.damage = Some(format!("a chunk has the index {first}, where index {} comes next", leaves.count));
            return false;
        }
        if leaves.count + hashes.len() as u64 >= end {
            leaves.damage = Some(format!("the chunks fill tile 0/{}", end / WIDTH - 1));
            return false;
        }
        let goes_on = each(Piece { first: leaves.count, hashes, root: None });
        leaves.count += hashes.len() as u64;
        goes_on
    });
}
