//! `load-tests conformance`: the page that says which rule of which RFC is shown by which test. A test names its rules itself, in the
//! first lines of its documentation (`/// RFC 3261 §16.7: a 6xx ends the fork.`), and the page has a rule only when its tests passed.

mod page;
mod results;
mod rules;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

/// What `conformance` takes.
#[derive(Args)]
pub(crate) struct ConformanceArgs {
    /// What `cargo test --workspace` printed, both streams. `./test` leaves it there
    #[arg(long, value_name = "FILE", default_value = "target/test.log")]
    results: PathBuf,
    /// The folder of the workspace
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    workspace: PathBuf,
    /// Only say whether docs/conformance.md is what would be written
    #[arg(long)]
    check: bool,
}

/// Writes docs/conformance.md, or checks it.
pub(crate) fn run(args: &ConformanceArgs) -> anyhow::Result<()> {
    let log = fs::read_to_string(&args.results)
        .with_context(|| format!("cannot read {}: run ./test first", args.results.display()))?;
    let results = results::read(&log);
    let rules = rules::collect(&args.workspace)?;
    let page = page::write(&rules, &results)?;
    let path = args.workspace.join(PAGE);
    if !args.check {
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} rules: {}", rules.len(), path.display());
    } else if fs::read_to_string(&path).unwrap_or_default() != page {
        bail!(
            "{PAGE} is not what the tests say: write it with `cargo run -p load-tests -- conformance` and commit it"
        );
    }
    Ok(())
}

const PAGE: &str = "docs/conformance.md";
