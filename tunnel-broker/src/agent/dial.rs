//! The way to the broker: name, TCP, TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::settings::{Broker, Trust};

/// Bytes both ways, in clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the broker.
pub(super) struct Line {
    pub(super) stream: Box<dyn Stream>,
    /// Our own address on it.
    pub(super) local: Ipv4Addr,
    /// The broker's.
    pub(super) remote: SocketAddrV4,
}

/// Why there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name cannot be resolved.
    #[error("the broker's name {host} cannot be resolved: {source}")]
    Name {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The name has no IPv4 address.
    #[error("the broker's name {host} has no IPv4 address")]
    NoIpv4 {
        /// The name.
        host: String,
    },
    /// Nothing at all answers.
    #[error("{address} does not answer: {source}")]
    Tcp {
        /// The broker's address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The other end speaks no TLS, or does not prove that it is the broker.
    #[error("{address} does not prove that it is {host}: {source}")]
    Tls {
        /// The broker's address.
        address: SocketAddr,
        /// Its name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The certificates of the authorities cannot be read.
    #[error("no certificates of authorities in {}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The name cannot stand in a certificate.
    #[error("{0} cannot stand in a certificate: give the broker's name as in its certificate")]
    ServerName(String),
}

impl DialError {
    /// What to do about it, for an installer.
    pub fn remedy(&self) -> &'static str {
        match self {
            DialError::Name { .. } => {
                "check the name letter by letter and that this box has a working DNS server (/etc/resolv.conf); with an IP address in place of the name you can tell which of the two it is"
            }
            DialError::NoIpv4 { .. } => "ask the operator for the broker's right name: DTCP runs over IPv4",
            DialError::Tcp { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "the machine is there, but no broker listens on that port: check the port (20200, with TLS 20201), then call the operator"
            }
            DialError::Tcp { source, .. } if source.kind() == io::ErrorKind::NetworkUnreachable => {
                "this box has no way into the Internet: check cable, PPPoE login or DHCP"
            }
            DialError::Tcp { .. } => {
                "check that this box reaches the Internet at all, and that no firewall holds back TCP to the broker's port (20200, with TLS 20201)"
            }
            DialError::Tls { .. } => {
                "check that the port is the one for TLS (20201), that --ca names the operator's certificate, and that this box's clock is right (`date`)"
            }
            DialError::Authorities { .. } => {
                "give the operator's certificate with --ca FILE (PEM), or install the package ca-certificates"
            }
            DialError::ServerName(_) => "give the broker's name as the operator told it",
        }
    }
}

/// Connects to the broker: each of its IPv4 addresses in turn.
pub(super) async fn dial(broker: &Broker) -> Result<Line, DialError> {
    let tls = broker.tls.as_ref().map(tls_config).transpose()?;
    let addresses = resolve(broker).await?;
    let mut failure = None;
    for address in addresses {
        match connect(broker, address, tls.clone()).await {
            Ok(line) => return Ok(line),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(DialError::NoIpv4 { host: broker.host.clone() }))
}

/// The broker's IPv4 addresses.
pub(super) async fn resolve(broker: &Broker) -> Result<Vec<SocketAddrV4>, DialError> {
    let name = |source| DialError::Name { host: broker.host.clone(), source };
    let found = timeout(RESOLVE, tokio::net::lookup_host((broker.host.as_str(), broker.port))).await;
    let found = found.map_err(|_| name(io::ErrorKind::TimedOut.into()))?.map_err(name)?;
    let addresses: Vec<_> = found
        .filter_map(|address| match address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        })
        .take(MAX_ADDRESSES)
        .collect();
    if addresses.is_empty() {
        return Err(DialError::NoIpv4 { host: broker.host.clone() });
    }
    Ok(addresses)
}

async fn connect(
    broker: &Broker,
    remote: SocketAddrV4,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Line, DialError> {
    let address = SocketAddr::V4(remote);
    let failed = |source| DialError::Tcp { address, source };
    let stream = timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    let IpAddr::V4(local) = stream.local_addr().map_err(failed)?.ip() else {
        return Err(failed(io::ErrorKind::AddrNotAvailable.into()));
    };
    // Words that the far end never acknowledges shall not keep a dead session alive.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let _ = stream.set_nodelay(true);
    let Some(config) = tls else { return Ok(Line { stream: Box::new(stream), local, remote }) };
    let name = ServerName::try_from(broker.host.clone());
    let name = name.map_err(|_| DialError::ServerName(broker.host.clone()))?;
    let failed = |source| DialError::Tls { address, host: broker.host.clone(), source };
    let stream = timeout(CONNECT, TlsConnector::from(config).connect(name, stream)).await;
    let stream = stream.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    Ok(Line { stream: Box::new(stream), local, remote })
}

fn tls_config(trust: &Trust) -> Result<Arc<ClientConfig>, DialError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::File(path) => add_authorities(&mut roots, path)?,
        Trust::System => {
            let bundle = BUNDLES.into_iter().map(Path::new).find(|path| path.exists());
            add_authorities(&mut roots, bundle.unwrap_or(Path::new(BUNDLES[0])))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::Authorities { path: PathBuf::new(), reason: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), DialError> {
    let unreadable = |reason: String| DialError::Authorities { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    // The system's bundle may hold one that is not understood; a file with none at all is a mistake.
    let certificates = certificates.filter_map(Result::ok);
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(unreadable("it holds no certificate in PEM".into())) } else { Ok(()) }
}

const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
const MAX_ADDRESSES: usize = 8;
/// Where systems keep the authorities that they trust: Debian and OpenWrt, Red Hat, Alpine.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
