//! What is measured: the data plane, and the bare loop.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context;
use load_tests::process::Process;
use serde::Deserialize;

use super::bed::Bed;
use super::wire::Delays;

/// The data plane as a process. Dropping it ends it.
pub(super) struct Plane {
    child: Running,
}

/// What it says after each line.
#[derive(Deserialize)]
pub(super) struct Said {
    /// How often a tunnel was raised, moved or removed.
    pub(super) changes: u64,
    /// The processor time of that, seconds.
    pub(super) cpu_s: f64,
}

impl Plane {
    pub(super) fn start(bed: &Bed, binary: &Path) -> anyhow::Result<Plane> {
        let mut command = bed.on_server(binary);
        command.args([DEVICE, "192.0.2.1", "2001:db8:ffff::1", "2001:db8:ffff::/48", "2001:db8:fffe::/48"]);
        Ok(Plane { child: Running::start(command)? })
    }

    pub(super) fn process(&self) -> Process {
        self.child.process()
    }

    /// Gives it a line and waits for its answer.
    pub(super) fn tell(&mut self, line: &str) -> anyhow::Result<Said> {
        self.say(line)?;
        self.answer()
    }

    /// Gives it a line.
    pub(super) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.child.stdin.as_mut().context("the plane has no input")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Waits for its answer.
    pub(super) fn answer(&mut self) -> anyhow::Result<Said> {
        Ok(serde_json::from_str(&self.child.line()?)?)
    }
}

/// The least that a program in user space can do, as a process. Dropping it ends it.
pub(super) struct BareLoop {
    child: Running,
}

impl BareLoop {
    pub(super) fn start(bed: &Bed) -> anyhow::Result<BareLoop> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let mut command = bed.on_server(own);
        command.args(["tunnel-loop", "--device", DEVICE, "--local", "192.0.2.1", "--remote", "10.0.0.1"]);
        Ok(BareLoop { child: Running::start(command)? })
    }

    pub(super) fn process(&self) -> Process {
        self.child.process()
    }
}

/// Takes what comes out of the first tunnel, as a process.
pub(super) struct Receiver {
    child: Running,
}

impl Receiver {
    pub(super) fn start(bed: &Bed) -> anyhow::Result<Receiver> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let mut command = bed.on_sites(own);
        command.args(["tunnel-receive", "--address", "10.0.0.1"]);
        Ok(Receiver { child: Running::start(command)? })
    }

    /// Ends it; it says what it got.
    pub(super) fn stop(mut self) -> anyhow::Result<Delays> {
        self.child.child.stdin.take();
        Ok(serde_json::from_str(&self.child.line()?)?)
    }
}

struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it and waits for its first line. `ip netns exec` becomes the program, so the id is its own.
    fn start(mut command: Command) -> anyhow::Result<Running> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut running = Running { child, output };
        running.line()?;
        Ok(running)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        anyhow::ensure!(read > 0, "it ended; what it said last stands above");
        Ok(line)
    }

    fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of the TUN device.
pub(super) const DEVICE: &str = "tunnels";
