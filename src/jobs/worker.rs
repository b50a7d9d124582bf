//! The background worker: run_maintenance() without a scheduler. A process that is in no database
//! starts another one for each database in turn. That one connects, calls the procedure and ends, so
//! that no connection is held in between.

use crate::pg::error::{Code, Fault};
use crate::pg::server;
use crate::pg::worker::{self, background_worker, Started};
use crate::settings;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::time::{Duration, Instant};

background_worker!(maintenance_launcher, launch);
background_worker!(maintenance_worker, work);

/// The role that calls the procedure.
const ROLE: &CStr = c"immutable_maintainer";

/// After how long a database that cannot be maintained is named in the server's log again.
const NAMED_EACH: Duration = Duration::from_secs(3600);

/// The longest that a database waits whose last run crashed the server.
const LONGEST_WAIT: u64 = 3600;

/// What a worker is told before the name of its database: whether to say that there is nothing to do.
const SAY: u8 = b'+';
const SAY_NOT: u8 = b'-';

/// Called once, when the library is loaded.
pub fn register() {
    worker::register("immutable maintenance launcher", c"maintenance_launcher");
}

/// The databases of the setting.
fn databases() -> Vec<String> {
    let list = settings::WORKER_DATABASES.get().map(|list| list.to_string_lossy().into_owned()).unwrap_or_default();
    let mut databases: Vec<String> = Vec::new();
    for name in list.split(',').map(str::trim) {
        if !name.is_empty() && !databases.iter().any(|known| known == name) {
            databases.push(name.to_string());
        }
    }
    databases
}

fn interval() -> Duration {
    Duration::from_secs(settings::WORKER_INTERVAL.get().max(1) as u64)
}

/// The process that is always there.
fn launch() {
    worker::connect_to_none();
    let mut launcher = Launcher { named: HashMap::new(), waits: Unfinished::read().waits() };
    // A run that crashes the server does so once in an interval at most: nothing runs at once.
    let mut begun = Instant::now();
    loop {
        worker::sleep_until(|| begun + interval());
        begun = Instant::now();
        for database in databases() {
            launcher.run(&database);
        }
    }
}

/// What the launcher remembers of databases.
struct Launcher {
    /// When a database was named in the server's log that cannot be maintained, or may be one.
    named: HashMap<String, Instant>,
    /// Databases whose last run did not end: how often, and until when they wait.
    waits: HashMap<String, (u32, Instant)>,
}

impl Launcher {
    /// Runs maintenance in a database, and waits for its end.
    fn run(&mut self, database: &str) {
        let unfinished = self.waits.get(database).copied();
        if unfinished.is_some_and(|(_, until)| Instant::now() < until) {
            return;
        }
        let says = self.named.get(database).is_none_or(|at| at.elapsed() > NAMED_EACH);
        if says {
            self.named.insert(database.to_string(), Instant::now());
        }
        let Ok(name) = CString::new(database) else { return };
        if !worker::has_database(&name) {
            if says {
                say(&format!("database \"{database}\" of immutable.worker_databases does not exist"));
            }
            return;
        }
        let given = [&[if says { SAY } else { SAY_NOT }], database.as_bytes()].concat();
        let Ok(given) = CString::new(given) else { return };
        Unfinished { database: database.to_string(), times: unfinished.map_or(1, |(times, _)| times + 1) }.write();
        let started = worker::start(&format!("immutable maintenance of {database}"), c"maintenance_worker", &given);
        if started.is_none() && says {
            say("no background worker is free for maintenance: raise max_worker_processes");
        }
        if !started.is_none_or(Started::wait) {
            // Nobody knows whether the run has ended where the server has.
            return;
        }
        Unfinished::forget();
        self.waits.remove(database);
    }
}

fn say(what: &str) {
    Fault::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, format!("immutable: {what}")).log();
}

/// The run that is at work, in a file: if the server crashes, the launcher is started anew and finds it.
/// PostgreSQL does not start by itself again what has crashed it, but this launcher would.
struct Unfinished {
    database: String,
    times: u32,
}

impl Unfinished {
    fn file() -> PathBuf {
        server::data_directory().join("pg_stat/immutable_maintenance")
    }

    /// An error is no reason not to run.
    fn write(&self) {
        let _ = std::fs::write(Self::file(), format!("{} {}", self.times, self.database));
    }

    fn forget() {
        let _ = std::fs::remove_file(Self::file());
    }

    fn read() -> Option<Unfinished> {
        let text = std::fs::read_to_string(Self::file()).ok()?;
        let (times, database) = text.split_once(' ')?;
        Some(Unfinished { database: database.to_string(), times: times.parse().ok()? })
    }
}

/// What the file says about a database that is to wait.
trait Waits {
    fn waits(self) -> HashMap<String, (u32, Instant)>;
}

impl Waits for Option<Unfinished> {
    fn waits(self) -> HashMap<String, (u32, Instant)> {
        let Some(Unfinished { database, times }) = self else { return HashMap::new() };
        let seconds = interval().as_secs().saturating_mul(1 << times.min(12)).min(LONGEST_WAIT);
        say(&format!(
            "the last maintenance of database \"{database}\" did not end: the next begins in {seconds} seconds"
        ));
        HashMap::from([(database, (times, Instant::now() + Duration::from_secs(seconds)))])
    }
}

/// The process that runs maintenance in one database.
fn work() {
    let given = worker::given();
    let Some((says, database)) = given.to_bytes().split_first() else { return };
    let Ok(database) = CString::new(database) else { return };
    worker::connect(&database);
    let why = match worker::extension_version(c"immutable") {
        None => "it does not have the extension".to_string(),
        Some(version) if version != env!("CARGO_PKG_VERSION") => {
            format!("the extension has version {version}, and the library {}", env!("CARGO_PKG_VERSION"))
        }
        Some(_) if !worker::become_role(ROLE) => "there is no role immutable_maintainer".to_string(),
        Some(_) => {
            // What the database or the role has as a default must not keep the procedure from running.
            worker::command(c"SET default_transaction_isolation = 'read committed'");
            worker::command(c"SET default_transaction_read_only = off");
            return worker::command(c"CALL immutable.run_maintenance()");
        }
    };
    if *says == SAY {
        say(&format!("database \"{}\" is not maintained: {why}", database.to_string_lossy()));
    }
}
