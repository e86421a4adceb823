//! Tunnelled packets: what one costs in the tunnel server's data plane, with one tunnel and with many, beside the least that a
//! program in user space can do; what a tunnel takes in memory, and how long it takes to raise, move and remove one.
//!
//! The plane runs as a process of its own, without a broker (`tunnel-broker/examples/plane.rs`). Everything happens in three network
//! namespaces that are made for it and removed afterwards, and needs root: sites, tunnel server, and the network behind it. The server forwards
//! between tunnels and that network, as it does in earnest; what arrives at either end is counted by the system and thrown away.

mod bare;
mod bed;
mod steady;
mod subject;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use self::bed::Bed;
use self::subject::{BareLoop, Plane};
use super::report::{TunnelChanges, TunnelDelays, Tunnelled};
use super::{micros_each, ratio, say};
use load_tests::process::Process;

pub(crate) use self::bare::{LoopArgs, run_loop};
pub(crate) use self::wire::{ReceiveArgs, SendArgs, receive, send};

#[derive(Args)]
pub(super) struct Options {
    /// How many tunnels, besides one alone
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    tunnels: u32,
    /// Packets per second, one after the other; 0 sends as fast as it goes
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 0])]
    rates: Vec<u32>,
    /// Packets per second of the one tunnel whose delays are measured
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    steady_rate: u32,
    /// How long to measure each, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// The data plane [default: the example `plane` of tunnel-broker beside this program]
    #[arg(long, value_name = "FILE")]
    plane: Option<PathBuf>,
}

/// Which way the packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the sites through tunnels.
    In,
    /// To the sites through tunnels.
    Out,
    /// Both at once, each at the rate.
    Both,
}

/// How the one tunnel's delays are measured.
#[derive(Clone, Copy)]
struct SteadyOptions {
    rate: u32,
    seconds: u16,
}

/// Everything that was found.
pub(super) struct Found {
    pub(super) rows: Vec<Tunnelled>,
    pub(super) changes: TunnelChanges,
    pub(super) delays: Vec<TunnelDelays>,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Both => "both",
        }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<Found> {
    let binary = options.plane.clone().map_or_else(example, Ok)?;
    anyhow::ensure!(
        binary.exists(),
        "{} is missing: run `cargo build --release -p tunnel-broker --example plane` first",
        binary.display()
    );
    let bed = Bed::make()?;
    let mut rows = Vec::new();
    let mut plane = Plane::start(&bed, &binary)?;
    bed.route_to(subject::DEVICE)?;
    say(&format!("tunnels: plane {}", plane.process().pid()));
    let changes = changes(&mut plane, options.tunnels)?;
    let steady = SteadyOptions { rate: options.steady_rate, seconds: options.seconds };
    let delays = steady::run(&bed, &mut plane, steady)?;
    for count in [1, options.tunnels] {
        plane.tell(&format!("add {count}"))?;
        measure_all(&bed, "Centrex6", count, options, plane.process(), &mut rows)?;
        plane.tell(&format!("remove {count}"))?;
    }
    drop(plane);
    let bare = BareLoop::start(&bed)?;
    bed.route_to(subject::DEVICE)?;
    say(&format!("tunnels: bare loop {}", bare.process().pid()));
    for count in [1, options.tunnels] {
        measure_all(&bed, "bare loop", count, options, bare.process(), &mut rows)?;
    }
    let own = rows.clone();
    for row in rows.iter_mut().filter(|row| row.subject == "bare loop") {
        let same = own.iter().find(|own| {
            own.subject != row.subject
                && (own.tunnels, own.rate, own.direction) == (row.tunnels, row.rate, row.direction)
        });
        row.platform_ratio = ratio(same.and_then(|own| own.cpu_us_each), row.cpu_us_each);
    }
    Ok(Found { rows, changes, delays })
}

/// Raises, moves and removes tunnels while nothing else happens. Memory is that of the first time, processor time that of all.
fn changes(plane: &mut Plane, count: u32) -> anyhow::Result<TunnelChanges> {
    let before = plane.process().memory()?.resident;
    let mut after = None;
    let mut times = [(0.0, 0); 3];
    for _ in 0..ROUNDS {
        for (verb, (cpu, changes)) in ["add", "move", "remove"].into_iter().zip(&mut times) {
            let said = plane.tell(&format!("{verb} {count}"))?;
            *cpu += said.cpu_s;
            *changes += said.changes;
            if after.is_none() {
                after = Some(plane.process().memory()?.resident);
            }
        }
    }
    let after = after.unwrap_or(before);
    let [add_us, move_us, remove_us] = times.map(|(cpu, changes)| cpu * 1e6 / changes.max(1) as f64);
    Ok(TunnelChanges {
        tunnels: count,
        add_us,
        move_us,
        remove_us,
        rss_before_mib: before as f64 / MIB,
        rss_after_mib: after as f64 / MIB,
        bytes_each: after.saturating_sub(before) as f64 / f64::from(count),
    })
}

fn measure_all(
    bed: &Bed,
    subject: &'static str,
    tunnels: u32,
    options: &Options,
    process: Process,
    rows: &mut Vec<Tunnelled>,
) -> anyhow::Result<()> {
    for &rate in &options.rates {
        for direction in [Direction::In, Direction::Out, Direction::Both] {
            rows.push(measure(bed, subject, tunnels, rate, direction, options.seconds, process)?);
        }
    }
    Ok(())
}

fn measure(
    bed: &Bed,
    subject: &'static str,
    tunnels: u32,
    rate: u32,
    direction: Direction,
    seconds: u16,
    process: Process,
) -> anyhow::Result<Tunnelled> {
    // The first packets find neighbours and warm caches.
    bed.send(direction, tunnels, 10_000, Duration::from_millis(300))?;
    bed.settle(direction)?;
    let (cpu, arrived) = (process.cpu()?, bed.arrived(direction)?);
    let started = Instant::now();
    let sent = bed.send(direction, tunnels, rate, Duration::from_secs(seconds.into()))?;
    let wall = started.elapsed();
    bed.settle(direction)?;
    let cpu = process.cpu()?.saturating_sub(cpu);
    let packets = bed.arrived(direction)?.saturating_sub(arrived);
    Ok(Tunnelled {
        subject,
        tunnels,
        direction: direction.name(),
        rate,
        sent,
        packets,
        per_second: packets as f64 / wall.as_secs_f64(),
        cpu_us_each: micros_each(cpu, packets),
        packets_per_cpu_second: (!cpu.is_zero()).then(|| packets as f64 / cpu.as_secs_f64()),
        platform_ratio: None,
    })
}

/// The example of the same profile as this program.
fn example() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    let mut folders = own.ancestors().skip(1).take(3).map(|folder| folder.join("examples").join("plane"));
    let fallback = own.with_file_name("examples").join("plane");
    Ok(folders.find(|candidate| candidate.exists()).unwrap_or(fallback))
}

/// How often all tunnels are raised, moved and removed.
const ROUNDS: usize = 20;
const MIB: f64 = 1024.0 * 1024.0;
