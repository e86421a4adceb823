//! What the verbs do on the user's side: start the keeper, ask it, print.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::Context;
use indicatif::ProgressBar;
use load_tests::lab::{CallReport, Party, Status, check_machine};
use serde_json::Value;

use super::control::{self, Request};
use super::diagram;
use super::keeper::Outcome;
use super::{Wanted, Which};

/// Makes a lab.
pub(super) fn up(which: &Which, wanted: &Wanted) -> anyhow::Result<()> {
    check_machine()?;
    let binary = wanted.binary()?;
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    // The lab's folder is not there yet, and what the keeper says before it is should be seen.
    let log = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut command = Command::new(own);
    command.args(["lab", "keep", "--name", &which.name, "--binary"]).arg(binary);
    command.args(["--sites", &wanted.sites.to_string(), "--phones", &wanted.phones.to_string()]);
    if let Some(dir) = &which.dir {
        command.arg("--dir").arg(std::path::absolute(dir)?);
    }
    // In a process group of its own: Ctrl-C in this terminal is not meant for it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.reopen()?);
    let mut keeper = command.spawn().context("cannot start the lab's keeper")?;
    let stdout = keeper.stdout.take().context("the lab's keeper has no output")?;
    let progress = Progress::new();
    let outcome = control::answers(stdout, |text| progress.tell(text));
    progress.end();
    let status = outcome.with_context(|| {
        let said = std::fs::read_to_string(log.path()).unwrap_or_default();
        match said.is_empty() {
            true => "the lab did not come up, and was removed".to_owned(),
            false => format!("the lab did not come up, and was removed\n{said}"),
        }
    })?;
    let status: Status = serde_json::from_value(status)?;
    print!("{}", diagram::draw(&status));
    let name = if which.name == "lab" { String::new() } else { format!(" --name {}", which.name) };
    println!(
        "\nThe lab stays up. `lab call{name}` calls, `lab status{name}` shows it, `lab down{name}` removes it."
    );
    Ok(())
}

/// Calls and prints what came of it.
pub(super) fn call(
    which: &Which,
    parties: Option<(Party, String)>,
    seconds: u64,
    json: bool,
) -> anyhow::Result<()> {
    let value = control::ask(&which.folder(), &which.name, &Request::Call { parties, seconds }, |text| {
        eprintln!("{text}");
    })?;
    let outcomes: Vec<Outcome> = serde_json::from_value(value)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&outcomes)?),
        false => outcomes.iter().for_each(print_outcome),
    }
    let failed = outcomes.iter().filter(|outcome| outcome.trouble.is_some()).count();
    anyhow::ensure!(failed == 0, "{failed} of {} calls did not go as they should", outcomes.len());
    Ok(())
}

/// Asks something that is answered by a sentence.
pub(super) fn ask(which: &Which, request: Request) -> anyhow::Result<()> {
    let value = control::ask(&which.folder(), &which.name, &request, |_| {})?;
    println!("{}", value.as_str().unwrap_or_default());
    Ok(())
}

/// Shows the picture.
pub(super) fn status(which: &Which, json: bool) -> anyhow::Result<()> {
    let value = control::ask(&which.folder(), &which.name, &Request::Status, |_| {})?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&value)?),
        false => print!("{}", diagram::draw(&serde_json::from_value(value)?)),
    }
    Ok(())
}

/// Removes the lab, also one whose keeper has died.
pub(super) fn down(which: &Which) -> anyhow::Result<()> {
    let folder = which.folder();
    if let Ok(Value::String(said)) = control::ask(&folder, &which.name, &Request::Down, |_| {}) {
        println!("{said}");
        return Ok(());
    }
    check_machine()?;
    if let Some(owner) = folder.owner() {
        // If it lives, it hangs, or is about to make the lab.
        owner.kill();
    }
    let removed = folder.remove()?;
    println!("removed {removed} namespaces");
    Ok(())
}

fn print_outcome(outcome: &Outcome) {
    let errand = &outcome.errand;
    let verdict = outcome.trouble.as_deref().unwrap_or("good");
    let audio = outcome.report.as_ref().map_or_else(String::new, audio);
    println!("{:>7} dials {:<13} {:>7} {audio}{verdict}", errand.from, errand.dialled, errand.to);
}

fn audio(report: &CallReport) -> String {
    let way = |way: &user_agent::DirectionReport| format!("{}/{}", way.received, way.sent);
    let [there, back] = report.longest_gaps_ms;
    format!(
        "answered, {} packets there, {} back, longest gap {:.0} ms: ",
        way(&report.there),
        way(&report.back),
        there.max(back)
    )
}

/// How it goes: a spinner on a terminal, plain lines elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new() -> Progress {
        Progress(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        }))
    }

    fn tell(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("{text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
