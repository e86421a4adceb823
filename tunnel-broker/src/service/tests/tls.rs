//! DTCP inside TLS.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Writes a new certificate for `broker.example.net` and its key.
fn certify(folder: &Path) -> TlsSettings {
    let made = rcgen::generate_simple_self_signed(["broker.example.net".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    write_pem(&certificate, "CERTIFICATE", made.cert.der());
    write_pem(&key, "PRIVATE KEY", made.signing_key.serialized_der());
    TlsSettings { listen: vec!["127.0.0.1:0".parse().unwrap()], certificate, key }
}

fn write_pem(file: &Path, kind: &str, der: &[u8]) {
    let text = STANDARD.encode(der);
    std::fs::write(file, format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")).unwrap();
}

/// Puts a key into the file that fits no certificate.
fn write_other_key(file: &Path) {
    write_pem(file, "PRIVATE KEY", rcgen::KeyPair::generate().unwrap().serialized_der());
}

/// Connects as a client that trusts what stands in the file now.
async fn connect(address: SocketAddr, trusted: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("broker.example.net").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

#[tokio::test]
async fn the_same_words_are_spoken_inside_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certify(folder.path());
    let stage = Stage::new(|settings| settings.tls = Some(tls.clone())).await;
    let address = local(stage.service.tls_addresses()[0]);
    let mut client = Client::new(connect(address, &tls.certificate).await.unwrap()).await;
    assert_eq!(client.login(1).await, "+OK 127.0.0.1 192.0.2.1 2001:0db8:0001::/48");
    assert_eq!(client.say("ping").await, "+OK pong");
    assert_eq!(client.say("quit").await, "+OK bye");
    assert!(client.is_closed().await);
    stage.tunnels_become(&[]).await;
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certify(folder.path());
    let stage = Stage::new(|settings| settings.tls = Some(tls)).await;
    let mut stream = TcpStream::connect(local(stage.service.tls_addresses()[0])).await.unwrap();
    stream.write_all(b"tunnel s1 8f427154dc34a055275dcf47bca12b62 network\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"+OK"), "no word of DTCP in the clear");
}

#[tokio::test]
async fn new_certificates_are_used_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certify(folder.path());
    let certificates = certificates::Certificates::load(&tls).unwrap();
    let first = certificates.chain();
    certify(folder.path());
    certificates.reload();
    let second = certificates.chain();
    assert_ne!(first, second);
    // Somebody is in the middle of replacing the two files.
    write_other_key(&tls.key);
    certificates.reload();
    assert_eq!(certificates.chain(), second);
}

#[test]
fn certificates_that_cannot_be_used_are_told_by_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let good = certify(folder.path());
    let error = |tls: &TlsSettings| certificates::Certificates::load(tls).unwrap_err().to_string();
    let missing = TlsSettings { certificate: folder.path().join("none.pem"), ..good.clone() };
    assert!(error(&missing).starts_with("[tunnel_broker] tls_certificate: "), "{}", error(&missing));
    let swapped = TlsSettings { certificate: good.key.clone(), ..good.clone() };
    assert!(error(&swapped).contains("key.pem: holds none in PEM"), "{}", error(&swapped));
    let no_key = TlsSettings { key: good.certificate.clone(), ..good.clone() };
    assert!(error(&no_key).starts_with("[tunnel_broker] tls_key: "), "{}", error(&no_key));
    write_other_key(&good.key);
    assert!(error(&good).starts_with("[tunnel_broker] tls_key: "), "{}", error(&good));
}
