//! prune(), and the step of maintenance that removes events by their rules.

use crate::access::proof::{self, Scope};
use crate::access::token::parse_identity;
use crate::jobs::pause;
use crate::jobs::prune_lanes::Cuts;
use crate::jobs::prune_plan::{self, Plan, Terms};
use crate::jobs::prune_remove::{self, Record};
use crate::jobs::retention::{self, Holds, Rules};
use crate::jobs::retention_calls::{refuse_distributed, require_change};
use crate::jobs::seal_wait::{become_sealer, timeouts};
use crate::jobs::step::Done;
use crate::log::pruned::{self, Begins};
use crate::log::segments::{self, Segment};
use crate::log::tables::events_oid;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, timestamptz, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{named, OpenRelation};
use crate::pg::spi::{self, Arg};
use crate::pg::{setting, transaction};
use pgrx::pg_sys;

/// For how many milliseconds maintenance waits for readers of what goes. Other readers wait behind it.
const STEP_WAIT: i32 = 100;

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

sql_function!(immutable_prune, pg_finfo_immutable_prune, prune);

/// `immutable.prune(dry_run, tenant_id, archived)`
fn prune(call: Call) -> Datum {
    let dry_run = call.required(0, "dry_run", "Give true to see what would go, or false to remove it.").bool();
    let tenant_id = parse_identity("tenant_id", call.arg(1));
    let archived = call.arg(2).map(|archived| sha256(text(archived)));
    let pruning = if dry_run {
        proof::require(Scope::Admin).hold_to_all("prunings");
        refuse_distributed();
        as_owner(|| Pruning::planned(tenant_id.as_deref(), archived.is_some(), |_, cut| cut))
    } else {
        transaction::require_read_committed("immutable.prune(false)");
        require_change(c"immutable.prune()");
        if pause::is_paused() {
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "nothing is pruned since the log was restored, promoted or copied",
            )
            .detail("The rules may be those of another time, or of another log.")
            .hint("Look at immutable.get_retention() and immutable.holds. Then SELECT immutable.resume_maintenance().")
            .raise()
        }
        as_owner(|| {
            become_sealer(true);
            retention::lock(true);
            let pruning = transaction::with_new_snapshot(|| {
                Pruning::planned(tenant_id.as_deref(), archived.is_some(), |_, cut| cut)
            });
            pruning.remove(&Record { archived: archived.as_deref(), unasked: false, wait: timeouts().lock });
            pruning
        })
    };
    pruning.show(call);
    call.null()
}

/// SHA-256 in hex, in lower case. Raises 22023 for anything else.
fn sha256(given: &str) -> String {
    if given.len() != 64 || !given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Fault::invalid("archived", "archived must be a SHA-256 in 64 hex digits")
            .hint("Export the events with immutable.export_events(), verify the file, and give what sha256sum prints for it.")
            .raise()
    }
    given.to_ascii_lowercase()
}

fn as_owner<T>(body: impl FnOnce() -> T) -> T {
    let events = OpenRelation::table(events_oid(), pg_sys::AccessShareLock);
    // What the planner thinks of many rows makes it compile expressions, which takes longer than to run them.
    setting::with(&[(c"jit".into(), c"off".into())], || spi::as_owner(events.get(), body))
}

/// What a pruning knows.
struct Pruning {
    rules: Rules,
    cuts: Cuts,
    segments: Vec<Segment>,
    begins: Begins,
    plan: Plan,
}

impl Pruning {
    /// Plans a pruning with the active snapshot. `round` makes a cut earlier.
    fn planned(tenant_id: Option<&str>, is_archived: bool, round: fn(now: i64, cut: i64) -> i64) -> Pruning {
        let now = transaction::now();
        let (rules, holds) = (Rules::at(now), Holds::now());
        let cuts = Cuts::of(&rules, now, tenant_id, round);
        let segments = segments::seen();
        let begins = pruned::begins(tenant_id);
        let terms = Terms { rules: &rules, holds: &holds, cuts: &cuts, is_archived };
        let plan = prune_plan::make(&terms, &segments, &begins);
        Pruning { rules, cuts, segments, begins, plan }
    }

    fn remove(&self, of: &Record) {
        prune_remove::remove(&self.plan, &self.segments, &self.begins, of, |tenant_id| self.cuts.cut_of(tenant_id));
    }

    /// Returns what becomes of the events.
    fn show(&self, call: Call) {
        let (memory, mut rows) = (call.memory(), call.rows());
        for ((tenant_id, what), sum) in &self.plan.sums {
            rows.put(&[
                Some(memory.text(tenant_id)),
                Some(memory.text(what.name())),
                Some(Datum::from(sum.events)),
                sum.times.map(|(first, _)| timestamptz(first)),
                sum.times.map(|(_, last)| timestamptz(last)),
                self.rules.rule_of(tenant_id).keep.map(|keep| keep.datum(memory)),
                self.cuts.cut_of(tenant_id).map(timestamptz),
            ]);
        }
    }
}

/// How often maintenance prunes by a rule that keeps events for so long: each removal is recorded, so that a tenant's
/// chain gets one record a day at the most.
fn granule(keep_micros: i64) -> i64 {
    (keep_micros / 24).clamp(1, DAY)
}

/// A cut as maintenance makes it.
fn rounded(now: i64, cut: i64) -> i64 {
    let granule = granule(now.saturating_sub(cut));
    cut.div_euclid(granule) * granule
}

/// Removes what the rules let go, once in a while.
pub fn step() -> Done {
    if named(c"prune_position") == pg_sys::InvalidOid || !is_due() || !become_sealer(false) {
        return Done::NOTHING;
    }
    as_owner(|| {
        if !retention::lock(false) {
            return Done::NOTHING;
        }
        let pruning = transaction::with_new_snapshot(|| Pruning::planned(None, false, rounded));
        pruning.remove(&Record { archived: None, unasked: true, wait: STEP_WAIT });
        spi::execute(
            "INSERT INTO immutable.prune_position (ran_at) VALUES ($1) \
             ON CONFLICT (singleton) DO UPDATE SET ran_at = EXCLUDED.ran_at",
            &[Arg::Time(transaction::now())],
        );
        let events = prune_remove::events(&pruning.plan);
        Done { did: (events > 0).then(|| events.to_string()), has_more: false }
    })
}

/// Whether a rule may let go more than at the last time: it is a while ago, or something was sealed or changed since.
fn is_due() -> bool {
    let now = transaction::now();
    let rules = Rules::at(now);
    let keeps = rules.own.values().chain(&rules.default).filter_map(|stored| stored.rule.keep);
    let Some(granule) = keeps.map(|keep| granule(now.saturating_sub(keep.before(now)))).min() else { return false };
    let mut is_due = true;
    as_owner(|| {
        spi::query_now(
            "SELECT p.ran_at < $1 OR p.ran_at > $2 \
               OR EXISTS (SELECT FROM immutable.segments s WHERE s.sealed_at > p.ran_at) \
               OR EXISTS (SELECT FROM immutable.retention r WHERE r.changed_at > p.ran_at \
                 OR r.next_from > p.ran_at AND r.next_from <= $2) FROM immutable.prune_position p",
            &[Arg::Time(now.div_euclid(granule) * granule), Arg::Time(now)],
            |row| is_due = row.at(0).is_none_or(Datum::bool),
        );
    });
    is_due
}
