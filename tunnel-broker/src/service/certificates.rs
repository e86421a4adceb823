//! The certificates of DTCP inside TLS, which may change while the broker runs.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};

use super::settings::TlsSettings;

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read as PEM.
    #[error("[tunnel_broker] {key}: {}: {reason}", path.display())]
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key is of a kind that is not served, or does not fit the certificate.
    #[error("[tunnel_broker] tls_key: {}: {source}", path.display())]
    Key {
        /// The file of the key.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificate chain and key in use.
#[derive(Debug)]
pub(super) struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads the files.
    pub(super) fn load(settings: &TlsSettings) -> Result<Arc<Certificates>, CertificateError> {
        let current = read(&settings.certificate, &settings.key)?;
        Ok(Arc::new(Certificates {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            current: RwLock::new(Arc::new(current)),
        }))
    }

    /// What handshakes are done with.
    pub(super) fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        // An IAD connects once in months: what was kept for its return would only take memory.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Reads the files again whenever they have changed, for as long as it is polled.
    pub(super) async fn follow_files(&self) -> Infallible {
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = (stamp(&self.certificate), stamp(&self.key));
        loop {
            every.tick().await;
            let now = (stamp(&self.certificate), stamp(&self.key));
            if now != seen {
                // The files are replaced one after the other: when they do not fit yet, the next change is waited for.
                seen = now;
                self.reload();
            }
        }
    }

    /// Reads the files; keeps what there is when they cannot be used.
    pub(super) fn reload(&self) {
        match read(&self.certificate, &self.key) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!(file = %self.certificate.display(), "new TLS certificates are in use");
            }
            Err(error) => {
                tracing::warn!(%error, "the TLS certificates have changed and cannot be used: the old ones stay")
            }
        }
    }
}

#[cfg(test)]
impl Certificates {
    /// The chain in use.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.read().unwrap().cert.clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |name, path: &Path, reason: String| CertificateError::Unreadable {
        key: name,
        path: path.to_owned(),
        reason,
    };
    let told = |error: PemError| match error {
        PemError::NoItemsFound => "holds none in PEM".to_owned(),
        error => error.to_string(),
    };
    let chain =
        CertificateDer::pem_file_iter(certificate).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|error| unreadable("tls_certificate", certificate, told(error)))?;
    if chain.is_empty() {
        return Err(unreadable("tls_certificate", certificate, told(PemError::NoItemsFound)));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("tls_key", key, told(error)))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|source| CertificateError::Key { path: key.to_owned(), source })
}

/// What changes when a file does.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);
