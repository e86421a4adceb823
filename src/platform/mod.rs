//! A platform in one process: the configured roles on one store, from start to drained end.

mod foundation;
mod neighbourhood;
mod roles;
mod tunnels;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use node::config::{Config, Role};
use node::lifecycle::{self, Shutdown};
use node::listener::Listener;
use node::telemetry::{self, AdminServer, Health};
use node::tls::{self, Tls};
use node::trace::{Trace, hep};
use node::worker::Workers;
use serde_json::json;
use sip_core::flow::Transport;

use crate::admin::AdminSocket;
use crate::operation::{Live, Office, Operation, Reply};

use foundation::Foundation;
use roles::{Bound, Common};
use tunnels::Tunnels;

/// A running platform. [`stop`](Platform::stop) it, or let it [`run_to_end`](Platform::run_to_end).
pub(crate) struct Platform {
    shutdown: Shutdown,
    drain_limit: Duration,
    foundation: Foundation,
    office: Arc<Office>,
    listeners: Listeners,
    workers: Vec<Workers>,
    tunnels: Tunnels,
    watch: Option<dorm_watch::Service>,
    health: Health,
    // Held for their Drop: the socket's file goes, the port closes.
    _admin_socket: AdminSocket,
    _admin_server: AdminServer,
}

/// Where the roles listen, with the ports that the system gave.
#[derive(Debug, Clone, Default)]
struct Listeners {
    proxy: Vec<Listener>,
    translator_ipv6: Vec<Listener>,
    translator_ipv4: Vec<Listener>,
}

impl Platform {
    /// Starts everything that the configuration names. When this returns, phones can register.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Platform> {
        raise_open_files();
        let shutdown = Shutdown::new();
        let metrics = telemetry::install_metrics();
        b2bua_translator::describe_metrics();
        let health = Health::starting(&shutdown);
        let admin_server =
            AdminServer::start(config.node.admin_listen, health.clone(), metrics, &shutdown).await?;
        let tls = Tls::load(&config.tls)?;
        let foundation = Foundation::lay(config).await?;
        let trace = trace(&config.trace)?;
        foundation.keep(tls::watch(&tls)?);
        let common = Common { config, shutdown: &shutdown, trace: &trace, tls: &tls };
        let started = start_all(&common, &foundation).await;
        let Started { listeners, workers, tunnels, watch } = match started {
            Ok(started) => started,
            Err(error) => {
                // The store is closed in order, so that the next start finds it clean.
                foundation.close().await;
                return Err(error);
            }
        };
        let handle = watch.as_ref().map(dorm_watch::Service::handle);
        let live = live(config, &foundation, &listeners, &tunnels, handle, trace);
        let office = Arc::new(foundation.office(config, Some(live))?);
        let admin_socket = AdminSocket::listen(&config.node.admin_socket, Arc::clone(&office)).await?;
        foundation.announce(config);
        health.set_ready();
        tracing::info!(
            node = %config.node.name,
            proxy = ?listeners.proxy.iter().map(ToString::to_string).collect::<Vec<_>>(),
            translator_ipv6 = ?listeners.translator_ipv6.iter().map(ToString::to_string).collect::<Vec<_>>(),
            translator_ipv4 = ?listeners.translator_ipv4.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "ready"
        );
        Ok(Platform {
            shutdown,
            drain_limit: config.node.drain_limit,
            foundation,
            office,
            listeners,
            workers,
            tunnels,
            watch,
            health,
            _admin_socket: admin_socket,
            _admin_server: admin_server,
        })
    }

    /// What operations work on.
    pub(crate) fn office(&self) -> Arc<Office> {
        Arc::clone(&self.office)
    }

    /// Where phones register, over UDP.
    pub(crate) fn proxy_address(&self) -> Option<SocketAddr> {
        udp(&self.listeners.proxy)
    }

    /// Where trunks reach the translator over IPv4 and UDP.
    pub(crate) fn trunk_address(&self) -> Option<SocketAddr> {
        udp(&self.listeners.translator_ipv4)
    }

    /// Lines that have a binding.
    pub(crate) fn registered_lines(&self) -> usize {
        self.foundation.locations.lines()
    }

    /// Runs until SIGTERM or SIGINT, then lets running calls finish; a second signal cuts them.
    pub(crate) async fn run_to_end(self) -> anyhow::Result<()> {
        let signals = lifecycle::follow_signals(&self.shutdown)?;
        let ended = self.end().await;
        signals.abort();
        ended
    }

    /// Stops at once.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.stop();
        self.end().await
    }

    async fn end(self) -> anyhow::Result<()> {
        let Platform { shutdown, drain_limit, foundation, workers, tunnels, watch, health, .. } = self;
        let ending = lifecycle::run_to_end(&shutdown, workers, drain_limit).await;
        health.set_unready("stopped");
        // After the workers, whose last calls go through tunnels; before the store, which takes the last leases.
        let tunnels = tunnels.end().await;
        if let Some(watch) = watch {
            watch.end().await;
        }
        // After the workers: their last call records must reach the disk.
        foundation.close().await;
        ending?;
        tunnels
    }
}

