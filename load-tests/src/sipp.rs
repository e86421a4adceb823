//! Running sipp, bounded in calls and time, and reading what it counted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports;

/// A scenario: its name and its XML.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// For messages.
    pub name: &'static str,
    /// The whole file.
    pub xml: &'static str,
}

/// A sipp command being put together.
#[derive(Debug, Clone)]
pub struct Sipp {
    scenario: Scenario,
    remote: SocketAddr,
    port: Option<u16>,
    patience: Duration,
    arguments: Vec<String>,
    rows: Vec<String>,
}

/// A running sipp. Dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    scenario: Scenario,
    child: Child,
    folder: TempDir,
    deadline: Instant,
    /// Where it sends from and listens.
    pub local: SocketAddr,
}

/// What a sipp counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls begun.
    pub created: u64,
    /// Calls that went as the scenario says.
    pub successful: u64,
    /// The others.
    pub failed: u64,
    /// Messages that sipp had to send again.
    pub retransmissions: u64,
}

/// Why a sipp gave no counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SippError {
    /// The program is not there.
    #[error("sipp is missing: install it (Debian: apt-get install sip-tester)")]
    Missing,
    /// The system refused something.
    #[error("sipp could not be run: {0}")]
    Io(#[from] io::Error),
    /// It does not play the scenario.
    #[error("sipp did not play {scenario}: {said}")]
    Failed {
        /// The scenario.
        scenario: &'static str,
        /// What it printed.
        said: String,
    },
    /// It went on for too long.
    #[error("sipp did not end {scenario} in time")]
    Endless {
        /// The scenario.
        scenario: &'static str,
    },
}

impl Sipp {
    /// A scenario toward `remote`; for a server, any address of the family that it shall listen on.
    pub fn new(scenario: Scenario, remote: SocketAddr) -> Sipp {
        let patience = Duration::from_secs(60);
        Sipp { scenario, remote, port: None, patience, arguments: Vec::new(), rows: Vec::new() }
    }

    /// Whether the program is there.
    ///
    /// # Errors
    /// [`SippError::Missing`].
    pub fn check() -> Result<(), SippError> {
        let mut command = Command::new("sipp");
        let found = command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map(|_| ()).map_err(|_| SippError::Missing)
    }

    /// The port to use, in place of one that the system hands out.
    pub fn port(self, port: u16) -> Sipp {
        Sipp { port: Some(port), ..self }
    }

    /// How many calls to make, how many a second, and how many at a time.
    pub fn load(self, calls: usize, rate: u32, at_once: usize) -> Sipp {
        let numbers = [calls.to_string(), rate.to_string(), at_once.to_string()];
        self.args(&["-m", &numbers[0], "-r", &numbers[1], "-l", &numbers[2]])
    }

    /// How long it may take.
    pub fn patience(self, patience: Duration) -> Sipp {
        Sipp { patience, ..self }
    }

    /// The URI that credentials are made for, without its scheme.
    pub fn auth_uri(self, uri: &str) -> Sipp {
        self.args(&["-auth_uri", uri])
    }

    /// A scenario variable.
    pub fn key(self, name: &str, value: &str) -> Sipp {
        self.args(&["-key", name, value])
    }

    /// Further arguments.
    pub fn args(mut self, arguments: &[&str]) -> Sipp {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Rows of the CSV file; calls read them in order, and from the first again after the last.
    pub fn rows(mut self, rows: impl IntoIterator<Item = String>) -> Sipp {
        self.rows.extend(rows);
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(self) -> Result<Running, SippError> {
        let mut tries = 0;
        loop {
            let mut running = self.try_start()?;
            match running.await_bound()? {
                Some(CANNOT_BIND) if tries < TRIES && self.port.is_none() => tries += 1,
                Some(code) if code != SUCCESS && code != SOME_FAILED => return Err(running.failed()),
                _ => return Ok(running),
            }
        }
    }

    fn try_start(&self) -> Result<Running, SippError> {
        let ip = if self.remote.is_ipv6() {
            IpAddr::from(Ipv6Addr::LOCALHOST)
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let port = self.port.map_or_else(|| ports::free_udp(ip), Ok)?;
        let folder = tempfile::Builder::new().prefix("centrex6-sipp-").tempdir()?;
        let scenario = folder.path().join("scenario.xml");
        std::fs::write(&scenario, self.scenario.xml)?;
        let mut command = Command::new("sipp");
        command
            .arg(self.remote.to_string())
            .arg("-sf")
            .arg(&scenario)
            .args(["-i", &ip.to_string(), "-mi", &ip.to_string(), "-p", &port.to_string(), "-nostdin"])
            .args(["-timeout", &format!("{}s", self.patience.as_secs())])
            // Room for a burst; the default loses datagrams before sipp reads them.
            .args(["-buff_size", "4194304"])
            // A busy machine is no reason to give up.
            .args(["-watchdog_minor_maxtriggers", "1000000", "-watchdog_major_maxtriggers", "1000000"])
            .args(["-trace_stat", "-stf", STATISTICS, "-fd", "1", "-trace_err", "-error_file", ERRORS])
            .args(&self.arguments);
        if !self.rows.is_empty() {
            std::fs::write(folder.path().join(ROWS), format!("SEQUENTIAL\n{}\n", self.rows.join("\n")))?;
            command.args(["-inf", ROWS]);
        }
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join(SAID))?)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SippError::Missing,
                _ => SippError::Io(error),
            })?;
        let deadline = Instant::now() + self.patience + GRACE;
        Ok(Running { scenario: self.scenario, child, folder, deadline, local: SocketAddr::new(ip, port) })
    }
}

