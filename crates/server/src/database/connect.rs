//! Opens connections for a pool, and cancels what they run.

use super::address::Address;
use super::tls;
use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use std::time::Duration;
use tokio_postgres::CancelToken;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections to one server are opened.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) address: Address,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// Reads how to connect; `option` is the flag's name, for errors.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn new(option: &str, text: &str) -> Result<Connector, String> {
        let mut address = Address::parse(text).map_err(|e| format!("{option}: {e}"))?;
        let config = &mut address.config;
        config.connect_timeout(Duration::from_secs(3)).tcp_user_timeout(Duration::from_secs(10));
        if config.get_application_name().is_none() {
            config.application_name("immutable-server");
        }
        if let (None, Some(password)) = (config.get_password(), std::env::var_os("PGPASSWORD")) {
            config.password(password.as_encoded_bytes());
        }
        let tls = tls::connector(&address).map_err(|e| format!("{option}: {e}"))?;
        Ok(Connector { address, tls })
    }

    /// What a pool opens its connections with.
    pub(crate) fn manager(&self) -> Manager {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        Manager::from_config(self.address.config.clone(), self.tls.clone(), config)
    }

    /// Asks the server to cancel what a connection runs.
    pub(crate) async fn cancel(&self, token: &CancelToken) {
        if let Err(error) = token.cancel_query(self.tls.clone()).await {
            tracing::warn!(target: "database", %error, "a statement could not be cancelled");
        }
    }
}
