//! The certificate that clients see, if no proxy in front speaks TLS.

use crate::options::Listening;
use rustls::crypto::ring;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// What encrypts the clients' connections. The files are read anew when the operator says so.
pub(crate) struct Certificate {
    listening: Listening,
    acceptor: RwLock<Option<TlsAcceptor>>,
}

impl Certificate {
    /// Reads the files that the options name; without them nothing is encrypted.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn new(listening: &Listening) -> Result<Certificate, String> {
        let acceptor = RwLock::new(read(listening)?);
        Ok(Certificate { listening: listening.clone(), acceptor })
    }

    /// What encrypts the next connection.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files anew. If they cannot be used, those that were read before go on.
    pub(crate) fn renew(&self) {
        match read(&self.listening) {
            Ok(acceptor) => {
                *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!("read the certificate anew");
            }
            Err(reason) => tracing::error!(reason, "the certificate cannot be read anew"),
        }
    }
}

fn read(listening: &Listening) -> Result<Option<TlsAcceptor>, String> {
    let (Some(chain), Some(key)) = (&listening.tls_cert, &listening.tls_key) else { return Ok(None) };
    let certificates: Vec<CertificateDer> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| format!("--tls-cert {}: {error}", chain.display()))?;
    let key_of = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("--tls-key {}: {error}", key.display()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, key_of)
        .map_err(|error| format!("--tls-cert and --tls-key: {error}"))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
