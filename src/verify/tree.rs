//! Reads the tables of the tree over all events. Nothing in them is trusted: a value of another
//! length, a missing or a double row is told to the caller, and never an error.
//!
//! Only their owner can read them, so that all of this runs with the owner's rights.

use crate::log::row::{hash, stored_text};
use crate::pg::datum::Datum;
use crate::pg::relation::{named, OpenRelation};
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use immutable_format::tlog::tile::WIDTH;
use immutable_format::Hash;
use pgrx::pg_sys;
use std::collections::VecDeque;

/// Runs `body` with the rights of the tables' owner. None if there are no such tables, as between a
/// new library and ALTER EXTENSION.
pub fn as_owner<T>(body: impl FnOnce() -> T) -> Option<T> {
    let tree = OpenRelation::open(named(c"tree"), pg_sys::AccessShareLock)?;
    Some(spi::as_owner(tree.get(), body))
}

/// What immutable.tree says of the tree.
pub struct Head {
    pub origin: String,
    pub size: u64,
    pub root: Option<Hash>,
}

/// The head of the tree, if it was begun.
pub fn head() -> Option<Head> {
    let mut head = None;
    spi::read("SELECT t.origin, t.size, t.root FROM immutable.tree t LIMIT 1", &[], |row| {
        head = Some(Head {
            origin: row.at(0).and_then(stored_text).unwrap_or_default().to_string(),
            size: row.at(1).map_or(0, |size| size.i64().max(0) as u64),
            root: row.at(2).and_then(hash),
        });
    });
    head
}

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
        let hashes = row.at(1).and_then(toast::read).and_then(full_tile);
        let Some(hashes) = hashes else {
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
        let hashes = row.at(1).and_then(toast::read).map(<[u8]>::as_chunks::<32>);
        let Some((hashes, [])) = hashes.filter(|(hashes, _)| !hashes.is_empty()) else {
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

/// The hashes of a full tile.
pub fn full_tile(bytes: &[u8]) -> Option<&[Hash]> {
    match bytes.as_chunks::<32>() {
        (hashes, []) if hashes.len() as u64 == WIDTH => Some(hashes),
        _ => None,
    }
}

/// The hashes of a stored tile and the root that is stored with it; None for what is missing or
/// damaged.
pub fn tile(level: u32, number: u64) -> (Option<Vec<Hash>>, Option<Hash>) {
    let mut found = (None, None);
    spi::read(
        "SELECT t.hashes, t.root FROM immutable.tree_tiles t WHERE t.level = $1 AND t.number = $2",
        &[Arg::Int2(level as i16), Arg::Int8(number as i64)],
        |row| {
            let hashes = row.at(0).and_then(toast::read).and_then(full_tile);
            found = (hashes.map(<[Hash]>::to_vec), row.at(1).and_then(hash));
        },
    );
    found
}

/// The leaf hashes of a tile of level 0, which may be unfinished; as many as can be read.
pub fn leaf_tile(number: u64) -> Vec<Hash> {
    if let (Some(hashes), _) = tile(0, number) {
        return hashes;
    }
    let mut leaves = Leaves { count: number * WIDTH, damage: None };
    let mut hashes = Vec::new();
    chunks(&mut leaves, &mut |piece| {
        hashes.extend_from_slice(piece.hashes);
        true
    });
    hashes
}

/// A row of immutable.tree_runs that can be one.
pub struct TreeRun {
    pub first_index: u64,
    pub tenant_id: String,
    pub lane: i16,
    pub first_seq: i64,
    pub count: u64,
}

impl TreeRun {
    /// The index after the last of it.
    pub fn end(&self) -> u64 {
        self.first_index + self.count
    }

    /// The seq of the event at an index, which is not before the run.
    pub fn seq(&self, index: u64) -> i64 {
        self.first_seq + (index - self.first_index) as i64
    }
}

/// Reads the runs in the order of their indexes.
pub struct Runs {
    cursor: spi::Cursor,
    /// Rows that were fetched; for one that cannot be a run, its first index.
    ahead: VecDeque<Result<TreeRun, Option<i64>>>,
}

impl Runs {
    /// Begins with the first run.
    pub fn open() -> Runs {
        let runs = "SELECT r.first_index, r.tenant_id, r.lane, r.first_seq, r.count FROM immutable.tree_runs r \
                    ORDER BY r.first_index";
        Runs { cursor: spi::Cursor::open(runs, Vec::new()), ahead: VecDeque::new() }
    }

    /// The next run. The error is the first index of a row that cannot be a run.
    pub fn next(&mut self) -> Option<Result<TreeRun, Option<i64>>> {
        if self.ahead.is_empty() {
            let ahead = &mut self.ahead;
            self.cursor.fetch(256, |tuple| {
                let row = tuple.values();
                let number = |column| row.at(column).map(Datum::i64);
                let run = || {
                    let (first_index, first_seq, count) = (number(0)?, number(3)?, number(4)?);
                    first_index.checked_add(count)?;
                    first_seq.checked_add(count)?;
                    let tenant_id = row.at(1).and_then(stored_text)?.to_string();
                    let lane = row.at(2)?.i16();
                    (first_index >= 0 && first_seq >= 1 && count >= 1).then_some(TreeRun {
                        first_index: first_index as u64,
                        tenant_id,
                        lane,
                        first_seq,
                        count: count as u64,
                    })
                };
                ahead.push_back(run().ok_or(number(0)));
            });
        }
        self.ahead.pop_front()
    }

    /// Ends the query.
    pub fn close(self) {
        self.cursor.close();
    }
}
