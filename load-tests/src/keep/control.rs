//! What is said over the keeper's socket: one request a connection, a line of JSON; then lines of answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use load_tests::lab::{Folder, LabError, Party};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the keeper is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// How everything is.
    Status,
    /// Call; with nobody named, one call of every kind.
    Call { parties: Option<(Party, String)>, seconds: u64 },
    /// Give a site another public address.
    Renumber { site: u8 },
    /// Pull a cable, or cut power.
    Cut { site: u8, power: bool },
    /// Undo that.
    Heal { site: u8 },
    /// Limit an IAD's neighbours.
    NdLimit { site: u8, limit: u16 },
    /// Remove the lab, and end.
    Down,
}

/// What it answers, a line each. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// What it is at.
    Progress(String),
    /// It is done.
    Done(Value),
    /// It could not.
    Failed(String),
}

/// The socket's file in the lab's folder.
pub(super) const SOCKET: &str = "control.sock";

/// Asks the keeper of a lab; tells its progress.
pub(super) fn ask(
    folder: &Folder,
    name: &str,
    request: &Request,
    progress: impl FnMut(&str),
) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(folder.file(SOCKET)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::Error::from(LabError::NotUp { name: name.to_owned() })
        }
        _ => anyhow::Error::from(error).context("cannot reach the lab's keeper"),
    })?;
    say(&mut stream, request)?;
    answers(stream, progress)
}

/// Reads answers up to the last one.
pub(super) fn answers(from: impl Read, mut progress: impl FnMut(&str)) -> anyhow::Result<Value> {
    for line in BufReader::new(from).lines() {
        let line = line.context("the lab's keeper broke off")?;
        match serde_json::from_str(&line).with_context(|| format!("the lab's keeper said {line:?}"))? {
            Answer::Progress(text) => progress(&text),
            Answer::Done(value) => return Ok(value),
            Answer::Failed(text) => bail!(text),
        }
    }
    bail!("the lab's keeper ended without an answer")
}

/// Reads a request.
pub(super) fn hear(stream: &UnixStream) -> anyhow::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Writes one line.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    to.write_all(line.as_bytes()).and_then(|()| to.flush()).context("nobody listens any more")
}

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_REQUEST: u64 = 4096;
