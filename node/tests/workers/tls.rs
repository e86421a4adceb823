//! TLS: both versions, both directions, certificates on both sides and their change.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use node::config;
use node::listener::Listener;
use node::tls::testing::Authority;
use node::tls::{RoleTls, ServerNames, Tls};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sip_core::flow::Transport;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::toy::{Platform, TcpClient, UdpClient, answer};

/// A server's certificate for `localhost` in a folder of its own.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
    config: config::Tls,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Ours");
        let (certificate, key) = authority.write(folder.path(), "server", &["localhost"]);
        let config = config::Tls { certificate: Some(certificate), key: Some(key), ..config::Tls::default() };
        Files { folder, authority, config }
    }

    fn load(&self) -> Tls {
        Tls::load(&self.config).unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn platform(role: &str, workers: usize, tls: RoleTls) -> (Platform, SocketAddr) {
    let platform = Platform::start_with(role, workers, |config| {
        config.listen.push(Listener { transport: Transport::Tls, addr: "[::1]:0".parse().unwrap() });
        config.tls = Some(tls);
    });
    let addr = platform.workers.local().last().unwrap().addr;
    (platform, addr)
}

/// Shows nothing, and trusts `authority` alone.
fn client(authority: &Authority, version: &'static SupportedProtocolVersion) -> ClientConfig {
    roots(authority, version).with_no_client_auth()
}

/// Shows a certificate of `issuer`.
fn client_with(authority: &Authority, issuer: &Authority, subjects: &[&str]) -> ClientConfig {
    let (certificate, key) = issuer.issue(subjects);
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    roots(authority, &TLS13).with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
}

fn roots(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let folder = tempfile::tempdir().unwrap();
    let own = authority.write_own(folder.path(), "ca");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(own).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
}

async fn connect(
    server: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TcpClient<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::try_from("localhost").unwrap();
    Ok(TcpClient::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

#[tokio::test]
async fn messages_pass_over_both_versions() {
    let files = Files::new();
    let (platform, server) = platform("tls", 2, RoleTls::new(files.load()));
    for version in [&TLS12, &TLS13] {
        let mut phone = connect(server, client(&files.authority, version)).await.unwrap();
        assert!(phone.ask("BLOB x", "call", "hello").await.ends_with("hello"));
        // RFC 5626 §3.5.1, the same as over TCP.
        phone.send(b"\r\n\r\n").await;
        let mut pong = [0; 2];
        phone.stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\r\n");
    }
    platform.stop().await;
}

#[tokio::test]
async fn an_old_version_is_refused_where_it_is_not_wanted() {
    let mut files = Files::new();
    files.config.min_version = config::TlsVersion::V1_3;
    let (platform, server) = platform("min", 1, RoleTls::new(files.load()));
    assert!(connect(server, client(&files.authority, &TLS12)).await.is_err());
    assert!(connect(server, client(&files.authority, &TLS13)).await.is_ok());
    platform.stop().await;
}

#[tokio::test]
async fn new_certificates_come_without_dropping_a_connection() {
    let files = Files::new();
    let tls = files.load();
    let (platform, server) = platform("reload", 1, RoleTls::new(tls.clone()));
    let mut before = connect(server, client(&files.authority, &TLS13)).await.unwrap();
    assert_eq!(before.ask("BLOB x", "call", "one").await, answer("one"));

    let other = Authority::new("Another");
    other.write(files.path(), "server", &["localhost"]);
    tls.reload().unwrap();
    assert_eq!(before.ask("BLOB x", "call", "two").await, answer("two"));
    assert!(connect(server, client(&files.authority, &TLS13)).await.is_err(), "the old one is still shown");
    let mut after = connect(server, client(&other, &TLS13)).await.unwrap();
    assert_eq!(after.ask("BLOB x", "call", "three").await, answer("three"));

    // What cannot be used changes nothing.
    std::fs::write(files.path().join("server.key"), "no key").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("holds no private key"));
    files.authority.write(files.path(), "foreign", &["localhost"]);
    std::fs::copy(files.path().join("foreign.key"), files.path().join("server.key")).unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("cannot be used with its private key"));
    assert!(connect(server, client(&other, &TLS13)).await.is_ok());
    platform.stop().await;
}

#[tokio::test]
async fn every_worker_learns_the_names_of_a_clients_certificate() {
    let mut files = Files::new();
    let carrier = Authority::new("Carrier");
    files.config.client_ca = Some(carrier.write_own(files.path(), "carrier"));
    let (platform, server) = platform("mutual", 3, RoleTls::new(files.load()).asking_clients());
    let mut trunk =
        connect(server, client_with(&files.authority, &carrier, &["gw.example.net"])).await.unwrap();
    let mut nobody = connect(server, client(&files.authority, &TLS13)).await.unwrap();
    let mut workers = std::collections::BTreeSet::new();
    for i in 0..30 {
        let told = trunk.ask("WHO x", &format!("call-{i}"), "").await;
        let (worker, names) = told.split_once(": ").unwrap();
        assert_eq!(names, "gw.example.net");
        workers.insert(worker.to_owned());
        assert!(nobody.ask("WHO x", &format!("call-{i}"), "").await.ends_with(": "));
    }
    assert_eq!(workers.len(), 3);
    // A certificate that somebody else issued; in TLS 1.3 the client hears of it when it reads.
    let forged = client_with(&files.authority, &Authority::new("Carrier"), &["gw.example.net"]);
    let mut forger = connect(server, forged).await.unwrap();
    forger.send(&crate::toy::message("BLOB x", "call", "x")).await;
    assert_eq!(forger.receive().await, None);
    platform.stop().await;
}

struct Expected(&'static [&'static str]);

