//! `load-tests bench`: what registrations, calls and relayed packets cost in processor time.
//!
//! Processor time is that of the node's process alone, all its threads, from `/proc`; phones and gateways are other processes.
//! Where Kamailio or rtpengine is installed, it carries the same load in the same run, so that a ratio means something on any machine.

mod baseline;
mod calls;
mod kamailio;
mod logins;
mod phones;
mod registrations;
mod relay;
mod report;
mod rtpengine;
mod tunnels;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use load_tests::sipp::Sipp;

pub(crate) use baseline::{ForwardArgs, forward};
pub(crate) use tunnels::{LoopArgs, ReceiveArgs, SendArgs, receive, run_loop, send};

use report::{Machine, Report};

/// What the user can choose.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Which benchmark; without one, all three in a short form
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    common: Common,
}

/// What holds for every benchmark.
#[derive(Args)]
struct Common {
    /// Print one JSON document instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// The platform's binary [default: centrex6 of the release profile beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Workers of each role of the node, and worker processes or threads of the peers
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Measure the platform alone, even where Kamailio or rtpengine is installed
    #[arg(long, global = true)]
    no_peers: bool,
}

#[derive(Subcommand)]
enum Which {
    /// Phones register with digest, each saved to disk before it is answered, and then once more within what is stored
    Registrations(registrations::Options),
    /// Calls through proxy and translator to a gateway, signalling only, at rising rates
    Calls(calls::Options),
    /// Sites log in by DTCP, keep alive, and move to another address; needs root, for a network namespace of its own
    Logins(logins::Options),
    /// Idle phones over TLS, connected and then registered: the node's memory for each
    Phones(phones::Options),
    /// RTP of real calls through the translator, both ways
    Relay(relay::Options),
    /// Packets through the tunnel server's data plane, in network namespaces; needs root
    Tunnels(tunnels::Options),
}

/// What every benchmark gets.
struct Bench {
    binary: PathBuf,
    workers: u16,
    peers: bool,
}

/// Runs what was asked for and prints it.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let Common { json, binary, workers, no_peers } = &args.common;
    if let Some(Which::Tunnels(options)) = &args.which {
        let mut report = Report::new(Machine::this(Path::new("tunnel-broker's example `plane`"), 2));
        let tunnels::Found { rows, changes, delays } = tunnels::run(options)?;
        (report.tunnels, report.tunnel_changes, report.tunnel_delays) = (rows, Some(changes), delays);
        return show(&report, *json);
    }
    let binary = binary.clone().map_or_else(release_binary, Ok)?;
    anyhow::ensure!(binary.exists(), "{} is missing: run `cargo build --release` first", binary.display());
    if !matches!(args.which, Some(Which::Logins(_) | Which::Phones(_))) {
        Sipp::check()?;
    }
    // Every relayed call takes four sockets here and four in the node, which inherits the limit.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let bench = Bench { binary, workers: *workers, peers: !no_peers };
    let mut report = Report::new(Machine::this(&bench.binary, bench.workers));
    match &args.which {
        Some(Which::Registrations(options)) => report.registrations = registrations::run(&bench, options)?,
        Some(Which::Calls(options)) => report.calls = calls::run(&bench, options)?,
        Some(Which::Logins(options)) => report.logins = logins::run(&bench, options)?,
        Some(Which::Phones(options)) => report.phones = phones::run(&bench, options)?,
        Some(Which::Relay(options)) => report.relay = relay::run(&bench, options)?,
        // Needs neither node nor sipp: done above.
        Some(Which::Tunnels(_)) => {}
        None => {
            report.registrations = registrations::run(&bench, &registrations::Options::short())?;
            report.calls = calls::run(&bench, &calls::Options::short())?;
            report.relay = relay::run(&bench, &relay::Options::short())?;
        }
    }
    show(&report, *json)
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(report)?),
        false => print!("{report}"),
    }
    Ok(())
}

/// The binary of the release profile, wherever below the target folder this program lies itself.
pub(crate) fn release_binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    let candidates = own.ancestors().skip(1).map(|folder| folder.join("release").join("centrex6"));
    let mut candidates = candidates.take(4);
    let fallback = Path::new("target/release/centrex6").to_owned();
    Ok(candidates.find(|candidate| candidate.exists()).unwrap_or(fallback))
}

/// Says on standard error what goes on.
fn say(text: &str) {
    eprintln!("{text}");
}

/// Whether so many connections at a time may be open here, and in the node, which inherits the limit.
fn allow_connections(count: u32, option: &str) -> anyhow::Result<()> {
    let limit = rlimit::getrlimit(rlimit::Resource::NOFILE)?.0;
    anyhow::ensure!(
        u64::from(count) + OTHER_FILES <= limit,
        "{count} connections need as many open files, and a process may have {limit} here: give fewer {option}, or raise the limit (ulimit -Hn)"
    );
    Ok(())
}

/// `total` in microseconds for each of `count`; `None` for nothing.
fn micros_each(total: std::time::Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| total.as_secs_f64() * 1e6 / count as f64)
}

/// How much more the platform costs than a peer: 2.0 is twice as much.
fn ratio(own: Option<f64>, peer: Option<f64>) -> Option<f64> {
    Some(own? / peer.filter(|cost| *cost > 0.0)?)
}

/// What a process has open besides its connections.
const OTHER_FILES: u64 = 500;
/// The realm of the node's default configuration.
const REALM: &str = "centrex6";
/// Every line of a benchmark has this one, so that a peer need not look it up.
const PASSWORD: &str = "only-for-load-tests";
