//! Life and end of a process: the phases that everything follows, signals, and an orderly shutdown.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

pub use crate::shutdown::{Phase, Shutdown};
use crate::worker::{WorkerError, Workers};

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
