//! Logins at the tunnel broker: every site of the platform at once, as after a power cut; then keep-alives; then every site from
//! another address, as after a night in which the carrier renumbers its lines.
//!
//! Node and sites are in a network namespace that only this process and its children are in: there every address of 127.0.0.0/8 is
//! a site's own, and the tunnel server makes its device without touching the machine's network.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use load_tests::node::{Node, Setup};
use md5::{Digest, Md5};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::report::Logins;
use super::{Bench, PASSWORD, allow_connections, micros_each, say};

#[derive(Args)]
pub(super) struct Options {
    /// How many sites, each with an account, a session and a tunnel
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    sites: u32,
    /// How many logins may be under way at a time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    at_once: u32,
}

pub(super) fn run(bench: &Bench, options: &Options) -> anyhow::Result<Vec<Logins>> {
    // Threads and processes that are started from here on are inside.
    unshare(CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace: run this benchmark as root, or in a container of its own with CAP_SYS_ADMIN")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip")?;
    anyhow::ensure!(up.success(), "the namespace's loopback interface could not be set up");
    let sites = options.sites;
    allow_connections(sites + options.at_once, "--sites")?;
    let node = Setup::new(&bench.binary)
        .set("NODE__ROLES", "tunnel-broker,tunnel-server")
        .set("TUNNEL_BROKER__LISTEN", "127.0.0.1:0")
        .set("TUNNEL_SERVER__ADDRESS", "127.0.0.1")
        .set("TUNNEL_SERVER__CAPACITY", &sites.to_string())
        .set("TUNNEL_SERVER__NETWORKS", "2001:db8::/32")
        .set("TUNNEL_SERVER__ICMP_SOURCE", "2001:db8:ffff::1")
        .set("TUNNEL_BROKER__MAX_CONNECTIONS", &(2 * sites).to_string())
        .set("LOG__LEVEL", "warn")
        .start()?;
    say(&format!("logins: node {} gets {sites} sites with accounts", node.process().pid()));
    node.operate_all(&(0..sites).map(site).collect::<Vec<_>>())?;
    node.operate_all(&(0..sites).map(account).collect::<Vec<_>>())?;
    let status = node.status()?;
    let broker = status["listeners"]["tunnel_broker"][0].as_str().and_then(|address| address.parse().ok());
    let broker: SocketAddr = broker.context("the node does not say where its tunnel broker listens")?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let before = node.process().memory()?.resident;
    let mut rounds = Rounds { node: &node, sites: u64::from(sites), before, rows: vec![] };
    let first = rounds.measure("first login", || log_in(&runtime, broker, options, HOME, vec![]))?;
    rounds.sessions(first.len())?;
    let first = rounds.measure("ping", || ping(&runtime, first, options.at_once))?;
    let second =
        rounds.measure("login from another address", || log_in(&runtime, broker, options, AWAY, first))?;
    rounds.sessions(second.len())?;
    let rows = rounds.rows;
    drop(second);
    let log = node.stop()?;
    anyhow::ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
    Ok(rows)
}

/// The node, and what was measured of it so far.
struct Rounds<'n> {
    node: &'n Node,
    sites: u64,
    /// Bytes in memory with the accounts, before the first session.
    before: u64,
    rows: Vec<Logins>,
}

impl Rounds<'_> {
    /// Lets the sites do something, and gives those with which it went well.
    fn measure(
        &mut self,
        round: &'static str,
        act: impl FnOnce() -> anyhow::Result<Vec<Session>>,
    ) -> anyhow::Result<Vec<Session>> {
        say(&format!("logins: {round}"));
        let (cpu, metrics) = (self.node.process().cpu()?, self.node.metrics()?);
        let began = Instant::now();
        let well = act()?;
        let wall_s = began.elapsed().as_secs_f64();
        // The leases of the last logins are written a moment later; what that costs belongs to the round.
        std::thread::sleep(SETTLE);
        let (cpu, after) = (self.node.process().cpu()? - cpu, self.node.metrics()?);
        let done = well.len() as u64;
        let rss = self.node.process().memory()?.resident;
        let commits = after.has(COMMITS).then(|| (after.sum(COMMITS) - metrics.sum(COMMITS)) as u64);
        self.rows.push(Logins {
            round,
            sites: self.sites,
            failures: self.sites - done,
            wall_s,
            per_second: done as f64 / wall_s,
            cpu_us_each: micros_each(cpu, done),
            commits,
            rss_mib: rss as f64 / MIB,
            bytes_a_session: (done > 0).then(|| rss.saturating_sub(self.before) as f64 / done as f64),
        });
        Ok(well)
    }

    /// Checks that the node knows of so many sessions and tunnels.
    fn sessions(&self, sessions: usize) -> anyhow::Result<()> {
        let metrics = self.node.metrics()?;
        let tunnels = self.node.status()?["tunnels"].as_u64().unwrap_or(0);
        let known = metrics.sum("centrex6_dtcp_sessions") as u64;
        let told = sessions as u64;
        anyhow::ensure!(
            known == told && tunnels == told,
            "{told} sites were told +OK, and the node has {known} sessions and {tunnels} tunnels"
        );
        Ok(())
    }
}

