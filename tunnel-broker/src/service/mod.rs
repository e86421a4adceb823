//! The broker's shell: sockets, timers, accounts and tunnel servers around [`Broker`](crate::broker::Broker).
//!
//! One task owns the broker and drives it by its law; see [`driver`]. Each client has a small task of its own that carries bytes
//! both ways, over TCP or inside TLS. What waits for a client that does not read is bounded: past the bound its connection ends.
//! What the broker tells becomes log lines, metrics and leases in the store.

mod accept;
mod accounts;
mod certificates;
mod client;
mod driver;
mod journal;
mod leases;
mod settings;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use node::lifecycle::{Phase, Shutdown};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use accounts::{Accounts, Provisioned, Verdict};
pub use certificates::CertificateError;
pub use journal::describe_metrics;
pub use leases::{LeaseBook, Leases};
pub use settings::{ServerPlace, Settings, TlsSettings};

use accept::{Doors, Front};
use certificates::Certificates;
use driver::{Driver, Message};
use journal::Journal;

use crate::broker::Standing;
use crate::control::{ControlKey, Link};

/// What the broker needs of the world.
pub struct World {
    /// Who may log in.
    pub accounts: Arc<dyn Accounts>,
    /// Where leases are kept; `None` keeps none.
    pub leases: Option<Leases>,
    /// Authenticates us to tunnel servers on other machines.
    pub control_key: ControlKey,
}

/// A running broker.
#[derive(Debug)]
pub struct Service {
    plain: Option<SocketAddrV4>,
    tls: Vec<SocketAddrV4>,
    inbox: mpsc::Sender<Message>,
    front: Arc<Front>,
    driver: JoinHandle<()>,
    /// Gives nothing; closed when every client's task has ended.
    clients: mpsc::Receiver<Infallible>,
}

/// A handle on a running broker.
#[derive(Debug, Clone)]
pub struct Desk {
    inbox: mpsc::Sender<Message>,
}

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// An address cannot be listened on.
    #[error("[tunnel_broker] {key}: cannot listen on {address}: {source}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddrV4,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Challenges and tunnel names could be guessed.
    #[error("the system gives no random bytes")]
    Random,
    /// The broker's task ended by itself.
    #[error("the tunnel broker died: its log lines say why")]
    Died,
}

impl Service {
    /// Starts it. When this returns, sites can log in.
    ///
    /// Until `shutdown` is stopping, it serves: a draining platform still carries calls through tunnels, and a site may have to log
    /// in anew. At its end the tunnels on servers of other processes stand; the next broker takes them over.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start(
        settings: Settings,
        world: World,
        shutdown: &Shutdown,
    ) -> Result<Service, ServiceError> {
        let certificates = match &settings.tls {
            Some(tls) => {
                let certificates = Certificates::load(tls)?;
                let config = certificates.config()?;
                Some((certificates, config))
            }
            None => None,
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| ServiceError::Random)?;
        let doors = Doors::open(&settings).await?;
        let (plain, tls) = (doors.plain_address(), doors.tls_addresses());
        let (inbox, messages) = mpsc::channel(INBOX);
        let links = settings.servers.iter().zip(1..).map(|(place, number)| {
            let (server, events) = (crate::broker::ServerId(number), inbox.clone());
            let patience = settings.link.clone();
            match place {
                ServerPlace::Here(executor) => Link::local(server, Arc::clone(executor), events, patience),
                ServerPlace::At(address) => {
                    Link::remote(server, *address, world.control_key.clone(), events, patience)
                }
            }
        });
        let journal = Journal::new(settings.mask, world.leases);
        let driver = Driver::new(&settings, world.accounts, seed, links.collect(), journal);
        let (alive, clients) = mpsc::channel(1);
        let front = Arc::new(Front::new(inbox.clone(), &settings, alive));
        let stopping = shutdown.clone();
        let driver = tokio::spawn(async move {
            tokio::select! {
                () = driver.run(messages) => {}
                () = stopping.reached(Phase::Stopping) => {}
            }
        });
        doors.serve(&front, certificates, shutdown);
        Ok(Service { plain, tls, inbox, front, driver, clients })
    }

    /// Where DTCP is served, with the port that the system gave.
    pub fn plain_address(&self) -> Option<SocketAddrV4> {
        self.plain
    }

    /// Where DTCP inside TLS is served.
    pub fn tls_addresses(&self) -> &[SocketAddrV4] {
        &self.tls
    }

    /// A handle on it.
    pub fn desk(&self) -> Desk {
        Desk { inbox: self.inbox.clone() }
    }

    /// Waits until it has ended, because of the shutdown or by itself.
    ///
    /// # Errors
    /// [`ServiceError::Died`] when it ended because of a fault of its own.
    pub async fn ended(self) -> Result<(), ServiceError> {
        let Service { driver, mut clients, inbox, front, .. } = self;
        drop((inbox, front));
        driver.await.map_err(|_| ServiceError::Died)?;
        // Their connections close now; one that cannot is left to the end of the process.
        let _ = timeout(FAREWELL, clients.recv()).await;
        Ok(())
    }
}

impl Desk {
    /// The tunnels that the broker has raised or found, by account; `None` when it has stopped.
    pub async fn tunnels(&self) -> Option<Vec<Standing>> {
        let (reply, tunnels) = oneshot::channel();
        self.inbox.send(Message::Inspect(reply)).await.ok()?;
        let mut tunnels = tunnels.await.ok()?;
        tunnels.sort_by(|one, two| one.account.cmp(&two.account));
        Some(tunnels)
    }

    /// Tells the broker that accounts or prefixes have changed: tunnels that may not be so any more go. Never waits; a broker that
    /// has much to do looks after it.
    pub fn accounts_changed(&self) {
        if let Err(mpsc::error::TrySendError::Full(message)) = self.inbox.try_send(Message::AccountsChanged) {
            let inbox = self.inbox.clone();
            tokio::spawn(async move { inbox.send(message).await });
        }
    }
}

/// Messages that wait for the broker; who has more to say waits.
const INBOX: usize = 1024;
/// How long clients' connections may take to close at the end.
const FAREWELL: Duration = Duration::from_secs(2);
