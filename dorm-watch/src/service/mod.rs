//! The watch at work: a thread of its own with the sockets, the clock and the store around the core.

mod echo;
mod handle;
mod metrics;
mod options;
mod sockets;
mod turn;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use node::lifecycle::{Phase, Shutdown};
use node::telemetry::Mask;
use registrar::Locations;
use schema::{Apply, Change, Contents, Directory, Writer};
use tokio::sync::{Notify, mpsc};

use crate::settings::Settings;
use sockets::Sockets;
use turn::Turn;

pub use handle::{Acknowledged, Handle};
pub use metrics::describe as describe_metrics;

/// What the running watch is told.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The core's.
    pub watch: Settings,
    /// Where OPTIONS come from; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What our User-Agent header says; empty sends none.
    pub user_agent: String,
    /// What log lines hide.
    pub mask: Mask,
}

/// What the watch looks at and writes to.
#[derive(Clone)]
pub struct World {
    /// Sites, devices, lines, leases, alarms.
    pub directory: Arc<Directory>,
    /// Who registered from where.
    pub locations: Arc<Locations>,
    /// Takes the alarms.
    pub writer: Writer,
}

/// Why the watch could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The address cannot be had.
    #[error("[watch] listen: {listen} cannot be had: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread, timer or randomness.
    #[error("the watch cannot start: {0}")]
    Start(#[from] io::Error),
}

/// The running watch.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    thread: JoinHandle<()>,
}

/// Tells the watch that there is something new to look at. Add it to the store's mirror.
#[derive(Debug, Default)]
pub struct Bell(Notify);

impl Service {
    /// Starts the watch. It ends when `shutdown` is told to stop.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn start(
        settings: ServiceSettings,
        world: World,
        bell: Arc<Bell>,
        shutdown: Shutdown,
    ) -> Result<Service, WatchError> {
        let sockets = Sockets::open(&settings)?;
        let (commands, orders) = mpsc::channel(COMMANDS);
        let handle = Handle { commands, local: sockets.local(), echo: sockets.can_echo() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            runtime.block_on(async {
                let turn = match Turn::new(settings, world, sockets, seed) {
                    Ok(turn) => turn,
                    Err(error) => {
                        tracing::error!(%error, "the watch cannot use its sockets, so that nobody is watched");
                        return;
                    }
                };
                tokio::select! {
                    () = shutdown.reached(Phase::Stopping) => {}
                    () = turn.run(orders, &bell) => {}
                }
            });
        })?;
        Ok(Service { handle, thread })
    }

    /// A way to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until it has ended, after the shutdown was told to stop.
    pub async fn end(self) {
        // A panic of the thread was logged where it happened.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

impl Bell {
    pub(crate) async fn rings(&self) {
        self.0.notified().await;
    }
}

impl Apply for Bell {
    fn apply(&self, change: &Change) {
        match change {
            // What the watch writes itself would wake it again, and what it does not look at need not.
            Change::AddCallRecord(_)
            | Change::SeeNode(_)
            | Change::PutNumber(_)
            | Change::RemoveNumber(_)
            | Change::PutTrunk(_)
            | Change::RemoveTrunk(_)
            | Change::PutRoute(_)
            | Change::RemoveRoute(_) => {}
            _ => self.0.notify_one(),
        }
    }

    fn reload(&self, _: &Contents) {
        self.0.notify_one();
    }
}

/// Commands that may wait.
const COMMANDS: usize = 64;
