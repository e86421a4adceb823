//! Idle phones over TLS: how much memory the node keeps for each, connected and then registered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use load_tests::node::{Credentials, Node, Setup};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use user_agent::{Message, answer_challenge};

use super::report::Phones;
use super::{Bench, PASSWORD, allow_connections, say};

#[derive(Args)]
pub(super) struct Options {
    /// How many phones; each takes a file descriptor here and one in the node
    #[arg(long, default_value_t = 27_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    phones: u32,
}

/// A phone's connection, on which it waits.
type Tls = StreamOwned<ClientConnection, TcpStream>;

pub(super) fn run(bench: &Bench, options: &Options) -> anyhow::Result<Vec<Phones>> {
    let phones = options.phones as usize;
    allow_connections(options.phones, "--phones")?;
    let folder = tempfile::tempdir()?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.path().join("node.pem"), folder.path().join("node.key"));
    std::fs::write(&certificate, cert.pem())?;
    std::fs::write(&key, signing_key.serialize_pem())?;
    let node = Setup::new(&bench.binary)
        .set("NODE__WORKERS", &bench.workers.to_string())
        .set("LOG__LEVEL", "warn")
        .set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tls:[::1]:0")
        .set("SIP__MAX_CONNECTIONS", "1000000")
        .set("SIP__MAX_CONNECTIONS_PER_SOURCE", "1000000")
        .set("TLS__CERTIFICATE", &certificate.display().to_string())
        .set("TLS__KEY", &key.display().to_string())
        // What is remembered of messages is bounded, and no part of a phone.
        .set("TRACE__MEMORY_MIB", "0")
        .start()?;
    say(&format!("phones: node {} gets {phones} lines", node.process().pid()));
    let lines = node.add_lines(phones, PER_SITE, PASSWORD)?;
    let server = tls_listener(&node)?;
    let mut rows = vec![row(&node, "none", 0, Duration::ZERO, None)?];
    let empty = rows[0].rss_mib;

    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    say("phones: they connect");
    let began = Instant::now();
    let connected = in_threads(lines, |line| Ok((connect(server, &config)?, line)))?;
    rows.push(row(&node, "connected", connected.len(), began.elapsed(), Some(empty))?);
    say("phones: they register");
    let began = Instant::now();
    let registered = in_threads(connected, |(mut tls, line)| {
        register(&mut tls, &line)?;
        Ok(tls)
    })?;
    rows.push(row(&node, "registered", registered.len(), began.elapsed(), Some(empty))?);
    let known = node.status()?["registered_lines"].as_u64();
    anyhow::ensure!(known == Some(registered.len() as u64), "the node knows {known:?} phones");
    let open = node.metrics()?.sum("centrex6_connections_open");
    anyhow::ensure!(open >= registered.len() as f64, "only {open} connections are open");
    drop(registered);
    let log = node.stop()?;
    anyhow::ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
    Ok(rows)
}

/// What the node's memory is once everything has come to rest.
fn row(
    node: &Node,
    round: &'static str,
    phones: usize,
    wall: Duration,
    empty: Option<f64>,
) -> anyhow::Result<Phones> {
    std::thread::sleep(REST);
    let rss_mib = node.process().memory()?.resident as f64 / MIB;
    let bytes_a_phone =
        empty.filter(|_| phones > 0).map(|empty| (rss_mib - empty).max(0.0) * MIB / phones as f64);
    Ok(Phones { round, phones: phones as u64, wall_s: wall.as_secs_f64(), rss_mib, bytes_a_phone })
}

/// Does the same with each, a few at a time, as a site's phones do after a power cut.
fn in_threads<T: Send, U: Send>(
    items: Vec<T>,
    act: impl Fn(T) -> anyhow::Result<U> + Sync,
) -> anyhow::Result<Vec<U>> {
    let mut shares: Vec<Vec<T>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (at, item) in items.into_iter().enumerate() {
        shares[at % THREADS].push(item);
    }
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(act).collect::<anyhow::Result<Vec<U>>>()))
            .collect();
        let mut done = Vec::new();
        for thread in threads {
            done.extend(thread.join().map_err(|_| anyhow::anyhow!("a phone's thread panicked"))??);
        }
        Ok(done)
    })
}

fn connect(server: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<Tls> {
    let tcp = TcpStream::connect(server).context("a phone cannot connect")?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let client = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    let mut tls = StreamOwned::new(client, tcp);
    // RFC 5626 §3.5.1: the answer shows that the connection is up from end to end.
    tls.write_all(b"\r\n\r\n")?;
    tls.flush()?;
    tls.read_exact(&mut [0; 2])?;
    Ok(tls)
}

fn register(tls: &mut Tls, line: &Credentials) -> anyhow::Result<()> {
    let (uri, aor) = (format!("sip:{}", line.domain), format!("{}@{}", line.extension, line.domain));
    let local = tls.sock.local_addr()?;
    let request = |number: u32| {
        let mut request = Message::request("REGISTER", &uri);
        request.push("Via", format!("SIP/2.0/TLS {local};branch=z9hG4bK{}x{number}", local.port()));
        request.push("Max-Forwards", "70");
        request.push("From", format!("<sip:{aor}>;tag=f{}", local.port()));
        request.push("To", format!("<sip:{aor}>"));
        request.push("Call-ID", format!("{}-{}", line.auth_user, local.port()));
        request.push("CSeq", format!("{number} REGISTER"));
        request.push("Contact", format!("<sip:{}@{local};transport=tls>", line.extension));
        request.push("Expires", "3600");
        request
    };
    let challenge = ask(tls, &request(1))?;
    let answer = answer_challenge(&challenge, &line.auth_user, &line.password, "REGISTER", &uri);
    let (name, value) = answer.context("a phone got no challenge")?;
    let mut again = request(2);
    again.push(name, value);
    let done = ask(tls, &again)?;
    anyhow::ensure!(done.status().map(|(status, _)| status) == Some(200), "a phone got {:?}", done.status());
    Ok(())
}

/// Sends a request and gives its answer, which has no body.
fn ask(tls: &mut Tls, request: &Message) -> anyhow::Result<Message> {
    tls.write_all(&request.to_bytes())?;
    tls.flush()?;
    let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
    while !read.ends_with(b"\r\n\r\n") {
        let length = tls.read(&mut buffer)?;
        anyhow::ensure!(length > 0, "the node closed a phone's connection");
        read.extend_from_slice(&buffer[..length]);
    }
    Message::parse(&read).context("an answer cannot be read")
}

fn tls_listener(node: &Node) -> anyhow::Result<SocketAddr> {
    let status = node.status()?;
    let listeners = status["listeners"]["registrar_proxy"].as_array().cloned().unwrap_or_default();
    let found = listeners.iter().find_map(|listener| listener.as_str()?.strip_prefix("tls:")?.parse().ok());
    found.context("the node has no TLS listener")
}

const PER_SITE: usize = 90;
/// Phones that connect or register at a time.
const THREADS: usize = 16;
/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: f64 = 1024.0 * 1024.0;
