//! recorded_late(): the events that a checkpoint does not cover, although they claim to be older than
//! its newest cosignature.

use crate::access::lent::with_rights;
use crate::access::proof::{self, Scope};
use crate::log::tree::{as_owner, View};
use crate::log::tree_runs::Runs;
use crate::log::{distributed, log_identity};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::memory::here;
use crate::pg::spi::{self, Arg};
use crate::pg::toast::readable_text;
use crate::verify::checkpoint::{refuse_blind, sees_all};
use crate::verify::coverage::Coverage;
use crate::verify::notes::{self, Claim};
use crate::verify::scope::read_checkpoints;

sql_function!(immutable_recorded_late, pg_finfo_immutable_recorded_late, recorded_late);

/// `immutable.recorded_late(checkpoint)`
fn recorded_late(call: Call) -> Datum {
    proof::require(Scope::Verify).hold_to_all("events that were recorded late");
    distributed::refuse(
        "checkpoints",
        "Save what immutable.heads() returns outside of the database, and compare with verify_chain(heads => …).",
    );
    with_rights(|| late(call))
}

fn late(call: Call<'_>) -> Datum<'_> {
    if !sees_all() {
        refuse_blind()
    }
    let claim = claim(call);
    let (size, cosigned_at) = (claim.size, claim.cosigned.at.unwrap_or(i64::MIN));
    let coverage = as_owner(|| coverage(size)).unwrap_or_else(|| Coverage::new([0; 16]));
    let mut rows = call.rows();
    spi::stream("SELECT h.tenant_id, h.lane, h.seq FROM immutable.heads(NULL) h", &[], |tuple| {
        let head = tuple.values();
        let (Some(tenant_id), Some(lane), Some(last)) = (head.at(0), head.at(1), head.at(2)) else { return };
        let (tenant_id, lane) = (readable_text(tenant_id), lane.i16());
        let reach = coverage.last(tenant_id, lane);
        if last.i64() <= reach {
            return;
        }
        let statement = "SELECT e.id, e.seq, e.created_at FROM immutable.events e \
                         WHERE e.tenant_id = $1 AND e.lane = $2 AND e.seq > $3 AND e.created_at < $4 ORDER BY e.seq";
        let given = [Arg::text(tenant_id), Arg::Int2(lane), Arg::Int8(reach), Arg::Time(cosigned_at)];
        spi::stream(statement, &given, |tuple| {
            let event = tuple.values();
            here(|memory| {
                rows.put(&[
                    Some(memory.text(tenant_id)),
                    Some(Datum::from(lane)),
                    event.at(1),
                    event.at(0),
                    event.at(2),
                ]);
            });
        });
    });
    call.null()
}

/// The checkpoint that was given, or the newest stored one that is cosigned. Raises 22023 and 55000 if
/// there is none.
fn claim(call: Call) -> Claim {
    let head = View::Statement.head().and_then(Result::ok);
    let mut claims = match call.arg(0) {
        Some(given) => as_owner(|| notes::given(&read_checkpoints(text(given)), head.as_ref(), log_identity::known())),
        None => as_owner(|| notes::stored(head.as_ref(), &mut |_| {})),
    }
    .unwrap_or_default();
    claims.retain(|claim| claim.cosigned.at.is_some());
    let is_given = call.arg(0).is_some();
    claims.into_iter().max_by_key(|claim| claim.size).unwrap_or_else(|| {
        let fault = match is_given {
            true => Fault::invalid("checkpoint", "checkpoint is not cosigned by a witness that the log knows"),
            false => {
                let message = "the log keeps no cosigned checkpoint";
                Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field("checkpoint")
            }
        };
        fault.hint("Only a cosignature says when the events were there at the latest.").raise()
    })
}

/// How far the tree of this size reaches in each lane.
fn coverage(size: u64) -> Coverage {
    let mut coverage = Coverage::new([0; 16]);
    let mut runs = Runs::open(View::Statement);
    while let Some(run) = runs.next() {
        let Ok(run) = run else { continue };
        if run.first_index >= size {
            break;
        }
        let place = coverage.place(&run.tenant_id, run.lane);
        coverage.extend(place, run.seq(run.end().min(size) - 1));
    }
    runs.close();
    coverage
}
