//! One network namespace, named as `ip netns` names them, so that people can look into it with `ip netns exec`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::LabError;

/// A namespace by its name. It is made by [`Namespace::create`] and lives until [`Namespace::delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A namespace that exists already, or will.
    pub fn named(name: &str) -> Namespace {
        Namespace { name: name.to_owned() }
    }

    /// Makes it, with its loopback interface up.
    ///
    /// # Errors
    /// When the system refuses, as for a name that is taken.
    pub fn create(name: &str) -> Result<Namespace, LabError> {
        let namespace = Namespace::named(name);
        namespace.output(Command::new("ip").args(["netns", "add", name]), None)?;
        namespace.ip(&["link set lo up".to_owned()])?;
        Ok(namespace)
    }

    /// Every namespace whose name begins so.
    pub fn all(prefix: &str) -> Vec<Namespace> {
        let Ok(entries) = std::fs::read_dir(FOLDER) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<_> =
            names.filter(|name| name.starts_with(prefix)).map(|name| Namespace { name }).collect();
        all.sort_by(|one, two| one.name.cmp(&two.name));
        all
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills every process in it and removes it with all that it holds.
    ///
    /// # Errors
    /// When the system refuses, or a process does not die.
    pub fn delete(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in &pids {
                // A failure means that it ended meanwhile.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if Instant::now() > deadline {
                let what = format!("the processes {pids:?} in {} end", self.name);
                return Err(LabError::Late { what, seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(TICK);
        }
        self.output(Command::new("ip").args(["netns", "del", &self.name]), None).map(drop)
    }

    /// The processes in it. Threads of other processes that entered it are not among them.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn pids(&self) -> Result<Vec<i32>, LabError> {
        let said = self.output(Command::new("ip").args(["netns", "pids", &self.name]), None)?;
        Ok(said.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Carries out lines of `ip`, such as `link set lan up`, in one go.
    ///
    /// # Errors
    /// With the first line that fails.
    pub fn ip(&self, lines: &[String]) -> Result<(), LabError> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        self.output(&mut command, Some(&lines.join("\n"))).map(drop).map_err(|error| match error {
            LabError::Command { namespace, said, .. } => {
                // iproute2 says "Command failed -:3" for the third line.
                let number =
                    said.rsplit_once("-:").and_then(|(_, number)| number.trim().parse::<usize>().ok());
                let line = number.and_then(|number| lines.get(number.checked_sub(1)?));
                let command = format!("ip {}", line.map_or("-batch", String::as_str));
                LabError::Command { command, namespace, said }
            }
            other => other,
        })
    }

    /// Loads an nftables script.
    ///
    /// # Errors
    /// When nftables refuses it.
    pub fn nft(&self, script: &str) -> Result<String, LabError> {
        self.output(self.command("nft").args(["-f", "-"]), Some(script))
    }

    /// Runs a program in it to its end; gives what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        self.output(self.command(program).args(arguments), None)
    }

    /// Sets a kernel parameter below `/proc/sys/net`, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn set(&self, parameter: &str, value: &str) -> Result<(), LabError> {
        let what = || format!("set net/{parameter} to {value} in {}", self.name);
        self.inside(|| std::fs::write(Path::new("/proc/sys/net").join(parameter), value))?
            .map_err(LabError::io(what()))
    }

    /// A command that will run in it. Its process id is the program's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Calls `act` on a thread inside it: sockets that it makes belong here for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let work = scope.spawn(|| self.enter().map(|()| act()));
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into it, for good: only for a thread that ends there.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter(&self) -> Result<(), LabError> {
        let enter = || {
            let file = File::open(self.path())?;
            setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
        };
        enter().map_err(LabError::io(format!("enter namespace {}", self.name)))
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs a command to its end, with this on standard input.
    fn output(&self, command: &mut Command, input: Option<&str>) -> Result<String, LabError> {
        let shown = shown(command);
        let what = || format!("run `{shown}`");
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io(what()))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // One that ends without reading says why in its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(LabError::io(what()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Command { command: shown, namespace: self.name.clone(), said })
    }
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(10);
