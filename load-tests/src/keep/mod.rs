//! `load-tests lab`: a lab that stays up between commands.
//!
//! `lab up` starts a keeper: this program once more, in the background, which holds the [`load_tests::lab::Lab`] with its phones. Every
//! other verb asks the keeper over a socket in the lab's folder. `lab down` ends it, and removes what is left when it has died.

mod control;
mod diagram;
mod keeper;
mod verbs;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use load_tests::lab::{Folder, Party, plan};

/// What the user can choose.
#[derive(Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    which: Which,
}

/// Which lab.
#[derive(Args, Clone)]
struct Which {
    /// Tells labs on one machine apart
    #[arg(long, global = true, default_value = "lab", value_parser = name)]
    name: String,
    /// Folder for its files [default: /run/centrex6-lab/NAME]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a lab and wait until every phone is registered
    Up(Wanted),
    /// Call, check the audio both ways, and hang up; without --from and --to, one call of every kind
    Call {
        /// Who calls: 1/2 for the second phone of site 1, or gateway
        #[arg(long, requires = "to")]
        from: Option<Party>,
        /// Whom: 1/2, gateway, or a number to dial
        #[arg(long, requires = "from")]
        to: Option<String>,
        /// How long they talk
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Give a site another public IPv4 address, as a provider does over night
    Renumber {
        /// From 1
        site: u8,
    },
    /// Pull the cable of a site's access line, or cut the power of its IAD
    Cut {
        /// From 1
        site: u8,
        /// Kill the IAD's agent instead, as a power cut would
        #[arg(long)]
        power: bool,
    },
    /// Put the cable in again, and the power back
    Heal {
        /// From 1
        site: u8,
    },
    /// Let a site's IAD know only so many neighbours, of which a phone takes two; 0 lifts the limit
    NdLimit {
        /// From 1
        site: u8,
        /// Entries
        limit: u16,
    },
    /// Show the picture and how everything is
    Status {
        /// Print JSON instead of a diagram
        #[arg(long)]
        json: bool,
    },
    /// Remove the lab: every process, namespace and file
    Down,
    /// Holds a lab in the background; `up` starts it
    #[command(hide = true)]
    Keep(Wanted),
}

/// What a new lab shall be.
#[derive(Args, Clone)]
struct Wanted {
    /// Dorms; from two on, the last one is behind a broadband router that does NAT
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    sites: u8,
    /// Phones in each dorm
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=90))]
    phones: u8,
    /// The platform's binary [default: centrex6 of the release profile beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Carries out what was asked for.
pub(crate) fn run(args: &LabArgs) -> anyhow::Result<()> {
    let which = &args.which;
    match &args.verb {
        Verb::Up(wanted) => verbs::up(which, wanted),
        Verb::Call { from, to, seconds, json } => {
            let parties = from.zip(to.clone());
            verbs::call(which, parties, *seconds, *json)
        }
        Verb::Renumber { site } => verbs::ask(which, control::Request::Renumber { site: *site }),
        Verb::Cut { site, power } => verbs::ask(which, control::Request::Cut { site: *site, power: *power }),
        Verb::Heal { site } => verbs::ask(which, control::Request::Heal { site: *site }),
        Verb::NdLimit { site, limit } => {
            verbs::ask(which, control::Request::NdLimit { site: *site, limit: *limit })
        }
        Verb::Status { json } => verbs::status(which, *json),
        Verb::Down => verbs::down(which),
        Verb::Keep(wanted) => keeper::keep(which, wanted),
    }
}

impl Which {
    fn folder(&self) -> Folder {
        Folder::of(&self.name, self.dir.as_deref())
    }
}

impl Wanted {
    /// The binary to run, wherever it lies; the system resolves it from the folder of today.
    fn binary(&self) -> anyhow::Result<PathBuf> {
        let binary = self.binary.clone().map_or_else(crate::bench::release_binary, Ok)?;
        std::path::absolute(&binary).with_context(|| format!("where is {}?", binary.display()))
    }
}

fn name(word: &str) -> Result<String, String> {
    match plan::is_name(word) {
        true => Ok(word.to_owned()),
        false => Err("a lab's name is 1 to 16 lower-case letters and digits".to_owned()),
    }
}
