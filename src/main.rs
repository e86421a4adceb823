//! The one binary of Centrex6: parse, build, run, drain.

mod admin;
mod cli;
mod demo;
mod iad;
mod operation;
mod platform;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
