use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: {} cannot be read: {source}", path.display())]
    Read {
        /// The key of `[tls]` that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("{key}: {} is no PEM file: {source}", path.display())]
    Pem {
        /// The key of `[tls]` that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file holds nothing of what it should.
    #[error("{key}: {} holds no {wanted}", path.display())]
    Empty {
        /// The key of `[tls]` that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("{key}: {} cannot be used with its private key: {source}", path.display())]
    Certificate {
        /// The key of `[tls]` that names the certificate.
        key: &'static str,
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// An authority's certificate cannot be used.
    #[error("{key}: {} holds an authority that cannot be used: {source}", path.display())]
    Authority {
        /// The key of `[tls]` that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
    /// There is nobody to check servers against.
    #[error(
        "the system has no certificate authorities: install them (Debian: ca-certificates) or set tls.gateway_ca"
    )]
    NoAuthorities,
}
