//! Compares the log with the tree over all events, and the tree with checkpoints.
//!
//! The leaves are read once. Those of the first N events alone give the root of the tree of size N,
//! which has to be the one in the checkpoint. On the way, each leaf is added to the lane whose event
//! it is ([`Coverage`]). The rows are added while they are verified anyway, by every process of the
//! run. What is stored above the leaves is compared with them, so that proofs made of it are right.

use crate::log::tree::{as_owner, View};
use crate::log::tree_leaves::{leaves, Leaves, Piece};
use crate::log::tree_runs::{Runs, TreeRun};
use crate::pg::datum::Datum;
use crate::pg::error::{Code, Fault};
use crate::pg::spi;
use crate::verify::basis::Basis;
use crate::verify::budget;
use crate::verify::coverage::Coverage;
use crate::verify::differences::{self, Differing};
use crate::verify::notes::{self, tree_break, Claim, Cosigned};
use crate::verify::run::{Counts, Run};
use crate::verify::scope::Scope;
use immutable_format::link::Break;
use immutable_format::pruning::Begin;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::growing::GrowingTree;
use immutable_format::tlog::tile::Tile;
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::{Hash, Id};

/// How far a checkpoint reaches that the log was compared with.
#[derive(Default)]
pub struct Reached {
    /// Whether the caller gave it, and it fits.
    pub anchored: bool,
    pub size: Option<i64>,
    pub cosigned: Cosigned,
    /// How many events it does not cover, although they claim to be older than its newest
    /// cosignature; None if it has none.
    pub late: Option<i64>,
}

/// The tree, which the rows are still to be compared with.
pub struct Comparison {
    claims: Vec<Claim>,
    /// Whether the caller gave them.
    given: bool,
    /// The size up to which rows are not late.
    reach: Option<u64>,
    pub coverage: Coverage,
    /// Whether all leaves were read in time.
    complete: bool,
}

/// Reads the tree and compares it with checkpoints: those that the caller gave, or else the newest
/// that the log keeps. None if the log has no tree, or if not all of it is verified.
pub fn read(
    scope: &Scope,
    basis: &Basis,
    run: &Run,
    log_id: Option<Id>,
    report: &mut impl FnMut(Break),
) -> Option<Comparison> {
    if !scope.is_log() {
        return None;
    }
    if !sees_all() {
        // The events that the caller may not read would look as if they were missing.
        if !scope.checkpoints.is_empty() {
            refuse_blind()
        }
        return None;
    }
    as_owner(|| {
        let (stored, head) = stored_head(report);
        let mut claims = notes::given(&scope.checkpoints, head.as_ref(), log_id);
        let given = !claims.is_empty();
        if !given {
            claims = notes::stored(head.as_ref(), report);
        }
        if !stored && claims.is_empty() {
            return None;
        }
        if !stored {
            report(tree_break("immutable.tree has lost the tree's head".to_string(), None, None));
        }
        claims.sort_by_key(|claim| claim.size);
        let mut coverage = Coverage::new(run.key);
        // The last one that counts: any that the caller gave, but of the log's own one that others
        // cosigned, if there is one.
        let last = claims.iter().rev().find(|claim| given || claim.cosigned.at.is_some()).or(claims.last());
        coverage.cosigned_at = last.and_then(|claim| claim.cosigned.at).unwrap_or(i64::MIN);
        let reach = last.map(|claim| claim.size);
        let reading = Reading::new((run, basis), head.as_ref(), reach, &mut claims, coverage);
        let (coverage, complete) = reading.read(report);
        check_roots(&claims, given, report);
        Some(Comparison { claims, given, reach, coverage, complete })
    })
    .flatten()
}

/// Raises 42501 for a caller who does not see all.
pub fn refuse_blind() -> ! {
    Fault::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "only a role that may read every event can compare the log with a checkpoint",
    )
    .field("checkpoint")
    .hint("Use a member of immutable_auditor.")
    .raise()
}

