//! PEM files to what rustls wants.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// A certificate with those between it and the authority, and its private key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(super) fn read(
        (certificate_key, certificate): (&'static str, &Path),
        (key_key, key): (&'static str, &Path),
    ) -> Result<Identity, TlsError> {
        let chain = certificates(certificate_key, certificate)?;
        let bytes = read(key_key, key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| match source {
            pem::Error::NoItemsFound => {
                TlsError::Empty { key: key_key, path: key.to_owned(), wanted: "private key" }
            }
            source => TlsError::Pem { key: key_key, path: key.to_owned(), source },
        })?;
        Ok(Identity { chain, key })
    }
}

/// The authorities in a file.
pub(super) fn authorities(key: &'static str, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority {
            key,
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(Arc::new(roots))
}

/// The system's authorities; those that cannot be used are passed over, as every other program does.
pub(super) fn system_authorities() -> Arc<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate authority of the system is passed over");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { key, path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { key, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
}
