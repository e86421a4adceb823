//! What a process costs, as `/proc` tells it: processor time of all its threads, and memory.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A process, looked at from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

/// Memory of a process that is in RAM, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now (`VmRSS`).
    pub resident: u64,
    /// The most that it ever was (`VmHWM`).
    pub peak: u64,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// Its id.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// User and system time of all threads, ended ones too, in steps of 10 ms (`utime` + `stime` of proc_pid_stat(5)).
    ///
    /// # Errors
    /// When there is no such process.
    pub fn cpu(self) -> io::Result<Duration> {
        cpu_of(&std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?).ok_or_else(strange)
    }

    /// The same of the process and its living children: a server that forks its workers does its work in them.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn cpu_with_children(self) -> io::Result<Duration> {
        let mut sum = self.cpu()?;
        for child in self.children()? {
            // One that ended meanwhile is no error.
            sum += child.cpu().unwrap_or_default();
        }
        Ok(sum)
    }

    /// Its memory.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn memory(self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        match (field("VmRSS:"), field("VmHWM:")) {
            (Some(resident), Some(peak)) => Ok(Memory { resident, peak }),
            _ => Err(strange()),
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn terminate(self) -> io::Result<()> {
        let pid = self.pid.to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn children(self) -> io::Result<Vec<Process>> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let pids = std::fs::read_to_string(path)?;
        Ok(pids.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Process::new).collect())
    }
}

/// Reads `/proc/<pid>/stat`. The second field may hold spaces and parentheses, so the last one of these is looked for.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * (1000 / TICKS)))
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc does not look as expected")
}

/// `USER_HZ`: 100 on every architecture that Linux gives Rust programs.
const TICKS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 3 0 100 1 1";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of("7 (a"), None);
    }

    #[test]
    fn a_process_sees_itself() {
        let own = Process::new(std::process::id());
        own.cpu().unwrap();
        let memory = own.memory().unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident, "{memory:?}");
        assert!(Process::new(u32::MAX).cpu().is_err());
    }
}
