//! What all handlers share.

use crate::database::pool::Database;
use crate::http::rates::Rates;
use crate::http::room::room;
use crate::options::Options;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) options: Arc<Options>,
    pub(crate) database: Database,
    /// How many requests each key has made in this minute.
    pub(crate) rates: Arc<Rates>,
    /// The room for large bodies.
    pub(crate) bodies: Arc<Semaphore>,
    stopping: Arc<AtomicBool>,
}

impl App {
    /// What the options say.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn new(options: Options) -> Result<App, String> {
        let database = Database::new("--database", &options.log.database, options.log.connections)?;
        let rates = Arc::new(Rates::new(options.http.rate_limit));
        let bodies = room(options.http.max_body);
        Ok(App { options: Arc::new(options), database, rates, bodies, stopping: Arc::default() })
    }

    /// From now on the program is not ready for more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the program was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