/// Whether immutable.tree has a row, and the head in it, if that can be read.
fn stored_head(report: &mut impl FnMut(Break)) -> (bool, Option<Checkpoint>) {
    match View::Statement.head() {
        None => (false, None),
        Some(Ok(head)) => (true, Some(head)),
        Some(Err(damaged)) => {
            report(tree_break(damaged.0, None, None));
            (true, None)
        }
    }
}

/// Whether no policy keeps events from the caller.
pub fn sees_all() -> bool {
    let mut all = false;
    let statement = "SELECT NOT pg_catalog.row_security_active('immutable.events') \
                     OR pg_catalog.pg_has_role('immutable_auditor', 'USAGE')";
    spi::read(statement, &[], |row| all = row.at(0).is_some_and(Datum::bool));
    all
}

/// Reports the checkpoints that the tree does not fit. If the tree was rewritten, the newest that
/// fits and the oldest that does not say where.
fn check_roots(claims: &[Claim], given: bool, report: &mut impl FnMut(Break)) {
    let whose = if given { "checkpoint" } else { "stored checkpoint" };
    let newest = claims.iter().rev().find(|claim| claim.fits()).map_or(0, |claim| claim.size);
    for claim in claims.iter().filter(|claim| !claim.fits()) {
        let size = claim.size;
        let detail = match claim.found {
            _ if size < newest => {
                format!("the {whose} of size {size} is of another tree than that of size {newest}, which fits")
            }
            None => format!("the {whose} covers {size} events, but the tree does not have as many leaves"),
            Some(_) if newest == size => format!("two checkpoints of size {size} have different roots"),
            Some(_) => format!(
                "the tree of size {size} is not the one of the {whose}: events with an index from {newest} to {} were \
                 changed, removed, added or put in another order",
                size - 1
            ),
        };
        report(tree_break(detail, Some(&claim.root), claim.found.as_ref()));
        if size > newest {
            break; // later ones cannot fit either
        }
    }
}

/// The leaves while they are read.
struct Reading<'r> {
    run: &'r Run,
    basis: &'r Basis,
    head: Option<&'r Checkpoint>,
    reach: Option<u64>,
    claims: &'r mut [Claim],
    /// How many claims have their root.
    rooted: usize,
    head_root: Option<Hash>,
    coverage: Coverage,
    tree: GrowingTree,
    runs: Runs,
    /// The run that the last leaf was in, and the place of its lane; and the one after it.
    open: Option<(TreeRun, usize)>,
    next: Option<TreeRun>,
    /// The first index of leaves that no run has.
    unknown: Option<u64>,
}