/// A site that is logged in.
struct Session {
    site: u32,
    reader: BufReader<tokio::net::tcp::OwnedReadHalf>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

/// Every site logs in from its address in `network`; its old session it gives up once the new one stands.
fn log_in(
    runtime: &Runtime,
    broker: SocketAddr,
    options: &Options,
    network: u8,
    old: Vec<Session>,
) -> anyhow::Result<Vec<Session>> {
    let mut old: HashMap<u32, Session> = old.into_iter().map(|session| (session.site, session)).collect();
    let places = Arc::new(Semaphore::new(options.at_once as usize));
    let mut logins = JoinSet::new();
    for site in 0..options.sites {
        let places = Arc::clone(&places);
        let old = old.remove(&site);
        let login = async move {
            let _place = places.acquire_owned().await;
            let session = timeout(PATIENCE, Session::open(broker, network, site)).await.ok()?.ok();
            drop(old);
            session
        };
        logins.spawn_on(login, runtime.handle());
    }
    Ok(runtime.block_on(logins.join_all()).into_iter().flatten().collect())
}

/// Every site says that it is still there.
fn ping(runtime: &Runtime, sessions: Vec<Session>, at_once: u32) -> anyhow::Result<Vec<Session>> {
    let places = Arc::new(Semaphore::new(at_once as usize));
    let mut pings = JoinSet::new();
    for mut session in sessions {
        let places = Arc::clone(&places);
        let ping = async move {
            let _place = places.acquire_owned().await;
            let reply = timeout(PATIENCE, session.say("ping\r\n")).await.ok()?.ok()?;
            (reply.trim_end() == "+OK pong").then_some(session)
        };
        pings.spawn_on(ping, runtime.handle());
    }
    Ok(runtime.block_on(pings.join_all()).into_iter().flatten().collect())
}

impl Session {
    async fn open(broker: SocketAddr, network: u8, site: u32) -> io::Result<Session> {
        let [_, _, high, low] = site.to_be_bytes();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, network, high, low), 0)))?;
        let stream: TcpStream = socket.connect(broker).await?;
        let (reader, writer) = stream.into_split();
        let mut session = Session { site, reader: BufReader::with_capacity(256, reader), writer };
        let greeting = session.line().await?;
        let challenge = greeting.split(' ').nth(1).unwrap_or_default();
        let user = name(site);
        let hash = Md5::new().chain_update(&user).chain_update(challenge).chain_update(PASSWORD).finalize();
        let reply = session.say(&format!("tunnel {user} {} network\r\n", hex::encode(hash))).await?;
        if reply.starts_with("+OK ") { Ok(session) } else { Err(io::Error::other(reply)) }
    }

    async fn say(&mut self, line: &str) -> io::Result<String> {
        self.writer.write_all(line.as_bytes()).await?;
        self.line().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await?;
        Ok(line)
    }
}

fn name(site: u32) -> String {
    format!("s{site:05}")
}

fn site(number: u32) -> Value {
    json!({"site": {"add": {
        "name": format!("Dorm {number}"), "code": (100_000 + number).to_string(), "domain": format!("{}.example.net", name(number)),
        "region": "", "pattern": "", "prefix": format!("2001:db8:{number:x}::/48"),
    }}})
}

fn account(number: u32) -> Value {
    json!({"account": {"add": {
        "site": (100_000 + number).to_string(), "name": name(number), "link_client": null, "link_server": null,
        "password": PASSWORD,
    }}})
}

/// The second octet of sites' addresses before and after they were renumbered.
const HOME: u8 = 1;
const AWAY: u8 = 2;
const COMMITS: &str = "centrex6_store_commits_total";
const PATIENCE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;
