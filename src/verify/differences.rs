//! Says which events of a lane are not those that the tree covers, after the sums of the lane were
//! found to differ. The leaves of a lane are compared with its rows, in order of seq.

use crate::log::columns::Layout;
use crate::log::tree::{as_owner, StoredTiles, View};
use crate::log::tree_runs::Runs;
use crate::pg::spi::{self, Arg};
use crate::verify::basis::Basis;
use crate::verify::budget;
use crate::verify::lanes::read;
use crate::verify::run::Run;
use crate::verify::scope::unfit;
use immutable_format::link::{Break, BreakType};
use immutable_format::tlog::tile::{Tile, Tiles, WIDTH};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::{Hash, Id};
use std::collections::HashMap;

/// How many lanes are looked at event by event, and how many runs of them are kept in memory. The
/// others are reported as lanes.
const MOST_LANES: usize = 10_000;
const MOST_RUNS: usize = 1 << 20;

/// A lane whose sums differ, or of which some events are there that a record says to be pruned.
pub struct Differing {
    pub tenant_id: String,
    pub lane: i16,
    /// The seq of the last event that the tree covers.
    pub last: i64,
    /// The seq up to which events were pruned, so that they may be missing.
    pub pruned: i64,
    /// Whether the sums differ.
    pub is_certain: bool,
}

/// The first index, the first seq and the end of the seqs of a part of a lane.
struct Part {
    first_index: u64,
    first_seq: i64,
    end: i64,
}

/// Reports every difference in these lanes.
pub fn report(basis: &Basis, lanes: &[Differing], run: &Run, report: &mut impl FnMut(Break)) {
    if lanes.is_empty() {
        return;
    }
    let detailed = &lanes[..lanes.len().min(MOST_LANES)];
    let parts = as_owner(|| parts(detailed)).unwrap_or_default();
    let mut tile = CachedTile::default();
    for (number, lane) in lanes.iter().enumerate() {
        pgrx::check_for_interrupts!();
        let parts = parts.get(number).and_then(Option::as_ref);
        let found = match parts {
            Some(parts) if !budget::is_up(run) => lane_differences(basis, lane, parts, &mut tile, report),
            _ => 0,
        };
        if found == 0 && lane.is_certain {
            let Differing { tenant_id, lane: number, last, .. } = lane;
            report(Break {
                kind: BreakType::CheckpointMismatch,
                tenant_id: Some(tenant_id.clone()),
                lane: Some(*number),
                seq: None,
                event_id: None,
                expected: None,
                actual: None,
                detail: format!("the events up to seq {last} are not those that the tree covers"),
            });
        }
    }
}

/// The parts of each lane, in the order of seq; None for a lane with too many.
fn parts(lanes: &[Differing]) -> Vec<Option<Vec<Part>>> {
    let mut places: HashMap<&str, Vec<(i16, usize)>> = HashMap::new();
    for (place, Differing { tenant_id, lane, .. }) in lanes.iter().enumerate() {
        places.entry(tenant_id).or_default().push((*lane, place));
    }
    let mut parts: Vec<Option<Vec<Part>>> = lanes.iter().map(|_| Some(Vec::new())).collect();
    let mut kept = 0;
    let mut runs = Runs::open(View::Statement);
    while let Some(run) = runs.next() {
        let Ok(run) = run else { continue };
        let of_tenant = places.get(run.tenant_id.as_str()).into_iter().flatten();
        let Some((_, place)) = of_tenant.clone().find(|(lane, _)| *lane == run.lane) else { continue };
        if kept >= MOST_RUNS {
            parts[*place] = None;
        }
        if let Some(parts) = &mut parts[*place] {
            kept += 1;
            let end = run.first_seq + run.count as i64;
            parts.push(Part { first_index: run.first_index, first_seq: run.first_seq, end });
        }
    }
    runs.close();
    for parts in parts.iter_mut().flatten() {
        parts.sort_by_key(|part| part.first_seq);
    }
    parts
}

/// The tile that was read last.
#[derive(Default)]
pub struct CachedTile {
    number: Option<u64>,
    hashes: Vec<Hash>,
}

impl CachedTile {
    /// The leaf with this index.
    pub fn leaf(&mut self, index: u64) -> Option<Hash> {
        let (number, at) = (index / WIDTH, (index % WIDTH) as usize);
        if self.number != Some(number) || self.hashes.len() <= at {
            let tile = Tile { level: 0, number };
            self.number = Some(number);
            self.hashes = StoredTiles::new(View::Statement).tile(tile, at as u64 + 1).unwrap_or_default();
        }
        self.hashes.get(at).copied()
    }
}

