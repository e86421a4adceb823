//! Life and end of a process: the phases that everything follows, signals, and an orderly shutdown.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::worker::{WorkerError, Workers};

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

/// Follows SIGTERM and SIGINT from now on: the first one drains, a second one stops.
///
/// # Errors
///
/// When the signals cannot be listened for.
pub fn follow_signals(shutdown: &Shutdown) -> io::Result<JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            match shutdown.phase() {
                Phase::Running => {
                    tracing::info!(signal = name, "draining: no new calls; a second signal stops at once");
                    shutdown.drain();
                }
                Phase::Draining => {
                    tracing::warn!(signal = name, "stopping at once");
                    shutdown.stop();
                }
                Phase::Stopping => {}
            }
        }
    }))
}

/// How a platform came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every call and transaction had ended.
    Drained,
    /// It was stopped, or the limit passed, with so many calls and transactions still alive.
    Cut {
        /// Calls and transactions.
        active: usize,
    },
}

/// Runs `workers` to their end: waits until `shutdown` drains, gives running calls up to `limit`, then stops and joins every thread.
///
/// # Errors
///
/// When a worker died by itself; the others have been stopped and joined then, too.
pub async fn run_to_end(
    shutdown: &Shutdown,
    workers: Vec<Workers>,
    limit: Duration,
) -> Result<Ending, WorkerError> {
    tokio::select! {
        () = shutdown.reached(Phase::Draining) => {}
        () = any_died(&workers) => shutdown.stop(),
    }
    let drained = async {
        for workers in &workers {
            workers.drained().await;
        }
    };
    let ending = tokio::select! {
        // In this order, because a worker that was stopped has nothing alive either.
        biased;
        () = shutdown.reached(Phase::Stopping) => Ending::Cut { active: active(&workers) },
        () = any_died(&workers) => Ending::Cut { active: active(&workers) },
        () = drained => Ending::Drained,
        () = tokio::time::sleep(limit) => Ending::Cut { active: active(&workers) },
    };
    shutdown.stop();
    let mut result = Ok(ending);
    for workers in workers {
        result = result.and(workers.join().await.map(|()| ending));
    }
    match ending {
        Ending::Drained => tracing::info!("stopped: nothing was cut"),
        Ending::Cut { active } => tracing::warn!(active, "stopped with calls or transactions alive"),
    }
    result
}

fn active(workers: &[Workers]) -> usize {
    workers.iter().map(Workers::active).sum()
}

/// Returns when a worker of any of these has died by itself; never for none.
async fn any_died(workers: &[Workers]) {
    let mut deaths: Vec<_> = workers.iter().map(|workers| Box::pin(workers.died())).collect();
    std::future::poll_fn(|context| {
        let any = deaths.iter_mut().any(|death| death.as_mut().poll(context).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
