//! Kamailio as a peer: an equivalent configuration, started for one benchmark.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use load_tests::ports;
use load_tests::process::Process;
use tempfile::TempDir;

use super::{PASSWORD, REALM};

/// A running Kamailio. Dropping it stops it with its children.
pub(super) struct Kamailio {
    child: Child,
    folder: TempDir,
}

impl Kamailio {
    /// Whether it is installed.
    pub(super) fn is_installed() -> bool {
        let mut command = Command::new(PROGRAM);
        command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts it with a configuration whose `@NAME@` are replaced, and waits until it listens on `proxy`.
    pub(super) fn start(
        template: &str,
        workers: u16,
        proxy: SocketAddr,
        more: &[(&str, String)],
    ) -> anyhow::Result<Kamailio> {
        let folder = tempfile::Builder::new().prefix("centrex6-kamailio-").tempdir()?;
        let own = [
            ("WORKERS", workers.to_string()),
            ("PROXY", proxy.to_string()),
            ("REALM", REALM.to_owned()),
            ("PASSWORD", PASSWORD.to_owned()),
        ];
        let config = own
            .iter()
            .chain(more)
            .fold(template.to_owned(), |config, (name, value)| config.replace(&format!("@{name}@"), value));
        let path = folder.path().join("kamailio.cfg");
        std::fs::write(&path, config)?;
        let log = File::create(folder.path().join(LOG))?;
        let child = Command::new(PROGRAM)
            // In the foreground, with its log on standard error.
            .args(["-DD", "-E", "-f"])
            .arg(&path)
            .arg("-Y")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start Kamailio")?;
        let mut kamailio = Kamailio { child, folder };
        let deadline = Instant::now() + PATIENCE;
        while !ports::is_bound(proxy) {
            if let Some(status) = kamailio.child.try_wait()? {
                anyhow::bail!("Kamailio ended with {status}:\n{}", kamailio.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "Kamailio does not listen:\n{}", kamailio.log());
            std::thread::sleep(TICK);
        }
        // Its workers are forked after the socket is bound.
        std::thread::sleep(SETTLE);
        Ok(kamailio)
    }

    /// Processor time of all its processes.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(Process::new(self.child.id()).cpu_with_children()?)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Killed outright, it would leave its children behind.
        let _ = Process::new(self.child.id()).terminate();
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROGRAM: &str = "kamailio";
const LOG: &str = "log";
const PATIENCE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(20);
