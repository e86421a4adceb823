//! The platform in the lab: nodes of the real binary, and its command line.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::error::LabError;
use super::namespace::Namespace;
use super::program::{Program, await_that};
use crate::node::Metrics;

/// One node: a process in a namespace with a folder of its own.
#[derive(Debug)]
pub struct Node {
    name: String,
    binary: PathBuf,
    namespace: Namespace,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Program>,
}

impl Node {
    /// Writes the node's configuration into `folder`. `sections` is TOML besides `[node]`'s names and paths; `environment` overrides
    /// it with `CENTREX6__SECTION__KEY` variables.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(
        binary: &Path,
        name: &str,
        namespace: &Namespace,
        folder: &Path,
        sections: &str,
        environment: &[(String, String)],
    ) -> Result<Node, LabError> {
        let config = format!(
            "[node]\nname = \"{name}\"\nadmin_listen = \"{ADMIN}\"\nadmin_socket = \"{}\"\ndata_dir = \"{}\"\n\
             workers = 2\n{sections}",
            folder.join(SOCKET).display(),
            folder.display(),
        );
        let file = folder.join(CONFIG);
        fs::write(&file, config).map_err(LabError::io(format!("write {}", file.display())))?;
        Ok(Node {
            name: name.to_owned(),
            binary: binary.to_owned(),
            namespace: namespace.clone(),
            folder: folder.to_owned(),
            environment: environment.to_vec(),
            process: None,
        })
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub fn start(&mut self) -> Result<(), LabError> {
        // One that was killed leaves its socket behind.
        let socket = self.folder.join(SOCKET);
        let _ = fs::remove_file(&socket);
        let mut command = self.namespace.command(&self.binary);
        command
            .args(["run", "--config"])
            .arg(self.folder.join(CONFIG))
            .envs(self.environment.iter().cloned());
        let who = format!("node {}", self.name);
        let mut process = Program::start(&who, &self.namespace, &mut command, &self.folder.join(LOG))?;
        let answers = || {
            if let Err(error) = process.check() {
                return Some(Err(error));
            }
            UnixStream::connect(&socket).is_ok().then_some(Ok(()))
        };
        match await_that(PATIENCE, answers) {
            Some(outcome) => outcome?,
            None => {
                let what = format!("{who} answers\n{}", process.tail());
                return Err(LabError::Late { what, seconds: PATIENCE.as_secs() });
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Program::pid)
    }

    /// Stops the process in order.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn stop(&mut self) -> Result<(), LabError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Kills the process, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Fails when the process has ended.
    ///
    /// # Errors
    /// [`LabError::Ended`], with the end of its log.
    pub fn check(&mut self) -> Result<(), LabError> {
        self.process.as_mut().map_or(Ok(()), Program::check)
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// Runs the command line with `--json` against it; gives what it printed.
    ///
    /// # Errors
    /// When it refuses.
    pub fn cli(&self, words: &[&str]) -> Result<Value, LabError> {
        self.cli_with(words, "")
    }

    /// The same, with this on standard input.
    ///
    /// # Errors
    /// When it refuses.
    pub fn cli_with(&self, words: &[&str], input: &str) -> Result<Value, LabError> {
        let operation = words.join(" ");
        let what = || format!("run `centrex6 {operation}`");
        // Inside its namespace: a node that does not run has its store opened, and nothing else.
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--json").arg("--config").arg(self.folder.join(CONFIG));
        command.envs(self.environment.iter().cloned());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io(what()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading says why in its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(LabError::io(what()))?;
        let refused = |said: &[u8]| {
            let said = String::from_utf8_lossy(said).trim().to_owned();
            LabError::Refused { operation: operation.clone(), said }
        };
        if !output.status.success() {
            return Err(refused(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).map_err(|_| refused(&output.stdout))
    }

    /// Reads `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics, LabError> {
        let read = || {
            let mut stream = TcpStream::connect(ADMIN)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(Metrics::new(text))
        };
        self.namespace.inside(read)?.map_err(LabError::io(format!("read /metrics of {}", self.name)))
    }

    /// The file with the key of the platform.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }
}

/// Every node has a loopback of its own.
const ADMIN: &str = "127.0.0.1:9060";
const SOCKET: &str = "admin.sock";
const CONFIG: &str = "centrex6.toml";
const LOG: &str = "log";
const PATIENCE: Duration = Duration::from_secs(30);
