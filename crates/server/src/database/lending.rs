//! Lends connections. A connection whose state is not known is never lent again.

use super::failure;
use super::pool::Database;
use crate::http::problem::Problem;
use deadpool_postgres::{Object, PoolError, Timeouts};
use std::ops::Deref;
use std::time::Duration;
use tokio::time::{sleep, timeout, Instant};

/// How long a call waits for a server that is starting, or that has too many connections.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A connection while it is lent. It returns to the pool if it was said to be fit for others, and is closed if not.
pub(crate) struct Lent {
    object: Option<Object>,
    is_fit: bool,
    database: Database,
}

impl Database {
    /// Lends a connection.
    ///
    /// # Errors
    /// 503 if there is none until then.
    pub(crate) async fn lend(&self, until: Instant) -> Result<Lent, Problem> {
        let give_up = until.min(Instant::now() + PATIENCE);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeouts = Timeouts { wait: Some(left), create: Some(left), recycle: None };
            match self.pool.timeout_get(&timeouts).await {
                Ok(object) => return Ok(Lent { object: Some(object), is_fit: false, database: self.clone() }),
                Err(error) if is_passing(&error) && Instant::now() < give_up => sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(failure::of_pool(&error)),
            }
        }
    }
}

/// Whether a moment later there may be a connection: another call may return one, or the server may have started.
fn is_passing(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    match error.code() {
        Some(code) => matches!(code.code(), "53300" | "57P03"),
        None => true,
    }
}

impl Lent {
    /// The connection is as it was when it was lent, and may be lent again.
    pub(crate) fn give_back(mut self) {
        self.is_fit = true;
    }

    /// Cancels what the connection runs, if the server can still be told.
    pub(crate) async fn cancel(&self) {
        let _ = timeout(Duration::from_millis(500), self.database.cancel(&self.cancel_token())).await;
    }
}

impl Deref for Lent {
    type Target = Object;

    fn deref(&self) -> &Object {
        // It is taken in drop() alone.
        self.object.as_ref().expect("a lent connection")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.object.take().filter(|_| !self.is_fit) {
            drop(Object::take(object));
        }
    }
}
