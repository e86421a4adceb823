//! The command line.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use node::config::{self, Config, ConfigErrors};

use crate::operation::{Operation, Reply};
use crate::platform::{self, Platform};
use crate::{admin, demo, iad};

/// IPv6 SIP IP-Centrex platform with an IPv6/IPv4 translator.
#[derive(Parser)]
#[command(name = "centrex6", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Options {
    /// Configuration file; without it, the defaults and the environment (CENTREX6__SECTION__KEY) hold
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run this node's roles until SIGTERM, which lets running calls finish
    Run,
    /// Show the whole platform at work on this machine: two dorms, twelve phones, a gateway, real calls
    Demo(demo::DemoArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Be the IAD of a dorm: log in to the tunnel broker, raise the tunnel, advertise the prefix to the phones
    Iad(iad::IadArgs),
    #[command(flatten)]
    Operation(Operation),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the default configuration, with every key explained
    Default,
    /// Check the configuration and say everything that is wrong with it
    Check,
}

/// Runs the command line; the exit code is 0, 1 (failed), 64 (usage) or 78 (configuration).
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints them to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(Failure::Config(errors)) => {
            eprintln!("{errors}");
            ExitCode::from(CONFIG)
        }
        Err(Failure::Other(error)) => {
            eprintln!("centrex6: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

enum Failure {
    Config(ConfigErrors),
    Other(anyhow::Error),
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure::Config(errors)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Other(error)
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let Options { config, json } = cli.options;
    match cli.command {
        Command::Config(ConfigCommand::Default) => {
            print!("{}", config::default_toml());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Check) => {
            load(config.as_deref())?;
            match config {
                Some(path) => println!("{} is good", path.display()),
                None => println!("the defaults and the environment are good"),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run => Ok(run(&load(config.as_deref())?)?),
        Command::Demo(args) => Ok(demo::run(&args, json)?),
        Command::Iad(args) => Ok(iad::run(args, config.as_deref(), json)?),
        Command::Operation(operation) => Ok(operate(operation, &load(config.as_deref())?, json)?),
    }
}

fn load(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    Config::load(path)
}

/// Runs the node in the foreground.
fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let logs = node::telemetry::install_logs(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        Platform::start(config).await?.run_to_end().await?;
        drop(logs);
        Ok(ExitCode::SUCCESS)
    })
}

/// Carries out an operation: by the running node, or on the store when none runs here.
fn operate(mut operation: Operation, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    read_password(&mut operation)?;
    sign(&mut operation);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(async {
        match admin::ask(&config.node.admin_socket, &operation).await {
            Err(admin::AskError::NotRunning { .. }) => platform::operate_offline(config, operation).await,
            other => other.map_err(anyhow::Error::from),
        }
    })?;
    print_reply(&reply, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever acknowledges an alarm without a name is the user of this command.
fn sign(operation: &mut Operation) {
    if let Operation::Alarm(alarm) = operation
        && let Some(by) = alarm.wanted_name()
    {
        let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
        *by = user.into_iter().find(|user| !user.is_empty());
    }
}

fn read_password(operation: &mut Operation) -> Result<(), anyhow::Error> {
    let Some(password) = operation.wanted_password() else { return Ok(()) };
    if std::io::stdin().is_terminal() {
        eprintln!("Type the password, then Enter:");
    }
    let mut text = String::new();
    match std::io::stdin().is_terminal() {
        true => std::io::stdin().read_line(&mut text)?,
        false => std::io::stdin().take(4096).read_to_string(&mut text)?,
    };
    let given = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!given.is_empty(), "no password came on standard input");
    *password = Some(given.to_owned());
    Ok(())
}

fn print_reply(reply: &Reply, json: bool) -> Result<(), anyhow::Error> {
    use std::io::Write;
    let text = if json { serde_json::to_string_pretty(&reply.json())? + "\n" } else { reply.text() };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `centrex6 line list | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

const FAILED: u8 = 1;
/// As sysexits.h: EX_USAGE.
pub(crate) const USAGE: u8 = 64;
/// As sysexits.h: EX_CONFIG.
pub(crate) const CONFIG: u8 = 78;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
