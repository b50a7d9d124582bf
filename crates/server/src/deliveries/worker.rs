//! Delivers one stream, until there is nothing left to deliver.

use super::backoff::Backoff;
use super::destinations::destination::Destination;
use super::destinations::send::send;
use super::directories::Directories;
use super::figures::Figures;
use super::formats::format::Format;
use super::item::Item;
use super::outcome::{Outcome, Sent};
use super::queue::{Queue, Settlement, Taken};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The most items that are taken at once.
const MOST: i32 = 500;

/// Events are delivered as they were when they were taken. After this time they are read anew, so that
/// what was erased meanwhile is not sent.
const FRESH: Duration = Duration::from_secs(5);

/// How many items one call gets at first, and how long a call should take: so much is repeated at most
/// after a crash.
const FIRST: usize = 16;
const QUICK: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(1);

type Parsed = (String, Arc<(Destination, Format)>);

/// What the tasks of all streams share.
pub(crate) struct Workers {
    pub(crate) queue: Queue,
    pub(crate) directories: Directories,
    pub(crate) backoff: Backoff,
    pub(crate) lease: Duration,
    pub(crate) figures: Figures,
    /// True once the program stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Destinations keep their connections.
    pub(crate) destinations: Mutex<HashMap<String, Parsed>>,
}

impl Workers {
    /// Delivers a stream as long as there is something to deliver.
    pub(crate) async fn work(&self, stream: &str) {
        while !*self.stop.borrow() {
            match self.queue.take(stream, MOST).await {
                Ok(None) => return,
                Ok(Some(taken)) => self.deliver(taken).await,
                Err(reason) => {
                    tracing::warn!(target: "deliveries", stream, reason, "nothing could be taken");
                    return;
                }
            }
        }
    }

    /// Where a stream goes.
    fn destination(&self, taken: &Taken) -> Result<Arc<(Destination, Format)>, String> {
        let key = taken.stream.key();
        let mut kept = self.destinations.lock().map_err(|error| error.to_string())?;
        if let Some((_, known)) = kept.get(&taken.stream.id).filter(|(known, _)| *known == key) {
            return Ok(known.clone());
        }
        let parsed = Arc::new(taken.stream.parse()?);
        kept.insert(taken.stream.id.clone(), (key, parsed.clone()));
        Ok(parsed)
    }

    async fn deliver(&self, mut taken: Taken) {
        let items = taken.items();
        let destination = match self.destination(&taken) {
            Ok(destination) => destination,
            Err(reason) => return self.fail(&taken, 0, &reason, None).await,
        };
        let (began, mut at, mut most) = (Instant::now(), 0, FIRST);
        while at < items.len() {
            if *self.stop.borrow() || began.elapsed() > FRESH {
                self.settle(&taken, &Settlement::released()).await;
                return;
            }
            let (called, end) = (Instant::now(), items.len().min(at + most));
            let Some(sent) = self.send(&taken, &destination, &items[at..end]).await else { return };
            let (delivered, took) = (sent.delivered, called.elapsed());
            self.figures.delivered(&taken.stream.name, delivered);
            let (goes_on, passed) = match sent.outcome {
                Outcome::Delivered if delivered == 0 => {
                    return self.fail(&taken, 0, "The destination took nothing.", None).await;
                }
                Outcome::Delivered => (self.settle(&taken, &Settlement::delivered(delivered)).await, delivered),
                Outcome::Retry { reason, after } => return self.fail(&taken, delivered, &reason, after).await,
                Outcome::Refused { reason } => (self.refuse(&taken, delivered, &reason).await, delivered + 1),
                Outcome::SwitchedOff { reason } => return self.switch_off(&taken, delivered, &reason).await,
            };
            if !goes_on {
                return;
            }
            at += passed;
            if took < QUICK {
                most *= 2;
            } else if took > SLOW {
                most = most.div_ceil(2);
            }
        }
    }

    /// Sends items while the lease is held. None if it was lost: somebody else delivers them.
    async fn send(&self, taken: &Taken, destination: &(Destination, Format), items: &[Item]) -> Option<Sent> {
        let mut sending = std::pin::pin!(send(&destination.0, destination.1, items, &self.directories));
        loop {
            tokio::select! {
                sent = &mut sending => return Some(sent),
                () = tokio::time::sleep(self.lease / 3) => {
                    if !self.settle(taken, &Settlement::delivered(0)).await {
                        tracing::warn!(target: "deliveries", stream = taken.stream.name, "the lease was lost");
                        return None;
                    }
                }
            }
        }
    }

    /// Says what became of items; whether some are left under the lease. It is tried as long as the lease
    /// lasts, because what is not settled is delivered again.
    async fn settle(&self, taken: &Taken, settlement: &Settlement<'_>) -> bool {
        let began = Instant::now();
        loop {
            match self.queue.settle(taken, settlement).await {
                Ok(is_left) => return is_left,
                Err(reason) if began.elapsed() < self.lease && !*self.stop.borrow() => {
                    tracing::warn!(target: "deliveries", stream = taken.stream.name, reason, "not settled, tries again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(reason) => {
                    tracing::error!(target: "deliveries", stream = taken.stream.name, reason, "not settled");
                    return false;
                }
            }
        }
    }

    /// The next item failed, and is tried again later.
    async fn fail(&self, taken: &Taken, delivered: usize, reason: &str, after: Option<Duration>) {
        self.figures.failed(&taken.stream.name);
        let failures = if delivered > 0 { 0 } else { taken.failures };
        let after = after.unwrap_or_else(|| self.backoff.pause(failures));
        tracing::warn!(target: "deliveries", stream = taken.stream.name, reason, again_in = after.as_secs(), "failed");
        let settlement = Settlement { outcome: "retry", delivered, reason: Some(reason), after: Some(after) };
        self.settle(taken, &settlement).await;
    }

    /// The receiver will never take the next item. Where it takes none at all, that is a failure.
    async fn refuse(&self, taken: &Taken, delivered: usize, reason: &str) -> bool {
        self.figures.refused(&taken.stream.name);
        tracing::warn!(target: "deliveries", stream = taken.stream.name, reason, "refused");
        let after = Some(self.backoff.pause(taken.failures));
        self.settle(taken, &Settlement { outcome: "refused", delivered, reason: Some(reason), after }).await
    }

    /// The receiver wants nothing more.
    async fn switch_off(&self, taken: &Taken, delivered: usize, reason: &str) {
        tracing::warn!(target: "deliveries", stream = taken.stream.name, reason, "switched off");
        let settlement = Settlement { outcome: "off", delivered, reason: Some(reason), after: None };
        self.settle(taken, &settlement).await;
    }
}
