//! What the benchmarks found: rows, as tables for people and as JSON.

use std::fmt;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// Everything that was measured in one run.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) registrations: Vec<Registrations>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<Calls>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) relay: Vec<Relay>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) logins: Vec<Logins>,
}

/// Where it was measured.
#[derive(Serialize)]
pub(super) struct Machine {
    date: String,
    cpu: String,
    cores: usize,
    /// Processes that wanted to run before the benchmark began: above 0, wall times tell little.
    load_before: f64,
    /// What the temporary folder, and so the store, lies on.
    store_file_system: String,
    binary: String,
    workers: u16,
}

/// One round of registrations.
#[derive(Serialize)]
pub(super) struct Registrations {
    pub(super) subject: &'static str,
    pub(super) round: &'static str,
    pub(super) registrations: u64,
    pub(super) failures: u64,
    pub(super) retransmissions: u64,
    pub(super) wall_s: f64,
    pub(super) per_second: f64,
    pub(super) cpu_us_each: Option<f64>,
    pub(super) commits: Option<u64>,
    pub(super) peak_rss_mib: Option<f64>,
    pub(super) ratio_to_kamailio: Option<f64>,
}

/// Calls at one rate.
#[derive(Serialize)]
pub(super) struct Calls {
    pub(super) subject: &'static str,
    pub(super) rate: u32,
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) retransmissions: u64,
    pub(super) wall_s: f64,
    /// Every call went well and hardly a message had to be repeated.
    pub(super) holds: bool,
    pub(super) cpu_us_each: Option<f64>,
    pub(super) commits: Option<u64>,
    pub(super) rss_before_mib: Option<f64>,
    pub(super) rss_after_mib: Option<f64>,
    pub(super) ratio_to_kamailio: Option<f64>,
}

/// Relayed media.
#[derive(Serialize)]
pub(super) struct Relay {
    pub(super) subject: &'static str,
    pub(super) calls: usize,
    pub(super) seconds: f64,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) corrupted: u64,
    pub(super) delay_ms: f64,
    pub(super) cpu_us_each: Option<f64>,
    pub(super) packets_per_cpu_second: Option<f64>,
    /// What the platform costs, divided by what this one costs.
    pub(super) platform_ratio: Option<f64>,
}

/// One round of sites at the tunnel broker.
#[derive(Serialize)]
pub(super) struct Logins {
    pub(super) round: &'static str,
    pub(super) sites: u64,
    pub(super) failures: u64,
    pub(super) wall_s: f64,
    pub(super) per_second: f64,
    pub(super) cpu_us_each: Option<f64>,
    pub(super) commits: Option<u64>,
    /// The node's memory after the round.
    pub(super) rss_mib: f64,
    /// What of it came with the sessions and tunnels, divided by their number.
    pub(super) bytes_a_session: Option<f64>,
}

impl Report {
    pub(super) fn new(machine: Machine) -> Report {
        Report {
            machine,
            registrations: Vec::new(),
            calls: Vec::new(),
            relay: Vec::new(),
            logins: Vec::new(),
        }
    }
}

