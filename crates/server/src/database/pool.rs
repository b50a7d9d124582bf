//! The pool of connections.

use super::connect::Connector;
use deadpool_postgres::{Pool, Runtime};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_postgres::CancelToken;

/// The log, behind a pool of connections.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
    /// Downloads take a connection for as long as their client reads: so they may have some of them alone.
    pub(crate) downloads: Arc<Semaphore>,
    connector: Arc<Connector>,
}

impl Database {
    /// A pool that connects when it is asked for the first connection.
    ///
    /// # Errors
    /// A sentence for the operator, if the text is not a way to connect.
    pub(crate) fn new(option: &str, address: &str, connections: u16) -> Result<Database, String> {
        let connector = Connector::new(option, address)?;
        let connections = usize::from(connections);
        let pool = Pool::builder(connector.manager()).max_size(connections).runtime(Runtime::Tokio1).build();
        let downloads = Arc::new(Semaphore::new((connections / 4).max(1)));
        Ok(Database { pool: pool.map_err(|e| e.to_string())?, downloads, connector: Arc::new(connector) })
    }

    /// Asks the server to cancel what a connection runs.
    pub(super) async fn cancel(&self, token: &CancelToken) {
        self.connector.cancel(token).await;
    }
}
