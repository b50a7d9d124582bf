//! How far the tree over all events reaches in each lane, and whether the rows up to there are what
//! the leaves say.
//!
//! That is what immutable.tree_runs says, and it is not trusted: a keyed sum of the leaf hashes of
//! the rows up to there has to be the keyed sum of the leaves of the lane. If every leaf belongs to
//! one lane and all lanes agree, then the rows are those of the leaves, and no row is missing,
//! changed or there twice.

use crate::verify::run::Run;
use crate::verify::shared;
use immutable_format::pruning::Begin;
use immutable_format::sum::{leaf_term, Sum, SumKey};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::Hash;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// What the tree covers of a lane.
#[derive(Clone, Copy, Default)]
pub struct CoveredLane {
    /// The seq of the last event that the tree covers.
    pub last: i64,
    /// The seq of the last event that the checkpoint covers.
    pub reach: i64,
    /// The sum of the leaves, and that of the rows up to `last`.
    pub leaves: Sum,
    pub rows: Sum,
    /// Up to where events were pruned, as a record says, and the sum of the leaves up to there.
    pub begin: Option<Begin>,
    pub pruned: Sum,
    /// Whether the leaf of the last event that was pruned is not what the record says.
    pub is_misrecorded: bool,
}

/// What the tree covers of all lanes. One entry a lane is all that is kept.
pub struct Coverage {
    key: SumKey,
    places: HashMap<Box<str>, Vec<(i16, usize)>>,
    lanes: Vec<CoveredLane>,
    /// When the checkpoint was cosigned, in microseconds since 1970; the least number if it was not.
    pub cosigned_at: i64,
    /// How many rows are not covered by the checkpoint, although they claim to be older than that.
    pub late: u64,
}

impl Coverage {
    /// Nothing is covered.
    pub fn new(key: SumKey) -> Coverage {
        Coverage { key, places: HashMap::new(), lanes: Vec::new(), cosigned_at: i64::MIN, late: 0 }
    }

    fn find(&self, tenant_id: &str, lane: i16) -> Option<usize> {
        let lanes = self.places.get(tenant_id)?;
        let at = lanes.binary_search_by_key(&lane, |(lane, _)| *lane).ok()?;
        Some(lanes[at].1)
    }

    /// The place of a lane, which is made if there is none.
    pub fn place(&mut self, tenant_id: &str, lane: i16) -> usize {
        if let Some(place) = self.find(tenant_id, lane) {
            return place;
        }
        let place = self.lanes.len();
        self.lanes.push(CoveredLane::default());
        let lanes = self.places.entry(tenant_id.into()).or_default();
        let at = lanes.partition_point(|(other, _)| *other < lane);
        lanes.insert(at, (lane, place));
        place
    }

    /// Events of the lane at a place were pruned.
    pub fn begin(&mut self, place: usize, begin: Begin) {
        self.lanes[place].begin = Some(begin);
    }

    /// The tree reaches to this seq in the lane at a place.
    pub fn extend(&mut self, place: usize, seq: i64) {
        self.lanes[place].last = seq;
    }

    /// The seq of the last event of a lane that the tree covers; 0 if it covers none.
    pub fn last(&self, tenant_id: &str, lane: i16) -> i64 {
        self.find(tenant_id, lane).map_or(0, |place| self.lanes[place].last)
    }

    /// The lane at a place.
    pub fn at(&self, place: usize) -> CoveredLane {
        self.lanes[place]
    }

    /// Adds the leaf of the event with this seq to the lane at a place.
    pub fn add_leaf(&mut self, place: usize, seq: i64, leaf: &Hash) {
        let lane = &mut self.lanes[place];
        let term = leaf_term(&self.key, leaf);
        lane.last = seq;
        lane.leaves = lane.leaves.plus(term);
        if let Some(begin) = lane.begin.filter(|begin| seq <= begin.seq) {
            lane.pruned = lane.pruned.plus(term);
            lane.is_misrecorded |= seq == begin.seq && *leaf != leaf_hash(&begin.event_hash);
        }
    }

