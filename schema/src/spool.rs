//! Call records that wait for the database to come back: in memory, and in a file beside when one is named.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::rows::CallRecord;

/// A bounded queue of call records. The file holds each as a line of JSON, and is emptied when all are in the store; a record that is read
/// from it and written to the store a second time is ignored there.
#[derive(Debug)]
pub(crate) struct Spool {
    records: VecDeque<CallRecord>,
    limit: usize,
    file: Option<PathBuf>,
    /// How many lines the file holds: those that are in the store by now too.
    lines: usize,
}

impl Spool {
    /// Takes up what an earlier process left in the file.
    pub(crate) async fn open(file: Option<PathBuf>, limit: usize) -> Spool {
        let mut spool = Spool { records: VecDeque::new(), limit, file, lines: 0 };
        let Some(path) = spool.file.clone() else { return spool };
        let shown = path.display().to_string();
        match spawn_blocking(move || fs::read_to_string(path))
            .await
            .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
        {
            Ok(text) => {
                for line in text.lines() {
                    spool.lines += 1;
                    match serde_json::from_str(line) {
                        Ok(record) => spool.records.push_back(record),
                        Err(reason) => {
                            warn!(file = %shown, line = spool.lines, %reason, "a spooled call record cannot be read")
                        }
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => error!(file = %shown, %error, "the spool of call records cannot be read"),
        }
        spool
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is room for some more.
    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.lines.max(self.records.len()) + count <= self.limit
    }

    /// Takes records, all or none. False when there is no room. Those that cannot be put into the file, because the disk that fails the
    /// database fails it too, wait in memory alone.
    pub(crate) async fn add(&mut self, records: Vec<CallRecord>) -> bool {
        if !self.has_room_for(records.len()) {
            return false;
        }
        if let Some(path) = self.file.clone() {
            let mut text = String::new();
            for record in &records {
                match serde_json::to_string(record) {
                    Ok(line) => text.extend([&line, "\n"]),
                    Err(_) => return false,
                }
            }
            match blocking(path, move |path| append(path, &text)).await {
                Ok(()) => self.lines += records.len(),
                Err(error) => {
                    let calls = records.len();
                    error!(%error, calls, "call records cannot be spooled: they wait in memory, and a crash would lose them");
                }
            }
        }
        self.records.extend(records);
        true
    }

    /// The oldest ones, which stay until they are [`done`](Spool::done).
    pub(crate) fn oldest(&self, count: usize) -> Vec<CallRecord> {
        self.records.iter().take(count).cloned().collect()
    }

    /// Forgets the oldest ones: they are in the store.
    pub(crate) async fn done(&mut self, count: usize) {
        self.records.drain(..count.min(self.records.len()));
        if self.records.is_empty()
            && self.lines > 0
            && let Some(path) = self.file.clone()
        {
            match blocking(path, |path| OpenOptions::new().write(true).truncate(true).open(path).map(|_| ()))
                .await
            {
                Ok(()) => self.lines = 0,
                Err(error) => error!(%error, "the spool of call records cannot be emptied"),
            }
        }
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // What a full disk took of it would spoil the line that comes next.
        let _ = file.set_len(length);
    }
    written
}

async fn blocking(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    spawn_blocking(move || work(&path)).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}
