//! Certificates of a test, and SIP by hand over TLS.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use node::tls::testing::Authority;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::raw::Stream;
use super::{Raw, Setup};

/// The certificates of one test, in a folder of its own: `node.pem` is the node's.
pub(crate) struct Certificates {
    folder: TempDir,
    authority: Authority,
}

/// Who shows what.
pub(crate) enum Identity {
    Nobody,
    /// A certificate for these names.
    Named(&'static [&'static str]),
    /// One that has expired.
    Expired(&'static [&'static str]),
}

/// Where everybody who connects is met in the same way, as often as they try. Closed when it is dropped.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    is_closed: Arc<AtomicBool>,
    porter: Option<JoinHandle<()>>,
}

impl Door {
    pub(crate) fn open(mut meet: impl FnMut(&TcpListener) + Send + 'static) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_closed) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_closed);
        let porter = std::thread::spawn(move || {
            while !ends.load(Ordering::Acquire) {
                meet(&listener);
            }
        });
        Door { address, is_closed, porter: Some(porter) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Release);
        // It waits for somebody.
        drop(TcpStream::connect(self.address));
        drop(self.porter.take().map(JoinHandle::join));
    }
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let folder = tempfile::Builder::new().prefix("centrex6-certificates-").tempdir().unwrap();
        let authority = Authority::new("Carrier");
        authority.write_own(folder.path(), "ca");
        let certificates = Certificates { folder, authority };
        certificates.issue_to_node();
        certificates
    }

    /// Writes a new certificate for the node over the one that is there.
    pub(crate) fn issue_to_node(&self) {
        self.authority.write(self.path(), "node", &["localhost", "::1", "127.0.0.1"]);
    }

    /// The node's certificate as it stands in its file.
    pub(crate) fn of_node(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path().join("node.pem")).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A setup with the node's certificate, with the carrier's authority for gateways and trunks, and with listeners over TLS.
    pub(crate) fn setup(&self) -> Setup {
        let file = |name: &str| self.path().join(name).display().to_string();
        Setup::new()
            .set("TLS__CERTIFICATE", &file("node.pem"))
            .set("TLS__KEY", &file("node.key"))
            .set("TLS__CLIENT_CA", &file("ca.pem"))
            .set("TLS__GATEWAY_CA", &file("ca.pem"))
            .set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,tls:[::1]:0")
            .set("TRANSLATOR__LISTEN_IPV4", "udp:127.0.0.1:0,tcp:127.0.0.1:0,tls:127.0.0.1:0")
    }

    /// A TLS connection to the node.
    pub(crate) fn connect(&self, server: SocketAddr, identity: &Identity) -> Result<Raw, rustls::Error> {
        Ok(Raw::over(Box::new(self.stream(server, identity)?), "TLS"))
    }

    /// The same as a stream of bytes.
    pub(crate) fn stream(
        &self,
        server: SocketAddr,
        identity: &Identity,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, rustls::Error> {
        let stream = TcpStream::connect(server).unwrap();
        let mut connection =
            ClientConnection::new(self.client(identity), ServerName::from(server.ip())).unwrap();
        let mut tcp = &stream;
        if let Err(error) = connection.complete_io(&mut tcp) {
            return Err(rustls::Error::General(error.to_string()));
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// A connection as a phone makes it: it shows no certificate.
    pub(crate) fn phone(&self, server: SocketAddr) -> Raw {
        self.connect(server, &Identity::Nobody).unwrap()
    }

    /// The certificate that a server shows.
    pub(crate) fn shown_by(&self, server: SocketAddr) -> CertificateDer<'static> {
        let mut stream = TcpStream::connect(server).unwrap();
        let config = self.client(&Identity::Nobody);
        let mut connection = ClientConnection::new(config, ServerName::from(server.ip())).unwrap();
        connection.complete_io(&mut stream).unwrap();
        connection.peer_certificates().unwrap()[0].clone()
    }

    /// Takes a TLS connection as a gateway that wants a certificate; the error is what the handshake failed for.
    pub(crate) fn accept(&self, listener: &TcpListener, identity: &Identity) -> Result<Raw, String> {
        let (stream, _) = listener.accept().unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider());
        let (chain, key) = self.identity(identity).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut tcp = &stream;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).map_err(|error| error.to_string())?;
        }
        Ok(Raw::over(Box::new(StreamOwned::new(connection, stream)), "TLS"))
    }

    fn client(&self, identity: &Identity) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match self.identity(identity) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    fn identity(
        &self,
        identity: &Identity,
    ) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let (certificate, key) = match identity {
            Identity::Nobody => return None,
            Identity::Named(names) => self.authority.issue(names),
            Identity::Expired(names) => self.authority.issue_until(names, 2020),
        };
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Some((vec![certificate.der().clone()], key))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path().join("ca.pem")).unwrap()).unwrap();
        roots
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(ring::default_provider())
}