    /// The checkpoint reaches as far as the leaves that were added by now.
    pub fn checkpoint(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.reach = lane.last);
    }

    /// Adds the rows of a lane.
    pub fn add_rows(&mut self, tenant_id: &str, lane: i16, leaves: Sum, late: u64) {
        self.late += late;
        if let Some(place) = self.find(tenant_id, lane) {
            self.lanes[place].rows = self.lanes[place].rows.plus(leaves);
        }
    }

    /// Adds one row, which was hashed again.
    pub fn add_row(&mut self, (tenant_id, lane, seq): (&str, i16, i64), created_at: i64, hash: Option<&Hash>) {
        let place = self.find(tenant_id, lane);
        let of = place.map_or(CoveredLane::default(), |place| self.lanes[place]);
        self.late += u64::from(seq > of.reach && created_at < self.cosigned_at);
        if let (Some(place), Some(hash)) = (place.filter(|_| seq <= of.last), hash) {
            self.lanes[place].rows = of.rows.plus(leaf_term(&self.key, &leaf_hash(hash)));
        }
    }

    /// Forgets the rows that were added.
    pub fn forget_rows(&mut self) {
        self.late = 0;
        self.lanes.iter_mut().for_each(|lane| lane.rows = Sum::default());
    }

    /// Calls `each` with every lane, in order of tenant and lane.
    pub fn each(&self, mut each: impl FnMut(&str, i16, &CoveredLane)) {
        let mut tenants: Vec<_> = self.places.iter().collect();
        tenants.sort_unstable_by_key(|(tenant_id, _)| tenant_id.as_bytes());
        for (tenant_id, lanes) in tenants {
            for (lane, place) in lanes {
                each(tenant_id, *lane, &self.lanes[*place]);
            }
        }
    }

    /// What the processes of the run look up, as words for shared memory: when the checkpoint was
    /// cosigned, and a hash table of lanes with [`WORDS`] words for each. Its empty places have a tag
    /// of 0.
    pub fn table(&self) -> Vec<u64> {
        let slots = self.lanes.len() + self.lanes.len() / 4 + 1;
        let mut table = vec![0; 1 + WORDS * slots];
        table[0] = self.cosigned_at as u64;
        for (tenant_id, lanes) in &self.places {
            for (lane, place) in lanes {
                let tag = tag(&self.key, tenant_id, *lane);
                let mut slot = first_slot(tag, slots);
                while table[1 + WORDS * slot] != 0 {
                    slot = (slot + 1) % slots;
                }
                let lane = &self.lanes[*place];
                table[1 + WORDS * slot..][..WORDS].copy_from_slice(&[tag, lane.last as u64, lane.reach as u64]);
            }
        }
        table
    }
}

/// Tag, last and reach of a lane.
const WORDS: usize = 3;

/// A hash of a lane, keyed with the run's key, so that nobody can choose lanes that collide. Never 0.
fn tag(key: &SumKey, tenant_id: &str, lane: i16) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.write_i16(lane);
    hasher.write(tenant_id.as_bytes());
    hasher.finish().max(1)
}

fn first_slot(tag: u64, slots: usize) -> usize {
    ((u128::from(tag) * slots as u128) >> 64) as usize
}

/// Last and reach of a lane in a table; zeros if it is not in it.
fn look_up(table: &[u64], tag: u64) -> (i64, i64) {
    let slots = table.len().saturating_sub(1) / WORDS;
    let mut slot = first_slot(tag, slots);
    for _ in 0..slots {
        match &table[1 + WORDS * slot..][..WORDS] {
            [0, ..] => break,
            [found, last, reach] if *found == tag => return (*last as i64, *reach as i64),
            _ => slot = (slot + 1) % slots,
        }
    }
    (0, 0)
}

/// Whether the tree covers a row, and whether the row is late. None if the run's shared memory is
/// gone.
pub fn of_row(run: &Run, tenant_id: &str, lane: i16, seq: i64, created_at: i64) -> Option<(bool, bool)> {
    let tag = tag(&run.key, tenant_id, lane);
    shared::with(run, |contents| {
        let (last, reach) = look_up(contents.table, tag);
        let cosigned_at = contents.table.first().map_or(i64::MIN, |at| *at as i64);
        (seq <= last, seq > reach && created_at < cosigned_at)
    })
}
