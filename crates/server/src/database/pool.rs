//! The pool of connections.

use crate::options::Options;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::NoTls;

/// The log, behind a pool of connections.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
}

impl Database {
    /// A pool that connects when it is asked for the first connection.
    ///
    /// # Errors
    /// A sentence for the operator, if the options are not a way to connect.
    pub(crate) fn new(options: &Options) -> Result<Database, String> {
        let mut config = tokio_postgres::Config::from_str(&options.database).map_err(|e| format!("--database: {e}"))?;
        config.application_name("immutable-server").connect_timeout(Duration::from_secs(3));
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .wait_timeout(Some(Duration::from_secs(3)))
            .create_timeout(Some(Duration::from_secs(3)))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Database { pool })
    }
}
