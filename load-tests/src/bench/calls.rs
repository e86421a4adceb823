//! Calls through proxy and translator, signalling only: at which rate they hold, and what one costs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use load_tests::node::{Credentials, Setup};
use load_tests::ports;
use load_tests::sipp::{Counts, Running, Scenario, Sipp};

use super::kamailio::Kamailio;
use super::report::Calls;
use super::{Bench, PASSWORD, micros_each, ratio, say};

#[derive(Args)]
pub(super) struct Options {
    /// Calls a second, one step after the other, up to the first that does not hold
    #[arg(long, default_value = "50,100,200,300,400", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rates: Vec<u32>,
    /// How long calls are begun at each rate, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

impl Options {
    pub(super) fn short() -> Options {
        Options { rates: vec![50, 100], seconds: 8 }
    }
}

pub(super) fn run(bench: &Bench, options: &Options) -> anyhow::Result<Vec<Calls>> {
    let gateway = gateway()?;
    let media = ports::free_range(MEDIA_PORTS)?;
    let node = Setup::new(&bench.binary)
        .set("NODE__WORKERS", &bench.workers.to_string())
        .set("LOG__LEVEL", "warn")
        .set("TRANSLATOR__MEDIA_PORTS", &format!("{media}-{}", media + MEDIA_PORTS - 1))
        .set("TRANSLATOR__MEDIA_REST_S", "1")
        .start()?;
    say(&format!("calls: node {}", node.process().pid()));
    let lines = node.add_lines(LINES, LINES, PASSWORD)?;
    node.add_trunk("bench", gateway.local)?;
    let mut rows: Vec<Calls> = Vec::new();
    for rate in &options.rates {
        say(&format!("calls: {rate} a second for {} s", options.seconds));
        let process = node.process();
        let (cpu, before, memory) = (process.cpu()?, node.metrics()?, process.memory()?);
        let load = Load::play(&lines, node.proxy, &gateway, *rate, options.seconds)?;
        let (cpu, after) = (process.cpu()? - cpu, node.metrics()?);
        rows.push(Calls {
            commits: after.has(COMMITS).then(|| (after.sum(COMMITS) - before.sum(COMMITS)) as u64),
            rss_before_mib: Some(memory.resident as f64 / MIB),
            rss_after_mib: Some(process.memory()?.resident as f64 / MIB),
            ..load.row("Centrex6", cpu)
        });
        if !load.holds() {
            say(&format!("calls: {rate} a second does not hold\n{}", load.errors));
            break;
        }
    }
    let log = node.stop()?;
    anyhow::ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
    say(&format!("calls: {} warnings in the node's log", log.lines().count()));
    if let Some(line) = log.lines().last() {
        say(&format!("calls: the last one: {line}"));
    }
    drop(gateway);
    let Some(best) = rows.iter_mut().rfind(|row| row.holds) else { return Ok(rows) };
    if !(bench.peers && Kamailio::is_installed()) {
        say("calls: Kamailio is not installed, or not wanted: no ratio");
        return Ok(rows);
    }
    say(&format!("calls: Kamailio, {} a second", best.rate));
    let peer = kamailio(bench, &lines, best.rate, options.seconds)?;
    best.ratio_to_kamailio = ratio(best.cpu_us_each, peer.cpu_us_each);
    rows.push(peer);
    Ok(rows)
}

fn kamailio(bench: &Bench, lines: &[Credentials], rate: u32, seconds: u32) -> anyhow::Result<Calls> {
    let gateway = gateway()?;
    let proxy = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free_udp(Ipv6Addr::LOCALHOST.into())?));
    let trunk_side = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_udp(Ipv4Addr::LOCALHOST.into())?));
    let more = [("TRUNK_SIDE", trunk_side.to_string()), ("GATEWAY", gateway.local.to_string())];
    let kamailio = Kamailio::start(include_str!("../../kamailio/proxy.cfg"), bench.workers, proxy, &more)?;
    let cpu = kamailio.cpu()?;
    let load = Load::play(lines, proxy, &gateway, rate, seconds)?;
    let row = load.row("Kamailio", kamailio.cpu()? - cpu);
    if !load.holds() {
        say(&format!("calls: Kamailio does not hold\n{}", load.errors));
    }
    Ok(row)
}

/// A gateway on IPv4 that answers every call.
fn gateway() -> anyhow::Result<Running> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    Ok(Sipp::new(ANSWER, any).patience(PATIENCE).start()?)
}

/// What the callers saw.
struct Load {
    counts: Counts,
    rate: u32,
    calls: u64,
    wall: Duration,
    errors: String,
}

impl Load {
    fn play(
        lines: &[Credentials],
        proxy: SocketAddr,
        gateway: &Running,
        rate: u32,
        seconds: u32,
    ) -> anyhow::Result<Load> {
        // Its first counts come after a second.
        let before = gateway.counts().unwrap_or_default().retransmissions;
        let calls = rate as usize * seconds as usize;
        let rows = lines.iter().map(Credentials::row);
        let sipp =
            Sipp::new(CALL, proxy).auth_uri(&format!("{DIALLED}@{proxy}")).key("dialled", DIALLED).rows(rows);
        let patience = Duration::from_secs(u64::from(seconds)) + SLACK;
        let sipp = sipp.args(&["-d", TALK_MS]).load(calls, rate, calls).patience(patience);
        let began = Instant::now();
        let running = sipp.start()?;
        let (counts, errors) = running.wait_with_errors(ERRORS)?;
        let wall = began.elapsed();
        std::thread::sleep(AFTERMATH);
        let resent = gateway.counts()?.retransmissions - before;
        let counts = Counts { retransmissions: counts.retransmissions + resent, ..counts };
        Ok(Load { counts, rate, calls: calls as u64, wall, errors })
    }

    fn holds(&self) -> bool {
        let Counts { successful, retransmissions, .. } = self.counts;
        successful == self.calls && retransmissions * 100 <= self.calls
    }

    fn row(&self, subject: &'static str, cpu: Duration) -> Calls {
        let done = self.counts.successful;
        Calls {
            subject,
            rate: self.rate,
            calls: done,
            failures: self.calls - done.min(self.calls),
            retransmissions: self.counts.retransmissions,
            wall_s: self.wall.as_secs_f64(),
            holds: self.holds(),
            cpu_us_each: micros_each(cpu, done),
            commits: None,
            rss_before_mib: None,
            rss_after_mib: None,
            ratio_to_kamailio: None,
        }
    }
}

const CALL: Scenario = Scenario { name: "bench-call", xml: include_str!("../../sipp/bench-call.xml") };
const ANSWER: Scenario = Scenario { name: "bench-answer", xml: include_str!("../../sipp/bench-answer.xml") };
/// A number outside.
const DIALLED: &str = "0312345678";
/// How long each call lasts, in milliseconds.
const TALK_MS: &str = "500";
/// Lines that call in turn.
const LINES: usize = 100;
/// Ports of the node for media: calls take four each, and give them back one second after their end.
const MEDIA_PORTS: u16 = 8_000;
/// A call that goes wrong takes up to 64 times T1.
const SLACK: Duration = Duration::from_secs(45);
/// After which the gateway's counts hold everything of a step.
const AFTERMATH: Duration = Duration::from_millis(1_500);
/// The gateway outlives every step.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Lines of sipp's errors that are shown.
const ERRORS: usize = 12;
const COMMITS: &str = "centrex6_store_commits_total";
const MIB: f64 = 1024.0 * 1024.0;