impl ServerNames for Expected {
    fn names(&self, _: SocketAddr) -> Vec<String> {
        self.0.iter().map(|name| (*name).to_owned()).collect()
    }
}

#[tokio::test]
async fn a_server_must_have_every_name_that_is_expected() {
    let mut files = Files::new();
    let carrier = Authority::new("Carrier");
    files.config.gateway_ca = Some(carrier.write_own(files.path(), "carrier"));
    let (certificate, key) = carrier.issue(&["gw.example.net", "sip.example.net"]);
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let gateway = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(gateway));
    let tls = files.load();
    for (names, expected) in [
        (&["gw.example.net"][..], true),
        (&["gw.example.net", "sip.example.net"], true),
        (&["gw.example.net", "other.example.net"], false),
        (&["other.example.net"], false),
        (&["no name"], false),
        (&[], false), // Then it is the address.
    ] {
        let role = RoleTls::new(tls.clone()).expecting(Arc::new(Expected(names)));
        let (platform, _) = platform("expect", 1, role);
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let relay = format!("RELAYS {}", listener.local_addr().unwrap());
        let client = UdpClient::to(platform.udp()[0]).await;
        assert_eq!(client.ask(&relay, "call", "onward").await, answer("sent"));
        let (stream, _) = listener.accept().await.unwrap();
        if expected {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut onward = [0; 6];
            stream.read_exact(&mut onward).await.unwrap();
            assert_eq!(&onward, b"onward", "{names:?}");
        } else {
            let acceptor = acceptor.clone();
            let server = tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
            assert_eq!(client.receive().await, answer("failed"), "{names:?}");
            let _ = server.await.unwrap();
        }
        platform.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_never_greets_is_closed_and_takes_a_place_meanwhile() {
    let files = Files::new();
    let tls = RoleTls::new(files.load());
    let platform = Platform::start_with("silent", 1, |config| {
        config.listen.push(Listener { transport: Transport::Tls, addr: "[::1]:0".parse().unwrap() });
        config.tls = Some(tls);
        config.stream.handshake = Duration::from_millis(100);
        config.stream.max_connections_per_source = 1;
    });
    let server = platform.workers.local().last().unwrap().addr;
    let mut silent = TcpStream::connect(server).await.unwrap();
    let mut second = TcpStream::connect(server).await.unwrap();
    // Closed at once, long before the first.
    assert_eq!(second.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
    // Its place is free again.
    loop {
        if let Ok(mut phone) = connect(server, client(&files.authority, &TLS13)).await {
            assert_eq!(phone.ask("BLOB x", "call", "in").await, answer("in"));
            break;
        }
    }
    platform.stop().await;
}

#[test]
fn what_is_wrong_with_a_file_is_told() {
    let files = Files::new();
    let told = |change: &dyn Fn(&mut config::Tls)| {
        let mut config = files.config.clone();
        change(&mut config);
        Tls::load(&config).unwrap_err().to_string()
    };
    let missing = told(&|config| config.certificate = Some("/nonexistent/c.pem".into()));
    assert!(missing.starts_with("tls.certificate: /nonexistent/c.pem cannot be read: "), "{missing}");
    let key = files.config.key.clone();
    let swapped = told(&|config| config.certificate = key.clone());
    assert!(swapped.ends_with("server.key holds no certificate"), "{swapped}");
    let authority = told(&|config| config.gateway_ca = Some("/nonexistent/ca.pem".into()));
    assert!(authority.starts_with("tls.gateway_ca: "), "{authority}");
}
