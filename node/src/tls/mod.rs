//! TLS 1.2 and 1.3 under SIP: our certificates and those whom we trust, read again while connections stay up.
//!
//! | file | what it does |
//! | --- | --- |
//! | `files` | PEM files to certificates, keys and authorities |
//! | `settings` | rustls's settings for both ends, made from the files |
//! | `identity` | the names that a certificate vouches for (RFC 5922) |
//! | `watch` | when the files are read again |

mod error;
mod files;
mod identity;
mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use self::error::TlsError;
pub use self::watch::watch;

pub(crate) use self::identity::{is_valid_for, names_of, server_name};

use self::settings::Loaded;
use crate::config;

/// The certificates of a process. Clones share them, and what a reload changes is changed for all.
#[derive(Clone)]
pub struct Tls {
    config: Arc<config::Tls>,
    loaded: Arc<ArcSwap<Loaded>>,
}

impl Tls {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read or used.
    pub fn load(config: &config::Tls) -> Result<Tls, TlsError> {
        let loaded = Loaded::read(config)?;
        Ok(Tls { config: Arc::new(config.clone()), loaded: Arc::new(ArcSwap::from_pointee(loaded)) })
    }

    /// Reads the files again. Connections that are up keep what they began with.
    ///
    /// # Errors
    ///
    /// As [`load`](Tls::load); then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(Loaded::read(&self.config)?));
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Whose certificate is expected at an address that we connect to.
pub trait ServerNames: Send + Sync {
    /// Host names or addresses; a certificate must be valid for every one. Empty where nobody knows: then it must be valid for the address.
    fn names(&self, remote: SocketAddr) -> Vec<String>;
}

/// TLS as one role uses it.
#[derive(Clone)]
pub struct RoleTls {
    tls: Tls,
    asks_clients: bool,
    names: Option<Arc<dyn ServerNames>>,
}

impl RoleTls {
    /// A role that asks nobody for a certificate, and connects to servers by their addresses.
    pub fn new(tls: Tls) -> Self {
        RoleTls { tls, asks_clients: false, names: None }
    }

    /// Clients are asked for a certificate, when there are authorities to check it against. One that they show must be good; they
    /// need not show one.
    #[must_use]
    pub fn asking_clients(self) -> Self {
        RoleTls { asks_clients: true, ..self }
    }

    /// Servers are expected to have the names that `names` knows.
    #[must_use]
    pub fn expecting(self, names: Arc<dyn ServerNames>) -> Self {
        RoleTls { names: Some(names), ..self }
    }

    /// For one handshake with a client; `None` without a certificate of our own.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.loaded.load().server(self.asks_clients).map(TlsAcceptor::from)
    }

    /// For one handshake with a server.
    ///
    /// # Errors
    ///
    /// When there is no authority to check it against.
    pub(crate) fn connector(&self) -> Result<TlsConnector, Arc<TlsError>> {
        self.tls.loaded.load().client().map(TlsConnector::from)
    }

    /// The names that a server's certificate must be valid for; never empty.
    pub(crate) fn names_at(&self, remote: SocketAddr) -> Vec<String> {
        let names = self.names.as_ref().map(|names| names.names(remote)).unwrap_or_default();
        if names.is_empty() { vec![remote.ip().to_string()] } else { names }
    }
}

impl fmt::Debug for RoleTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleTls")
            .field("tls", &self.tls)
            .field("asks_clients", &self.asks_clients)
            .finish_non_exhaustive()
    }
}
