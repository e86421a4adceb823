//! `centrex6 iad`: the agent for the box at the site, and what it tells an installer.
//!
//! It needs no store and no node: everything comes from its options, or from a small TOML file with the same keys.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use node::config::Config;
use schema::secret::Password;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tunnel_broker::agent::{self, Broker, Lan, Settings, Trust};

use crate::cli;

/// The agent's options, before or behind `check`.
#[derive(Args)]
pub(crate) struct IadArgs {
    #[command(flatten)]
    options: IadOptions,
    #[command(subcommand)]
    command: Option<IadCommand>,
}

/// What can be given on the command line and in the file; the command line counts.
#[derive(Args, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct IadOptions {
    /// The tunnel broker; the port is 20200, with --tls 20201, unless given
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    broker: Option<String>,
    /// Speak to the broker inside TLS, so that it proves who it is
    #[arg(long, global = true)]
    tls: bool,
    /// Believe the authorities in this PEM file alone; without it, those that the system trusts
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The site's account
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// A file with the account's password; without it, the environment's CENTREX6_IAD_PASSWORD holds it
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// In the file only, which nobody else may read then.
    #[arg(skip)]
    password: Option<String>,
    /// An interface on which phones are, and the number of its /64 in the site's prefix: 0, or what stands behind the last dot of eth1.24,
    /// unless given. Can be repeated
    #[arg(long, global = true, value_name = "INTERFACE[=VLAN]")]
    lan: Vec<String>,
    /// Send no router advertisements: another program on this box does, such as radvd or odhcpd. What it must advertise is the /64
    /// whose first address the agent puts on the interface
    #[arg(long, global = true)]
    no_advertise: bool,
    /// How many entries the neighbour table can hold, where the kernel does not tell
    #[arg(long, global = true, value_name = "ENTRIES")]
    neighbour_capacity: Option<u32>,
    /// Where the running agent is asked how it is [default: /run/centrex6-iad.sock]
    #[arg(long, global = true, value_name = "PATH")]
    status_socket: Option<PathBuf>,
    /// The tunnel's MTU; no more than the line's minus 20, and the same as the tunnel server's [default: 1280]
    #[arg(long, global = true, value_name = "BYTES")]
    mtu: Option<u16>,
}

#[derive(Subcommand)]
enum IadCommand {
    /// Tell which of the eight steps by which a dorm comes up holds and which fails, and what to do; exit code 1 when one fails
    Check,
    /// Print what the running agent knows about itself, as JSON
    Status,
}

