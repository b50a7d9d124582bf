//! export_tree(): the leaf hashes of the tree and how far it reaches in each lane, as lines that an
//! export of the events is compared with outside of the database. Each call gives one line.

use crate::access::proof::{self, Scope};
use crate::evidence::checkpoint::head_or_refuse;
use crate::evidence::sequence::damaged;
use crate::evidence::tables::refuse_distributed;
use crate::log::log_identity;
use crate::log::tree::{as_owner, Damaged, StoredTiles, View};
use crate::log::tree_runs::Runs;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::memory::Memory;
use crate::pg::set::Series;
use immutable_format::tlog::tile::{Tile, Tiles};
use immutable_format::tlog::tree_export::{end, header, lane, tile, Header};
use std::collections::btree_map::{BTreeMap, IntoIter};

/// The lanes that a tree covers, in the order of the file, and the seq up to which it does.
type Lanes = BTreeMap<(String, i16), i64>;

/// An export that is under way.
struct TreeExport {
    size: u64,
    header: Option<String>,
    lanes: IntoIter<(String, i16), i64>,
    count: u64,
    tiles: u64,
    ended: bool,
}

impl TreeExport {
    /// Begins the export of the tree of `size` leaves, or of all of it. Raises 55000 before the first
    /// checkpoint, 22023 for another size, and XX001 for a damaged tree.
    fn begin(size: Option<i64>) -> TreeExport {
        let head = head_or_refuse(View::Statement);
        let size = size.map_or(Some(head.size), |size| u64::try_from(size).ok());
        let Some(size) = size.filter(|size| *size <= head.size) else {
            Fault::invalid("size", format!("size must be from 0 to {}, the size of the tree", head.size))
                .hint("immutable.tree_head() shows the size.")
                .raise()
        };
        let log_id = log_identity::known().unwrap_or_default();
        let lanes = as_owner(|| covered(size)).unwrap_or_default();
        let header = header(&Header { log_id, origin: head.origin, size });
        let count = lanes.len() as u64;
        let lanes = lanes.into_iter();
        TreeExport { size, header: Some(header), lanes, count, tiles: 0, ended: false }
    }

    /// The line of the next tile, if there is one.
    fn next_tile(&mut self) -> Option<String> {
        let place = Tile { level: 0, number: self.tiles };
        let width = place.width(self.size);
        if width == 0 {
            return None;
        }
        let mut hashes = StoredTiles::new(View::Statement).tile(place, width).unwrap_or_else(|why| damaged(&why));
        hashes.truncate(width as usize);
        self.tiles += 1;
        Some(tile(place.number, hashes.as_flattened()))
    }
}

/// How far the tree of this size reaches in each lane.
fn covered(size: u64) -> Lanes {
    let mut lanes = Lanes::new();
    let mut next = 0;
    let mut runs = Runs::open(View::Statement);
    while next < size {
        match runs.next() {
            Some(Ok(run)) if run.first_index == next => {
                next = run.end();
                let last = run.seq(next.min(size) - 1);
                lanes.insert((run.tenant_id, run.lane), last);
            }
            _ => damaged(&Damaged(format!("no run of immutable.tree_runs has the index {next}"))),
        }
    }
    runs.close();
    lanes
}

impl Series for TreeExport {
    fn next<'c>(&mut self, memory: Memory<'c>) -> Option<Datum<'c>> {
        let line = match self.header.take() {
            Some(header) => header,
            None => match self.lanes.next() {
                Some(((tenant_id, number), covered)) => lane(&tenant_id, number, covered),
                None if self.ended => return None,
                None => self.next_tile().unwrap_or_else(|| {
                    self.ended = true;
                    end(self.tiles, self.count)
                }),
            },
        };
        Some(memory.text(&line))
    }

    fn close(&mut self) {}
}

sql_function!(immutable_export_tree, pg_finfo_immutable_export_tree, export_tree);

/// `immutable.export_tree(size)`
fn export_tree(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    proof::require(Scope::Verify).hold_to_all("trees");
    let size = call.arg(0).map(Datum::i64);
    call.series(|| TreeExport::begin(size))
}
