//! Registrations: every phone of the platform at once, as after a power cut, and then the refresh.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use load_tests::node::{Credentials, Setup};
use load_tests::ports;
use load_tests::sipp::{Counts, Running, Scenario, Sipp, SippError};

use super::kamailio::Kamailio;
use super::report::Registrations;
use super::{Bench, PASSWORD, micros_each, ratio, say};

#[derive(Args)]
pub(super) struct Options {
    /// How many phones, over sites of 90
    #[arg(long, default_value_t = 27_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    phones: u32,
    /// How many registrations may be under way at a time
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    at_once: u32,
}

impl Options {
    pub(super) fn short() -> Options {
        Options { phones: 9_000, at_once: 400 }
    }
}

pub(super) fn run(bench: &Bench, options: &Options) -> anyhow::Result<Vec<Registrations>> {
    let phones = options.phones as usize;
    let node = Setup::new(&bench.binary)
        .set("NODE__WORKERS", &bench.workers.to_string())
        .set("LOG__LEVEL", "warn")
        .start()?;
    say(&format!("registrations: node {} gets {phones} lines", node.process().pid()));
    let lines = node.add_lines(phones, PER_SITE, PASSWORD)?;
    let mut rows = Vec::new();
    let mut ports = Ports::hand_out()?;
    for round in [FIRST, REFRESH] {
        say(&format!("registrations: {round}"));
        let (cpu, before) = (node.process().cpu()?, node.metrics()?);
        let load = Load::play(&lines, node.proxy, options, &mut ports)?;
        let (cpu, after) = (node.process().cpu()? - cpu, node.metrics()?);
        let commits = after.has(COMMITS).then(|| (after.sum(COMMITS) - before.sum(COMMITS)) as u64);
        let peak = node.process().memory()?.peak as f64 / MIB;
        rows.push(Registrations { commits, peak_rss_mib: Some(peak), ..load.row("Centrex6", round, cpu) });
    }
    let registered = node.status()?["registered_lines"].as_u64().unwrap_or(0);
    let done = rows.first().map_or(0, |row| row.registrations);
    anyhow::ensure!(registered == done, "{done} phones were told 200, and the node knows {registered}");
    let log = node.stop()?;
    anyhow::ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
    if !(bench.peers && Kamailio::is_installed()) {
        say("registrations: Kamailio is not installed, or not wanted: no ratio");
        return Ok(rows);
    }
    let proxy = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free_udp(Ipv6Addr::LOCALHOST.into())?));
    let kamailio = Kamailio::start(include_str!("../../kamailio/registrar.cfg"), bench.workers, proxy, &[])?;
    let mut ports = Ports::hand_out()?;
    for (at, round) in [KAMAILIO_FIRST, KAMAILIO_REFRESH].into_iter().enumerate() {
        say(&format!("registrations: Kamailio, {round}"));
        let cpu = kamailio.cpu()?;
        let load = Load::play(&lines, proxy, options, &mut ports)?;
        let row = load.row("Kamailio", round, kamailio.cpu()? - cpu);
        if let Some(own) = rows.get_mut(at) {
            own.ratio_to_kamailio = ratio(own.cpu_us_each, row.cpu_us_each);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What the phones saw.
struct Load {
    counts: Counts,
    phones: u64,
    wall: Duration,
}

/// The ports of the sipps: phones that refresh do it from where they registered.
struct Ports([u16; SIPPS]);

impl Ports {
    fn hand_out() -> anyhow::Result<Ports> {
        let mut ports = [0; SIPPS];
        for port in &mut ports {
            *port = ports::free_udp(Ipv6Addr::LOCALHOST.into())?;
        }
        Ok(Ports(ports))
    }
}

impl Load {
    /// Every line registers once, as fast as answers come.
    fn play(
        lines: &[Credentials],
        proxy: SocketAddr,
        options: &Options,
        ports: &mut Ports,
    ) -> anyhow::Result<Load> {
        let at_once = (options.at_once as usize / SIPPS).max(1);
        let began = Instant::now();
        let mut running = Vec::new();
        for (lines, port) in lines.chunks(lines.len().div_ceil(SIPPS)).zip(ports.0) {
            let rows = lines.iter().map(Credentials::row);
            let sipp = Sipp::new(REGISTER, proxy).auth_uri(&proxy.to_string()).rows(rows).port(port);
            running.push(sipp.load(lines.len(), AS_FAST_AS_POSSIBLE, at_once).patience(PATIENCE).start()?);
        }
        let counts: Result<Vec<Counts>, SippError> = running.into_iter().map(Running::wait).collect();
        let counts = counts?.into_iter().fold(Counts::default(), Counts::and);
        Ok(Load { counts, phones: lines.len() as u64, wall: began.elapsed() })
    }

    fn row(&self, subject: &'static str, round: &'static str, cpu: Duration) -> Registrations {
        let done = self.counts.successful;
        let wall_s = self.wall.as_secs_f64();
        Registrations {
            subject,
            round,
            registrations: done,
            failures: self.phones - done.min(self.phones),
            retransmissions: self.counts.retransmissions,
            wall_s,
            per_second: done as f64 / wall_s,
            cpu_us_each: micros_each(cpu, done),
            commits: None,
            peak_rss_mib: None,
            ratio_to_kamailio: None,
        }
    }
}

const REGISTER: Scenario =
    Scenario { name: "bench-register", xml: include_str!("../../sipp/bench-register.xml") };
const FIRST: &str = "new, committed";
const REFRESH: &str = "refresh, in memory";
const KAMAILIO_FIRST: &str = "new, not committed";
const KAMAILIO_REFRESH: &str = "refresh, not committed";
const PER_SITE: usize = 90;
/// Each has one socket, and the node's workers share the sockets.
const SIPPS: usize = 4;
/// Registrations a second that sipp would begin; the limit at a time holds it back.
const AS_FAST_AS_POSSIBLE: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(120);
const COMMITS: &str = "centrex6_store_commits_total";
const MIB: f64 = 1024.0 * 1024.0;
