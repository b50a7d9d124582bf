//! Verification: reads the rows and reports every break. It relies on nothing that was computed
//! before. It reads child tables too, because inheritance could add rows to the log.
//!
//! [`calls`](super::calls) has the functions, [`scope`](super::scope) reads their arguments; [`lanes`]
//! checks content and links, with the help of [`sums`](super::sums) in every process of a parallel plan;
//! [`targets`], [`erasures`] and [`heads`] check the rest. Of a distributed log, [`cluster`](super::cluster)
//! lets the nodes do that.

use crate::log::log_identity;
use crate::verify::basis::Basis;
use crate::verify::checkpoint::Reached;
use crate::verify::heads::Compared;
use crate::verify::run::{Counts, Run};
use crate::verify::scope::Scope;
use crate::verify::{checkpoint, erasures, heads, lane_heads, lanes, prunings, targets};
use immutable_format::link::Break;

/// Verifies what is in scope, in the tables of this server, and calls `report` with every break.
pub fn verify(scope: &Scope, mut report: impl FnMut(&Break)) -> Verdict {
    let mut counts = Counts { log_id: log_identity::known(), ..Counts::default() };
    let mut breaks = 0;
    let mut report = |found: Break| {
        breaks += 1;
        report(&found);
    };
    let mut run = Run::new(scope);
    let basis = Basis::hold(scope, &mut report);
    let mut tree = checkpoint::read(scope, &basis, &run, counts.log_id, &mut report);
    let coverage = tree.as_mut().map(|tree| &mut tree.coverage);
    let sums = lanes::check(scope, &basis, &mut run, coverage, &mut counts, &mut report);
    prunings::check(scope, &basis, &mut counts, &mut report);
    targets::check(scope, &basis, &mut counts, &run, &sums, &mut report);
    erasures::check(scope, &mut counts, &run, &sums, &mut report);
    let heads = heads::check(scope, &basis, &mut report);
    let reached = tree.map(|tree| tree.conclude(&basis, &run, &counts, &mut report)).unwrap_or_default();
    counts.breaks = breaks;
    let every_event = is_every_event(scope, &counts);
    let events_total = match scope.since {
        _ if every_event => counts.events as i64,
        // The last seqs are known from the run, so that its cost depends only on what is new.
        Some(_) if counts.last_seqs > 0 => counts.last_seqs - counts.pruned,
        _ => lane_heads::events(scope.tenant_id) - counts.pruned,
    };
    Verdict::of(scope, counts, events_total, &heads, reached)
}

/// Whether everything in the log, or of the tenant, was looked at.
fn is_every_event(scope: &Scope, counts: &Counts) -> bool {
    !counts.cut && !scope.is_range() && scope.since.is_none()
}

/// The result of a run, and how much of the log it covers.
pub struct Verdict {
    pub counts: Counts,
    /// Whether there is no break; None if nothing was checked.
    pub valid: Option<bool>,
    /// Why nothing was checked, if that is so.
    pub why_nothing: Option<String>,
    /// Whether everything in the log, or of the tenant, was checked.
    pub complete: bool,
    /// How many events the log or the tenant has: those that were checked, if that was all of them,
    /// or else the sum of the last seq of each lane.
    pub events_total: i64,
    /// The saved heads and marks that were compared.
    pub heads_checked: i64,
    /// Whether heads or a checkpoint that the caller gave confirm the log.
    pub anchored: bool,
    /// How far the checkpoint reaches that was compared.
    pub reached: Reached,
}

impl Verdict {
    /// The result of what was counted.
    pub fn of(scope: &Scope, counts: Counts, events_total: i64, compared: &Compared, reached: Reached) -> Verdict {
        let Compared { heads: heads_checked, anchoring } = *compared;
        let nothing = counts.events == 0 && counts.breaks == 0 && heads_checked == 0;
        let why_nothing = match nothing {
            true if counts.passed_over => Some("the time was up before the first event".to_string()),
            true => scope.why_nothing(events_total, counts.log_id.is_some()),
            false => None,
        };
        let valid = why_nothing.is_none().then_some(counts.breaks == 0);
        Verdict {
            valid,
            complete: is_every_event(scope, &counts) && scope.targets && why_nothing.is_none(),
            why_nothing,
            events_total,
            heads_checked,
            anchored: valid == Some(true) && (anchoring > 0 || reached.anchored),
            counts,
            reached,
        }
    }
}
