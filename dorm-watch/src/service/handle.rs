//! How others speak with the running watch.

use std::net::SocketAddr;

use schema::{Alarm, AlarmId};
use tokio::sync::{mpsc, oneshot};

use crate::status::SiteStatus;

/// A way to the running watch. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) local: SocketAddr,
    pub(super) echo: bool,
}

/// What is asked of it.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<Vec<SiteStatus>>),
    Acknowledge { alarm: AlarmId, by: String, comment: Option<String>, done: oneshot::Sender<Acknowledged> },
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq)]
pub enum Acknowledged {
    /// It is on disk.
    Done(Box<Alarm>),
    /// The alarm is not open; whoever asks may write it, for nobody else will.
    NotOpen,
    /// The store did not take it. It is tried again.
    Unsaved,
}

impl Handle {
    /// How every site is, by code; `None` when the watch has ended.
    pub async fn status(&self) -> Option<Vec<SiteStatus>> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Status(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Takes note of an alarm; `None` when the watch has ended.
    pub async fn acknowledge(
        &self,
        alarm: AlarmId,
        by: String,
        comment: Option<String>,
    ) -> Option<Acknowledged> {
        let (done, answered) = oneshot::channel();
        self.commands.send(Command::Acknowledge { alarm, by, comment, done }).await.ok()?;
        answered.await.ok()
    }

    /// Where OPTIONS come from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether echo requests can be sent.
    pub fn can_echo(&self) -> bool {
        self.echo
    }
}