impl<'r> Reading<'r> {
    fn new(
        (run, basis): (&'r Run, &'r Basis),
        head: Option<&'r Checkpoint>,
        reach: Option<u64>,
        claims: &'r mut [Claim],
        coverage: Coverage,
    ) -> Reading<'r> {
        Reading {
            run,
            basis,
            head,
            reach,
            claims,
            rooted: 0,
            head_root: None,
            coverage,
            tree: GrowingTree::default(),
            runs: Runs::open(View::Statement),
            open: None,
            next: None,
            unknown: None,
        }
    }

    /// Reads all leaves. Returns what they cover, and whether the time was enough.
    fn read(mut self, report: &mut impl FnMut(Break)) -> (Coverage, bool) {
        let head_size = self.head.map_or(0, |head| head.size);
        let until = self.claims.last().map_or(0, |claim| claim.size).max(head_size);
        let mut complete = true;
        let mut read = Leaves::default();
        if until > 0 {
            read = leaves(|piece| {
                complete = !budget::is_up(self.run);
                if complete {
                    self.add(&piece, until, report);
                }
                complete && self.tree.size() < until
            });
        }
        self.note_size();
        if complete {
            self.end(&read, head_size, report);
        }
        self.runs.close();
        (self.coverage, complete)
    }

    /// Notes the root of every checkpoint of the size that the tree has now.
    fn note_size(&mut self) {
        let size = self.tree.size();
        while let Some(claim) = self.claims.get_mut(self.rooted).filter(|claim| claim.size == size) {
            claim.found = Some(self.tree.root());
            self.rooted += 1;
        }
        if self.head.is_some_and(|head| head.size == size) {
            self.head_root = Some(self.tree.root());
        }
        if self.reach == Some(size) {
            self.coverage.checkpoint();
        }
    }

    fn add(&mut self, piece: &Piece<'_>, until: u64, report: &mut impl FnMut(Break)) {
        let mut full: Vec<(Tile, Vec<Hash>, Hash)> = Vec::new();
        for (index, leaf) in (piece.first..until).zip(piece.hashes) {
            self.note_size();
            if self.seek(index, report) {
                if let Some((run, place)) = &self.open {
                    self.coverage.add_leaf(*place, run.seq(index), leaf);
                }
            }
            self.tree.push(*leaf, &mut |tile, hashes, root| {
                let hashes = if tile.level == 0 { Vec::new() } else { hashes.to_vec() };
                full.push((tile, hashes, *root));
            });
        }
        for (tile, hashes, root) in full {
            let is_right = match tile.level {
                0 => piece.root == Some(Some(root)),
                _ => View::Statement.full_tile(tile) == (Some(hashes), Some(root)),
            };
            if !is_right {
                let Tile { level, number } = tile;
                let detail = format!(
                    "tile {level}/{number} or its root is missing, or not that of the leaves below it: \
                     immutable.rebuild_tiles() repairs it"
                );
                report(tree_break(detail, Some(&root), None));
            }
        }
    }

    /// Opens the run that has this index; false if there is none.
    fn seek(&mut self, index: u64, report: &mut impl FnMut(Break)) -> bool {
        if self.open.as_ref().is_some_and(|(run, _)| index < run.end()) {
            return true;
        }
        self.open = None;
        while let Some(run) = self.next.take().or_else(|| self.next_run(report)) {
            if run.first_index > index {
                self.next = Some(run);
                break;
            }
            self.known(index, report);
            let place = self.coverage.place(&run.tenant_id, run.lane);
            let begin = self.basis.begin(&run.tenant_id, run.lane);
            if let Some(begin) = begin {
                self.coverage.begin(place, begin);
            }
            let mut last = self.coverage.at(place).last;
            if let Some(begin) = begin.filter(|begin| last == 0 && run.first_seq == begin.seq.saturating_add(1)) {
                last = begin.seq; // the tree was begun after the pruning
            }
            if run.first_index < index || run.first_seq != last + 1 {
                let why = match run.first_index < index {
                    true => "has indexes that an earlier run has".to_string(),
                    false => format!("begins with seq {}, where seq {} comes next", run.first_seq, last + 1),
                };
                report(run_break(&run, &why));
            }
            if index < run.end() {
                self.open = Some((run, place));
                return true;
            }
        }
        self.unknown.get_or_insert(index);
        false
    }

    fn next_run(&mut self, report: &mut impl FnMut(Break)) -> Option<TreeRun> {
        loop {
            match self.runs.next()? {
                Ok(run) => return Some(run),
                Err(index) => {
                    let index = index.map_or("NULL".to_string(), |index| index.to_string());
                    report(tree_break(format!("the run of index {index} is damaged"), None, None));
                }
            }
        }
    }

    /// Reports that no run has the leaves from the first unknown one to `index`, which is known.
    fn known(&mut self, index: u64, report: &mut impl FnMut(Break)) {
        if let Some(first) = self.unknown.take() {
            let detail = format!("no run says which events have the indexes {first} to {}", index - 1);
            report(tree_break(detail, None, None));
        }
    }

    /// Compares the head, and reports what is left over.
    fn end(&mut self, leaves: &Leaves, head_size: u64, report: &mut impl FnMut(Break)) {
        let size = self.tree.size();
        self.known(size, report);
        if self.reach.is_some_and(|reach| reach > size) {
            self.coverage.checkpoint();
        }
        if size < head_size || leaves.damage.is_some() {
            let why = leaves.damage.clone().unwrap_or_else(|| format!("leaf {size} is missing"));
            let detail = format!("the tree has {head_size} events, but its leaves end with index {size}: {why}");
            report(tree_break(detail, None, None));
            return;
        }
        if let (Some(head), Some(found)) = (self.head, self.head_root) {
            if head.root != found {
                let detail = format!("immutable.tree has another root than the {head_size} leaves give");
                report(tree_break(detail, Some(&head.root), Some(&found)));
            }
        }
        if let Some((run, _)) = self.open.take().filter(|(run, _)| run.end() > size) {
            report(run_break(&run, &format!("goes on beyond the {size} events of the tree")));
        }
        while let Some(run) = self.next.take().or_else(|| self.next_run(report)) {
            report(run_break(&run, &format!("is beyond the {size} events of the tree")));
        }
    }
}

