//! run_maintenance(): what a scheduler calls each minute. Each step has transactions of its own and a
//! lock of its own, so that it can be called at any time, by several at once, and ended at any place.

use crate::access::revocation;
use crate::evidence::checkpoint::Making;
use crate::evidence::tables::try_lock_tree_to_record;
use crate::jobs::pause;
use crate::jobs::seal::{self, Did, Parts, Sealing};
use crate::jobs::seal_due::Wanted;
use crate::jobs::step::{both, Done};
use crate::jobs::{alerts, exports, prune, streams_letters, usage};
use crate::log::tables::events_oid;
use crate::log::tree::View;
use crate::log::{distributed, seam};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::{contain, Code, Fault};
use crate::pg::lock::ObjectLock;
use crate::pg::procedure::{in_transactions, Transactions};
use crate::pg::relation::{named, OpenRelation};
use crate::pg::subtransaction::{attempt, sqlstate, Refused};
use crate::pg::transaction;
use immutable_format::json::write_string;
use pgrx::pg_sys;

/// For how long a step is called again, in microseconds.
const MOST_MICROS: i64 = 8_000_000;

/// A step that runs in one transaction after the other, until it has no more to do.
struct Step {
    name: &'static str,
    run: fn() -> Done,
    /// Whether it waits after a seam until maintenance is resumed.
    pauses: bool,
}

/// The steps after the checkpoint, in their order.
const STEPS: [Step; 6] = [
    Step { name: "alerts", run: alerts::step, pauses: true },
    Step { name: "exports", run: exports::step, pauses: true },
    Step { name: "revocations", run: forget_revocations, pauses: false },
    Step { name: "api_keys", run: usage::step, pauses: true },
    Step { name: "dead_letters", run: streams_letters::step, pauses: false },
    Step { name: "retention", run: prune::step, pauses: true },
];

sql_function!(immutable_run_maintenance, pg_finfo_immutable_run_maintenance, run_maintenance);

/// `CALL immutable.run_maintenance(did)`
fn run_maintenance(call: Call) -> Datum {
    call.require_own_transactions("immutable.run_maintenance()");
    if transaction::is_in_recovery() {
        return call.out(&[Some(call.memory().jsonb("{\"state\":\"standby\"}"))]);
    }
    transaction::require_writable(c"immutable.run_maintenance()");
    let did = in_transactions(|transactions| {
        let is_copy = seam::is_copy(OpenRelation::table(events_oid(), pg_sys::AccessShareLock).get());
        match is_copy {
            true => Run { transactions, did: Vec::new(), failed: Vec::new() }.of_copy(),
            false => {
                let run = Run { transactions, did: Vec::new(), failed: Vec::new() };
                if distributed::is() {
                    run.of_distributed()
                } else {
                    run.all()
                }
            }
        }
    });
    call.out(&[Some(call.memory().jsonb(&did))])
}

/// One call.
struct Run<'t> {
    transactions: &'t Transactions,
    /// What each step did, as JSON.
    did: Vec<(&'static str, String)>,
    /// The steps that failed, with their SQLSTATE.
    failed: Vec<(&'static str, String)>,
}

impl Parts for Run<'_> {
    /// Runs a part of a step and commits. An error rolls back this part alone, unless the statement was
    /// cancelled or the session ends.
    fn part<T>(&self, part: impl FnOnce() -> T) -> Result<T, Refused> {
        let done = attempt(|| contain(part), |code, _| !ends(code));
        self.transactions.commit();
        done
    }
}

