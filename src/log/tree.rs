//! The stored tree over all events: its head, its tiles, and the place of each event in it. It is
//! read without trust: a value that is missing or damaged is an answer, not an error of
//! PostgreSQL's.

use crate::log::row::{hash, stored_text};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, OpenRelation};
use crate::pg::spi::{self, Arg};
use crate::pg::toast;
use crate::pg::tuple::Values;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::note::check_name;
use immutable_format::tlog::tile::{hashes, Tile, TiledNodes, Tiles, WIDTH};
use immutable_format::tlog::tree::root_of;
use immutable_format::Hash;
use pgrx::pg_sys;

/// What of the stored tree is missing or damaged, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(pub String);

impl Damaged {
    /// Raises XX001.
    pub fn raise(self) -> ! {
        Fault::new(Code::ERRCODE_DATA_CORRUPTED, self.0)
            .hint("The tree was altered or is damaged. immutable.verify_chain() says where it differs from the events.")
            .raise()
    }
}

/// Runs `body` with the rights of the tables' owner, who alone can read them. None if there are no
/// such tables, as between a new library and ALTER EXTENSION.
pub fn as_owner<T>(body: impl FnOnce() -> T) -> Option<T> {
    let tree = OpenRelation::open(named(c"tree"), pg_sys::AccessShareLock)?;
    Some(spi::as_owner(tree.get(), body))
}

/// Which rows a reader of the tree sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Those that the caller's statement sees. No transaction ID is taken, so this works on a
    /// standby.
    Statement,
    /// Those that are committed by now, and those of this transaction.
    Now,
}

impl View {
    /// Runs a query over the tables of the tree with their owner's rights.
    pub fn read(self, statement: &str, given: &[Arg], each: impl FnMut(&Values)) {
        let tree = OpenRelation::table(named(c"tree"), pg_sys::AccessShareLock);
        spi::as_owner(tree.get(), || match self {
            View::Statement => spi::read_planned_once(statement, given, each),
            View::Now => spi::query_now(statement, given, each),
        });
    }

    /// The last committed head of the tree; None before the first checkpoint.
    pub fn head(self) -> Option<Result<Checkpoint, Damaged>> {
        let mut head = None;
        self.read("SELECT t.origin, t.size, t.root FROM immutable.tree t", &[], |row| {
            let origin = row.at(0).and_then(stored_text).map(str::to_string);
            let size = row.at(1).map(Datum::i64).and_then(|size| u64::try_from(size).ok());
            let root = row.at(2).and_then(hash);
            head = Some(match (origin.filter(|origin| check_name(origin).is_ok()), size, root) {
                (Some(origin), Some(size), Some(root)) => Ok(Checkpoint { origin, size, root }),
                _ => Err(Damaged("the row of immutable.tree is damaged".to_string())),
            });
        });
        head
    }

    /// The nodes of the tree of `size` leaves.
    pub fn nodes(self, size: u64) -> TiledNodes<StoredTiles> {
        TiledNodes::new(size, StoredTiles::new(self))
    }

    /// The root of the tree of `size` leaves, from the right edge of its tiles.
    pub fn root(self, size: u64) -> Result<Hash, Damaged> {
        root_of(size, &mut self.nodes(size))
    }

    /// The 256 hashes of a stored tile, and the root that is stored with them; None for what is
    /// missing or damaged.
    pub fn full_tile(self, tile: Tile) -> (Option<Vec<Hash>>, Option<Hash>) {
        let mut found = (None, None);
        self.read(
            "SELECT t.hashes, t.root FROM immutable.tree_tiles t WHERE t.level = $1 AND t.number = $2",
            &[Arg::Int2(tile.level as i16), Arg::Int8(tile.number as i64)],
            |row| {
                let hashes = row.at(0).and_then(toast::read).and_then(hashes).map(<[Hash]>::to_vec);
                found = (hashes.filter(|hashes| hashes.len() as u64 == WIDTH), row.at(1).and_then(hash));
            },
        );
        found
    }