/// Runs the agent, or asks it.
pub(crate) fn run(args: IadArgs, file: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let options = match args.options.with_file(file) {
        Ok(options) => options,
        Err(error) => return Ok(wrong(&error, cli::CONFIG)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.command {
        Some(IadCommand::Check) => {
            let settings = match options.broker {
                Some(_) => match options.settings() {
                    Ok(settings) => Some(settings),
                    Err(error) => return Ok(wrong(&error, cli::USAGE)),
                },
                None => None,
            };
            let report = runtime
                .block_on(agent::check::check(settings.as_ref(), &options.status_socket()))
                .map_err(told)?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => println!("{report}"),
            }
            Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(IadCommand::Status) => {
            let status = runtime.block_on(agent::status::ask(&options.status_socket())).map_err(told)?;
            println!("{}", serde_json::to_string_pretty(&status)?);
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let settings = match options.settings() {
                Ok(settings) => settings,
                Err(error) => return Ok(wrong(&error, cli::USAGE)),
            };
            let logs = node::telemetry::install_logs(
                &Config::load(None).map(|config| config.log).unwrap_or_default(),
            );
            runtime.block_on(async {
                let (mut terminate, mut interrupt) =
                    (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
                let stop = async {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                };
                agent::run(settings, stop).await.map_err(told)?;
                anyhow::Ok(())
            })?;
            drop(logs);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl IadOptions {
    /// Fills in what the command line does not say from the file: the one that was named, or the usual one when the command line names no
    /// broker.
    fn with_file(self, named: Option<&Path>) -> anyhow::Result<IadOptions> {
        let usual = Path::new(USUAL_FILE);
        let path = match named {
            Some(path) => path,
            None if self.broker.is_none() && usual.exists() => usual,
            None => return Ok(self),
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let file: IadOptions = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        if file.password.is_some() {
            let mode = std::fs::metadata(path)?.permissions().mode();
            ensure!(
                mode & 0o077 == 0,
                "{} holds a password and others may read it: chmod 600 {}",
                path.display(),
                path.display()
            );
        }
        Ok(IadOptions {
            broker: self.broker.or(file.broker),
            tls: self.tls || file.tls,
            ca: self.ca.or(file.ca),
            user: self.user.or(file.user),
            password: if self.password_file.is_some() { None } else { file.password },
            password_file: self.password_file.or(file.password_file),
            lan: if self.lan.is_empty() { file.lan } else { self.lan },
            no_advertise: self.no_advertise || file.no_advertise,
            neighbour_capacity: self.neighbour_capacity.or(file.neighbour_capacity),
            status_socket: self.status_socket.or(file.status_socket),
            mtu: self.mtu.or(file.mtu),
        })
    }

    fn status_socket(&self) -> PathBuf {
        self.status_socket.clone().unwrap_or_else(|| PathBuf::from(STATUS_SOCKET))
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let broker = self.broker.as_deref().context("--broker HOST[:PORT] is missing")?;
        let tls = match (&self.ca, self.tls) {
            (Some(_), false) => bail!("--ca is for --tls: add it, or leave --ca out"),
            (Some(path), true) => Some(Trust::File(path.clone())),
            (None, true) => Some(Trust::System),
            (None, false) => None,
        };
        let lans = self.lan.iter().map(|lan| lan.parse()).collect::<Result<Vec<Lan>, _>>()?;
        let settings = Settings {
            broker: Broker::parse(broker, tls)?,
            user: self.user.clone().context("--user NAME is missing")?,
            password: self.password()?,
            lans,
            advertise: !self.no_advertise,
            neighbour_capacity: self.neighbour_capacity,
            status_socket: self.status_socket(),
            mtu: self.mtu.unwrap_or(DEFAULT_MTU),
        };
        settings.check()?;
        Ok(settings)
    }

    fn password(&self) -> anyhow::Result<Password> {
        let text = match (&self.password, &self.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => {
                std::fs::read_to_string(path).with_context(|| format!("password file {}", path.display()))?
            }
            (None, None) => std::env::var(PASSWORD_VARIABLE).with_context(|| {
                format!("the password is missing: give --password-file FILE or {PASSWORD_VARIABLE}")
            })?,
        };
        let password = text.trim_end_matches(['\r', '\n']);
        ensure!(!password.is_empty(), "the password is empty");
        Ok(Password::new(password))
    }
}

/// An error whose causes stand in its text already.
fn told(error: impl std::error::Error + 'static) -> anyhow::Error {
    anyhow::anyhow!(agent::in_full(&error))
}

fn wrong(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("centrex6 iad: {error:#}");
    ExitCode::from(code)
}

const USUAL_FILE: &str = "/etc/centrex6/iad.toml";
const STATUS_SOCKET: &str = "/run/centrex6-iad.sock";
const PASSWORD_VARIABLE: &str = "CENTREX6_IAD_PASSWORD";
const DEFAULT_MTU: u16 = 1280;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        iad: IadArgs,
    }

    fn options(words: &str) -> IadOptions {
        Line::try_parse_from(["iad"].into_iter().chain(words.split_whitespace())).unwrap().iad.options
    }

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_command_line_counts_before_the_file() {
        let file = file(
            "broker = \"a.example:7\"\nuser = \"one\"\npassword = \"pw\"\nlan = [\"eth1.24\"]\nmtu = 1400\n",
            0o600,
        );
        let settings = options("--user two").with_file(Some(file.path())).unwrap().settings().unwrap();
        assert_eq!((settings.broker.port, settings.user.as_str(), settings.mtu), (7, "two", 1400));
        assert_eq!((settings.lans[0].vlan, settings.password.reveal()), (24, "pw"));
        assert!(settings.advertise);
        let lans =
            options("--lan a=1 --lan b=2").with_file(Some(file.path())).unwrap().settings().unwrap().lans;
        assert_eq!(lans.len(), 2, "one list, not both");
        let silent = options("--no-advertise").with_file(Some(file.path())).unwrap().settings().unwrap();
        assert!(!silent.advertise);
        assert!(options("check --broker b.example").broker.is_some(), "behind the verb, too");
    }

    #[test]
    fn a_password_that_others_may_read_is_refused() {
        let open = file("password = \"pw\"\n", 0o644);
        let error = options("").with_file(Some(open.path())).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let without = file("user = \"one\"\n", 0o644);
        assert!(options("").with_file(Some(without.path())).is_ok());
        let typo = file("broker = \"a\"\nlann = 1\n", 0o600);
        let error = format!("{:#}", options("").with_file(Some(typo.path())).err().unwrap());
        assert!(error.contains("line 2") && error.contains("`lann`"), "{error}");
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_named() {
        let file = file("pw\n", 0o600);
        let password = format!("--password-file {}", file.path().display());
        let error = |words: &str| options(&format!("{words} {password}")).settings().unwrap_err().to_string();
        assert!(error("--user u --lan eth1").contains("--broker"));
        assert!(error("--broker b --lan eth1").contains("--user"));
        assert!(error("--broker b --user u").contains("--lan"));
        assert!(error("--broker b --user u --lan eth1 --ca x.pem").contains("--tls"));
        assert!(options(&format!("--broker b --user u --lan eth1 {password}")).settings().is_ok());
    }
}
