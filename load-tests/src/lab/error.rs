//! What can go wrong in the lab.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why the lab could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Network namespaces need root.
    #[error("the lab makes network namespaces and needs root: run it with sudo")]
    NotRoot,
    /// A program is not installed.
    #[error("{program} is missing: install the Debian package {package}, or run ./test as root")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that brings it.
        package: &'static str,
    },
    /// The kernel lacks something.
    #[error("this kernel cannot {what}; the lab needs it")]
    Kernel {
        /// What is missing.
        what: &'static str,
    },
    /// There is no binary.
    #[error("{} is missing: run `cargo build --release` first, or name the platform's binary with --binary", path.display())]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// What was asked for cannot be.
    #[error("{what}")]
    Wish {
        /// Why not.
        what: String,
    },
    /// A lab of this name is there.
    #[error(
        "a lab called {name} exists already: `lab down --name {name}` removes it, another --name makes a second one"
    )]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no such lab.
    #[error("no lab called {name} runs: `lab up --name {name}` starts one")]
    NotUp {
        /// The name.
        name: String,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A command of the system failed.
    #[error("`{command}` failed in namespace {namespace}: {said}")]
    Command {
        /// The command, or the line of it that failed.
        command: String,
        /// Where it ran.
        namespace: String,
        /// What it said.
        said: String,
    },
    /// A process of the lab is gone.
    #[error("{who} in namespace {namespace} ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// Which.
        who: String,
        /// Where it ran.
        namespace: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        log: String,
    },
    /// Something that should happen did not.
    #[error("not within {seconds} s: {what}")]
    Late {
        /// What was waited for, with what is known about it.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The platform refused an operation.
    #[error("`centrex6 {operation}` failed: {said}")]
    Refused {
        /// The command line's words.
        operation: String,
        /// What it said.
        said: String,
    },
    /// A call did not go as it should.
    #[error("the call from {from} to {to}: {what}")]
    Call {
        /// Who called.
        from: String,
        /// Whom.
        to: String,
        /// What went wrong.
        what: String,
    },
}

impl LabError {
    /// For `map_err`: what was tried when the system refused.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let what = what.into();
        |source| LabError::Io { what, source }
    }
}
