//! A process of the lab: a program inside a namespace, with its log in the lab's folder.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::LabError;
use super::namespace::Namespace;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    who: String,
    namespace: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, which must have been made by [`Namespace::command`]; what it prints is added to the log.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn start(
        who: &str,
        namespace: &Namespace,
        command: &mut Command,
        log: &Path,
    ) -> Result<Program, LabError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let file = open().map_err(LabError::io(format!("open {}", log.display())))?;
        let also = file.try_clone().map_err(LabError::io(format!("open {}", log.display())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(also)
            .spawn()
            .map_err(LabError::io(format!("start {who}")))?;
        Ok(Program {
            who: who.to_owned(),
            namespace: namespace.name().to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// What it is.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of that.
    pub fn tail(&self) -> String {
        tail(&self.log(), TAIL)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// [`LabError::Ended`], with the end of its log.
    pub fn check(&mut self) -> Result<(), LabError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(LabError::Ended {
                who: self.who.clone(),
                namespace: self.namespace.clone(),
                status,
                log: self.tail(),
            }),
        }
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it in order with SIGTERM; after some seconds, kills it.
    ///
    /// # Errors
    /// When it did not end by itself.
    pub fn stop(&mut self) -> Result<(), LabError> {
        // A failure means that it has ended.
        let _ = i32::try_from(self.pid()).map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
        let stopped = await_that(PATIENCE, || self.ended());
        self.kill();
        stopped.map(drop).ok_or_else(|| LabError::Late {
            what: format!("{} ends after SIGTERM\n{}", self.who, self.tail()),
            seconds: PATIENCE.as_secs(),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

/// Asks again and again until there is an answer, or the time is over.
pub fn await_that<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        // There is nothing to be told by: the other side is a process of its own.
        std::thread::sleep(TICK);
    }
}

/// Lines of a log that an error shows.
const TAIL: usize = 12;
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(50);