impl Run<'_> {
    /// Does every step, and returns what they did as JSON.
    fn all(mut self) -> String {
        let begun = transaction::now();
        let goes_on = self.part(pause::goes_on).unwrap_or_else(|refused| {
            self.fail("position", &refused);
            false
        });
        self.checkpoint();
        for (number, step) in (1..).zip(&STEPS) {
            match goes_on || !step.pauses {
                true => self.step(number, step),
                false => self.did.push((step.name, "\"paused\"".to_string())),
            }
        }
        self.seal();
        if goes_on {
            let failed = (!self.failed.is_empty()).then(|| object(&self.failed));
            if let Err(refused) = self.part(|| pause::note_run(failed.as_deref())) {
                self.fail("position", &refused);
            }
        } else {
            let hint =
                "\"The log was restored, promoted or copied. SELECT immutable.resume_maintenance() goes on here.\"";
            self.did.push(("hint", hint.to_string()));
        }
        self.did.push(("took_ms", ((transaction::now() - begun) / 1000).to_string()));
        object(&self.did)
    }

    /// Does what a copy has to do that a replication feeds: its events move into segments as elsewhere.
    fn of_copy(mut self) -> String {
        self.seal();
        let mut members = vec![("state", string("copy"))];
        members.extend(self.did.into_iter().filter(|(_, did)| did != "null"));
        object(&members)
    }

    /// Does what a distributed log has to do: it has no checkpoints, alerts, exports, API keys and streams. This node
    /// notices here that the log was restored or promoted, because its events are in shards, perhaps of other nodes.
    fn of_distributed(mut self) -> String {
        let begun = transaction::now();
        let notice = || seam::notice(OpenRelation::table(events_oid(), pg_sys::RowExclusiveLock).get());
        if let Err(refused) = self.part(notice) {
            self.fail("seam", &refused);
        }
        for (number, step) in (1..).zip(&STEPS).filter(|(_, step)| step.name == "revocations") {
            self.step(number, step);
        }
        let failed = (!self.failed.is_empty()).then(|| object(&self.failed));
        let noted = || {
            pause::begin();
            pause::note_run(failed.as_deref());
        };
        if let Err(refused) = self.part(noted) {
            self.fail("position", &refused);
        }
        self.did.push(("took_ms", ((transaction::now() - begun) / 1000).to_string()));
        object(&self.did)
    }

    /// Notes that a step failed, and warns.
    fn fail(&mut self, name: &'static str, refused: &Refused) {
        let code = sqlstate(refused.code);
        let warning = Fault::new(refused.code, format!("maintenance: step {name} failed: {}", refused.message));
        let warning = warning.detail("The other steps go on.");
        match &refused.hint {
            Some(hint) => warning.hint(hint.as_str()).warn(),
            None => warning.warn(),
        }
        let mut members = vec![("error", string(&refused.message)), ("sqlstate", string(&code))];
        members.extend(refused.hint.as_deref().map(|hint| ("hint", string(hint))));
        self.did.push((name, object(&members)));
        self.failed.push((name, string(&code)));
    }

    /// Makes a checkpoint of a log that has a tree. The first one is the administrator's, because it
    /// gives the log its name.
    fn checkpoint(&mut self) {
        let name = "checkpoint";
        match self.part(|| View::Now.head().is_some()) {
            Err(refused) => return self.fail(name, &refused),
            Ok(false) => {
                let hint = "not begun: CALL immutable.checkpoint() once begins the tree, and fixes the log's name";
                return self.did.push((name, string(hint)));
            }
            Ok(true) => {}
        }
        let (begun, mut making) = (transaction::now(), Making::new());
        loop {
            if transaction::now() - begun > MOST_MICROS {
                making.hurry();
            }
            match self.part(|| try_lock_tree_to_record().then(|| making.part())) {
                Err(refused) => return self.fail(name, &refused),
                Ok(None) => return self.skip(name),
                Ok(Some(None)) => {}
                Ok(Some(Some(Ok(_)))) => break,
                // What was written before it was held is committed.
                Ok(Some(Some(Err(held)))) => match self.part(|| held.raise()) {
                    Ok(()) => break,
                    Err(refused) => return self.fail(name, &refused),
                },
            }
        }
        match self.part(|| View::Now.head()) {
            Ok(Some(Ok(head))) => self.did.push((name, format!("{{\"size\":{}}}", head.size))),
            Ok(_) => self.did.push((name, "null".to_string())),
            Err(refused) => self.fail(name, &refused),
        }
    }

    /// Calls a step until it has no more to do or its time is up.
    fn step(&mut self, number: u32, step: &Step) {
        let (begun, mut did) = (transaction::now(), None);
        loop {
            let lock = || ObjectLock { relation: named(c"maintenance_position"), object: number, part: 0 };
            match self.part(|| lock().acquire(false).then(step.run)) {
                Err(refused) => return self.fail(step.name, &refused),
                Ok(None) => return self.skip(step.name),
                Ok(Some(done)) => {
                    did = both(did, done.did);
                    if !done.has_more || transaction::now() - begun > MOST_MICROS {
                        break;
                    }
                }
            }
        }
        self.did.push((step.name, did.unwrap_or_else(|| "null".to_string())));
    }

    /// Moves older events into segments where that is due, and merges and drops segments. One segment may take longer than
    /// the time of a step. It comes last, so that the other steps of the call do not wait for it.
    fn seal(&mut self) {
        let (begun, mut did) = (transaction::now(), Did::default());
        let mut refused = None;
        {
            let sealing = Sealing { parts: &*self, wanted: Wanted::Due, waits: false };
            loop {
                match sealing.one(&mut did) {
                    Ok(true) if transaction::now() - begun <= MOST_MICROS => {}
                    Ok(_) => break,
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
            if let Err(error) = sealing.drop_emptied(&mut did) {
                refused = Some(error);
            }
        }
        let name = "segments";
        match refused {
            Some(refused) if seal::is_wait(&refused) => {
                self.did.push((name, object(&[("waits", string(&refused.message)), ("did", did.json())])));
            }
            Some(refused) => self.fail(name, &refused),
            None => self.did.push((name, if did.is_something() { did.json() } else { "null".to_string() })),
        }
    }

    /// Says that another session does the step.
    fn skip(&mut self, name: &'static str) {
        self.did.push((name, "\"skipped: another session does it\"".to_string()));
    }
}

/// Whether an error ends the whole call: somebody wants it to end.
fn ends(code: Code) -> bool {
    use Code::{ERRCODE_ADMIN_SHUTDOWN, ERRCODE_CRASH_SHUTDOWN, ERRCODE_DATABASE_DROPPED, ERRCODE_QUERY_CANCELED};
    matches!(code, ERRCODE_QUERY_CANCELED | ERRCODE_ADMIN_SHUTDOWN | ERRCODE_CRASH_SHUTDOWN | ERRCODE_DATABASE_DROPPED)
}

/// A JSON object of names and JSON.
fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A text as JSON.
fn string(text: &str) -> String {
    let mut json = String::new();
    write_string(text, &mut json);
    json
}

fn forget_revocations() -> Done {
    let count = revocation::forget();
    Done { did: (count > 0).then(|| count.to_string()), has_more: false }
}
