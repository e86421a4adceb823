//! The network namespaces: sites, server, and the network behind it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::Direction;

/// Three namespaces in a row. Dropping it removes them.
pub(super) struct Bed {
    /// All sites at once: whatever goes to 10.0.0.0/8 comes here.
    sites: String,
    server: String,
    /// Behind the server: whatever goes to `2001:db8:fffe::/47` comes here.
    core: String,
}

impl Bed {
    pub(super) fn make() -> anyhow::Result<Bed> {
        let name = |role: &str| format!("cx6bench{}-{role}", std::process::id());
        let bed = Bed { sites: name("sites"), server: name("server"), core: name("core") };
        for name in [&bed.sites, &bed.server, &bed.core] {
            ip(&["netns", "add", name])
                .context("no network namespace can be made: this benchmark needs root")?;
            bed.ip_in(name, "link set lo up")?;
        }
        let Bed { sites, server, core } = &bed;
        bed.ip_in(server, &format!("link add wan type veth peer name wan netns {sites}"))?;
        bed.ip_in(server, &format!("link add core type veth peer name core netns {core}"))?;
        for (at, words) in [
            (sites, "addr add 192.0.2.2/30 dev wan"),
            (server, "addr add 192.0.2.1/30 dev wan"),
            (sites, "link set wan up"),
            (server, "link set wan up"),
            (server, "route add 10.0.0.0/8 via 192.0.2.2"),
            (server, "link set core up"),
            (core, "link set core up"),
            (server, "addr add 2001:db8:fffe::1/64 dev core nodad"),
            (core, "addr add 2001:db8:fffe::2/64 dev core nodad"),
            (server, "route add 2001:db8:ffff::/48 via 2001:db8:fffe::2"),
            (core, "route add default via 2001:db8:fffe::1"),
        ] {
            bed.ip_in(at, words)?;
        }
        for (at, setting, value) in [
            (server, "ipv6/conf/all/forwarding", "1"),
            (server, "ipv4/conf/all/rp_filter", "0"),
            (server, "ipv4/conf/wan/rp_filter", "0"),
            // What arrives at the ends ends there in silence.
            (sites, "ipv4/ip_forward", "0"),
            (core, "ipv6/conf/all/forwarding", "0"),
        ] {
            let script = format!("echo {value} > /proc/sys/net/{setting}");
            check(bed.command(at, "sh").args(["-c", &script]).output()?)?;
        }
        Ok(bed)
    }

    /// A program in the server's namespace.
    pub(super) fn on_server(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command(&self.server, program)
    }

    /// A program in the sites' namespace.
    pub(super) fn on_sites(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command(&self.sites, program)
    }

    /// Whether the sites' end takes what goes to the first site, or throws it away as it does with the rest.
    pub(super) fn take_first(&self, takes: bool) -> anyhow::Result<()> {
        let verb = if takes { "add" } else { "del" };
        self.ip_in(&self.sites, &format!("addr {verb} 10.0.0.1/32 dev lo"))
    }

    /// Leads what goes to the sites to the subject's device.
    pub(super) fn route_to(&self, device: &str) -> anyhow::Result<()> {
        self.ip_in(&self.server, &format!("route add 2001:db8::/32 dev {device}"))
    }

    /// Sends packets from one end, or from both; gives how many.
    pub(super) fn send(
        &self,
        direction: Direction,
        tunnels: u32,
        rate: u32,
        time: Duration,
    ) -> anyhow::Result<u64> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let start = |&(at, side): &(&String, &str)| {
            let mut command = self.command(at, &own);
            command.args(["tunnel-send", "--side", side, "--tunnels", &tunnels.to_string()]);
            command.args(["--rate", &rate.to_string(), "--millis", &time.as_millis().to_string()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let ends: &[(&String, &str)] = match direction {
            Direction::In => &[(&self.sites, "sites")],
            Direction::Out => &[(&self.core, "core")],
            Direction::Both => &[(&self.sites, "sites"), (&self.core, "core")],
        };
        let senders = ends.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let mut sent = 0;
        for sender in senders {
            let output = check(sender.wait_with_output()?)?;
            sent += String::from_utf8_lossy(&output.stdout).trim().parse::<u64>()?;
        }
        Ok(sent)
    }

    /// Packets that have arrived at the other end, or at both, all that there ever were.
    pub(super) fn arrived(&self, direction: Direction) -> anyhow::Result<u64> {
        let (core, sites) = ((&self.core, "core:"), (&self.sites, "wan:"));
        let ends: &[(&String, &str)] = match direction {
            Direction::In => &[core],
            Direction::Out => &[sites],
            Direction::Both => &[core, sites],
        };
        let mut all = 0;
        for (at, interface) in ends {
            let output = check(self.command(at, "cat").arg("/proc/net/dev").output()?)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().find_map(|line| line.trim().strip_prefix(interface));
            let packets =
                line.and_then(|line| line.split_whitespace().nth(1)).context("no such interface")?;
            all += packets.parse::<u64>()?;
        }
        Ok(all)
    }

    /// Waits until nothing arrives any more.
    pub(super) fn settle(&self, direction: Direction) -> anyhow::Result<()> {
        let mut before = self.arrived(direction)?;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.arrived(direction)?;
            if now.saturating_sub(before) < FEW {
                return Ok(());
            }
            before = now;
        }
    }

    fn ip_in(&self, namespace: &str, words: &str) -> anyhow::Result<()> {
        let family: &[&str] =
            if words.contains("2001:") || words.contains("default") { &["-6"] } else { &[] };
        let mut command = Command::new("ip");
        command.args(["-n", namespace]).args(family).args(words.split(' '));
        check(command.output()?).map(drop).with_context(|| format!("ip {words}"))
    }

    fn command(&self, namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program).stdin(Stdio::null());
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in [&self.sites, &self.server, &self.core] {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    check(Command::new("ip").args(words).output().context("`ip` (iproute2) cannot be run")?).map(drop)
}

fn check(output: Output) -> anyhow::Result<Output> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{}", said.trim());
    Ok(output)
}

/// The kernel talks to its neighbours now and then.
const FEW: u64 = 5;
