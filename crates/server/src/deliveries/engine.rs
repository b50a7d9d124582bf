//! Looks for streams that have something to deliver, and runs a task for each. Several programs can do
//! so at once: a lease in the log gives each stream to one of them.

use super::backoff::Backoff;
use super::directories::Directories;
use super::figures::Figures;
use super::queue::{Due, Queue};
use super::worker::Workers;
use crate::database::pool::Database;
use crate::options::Features;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How often the log is asked, and how often while it does not answer.
const EACH: Duration = Duration::from_millis(250);
const EACH_FAILED: Duration = Duration::from_secs(2);

/// How long a stop waits for calls that have begun.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Deliveries that run until they are stopped.
pub(crate) struct Engine {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Engine {
    /// Begins to deliver, if the options say where from.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn start(options: &Features) -> Result<Option<Engine>, String> {
        let Some(address) = &options.delivery_database else { return Ok(None) };
        let database = Database::new("--delivery-database", address, options.delivery_connections)?;
        let lease = Duration::from_secs(u64::from(options.delivery_lease));
        let (stop, stopped) = watch::channel(false);
        let workers = Arc::new(Workers {
            queue: Queue::new(database, lease),
            directories: Directories { secrets: options.secrets_dir.clone(), files: options.files_dir.clone() },
            backoff: Backoff(options.delivery_retry.iter().copied().map(Duration::from_secs_f64).collect()),
            lease,
            figures: Figures::new()?,
            stop: stopped.clone(),
            destinations: Mutex::new(HashMap::new()),
        });
        Ok(Some(Engine { stop, running: tokio::spawn(run(workers, stopped)) }))
    }

    /// Ends the deliveries: calls that have begun are finished and settled.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(ENDS_WITHIN, self.running).await.is_err() {
            tracing::warn!(target: "deliveries", "a receiver did not answer; what was sent is sent again");
        }
    }
}

async fn run(workers: Arc<Workers>, mut stopped: watch::Receiver<bool>) {
    let (mut tasks, mut running) = (JoinSet::new(), HashSet::new());
    let (mut state, mut pause) = (String::new(), Duration::ZERO);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(ended) = tasks.join_next() => {
                match ended {
                    Ok(stream) => { running.remove(&stream); }
                    // A task that panicked does not say which it was. Leases keep streams from being delivered twice.
                    Err(_) => running.clear(),
                }
                continue;
            }
            () = tokio::time::sleep(pause) => {}
        }
        pause = EACH;
        match workers.queue.due().await {
            Ok(due) => {
                tell(&mut state, &due.state);
                workers.figures.show(&due.streams);
                forget(&workers, &due);
                for stream in due.streams.into_iter().filter(|stream| stream.due) {
                    if running.insert(stream.id.clone()) {
                        let workers = workers.clone();
                        tasks.spawn(async move {
                            workers.work(&stream.id).await;
                            stream.id
                        });
                    }
                }
            }
            Err(reason) => {
                tell(&mut state, &reason);
                pause = EACH_FAILED;
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Says once what changed.
fn tell(state: &mut String, now: &str) {
    if state != now {
        now.clone_into(state);
        match now {
            "active" => tracing::info!(target: "deliveries", "delivers"),
            "paused" => tracing::warn!(
                target: "deliveries",
                "nothing is delivered: the log was restored, promoted or copied. SELECT immutable.resume_maintenance() goes on"
            ),
            "standby" | "copy" => tracing::warn!(target: "deliveries", state, "nothing is delivered from here"),
            reason => tracing::error!(target: "deliveries", reason, "the log cannot be asked"),
        }
    }
}

/// Forgets the destinations of streams that are gone.
fn forget(workers: &Workers, due: &Due) {
    if let Ok(mut kept) = workers.destinations.lock() {
        kept.retain(|id, _| due.streams.iter().any(|stream| stream.id == *id));
    }
}
