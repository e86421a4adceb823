//! Running sipp, bounded in calls and time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::free_port;

/// A sipp command being put together.
pub struct Sipp {
    command: Command,
    folder: TempDir,
    /// Where it sends from and listens.
    pub local: SocketAddr,
}

/// A running sipp. Dropping it kills the process.
pub struct Running {
    child: Child,
    folder: TempDir,
    /// Where it sends from and listens.
    pub local: SocketAddr,
}

impl Sipp {
    /// A scenario from `load-tests/sipp`, toward `remote`, for one call.
    pub fn new(scenario: &str, remote: SocketAddr) -> Sipp {
        let ip = if remote.is_ipv6() { "::1" } else { "127.0.0.1" };
        let local = SocketAddr::new(ip.parse().unwrap(), free_port(ip.parse().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("load-tests/sipp").join(scenario);
        assert!(file.exists(), "{} is missing", file.display());
        let mut command = Command::new("sipp");
        let bracketed = if remote.is_ipv6() { format!("[{ip}]") } else { ip.to_owned() };
        command
            .arg("-sf")
            .arg(file)
            .args(["-i", &bracketed, "-p", &local.port().to_string(), "-mi", &bracketed])
            .args(["-nostdin", "-m", "1", "-timeout", "40s", "-timeout_error", "-trace_err", "-trace_logs"])
            .arg(remote.to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null());
        Sipp { command, folder, local }
    }

    /// A scenario variable, `-key name value`.
    pub fn key(mut self, name: &str, value: &str) -> Sipp {
        self.command.args(["-key", name, value]);
        self
    }

    /// Further arguments.
    pub fn args(mut self, arguments: &[&str]) -> Sipp {
        self.command.args(arguments);
        self
    }

    /// A CSV file for `-inf`, one line a call, read in order.
    pub fn users(mut self, lines: &[String]) -> Sipp {
        let file = self.folder.path().join("users.csv");
        std::fs::write(&file, format!("SEQUENTIAL\n{}\n", lines.join("\n"))).unwrap();
        self.command.arg("-inf").arg(file);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let output = std::fs::File::create(self.folder.path().join("screen")).unwrap();
        let child = self.command.stdout(output).stderr(Stdio::null()).spawn().unwrap();
        Running { child, folder: self.folder, local: self.local }
    }

    /// Runs it to the end, which must be a success.
    pub fn run(self) {
        self.start().succeed();
    }
}

impl Running {
    /// Waits for the end, which must be a success: every call went as the scenario says.
    pub fn succeed(mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "sipp did not end:\n{}", self.traces());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "sipp ended with {status}:\n{}", self.traces());
    }

    /// Everything that sipp wrote: errors first.
    pub fn traces(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("errors") || name.contains("logs") || name == "screen" {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                let shown = String::from_utf8_lossy(&bytes);
                let tail: String = shown.chars().rev().take(4000).collect::<String>().chars().rev().collect();
                text.push_str(&format!("--- {name}\n{tail}\n"));
            }
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