    /// The index of an event in the tree, as the runs say. None if no run has it.
    pub fn index_of(self, tenant_id: &str, lane: i16, seq: i64) -> Option<u64> {
        let mut index = None;
        self.read(
            "SELECT r.first_index, r.first_seq, r.count FROM immutable.tree_runs r \
             WHERE r.tenant_id = $1 AND r.lane = $2 AND r.first_seq <= $3 ORDER BY r.first_seq DESC LIMIT 1",
            &[Arg::text(tenant_id), Arg::Int2(lane), Arg::Int8(seq)],
            |row| {
                let number = |place| row.at(place).map(Datum::i64).and_then(|number| u64::try_from(number).ok());
                let (Some(first_index), Some(first_seq), Some(count)) = (number(0), number(1), number(2)) else {
                    return;
                };
                let offset = (seq as u64).wrapping_sub(first_seq);
                index = first_index.checked_add(offset).filter(|_| offset < count);
            },
        );
        index
    }
}

/// The tiles as the tables have them: full ones in tree_tiles, the unfinished one of level 0 in
/// tree_chunks, and those of other levels as the roots of the tiles below them.
pub struct StoredTiles {
    view: View,
}

impl Tiles for StoredTiles {
    type Error = Damaged;

    fn tile(&mut self, tile: Tile, width: u64) -> Result<Vec<Hash>, Damaged> {
        let found = match width {
            WIDTH => self.full(tile),
            _ if tile.level == 0 => self.chunks(tile.number * WIDTH, width),
            _ => self.roots(tile, width),
        };
        // A tree that has grown since fills the tile.
        let found = found.or_else(|| self.full(tile)).filter(|hashes| hashes.len() as u64 >= width);
        found.ok_or_else(|| {
            Damaged(format!("tile {} of level {} of the tree is missing or damaged", tile.number, tile.level))
        })
    }
}

impl StoredTiles {
    /// The tiles as this view sees them.
    pub fn new(view: View) -> StoredTiles {
        StoredTiles { view }
    }

    fn full(&self, tile: Tile) -> Option<Vec<Hash>> {
        self.view.full_tile(tile).0
    }

    /// At least the first `width` leaves from `first` on.
    fn chunks(&self, first: u64, width: u64) -> Option<Vec<Hash>> {
        let mut leaves = Some(Vec::new());
        self.view.read(
            "SELECT c.first_index, c.hashes FROM immutable.tree_chunks c \
             WHERE c.first_index >= $1 AND c.first_index < $2 ORDER BY c.first_index",
            &[Arg::Int8(first as i64), Arg::Int8((first + width) as i64)],
            |row| {
                let (at, chunk) = (row.at(0).map(Datum::i64), row.at(1).and_then(toast::read).and_then(hashes));
                let known = leaves.as_ref().map_or(0, Vec::len) as u64;
                leaves = match (leaves.take(), chunk) {
                    (Some(mut leaves), Some(chunk)) if at == Some((first + known) as i64) => {
                        leaves.extend_from_slice(chunk);
                        Some(leaves)
                    }
                    _ => None,
                };
            },
        );
        leaves.filter(|leaves| leaves.len() as u64 >= width)
    }

    /// The roots of `width` full tiles of the level below.
    fn roots(&self, tile: Tile, width: u64) -> Option<Vec<Hash>> {
        let first = tile.number * WIDTH;
        let mut roots = Vec::new();
        self.view.read(
            "SELECT t.number, t.root FROM immutable.tree_tiles t \
             WHERE t.level = $1 AND t.number >= $2 AND t.number < $3 ORDER BY t.number",
            &[Arg::Int2(tile.level as i16 - 1), Arg::Int8(first as i64), Arg::Int8((first + width) as i64)],
            |row| {
                let expected = first + roots.len() as u64;
                if let (Some(number), Some(root)) = (row.at(0).map(Datum::i64), row.at(1).and_then(hash)) {
                    if number as u64 == expected {
                        roots.push(root);
                    }
                }
            },
        );
        (roots.len() as u64 == width).then_some(roots)
    }
}