/// A break of a run, at its first event.
fn run_break(run: &TreeRun, why: &str) -> Break {
    Break {
        tenant_id: Some(run.tenant_id.clone()),
        lane: Some(run.lane),
        seq: Some(run.first_seq),
        ..tree_break(format!("the run of index {} {why}", run.first_index), None, None)
    }
}

/// A break of a record of a pruning.
fn misrecorded_break(tenant_id: &str, begin: &Begin) -> Break {
    let detail = "the last event that was pruned is not the one that the tree covers, as the record says it";
    Break {
        tenant_id: Some(tenant_id.to_string()),
        lane: Some(begin.lane),
        seq: Some(begin.seq),
        ..tree_break(detail.to_string(), None, Some(&leaf_hash(&begin.event_hash)))
    }
}

impl Comparison {
    /// Compares the rows, which were added to the coverage by now, and reports where they are not
    /// what the leaves say.
    pub fn conclude(self, basis: &Basis, run: &Run, counts: &Counts, report: &mut impl FnMut(Break)) -> Reached {
        // Rows that were passed over are missing from the sums.
        if !self.complete || counts.passed_over {
            return Reached::default();
        }
        let mut differing = Vec::new();
        let mut misrecorded = Vec::new();
        self.coverage.each(|tenant_id, lane, covered| {
            let begin = covered.begin.as_ref();
            let left = begin.and_then(|_| counts.left_over.get(&(tenant_id.to_string(), lane))?.still);
            let pruned = begin.map_or(0, |begin| begin.seq);
            let is_certain = match left.filter(|left| *left < pruned) {
                None => covered.leaves != covered.rows,
                Some(0) => covered.leaves != covered.pruned.plus(covered.rows),
                Some(_) => false,
            };
            if is_certain || left.is_some_and(|left| 0 < left && left < pruned) {
                let (tenant_id, last) = (tenant_id.to_string(), covered.last);
                differing.push(Differing { tenant_id, lane, last, pruned, is_certain });
            }
            if let Some(begin) = begin.filter(|_| covered.is_misrecorded) {
                misrecorded.push(misrecorded_break(tenant_id, begin));
            }
        });
        misrecorded.into_iter().for_each(&mut *report);
        differences::report(basis, &differing, run, report);
        let fitting: Vec<&Claim> = self.claims.iter().rev().filter(|claim| claim.fits()).collect();
        let counts = fitting.iter().find(|claim| self.given || claim.cosigned.at.is_some()).or(fitting.first());
        let Some(claim) = counts else { return Reached::default() };
        let is_reach = self.reach == Some(claim.size) && claim.cosigned.at == Some(self.coverage.cosigned_at);
        Reached {
            // An empty tree says nothing of the events.
            anchored: self.given && claim.size > 0,
            size: Some(claim.size as i64),
            cosigned: claim.cosigned.clone(),
            late: is_reach.then_some(self.coverage.late as i64),
        }
    }
}
