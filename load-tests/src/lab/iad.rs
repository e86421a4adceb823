//! A dorm's IAD: the real agent in its namespace, and radvd beside it where the agent shall not advertise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{BROKER, Dorm, LAN};
use super::program::{Program, tail};
use super::provision::Provisioned;
use super::setup::{Advertiser, Setup};

/// An IAD, switched on or off.
#[derive(Debug)]
pub struct Iad {
    binary: PathBuf,
    namespace: Namespace,
    folder: PathBuf,
    /// The agent's words of the command line.
    arguments: Vec<String>,
    advertiser: Advertiser,
    prefix: String,
    agent: Option<Program>,
    radvd: Option<Program>,
}

impl Iad {
    /// An IAD that is off; its files are in `folder`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn new(
        setup: &Setup,
        dorm: &Dorm,
        provisioned: &Provisioned,
        folder: &Path,
    ) -> Result<Iad, LabError> {
        let password = folder.join("password");
        fs::write(&password, &provisioned.password)
            .map_err(LabError::io(format!("write {}", password.display())))?;
        let mut arguments = agent_arguments(&provisioned.account, &password, &folder.join(SOCKET));
        arguments.extend(setup.agent.iter().cloned());
        if setup.advertiser == Advertiser::Radvd {
            arguments.push("--no-advertise".to_owned());
        }
        Ok(Iad {
            binary: setup.binary.clone(),
            namespace: Namespace::named(&dorm.iad),
            folder: folder.to_owned(),
            arguments,
            advertiser: setup.advertiser,
            prefix: provisioned.prefix.clone(),
            agent: None,
            radvd: None,
        })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Starts what runs on it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn power_on(&mut self) -> Result<(), LabError> {
        let mut command = self.namespace.command(&self.binary);
        command.args(["iad"]).args(&self.arguments);
        let log = self.folder.join(LOG);
        self.agent = Some(Program::start("the agent", &self.namespace, &mut command, &log)?);
        if self.advertiser == Advertiser::Radvd {
            self.radvd = Some(self.start_radvd()?);
        }
        Ok(())
    }

    /// Kills what runs on it, without a word to anybody.
    pub fn power_off(&mut self) {
        (self.agent, self.radvd) = (None, None);
    }

    /// Stops the agent in order.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn stop(&mut self) -> Result<(), LabError> {
        self.radvd = None;
        self.agent.take().map_or(Ok(()), |mut agent| agent.stop())
    }

    /// Runs `centrex6 iad check` on it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn check_steps(&self, words: &[&str]) -> Result<Output, LabError> {
        let mut command = self.namespace.command(&self.binary);
        command.args(["iad", "check"]).args(&self.arguments).args(words);
        command.output().map_err(LabError::io("run `centrex6 iad check`"))
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.agent.is_some()
    }

    /// The agent's process id.
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Program::pid)
    }

    /// Fails when something on it has ended by itself.
    ///
    /// # Errors
    /// [`LabError::Ended`], with the end of its log.
    pub fn check(&mut self) -> Result<(), LabError> {
        self.agent.iter_mut().chain(&mut self.radvd).try_for_each(Program::check)
    }

    /// What the agent logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// The end of that.
    pub fn tail(&self) -> String {
        tail(&self.log(), TAIL)
    }

    /// radvd as a router of another make would run it.
    fn start_radvd(&self) -> Result<Program, LabError> {
        let network = self.prefix.split('/').next().unwrap_or_default();
        let config = format!(
            "interface {LAN} {{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n  \
             prefix {network}/64 {{\n    AdvOnLink on;\n    AdvAutonomous on;\n  }};\n}};\n"
        );
        let (file, pid) = (self.folder.join("radvd.conf"), self.folder.join("radvd.pid"));
        fs::write(&file, config).map_err(LabError::io(format!("write {}", file.display())))?;
        let mut command = self.namespace.command("radvd");
        command.args(["--nodaemon", "--logmethod", "stderr", "--config"]).arg(file).arg("--pidfile").arg(pid);
        Program::start("radvd", &self.namespace, &mut command, &self.folder.join("radvd.log"))
    }
}

/// What `centrex6 iad` is told: broker, account, LAN, and where its files are.
fn agent_arguments(account: &str, password: &Path, socket: &Path) -> Vec<String> {
    let words = [
        "--broker",
        &BROKER.to_string(),
        "--user",
        account,
        "--password-file",
        &password.display().to_string(),
        "--lan",
        LAN,
        "--status-socket",
        &socket.display().to_string(),
    ];
    words.map(str::to_owned).to_vec()
}

const LOG: &str = "log";
/// Lines of the log that people are shown.
const TAIL: usize = 12;
const SOCKET: &str = "iad.sock";
