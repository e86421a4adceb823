//! `[tls]`: certificates and keys of listeners with TLS, and whom we trust.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;

/// `[tls]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Our certificate, and those between it and the authority, in PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    pub key: Option<PathBuf>,
    /// Whom certificates of trunks that connect to us are checked against, in PEM; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whom certificates of gateways that we connect to are checked against, in PEM; without it the system's authorities.
    pub gateway_ca: Option<PathBuf>,
    /// What we show gateways; without it our own certificate.
    pub client_certificate: Option<PathBuf>,
    /// The private key of `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// How often the files are looked at for changes.
    pub check: Duration,
}

impl Tls {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Tls::default();
        let tls = Tls {
            certificate: section.optional("certificate"),
            key: section.optional("key"),
            client_ca: section.optional("client_ca"),
            gateway_ca: section.optional("gateway_ca"),
            client_certificate: section.optional("client_certificate"),
            client_key: section.optional("client_key"),
            min_version: section.parsed("min_version", default.min_version),
            check: section.seconds("check_s", default.check, 1..=86_400),
        };
        let pairs = [
            (("certificate", &tls.certificate), ("key", &tls.key)),
            (("client_certificate", &tls.client_certificate), ("client_key", &tls.client_key)),
        ];
        for ((certificate, its_file), (key, key_file)) in pairs {
            match (its_file, key_file) {
                (Some(_), None) => section.refuse(certificate, format!("needs its private key: set {key}")),
                (None, Some(_)) => section.refuse(key, format!("needs its certificate: set {certificate}")),
                _ => {}
            }
        }
        tls
    }
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            certificate: None,
            key: None,
            client_ca: None,
            gateway_ca: None,
            client_certificate: None,
            client_key: None,
            min_version: TlsVersion::V1_2,
            check: Duration::from_secs(60),
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        })
    }
}

/// No version of TLS that we speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown TLS version {0:?}: expected \"1.2\" or \"1.3\"")]
pub struct UnknownTlsVersion(String);

impl FromStr for TlsVersion {
    type Err = UnknownTlsVersion;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "1.2" => Ok(TlsVersion::V1_2),
            "1.3" => Ok(TlsVersion::V1_3),
            other => Err(UnknownTlsVersion(other.to_owned())),
        }
    }
}