/// Carries out an operation on the store while no node runs here.
pub(crate) async fn operate_offline(config: &Config, operation: Operation) -> anyhow::Result<Reply> {
    let foundation = Foundation::lay(config).await?;
    let office = foundation.office(config, None)?;
    let reply = operation.execute(&office).await;
    drop(office);
    foundation.close().await;
    Ok(reply?)
}

/// The roles at work.
struct Started {
    listeners: Listeners,
    workers: Vec<Workers>,
    tunnels: Tunnels,
    watch: Option<dorm_watch::Service>,
}

/// Starts every role, the tunnels first: phones come through them. The watch comes last: what it looks at is there by then.
async fn start_all(common: &Common<'_>, foundation: &Foundation) -> anyhow::Result<Started> {
    let Common { config, shutdown, .. } = *common;
    let tunnels = Tunnels::start(config, foundation, shutdown).await?;
    let started = start_roles(common, foundation)
        .and_then(|roles| Ok((roles, watching::start(config, foundation, shutdown)?)));
    match started {
        Ok(((listeners, workers), watch)) => Ok(Started { listeners, workers, tunnels, watch }),
        Err(error) => {
            shutdown.stop();
            // The other roles' fault is the one to be told.
            let _ = tunnels.end().await;
            Err(error)
        }
    }
}

/// Opens every role's sockets first, because proxy and translator must know each other's ports, then starts the workers.
fn start_roles(common: &Common<'_>, foundation: &Foundation) -> anyhow::Result<(Listeners, Vec<Workers>)> {
    let config = common.config;
    let proxy = match config.node.plays(Role::RegistrarProxy) {
        true => Some(Bound::proxy(common)?),
        false => None,
    };
    let calls =
        b2bua_translator::Shared::new(Arc::clone(&foundation.directory), common.trace.troubles().clone())
            .guarded(b2bua_translator::Gate::new(&config.admission, Arc::clone(&foundation.sources)));
    let translator = match config.node.plays(Role::Translator) {
        true => Some(Bound::translator(common, &calls)?),
        false => None,
    };
    let of = |bound: &Option<Bound>| bound.as_ref().map(|bound| bound.local().to_vec()).unwrap_or_default();
    let (ipv6, ipv4) = of(&translator).into_iter().partition(|listener: &Listener| listener.addr.is_ipv6());
    let listeners = Listeners { proxy: of(&proxy), translator_ipv6: ipv6, translator_ipv4: ipv4 };
    let mut workers = Vec::new();
    if let Some(bound) = translator {
        workers.push(roles::start_translator(bound, config, foundation, &listeners, calls)?);
    }
    if let Some(bound) = proxy {
        workers.push(roles::start_proxy(bound, config, foundation, &listeners)?);
    }
    Ok((listeners, workers))
}

/// The memory for messages, and the way to Homer, when one is named.
fn trace(config: &node::config::Trace) -> anyhow::Result<Trace> {
    let password = config.homer_password_file.as_deref().map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("[trace] homer_password_file: {}", path.display()))
    });
    let password = password.transpose()?;
    let exporter = config.homer.map(|server| {
        hep::Exporter::new(server, config.homer_agent, password.as_deref().map(str::trim_end))
            .with_context(|| format!("[trace] homer: no way to {server}"))
    });
    Ok(Trace::new(config.memory_mib * 1024 * 1024, exporter.transpose()?))
}

/// What the running node tells of itself.
fn live(
    config: &Config,
    foundation: &Foundation,
    listeners: &Listeners,
    tunnels: &Tunnels,
    watch: Option<dorm_watch::Handle>,
    trace: Trace,
) -> Live {
    let locations = Arc::clone(&foundation.locations);
    let calls = foundation.calls();
    let texts = |listeners: &[Listener]| listeners.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut listeners = json!({
        "registrar_proxy": texts(&listeners.proxy),
        "translator_ipv6": texts(&listeners.translator_ipv6),
        "translator_ipv4": texts(&listeners.translator_ipv4),
    });
    listeners["watch"] = json!(watch.iter().map(|watch| watch.local().to_string()).collect::<Vec<_>>());
    for (role, addresses) in tunnels.listeners() {
        listeners[role] = addresses;
    }
    let tunnels = tunnels.view();
    let server = tunnels.server.clone();
    let state = move || {
        json!({
            "registered_lines": locations.lines(),
            "calls": calls(),
            "tunnels": server.as_ref().map(|server| server.tunnels()),
            "listeners": listeners,
        })
    };
    let sources = Arc::clone(&foundation.sources);
    Live { node: config.node.name.clone(), state: Arc::new(state), trace, tunnels, watch, sources }
}

/// A relayed stream takes four sockets, so the usual limit of 1,024 open files would end at some 200 calls.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < MANY_FILES => {
            tracing::warn!(limit, "the limit of open files is low: raise LimitNOFILE for more calls");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

/// Open files that suffice for 2,000 relayed calls.
const MANY_FILES: u64 = 10_000;

fn udp(listeners: &[Listener]) -> Option<SocketAddr> {
    listeners.iter().find(|listener| listener.transport == Transport::Udp).map(|listener| listener.addr)
}
