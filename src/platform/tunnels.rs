//! The tunnel roles: the tunnel server and the broker, together or each alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::Ipv6Net;
use node::config::{Config, Role};
use node::lifecycle::{Phase, Shutdown};
use node::telemetry::Mask;
use schema::secret::KeyFile;
use schema::{Apply, Change, Contents, Directory};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tunnel_broker::server::{self, ServerSettings, TunnelServer};
use tunnel_broker::service::{self, LeaseBook, Leases, Provisioned, Service, World};

use super::foundation::Foundation;
use crate::operation::Tunnels as View;

/// The tunnel roles that this process plays.
#[derive(Default)]
pub(super) struct Tunnels {
    server: Option<JoinHandle<anyhow::Result<()>>>,
    broker: Option<JoinHandle<anyhow::Result<()>>>,
    leases: Option<LeaseBook>,
    view: View,
    listeners: Listeners,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Listeners {
    dtcp: Option<SocketAddr>,
    dtcps: Vec<SocketAddr>,
    control: Option<SocketAddr>,
}

impl Tunnels {
    /// Starts what the configuration names. When this returns, sites can log in.
    pub(super) async fn start(
        config: &Config,
        foundation: &Foundation,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Tunnels> {
        let mut tunnels = Tunnels::default();
        if config.node.plays(Role::TunnelServer) {
            tunnels.start_server(config, foundation, shutdown).await?;
        }
        if config.node.plays(Role::TunnelBroker)
            && let Err(error) = tunnels.start_broker(config, foundation, shutdown).await
        {
            shutdown.stop();
            // The broker's fault is the one to be told.
            let _ = tunnels.end().await;
            return Err(error);
        }
        Ok(tunnels)
    }

    /// What operations see of them.
    pub(super) fn view(&self) -> View {
        self.view.clone()
    }

    /// Where they listen, for the node's status.
    pub(super) fn listeners(&self) -> Vec<(&'static str, Value)> {
        let listeners = &self.listeners;
        vec![
            ("tunnel_broker", json!(listeners.dtcp.iter().map(SocketAddr::to_string).collect::<Vec<_>>())),
            (
                "tunnel_broker_tls",
                json!(listeners.dtcps.iter().map(SocketAddr::to_string).collect::<Vec<_>>()),
            ),
            (
                "tunnel_control",
                json!(listeners.control.iter().map(SocketAddr::to_string).collect::<Vec<_>>()),
            ),
        ]
    }

    /// Waits until they have ended, after the shutdown was told to stop.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let mut result = Ok(());
        // The broker first: nobody shall give orders to a server that is going.
        for role in [self.broker, self.server].into_iter().flatten() {
            let ended = role.await.context("a tunnel role died").and_then(|ended| ended);
            result = result.and(ended);
        }
        if let Some(leases) = self.leases {
            leases.close().await;
        }
        for task in self.tasks {
            task.abort();
        }
        result
    }

    async fn start_server(
        &mut self,
        config: &Config,
        foundation: &Foundation,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        server::describe_metrics();
        let settings = ServerSettings::from_config(&config.tunnel_server)
            .context("[tunnel_server] address must be set on a tunnel server")?;
        let fixed = config.tunnel_server.networks.clone();
        let networks = if fixed.is_empty() { self.follow_pool(foundation) } else { watch::channel(fixed).1 };
        let server = TunnelServer::start(settings, foundation.control_key.clone(), networks).await?;
        self.listeners.control = server.control_address();
        self.view.server = Some(Arc::clone(server.executor()));
        let shutdown = shutdown.clone();
        self.server = Some(tokio::spawn(async move {
            let result = tokio::select! {
                () = shutdown.reached(Phase::Stopping) => Ok(()),
                () = server.died() => Err(anyhow::anyhow!("the tunnels' data plane stopped: its log lines say why")),
            };
            // Without its tunnels the process is of no use: whoever watches over it starts it again.
            shutdown.stop();
            server.stop().await;
            result
        }));
        Ok(())
    }

    async fn start_broker(
        &mut self,
        config: &Config,
        foundation: &Foundation,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        service::describe_metrics();
        let settings = service::Settings::from_config(
            &config.tunnel_broker,
            self.view.server.clone(),
            Mask::new(&config.log),
        );
        let directory = Arc::clone(&foundation.directory);
        let key = KeyFile::open(&config.node.key_file)?;
        let (leases, book) =
            Leases::start(Arc::clone(&directory), foundation.writer.clone(), config.tunnel_broker.adoption);
        self.leases = Some(book);
        let world = World {
            accounts: Arc::new(Provisioned::new(directory, key)),
            leases: Some(leases),
            control_key: foundation.control_key.clone(),
        };
        let service = Service::start(settings, world, shutdown).await?;
        self.listeners.dtcp = service.plain_address().map(SocketAddr::V4);
        self.listeners.dtcps = service.tls_addresses().iter().copied().map(SocketAddr::V4).collect();
        let desk = service.desk();
        self.view.broker = Some(desk.clone());
        let bell = Bell::hang(foundation, |change| {
            matches!(
                change,
                Change::PutAccount(_) | Change::RemoveAccount(_) | Change::PutSite(_) | Change::RemoveSite(_)
            )
        });
        self.tasks.push(tokio::spawn(async move {
            loop {
                bell.notified().await;
                desk.accounts_changed();
                // Thousands of accounts are often changed one after the other.
                tokio::time::sleep(LOOK).await;
            }
        }));
        let shutdown = shutdown.clone();
        self.broker = Some(tokio::spawn(async move {
            let ended = service.ended().await;
            shutdown.stop();
            Ok(ended?)
        }));
        Ok(())
    }

    /// The pool of the address plan, as it is and as it becomes.
    fn follow_pool(&mut self, foundation: &Foundation) -> watch::Receiver<Vec<Ipv6Net>> {
        let pool = |directory: &Directory| -> Vec<Ipv6Net> {
            directory.address_plan().pool.iter().map(|pool| pool.prefix).collect()
        };
        let bell =
            Bell::hang(foundation, |change| matches!(change, Change::PutPool(_) | Change::RemovePool(_)));
        let directory = Arc::clone(&foundation.directory);
        let (sender, receiver) = watch::channel(pool(&directory));
        self.tasks.push(tokio::spawn(async move {
            loop {
                bell.notified().await;
                let now = pool(&directory);
                sender.send_if_modified(|networks| {
                    let changed = *networks != now;
                    *networks = now;
                    changed
                });
            }
        }));
        receiver
    }
}

/// Rings when something is stored that somebody waits for.
struct Bell {
    rings_for: fn(&Change) -> bool,
    rung: Arc<Notify>,
}

impl Bell {
    fn hang(foundation: &Foundation, rings_for: fn(&Change) -> bool) -> Arc<Notify> {
        let rung = Arc::new(Notify::new());
        foundation.mirror.add(Arc::new(Bell { rings_for, rung: Arc::clone(&rung) }));
        rung
    }
}

impl Apply for Bell {
    fn apply(&self, change: &Change) {
        if (self.rings_for)(change) {
            self.rung.notify_one();
        }
    }

    fn reload(&self, _: &Contents) {
        self.rung.notify_one();
    }
}

/// How often the broker looks at changed accounts at most.
const LOOK: Duration = Duration::from_secs(1);