impl Running {
    /// Waits for the end. Failed calls are counted, and are no error.
    ///
    /// # Errors
    /// When it does not end in time or has no counts.
    pub fn wait(mut self) -> Result<Counts, SippError> {
        self.await_end()
    }

    /// The same, and the last errors that it wrote, at most `lines` lines.
    ///
    /// # Errors
    /// As [`wait`](Running::wait).
    pub fn wait_with_errors(mut self, lines: usize) -> Result<(Counts, String), SippError> {
        let counts = self.await_end()?;
        let text = self.text(ERRORS);
        let all: Vec<&str> = text.lines().collect();
        Ok((counts, all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")))
    }

    fn await_end(&mut self) -> Result<Counts, SippError> {
        let code = loop {
            if let Some(status) = self.child.try_wait()? {
                break status.code();
            }
            if Instant::now() > self.deadline {
                return Err(SippError::Endless { scenario: self.scenario.name });
            }
            std::thread::sleep(TICK);
        };
        let counts = Counts::read(&self.text(STATISTICS));
        match (code, counts) {
            (Some(SUCCESS | SOME_FAILED | TIMED_OUT), Some(counts)) => Ok(counts),
            _ => Err(self.failed()),
        }
    }

    /// What it counted until at most a second ago. sipp does not always end a server when it is asked to, so servers are looked at, and
    /// dropped when they are not needed any more.
    ///
    /// # Errors
    /// When it has no counts.
    pub fn counts(&self) -> Result<Counts, SippError> {
        Counts::read(&self.text(STATISTICS)).ok_or_else(|| self.failed())
    }

    /// `None` when it listens, the exit code when it ended before.
    fn await_bound(&mut self) -> Result<Option<i32>, SippError> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status.code().unwrap_or(CANNOT_BIND)));
            }
            if ports::is_bound(self.local) {
                return Ok(None);
            }
            if Instant::now() > self.deadline {
                return Err(SippError::Endless { scenario: self.scenario.name });
            }
            std::thread::sleep(TICK);
        }
    }

    fn failed(&self) -> SippError {
        let said = [SAID, ERRORS].map(|name| self.text(name)).join("\n");
        let said: String = said.trim().chars().take(2_000).collect();
        SippError::Failed { scenario: self.scenario.name, said }
    }

    fn text(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Counts {
    /// Both together.
    pub fn and(self, other: Counts) -> Counts {
        Counts {
            created: self.created + other.created,
            successful: self.successful + other.successful,
            failed: self.failed + other.failed,
            retransmissions: self.retransmissions + other.retransmissions,
        }
    }

    /// Reads the last line of a statistics file, by the names of its first one.
    fn read(text: &str) -> Option<Counts> {
        let names = text.lines().next()?.split(';');
        let last = text.lines().last()?;
        let value = |name: &str| {
            let at = names.clone().position(|known| known == name)?;
            last.split(';').nth(at)?.trim().parse().ok()
        };
        Some(Counts {
            created: value("TotalCallCreated")?,
            successful: value("SuccessfulCall(C)")?,
            failed: value("FailedCall(C)")?,
            retransmissions: value("Retransmissions(C)")?,
        })
    }
}

const STATISTICS: &str = "statistics";
const ERRORS: &str = "errors";
const SAID: &str = "said";
const ROWS: &str = "rows.csv";
/// Exit codes of sipp(1).
const SUCCESS: i32 = 0;
const SOME_FAILED: i32 = 1;
const TIMED_OUT: i32 = 97;
/// Exit code -2.
const CANNOT_BIND: i32 = 254;
const TRIES: usize = 5;
/// How long sipp may take to end after its own time limit.
const GRACE: Duration = Duration::from_secs(10);
/// There is nothing to be told by: sipp is a process of its own.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_name() {
        let text = "StartTime;TotalCallCreated;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                    x;1;0;0;0;0;\nx;9;3;7;2;4;\n";
        let expected = Counts { created: 9, successful: 7, failed: 2, retransmissions: 4 };
        assert_eq!(Counts::read(text), Some(expected));
        assert_eq!(Counts::read(""), None);
    }
}
