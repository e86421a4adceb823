//! The routes that lead sites' packets to the device, and those that discard them when the device is gone (RFC 6324 §3.1).

use std::sync::Arc;

use ipnet::Ipv6Net;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::plane::routes::{DEFAULT_METRIC, Discard, RouteError, Routes};

/// Keeps the routes as the networks are.
pub(super) struct Routing {
    table: Arc<Mutex<Table>>,
    task: JoinHandle<()>,
}

struct Table {
    routes: Routes,
    device: String,
    present: Vec<Ipv6Net>,
}

impl Routing {
    /// Sets the routes to what is in `networks` now, and again whenever that changes.
    pub(super) async fn start(
        device: String,
        mut networks: watch::Receiver<Vec<Ipv6Net>>,
    ) -> Result<Routing, RouteError> {
        let mut table = Table { routes: Routes::open()?, device, present: vec![] };
        let wanted = networks.borrow_and_update().clone();
        if wanted.is_empty() {
            tracing::warn!(
                "no network leads to the tunnel server yet: make a pool (centrex6 pool set), or set [tunnel_server] networks"
            );
        }
        if let Err(error) = table.turn_into(wanted).await {
            table.clear().await;
            return Err(error);
        }
        let table = Arc::new(Mutex::new(table));
        let following = Arc::clone(&table);
        let task = tokio::spawn(async move {
            while networks.changed().await.is_ok() {
                let wanted = networks.borrow_and_update().clone();
                if let Err(error) = following.lock().await.turn_into(wanted).await {
                    tracing::error!(%error, "the routes to the tunnels could not be changed");
                }
            }
        });
        Ok(Routing { table, task })
    }

    /// Takes all routes away.
    pub(super) async fn remove(self) {
        self.task.abort();
        self.table.lock().await.clear().await;
    }
}

impl Table {
    async fn turn_into(&mut self, wanted: Vec<Ipv6Net>) -> Result<(), RouteError> {
        for network in self.present.clone() {
            if !wanted.contains(&network) {
                self.routes.remove_route(network, &self.device, DEFAULT_METRIC).await?;
                self.routes.remove_discard(network, Discard::Unreachable).await?;
                self.present.retain(|present| *present != network);
            }
        }
        for network in wanted {
            if !self.present.contains(&network) {
                // First noted: what was half set is taken away, too.
                self.present.push(network);
                self.routes.add_discard(network, Discard::Unreachable).await?;
                self.routes.add_route(network, &self.device, DEFAULT_METRIC).await?;
                tracing::info!(%network, device = %self.device, "sites' packets lead to the tunnels");
            }
        }
        Ok(())
    }

    async fn clear(&mut self) {
        if let Err(error) = self.turn_into(vec![]).await {
            tracing::warn!(%error, "a route to the tunnels could not be taken away");
        }
    }
}

/// A tunnel server is a router. We do not switch that on ourselves: the machine would stop to heed router advertisements.
pub(super) fn warn_unless_forwarding() {
    let forwarding = std::fs::read_to_string(FORWARDING);
    if forwarding.is_ok_and(|value| value.trim() == "0") {
        tracing::warn!(
            "this machine does not forward IPv6, so sites reach nothing behind it: run sysctl -w net.ipv6.conf.all.forwarding=1 \
             (and net.ipv6.conf.<uplink>.accept_ra=2 where its own route comes from router advertisements)"
        );
    }
}

const FORWARDING: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
