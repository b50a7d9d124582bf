//! run_maintenance(): what a scheduler calls each minute.

use crate::access::revocation;
use crate::evidence::checkpoint::Making;
use crate::evidence::tables::try_lock_tree;
use crate::jobs::step::Done;
use crate::jobs::{alerts, exports, usage};
use crate::log::tree::View;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{contain, Code, Fault};
use crate::pg::lock::ObjectLock;
use crate::pg::procedure::{in_transactions, Transactions};
use crate::pg::relation::named;
use crate::pg::subtransaction::{attempt, sqlstate, Refused};
use crate::pg::transaction;
use immutable_format::json::write_string;

/// For how long a step is called again, in microseconds.
const MOST_MICROS: i64 = 10_000_000;

sql_function!(immutable_run_maintenance, pg_finfo_immutable_run_maintenance, run_maintenance);

/// `CALL immutable.run_maintenance(did)`
fn run_maintenance(call: Call) -> Datum {
    call.require_own_transactions("immutable.run_maintenance()");
    let did = match transaction::is_in_recovery() {
        true => "{\"state\":\"standby\"}".to_string(),
        false => in_transactions(run),
    };
    call.out(&[Some(call.memory().jsonb(&did))])
}

/// Does every step, and returns what they did as JSON.
fn run(transactions: &Transactions) -> String {
    let begun = transaction::now();
    let mut did = vec![("checkpoint", checkpoint(transactions))];
    let steps: [(&str, fn() -> Done); 4] = [
        ("alerts", alerts::step),
        ("exports", exports::step),
        ("revocations", forget_revocations),
        ("api_keys", usage::step),
    ];
    for (number, (name, step)) in (1..).zip(steps) {
        did.push((name, repeat(transactions, number, name, step)));
    }
    did.push(("took_ms", ((transaction::now() - begun) / 1000).to_string()));
    let members: Vec<String> = did.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Makes a checkpoint of a log that has a tree.
fn checkpoint(transactions: &Transactions) -> String {
    if View::Now.head().is_none() {
        return "\"not begun\"".to_string();
    }
    let (begun, mut making) = (transaction::now(), Making::new());
    loop {
        let part = guarded(|| match try_lock_tree() {
            true => making.part(),
            false => Some(Ok(None)),
        });
        transactions.commit();
        match part {
            Err(refused) => return report("checkpoint", &refused),
            Ok(Some(Err(held))) => {
                let refused = guarded::<()>(|| held.raise());
                return refused.err().map_or_else(String::new, |refused| report("checkpoint", &refused));
            }
            Ok(Some(Ok(_))) => return "{}".to_string(),
            Ok(None) if transaction::now() - begun > MOST_MICROS => making.hurry(),
            Ok(None) => {}
        }
    }
}

fn forget_revocations() -> Done {
    let count = revocation::forget();
    Done { did: (count > 0).then(|| count.to_string()), has_more: false }
}

/// Calls a step until it has no more to do, each time in a transaction of its own.
fn repeat(transactions: &Transactions, number: u32, name: &str, step: fn() -> Done) -> String {
    let begun = transaction::now();
    let mut last = "null".to_string();
    loop {
        let lock = ObjectLock { relation: named(c"cluster"), object: number, part: 0 };
        let done = guarded(|| lock.acquire(false).then(step));
        transactions.commit();
        match done {
            Err(refused) => return report(name, &refused),
            Ok(None) => return "\"skipped\"".to_string(),
            Ok(Some(done)) => {
                last = done.did.unwrap_or(last);
                if !done.has_more || transaction::now() - begun > MOST_MICROS {
                    return last;
                }
            }
        }
    }
}

/// Runs a part of a step. An error rolls back this part alone, unless the statement was cancelled or the
/// session ends.
fn guarded<T>(part: impl FnOnce() -> T) -> Result<T, Refused> {
    attempt(|| contain(part), |code, _| code != Code::ERRCODE_QUERY_CANCELED && code != Code::ERRCODE_ADMIN_SHUTDOWN)
}

/// Warns of a step that failed, and returns the error as JSON.
fn report(name: &str, refused: &Refused) -> String {
    Fault::new(Code::ERRCODE_WARNING, format!("maintenance: {name} failed: {}", refused.message)).warn();
    let mut message = String::new();
    write_string(&refused.message, &mut message);
    format!("{{\"error\":{message},\"sqlstate\":\"{}\"}}", sqlstate(refused.code))
}
