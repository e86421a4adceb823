//! The phases of a process, which everything in it follows.

use tokio::sync::watch;

/// How far a process has come. It only moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes calls.
    Running,
    /// It takes no new calls and lets running ones end.
    Draining,
    /// It stops at once.
    Stopping,
}

/// Tells all parts of a platform that share it when to drain and when to stop. Clones are handles on the same one.
///
/// It belongs to one platform, not to the process, so that tests can run several in one process.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Shutdown {
    /// One that is running.
    pub fn new() -> Self {
        Shutdown { phase: watch::Sender::new(Phase::Running) }
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Takes no new calls from now on.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Stops everything.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Returns once it has come as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender is in `self`, so that the channel cannot close.
        let _ = self.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let moves = *phase < to;
            if moves {
                *phase = to;
            }
            moves
        });
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown::new()
    }
}