/// Events that follow each other and differ in the same way.
struct Stretch {
    kind: BreakType,
    first: i64,
    last: i64,
    event_id: Option<Id>,
    expected: Option<Hash>,
    actual: Option<Hash>,
}

/// The comparison of one lane.
struct Compared<'c, R> {
    lane: &'c Differing,
    parts: &'c [Part],
    tile: &'c mut CachedTile,
    open: Option<Stretch>,
    found: u64,
    report: &'c mut R,
}

impl<R: FnMut(Break)> Compared<'_, R> {
    /// The leaf of the event with this seq.
    fn leaf(&mut self, seq: i64) -> Option<Hash> {
        let at = self.parts.partition_point(|part| part.end <= seq);
        let part = self.parts.get(at).filter(|part| part.first_seq <= seq)?;
        self.tile.leaf(part.first_index + (seq - part.first_seq) as u64)
    }

    /// Adds a difference, and reports the stretch before unless it goes on.
    fn add(&mut self, stretch: Stretch) {
        match &mut self.open {
            Some(open) if open.kind == stretch.kind && open.last.checked_add(1) == Some(stretch.first) => {
                open.last = stretch.last;
            }
            _ => {
                self.flush();
                self.open = Some(stretch);
            }
        }
    }

    fn missing(&mut self, first: i64, last: i64) {
        let first = first.max(self.lane.pruned.saturating_add(1));
        if first <= last {
            let expected = self.leaf(first);
            let kind = BreakType::MissingEvent;
            self.add(Stretch { kind, first, last, event_id: None, expected, actual: None });
        }
    }

    fn flush(&mut self) {
        let Some(Stretch { kind, first, last, event_id, expected, actual }) = self.open.take() else { return };
        let what = match first == last {
            true => format!("the event with seq {first}"),
            false => format!("the events with seq {first} to {last}"),
        };
        let detail = match (kind, first == last) {
            (BreakType::MissingEvent, true) => format!("{what}, which the tree covers, is missing"),
            (BreakType::MissingEvent, false) => format!("{what}, which the tree covers, are missing"),
            (_, true) => format!("{what} is not the one that the tree covers"),
            (_, false) => format!("{what} are not those that the tree covers"),
        };
        self.found += 1;
        (self.report)(Break {
            kind,
            tenant_id: Some(self.lane.tenant_id.clone()),
            lane: Some(self.lane.lane),
            seq: Some(first),
            event_id,
            expected: expected.map(|hash| hash.to_vec()),
            actual: actual.map(|hash| hash.to_vec()),
            detail,
        });
    }
}

/// Compares a lane event by event. Returns how many breaks it has reported.
fn lane_differences(
    basis: &Basis,
    lane: &Differing,
    parts: &[Part],
    tile: &mut CachedTile,
    report: &mut impl FnMut(Break),
) -> u64 {
    let mut compared = Compared { lane, parts, tile, open: None, found: 0, report };
    let Differing { tenant_id, lane: number, last, .. } = lane;
    let mut next = 1;
    let mut layout = None;
    let statement = format!(
        "SELECT {} FROM immutable.events e WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq <= $3 ORDER BY e.seq, e.id",
        basis.walked()
    );
    spi::stream(&statement, &[Arg::text(tenant_id.as_str()), Arg::Int2(*number), Arg::Int8(*last)], |tuple| {
        let values = tuple.values();
        let layout =
            layout.get_or_insert_with(|| Layout::of(tuple.descriptor()).unwrap_or_else(|column| unfit(column)));
        let row = read(&values, layout, |_| true);
        compared.missing(next, row.seq - 1);
        let expected = if row.seq >= next { compared.leaf(row.seq) } else { None };
        let actual = row.recomputed.ok().map(|hash| leaf_hash(&hash));
        if expected.is_none() || expected != actual {
            let (kind, event_id) = (BreakType::CheckpointMismatch, Some(row.id));
            compared.add(Stretch { kind, first: row.seq, last: row.seq, event_id, expected, actual });
        }
        next = next.max(row.seq.saturating_add(1));
    });
    compared.missing(next, *last);
    compared.flush();
    compared.found
}
