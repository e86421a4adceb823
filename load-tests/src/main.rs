//! Load tests of Centrex6.

mod bench;
mod conformance;
mod keep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load tests of Centrex6, on this machine's loopback and in network namespaces only
#[derive(Parser)]
#[command(name = "load-tests", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure registrations, calls and relayed media in processor time, beside other programs where they are installed
    Bench(bench::BenchArgs),
    /// Dorms with their IADs and phones, an IPv4 internet, the centre and a carrier, in network namespaces of this machine
    Lab(keep::LabArgs),
    /// Write docs/conformance.md from the tests' own words and results
    Conformance(conformance::ConformanceArgs),
    /// The baseline of `bench relay`: forwards datagrams between pairs of ports until standard input ends
    #[command(hide = true)]
    Forward(bench::ForwardArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints them to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Bench(args) => bench::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Lab(args) => keep::run(&args),
        Command::Forward(args) => bench::forward(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As sysexits.h: EX_USAGE.
const USAGE: u8 = 64;