impl Machine {
    /// This machine, now.
    pub(super) fn this(binary: &Path, workers: u16) -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let load = read("/proc/loadavg");
        Machine {
            date: output("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
            cpu: cpu.map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            store_file_system: file_system(&std::env::temp_dir(), &read("/proc/mounts")),
            binary: binary.display().to_string(),
            workers,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { date, cpu, cores, load_before, store_file_system, binary, workers } = &self.machine;
        writeln!(f, "{date}, {cpu}, {cores} cores, load {load_before} before, store on {store_file_system}")?;
        writeln!(
            f,
            "{binary}, {workers} workers a role; CPU is the process's own, all threads, user and system"
        )?;
        if !self.registrations.is_empty() {
            writeln!(f, "\nRegistrations (REGISTER, 401, REGISTER, 200)")?;
            let head = [
                "",
                "round",
                "done",
                "failed",
                "resent",
                "wall s",
                "per s",
                "CPU us",
                "commits",
                "peak MiB",
                "x Kamailio",
            ];
            let rows = self.registrations.iter().map(|row| {
                vec![
                    row.subject.to_owned(),
                    row.round.to_owned(),
                    row.registrations.to_string(),
                    row.failures.to_string(),
                    row.retransmissions.to_string(),
                    format!("{:.1}", row.wall_s),
                    format!("{:.0}", row.per_second),
                    number(row.cpu_us_each, 1),
                    row.commits.map_or_else(|| "-".to_owned(), |commits| commits.to_string()),
                    number(row.peak_rss_mib, 0),
                    number(row.ratio_to_kamailio, 2),
                ]
            });
            table(f, &head, rows.collect())?;
        }
        if !self.calls.is_empty() {
            writeln!(
                f,
                "\nCalls (INVITE, 407, INVITE, 180, 200, ACK, BYE, 200; IPv6 phone to IPv4 gateway, no media)"
            )?;
            let head = [
                "",
                "calls/s",
                "done",
                "failed",
                "resent",
                "wall s",
                "holds",
                "CPU us",
                "commits",
                "MiB before",
                "after",
                "x Kamailio",
            ];
            let rows = self.calls.iter().map(|row| {
                vec![
                    row.subject.to_owned(),
                    row.rate.to_string(),
                    row.calls.to_string(),
                    row.failures.to_string(),
                    row.retransmissions.to_string(),
                    format!("{:.1}", row.wall_s),
                    if row.holds { "yes" } else { "no" }.to_owned(),
                    number(row.cpu_us_each, 0),
                    row.commits.map_or_else(|| "-".to_owned(), |commits| commits.to_string()),
                    number(row.rss_before_mib, 0),
                    number(row.rss_after_mib, 0),
                    number(row.ratio_to_kamailio, 2),
                ]
            });
            table(f, &head, rows.collect())?;
        }
        if !self.relay.is_empty() {
            writeln!(f, "\nRelayed RTP (G.711, 20 ms, both ways, IPv6 to IPv4)")?;
            let head = [
                "",
                "calls",
                "s",
                "packets",
                "lost",
                "corrupted",
                "delay ms",
                "CPU us",
                "packets/CPU s",
                "Centrex6 x this",
            ];
            let rows = self.relay.iter().map(|row| {
                vec![
                    row.subject.to_owned(),
                    row.calls.to_string(),
                    format!("{:.1}", row.seconds),
                    row.packets.to_string(),
                    row.lost.to_string(),
                    row.corrupted.to_string(),
                    format!("{:.2}", row.delay_ms),
                    number(row.cpu_us_each, 2),
                    number(row.packets_per_cpu_second, 0),
                    number(row.platform_ratio, 2),
                ]
            });
            table(f, &head, rows.collect())?;
        }
        if !self.logins.is_empty() {
            writeln!(
                f,
                "\nSites at the tunnel broker, broker and tunnel server in one process (DTCP over TCP)"
            )?;
            let head = [
                "round",
                "",
                "sites",
                "failed",
                "wall s",
                "per s",
                "CPU us",
                "commits",
                "MiB",
                "bytes a session",
            ];
            let rows = self.logins.iter().map(|row| {
                vec![
                    row.round.to_owned(),
                    String::new(),
                    row.sites.to_string(),
                    row.failures.to_string(),
                    format!("{:.1}", row.wall_s),
                    format!("{:.0}", row.per_second),
                    number(row.cpu_us_each, 0),
                    row.commits.map_or_else(|| "-".to_owned(), |commits| commits.to_string()),
                    format!("{:.1}", row.rss_mib),
                    number(row.bytes_a_session, 0),
                ]
            });
            table(f, &head, rows.collect())?;
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, head: &[&str], rows: Vec<Vec<String>>) -> fmt::Result {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head.get(at).map_or(0, |title| title.len()))
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let titles = head.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        writeln!(f, "  {}", cells.by_ref().collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The type of the mounted file system that holds a folder.
fn file_system(folder: &Path, mounts: &str) -> String {
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    holding
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_holds_a_folder() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(Path::new("/tmp/x"), mounts), "tmpfs");
        assert_eq!(file_system(Path::new("/var"), mounts), "ext4");
    }
}
