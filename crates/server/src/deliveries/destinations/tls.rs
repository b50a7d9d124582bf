//! TLS towards receivers.

use crate::deliveries::directories::Directories;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Trusts the authorities in the file `authority` below --secrets-dir and no others, or those of the system.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn config(authority: Option<&str>, directories: &Directories) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(name) => {
            let text = directories.secret(name)?;
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
                added.ok_or_else(|| format!("The file \"{name}\" has a certificate that cannot be read."))?;
            }
            if roots.is_empty() {
                return Err(format!("The file \"{name}\" has no certificate in PEM form."));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
