//! Tunnels: which sites have one, since when, and what goes through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Subcommand;
use schema::{Account, Lease};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tunnel_broker::broker::Standing;
use tunnel_broker::control::Executor;
use tunnel_broker::service::Desk;

use super::{Office, OperationError, Reply, account};

/// What can be done with tunnels.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TunnelOperation {
    /// List the tunnels of all sites that have ever logged in
    List,
    /// Show one site's tunnel, with what has gone through it when this machine holds it
    Show {
        /// Name of its account
        account: String,
    },
}

/// The tunnel roles of a running node.
#[derive(Clone, Default)]
pub(crate) struct Tunnels {
    /// The broker.
    pub broker: Option<Desk>,
    /// The tunnel server.
    pub server: Option<Arc<Executor>>,
}

impl TunnelOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let standing = standing(office).await;
        match self {
            TunnelOperation::List => {
                let known = |account: &Arc<Account>| {
                    let lease = office.directory.lease(account.id);
                    let tunnel = standing.as_ref().and_then(|standing| standing.get(account.name.as_str()));
                    (lease.is_some() || tunnel.is_some())
                        .then(|| row(office, account, lease.as_deref(), &standing))
                };
                let mut rows: Vec<Value> = office.directory.accounts().iter().filter_map(known).collect();
                rows.extend(held_for_others(office));
                let columns = [
                    ("ACCOUNT", "account"),
                    ("SITE", "site_code"),
                    ("STATE", "state"),
                    ("IAD", "client"),
                    ("SERVER", "server"),
                    ("PREFIX", "prefix"),
                    ("SINCE", "changed_at"),
                    ("LOGINS", "logins"),
                    ("TAKE-OVERS", "takeovers"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            TunnelOperation::Show { account } => {
                let account = account::find(&office.directory, &account)?;
                let lease = office.directory.lease(account.id);
                Ok(Reply::Item(row(office, &account, lease.as_deref(), &standing)))
            }
        }
    }
}

/// The tunnels as the running broker knows them, by account; `None` without a broker here.
async fn standing(office: &Office) -> Option<BTreeMap<Arc<str>, Standing>> {
    let desk = office.live.as_ref()?.tunnels.broker.as_ref()?;
    let tunnels = desk.tunnels().await?;
    Some(tunnels.into_iter().map(|tunnel| (tunnel.account.clone(), tunnel)).collect())
}

/// What is known of an account's tunnel: by the broker if it runs here, else by what it last wrote.
fn row(
    office: &Office,
    account: &Account,
    lease: Option<&Lease>,
    standing: &Option<BTreeMap<Arc<str>, Standing>>,
) -> Value {
    let site = office.directory.site(account.site);
    let tunnel = standing.as_ref().and_then(|standing| standing.get(account.name.as_str()));
    let state = match (standing, tunnel) {
        (_, Some(tunnel)) if tunnel.has_session => "up",
        // On its way, or kept for its site after a restart of the broker.
        (_, Some(_)) => "waiting",
        (Some(_), None) => "down",
        (None, None) if lease.is_some_and(|lease| lease.up) => "up",
        (None, None) => "down",
    };
    let mut row = json!({
        "account": account.name,
        "site_code": site.as_ref().map(|site| &site.code),
        "state": state,
        "client": tunnel.map(|tunnel| tunnel.outer.client).or(lease.and_then(|lease| lease.client)),
        "server": tunnel.map(|tunnel| tunnel.outer.server).or(lease.and_then(|lease| lease.server)),
        "prefix": match tunnel {
            Some(tunnel) => tunnel.grant.prefix,
            None => site.and_then(|site| site.prefix),
        },
        "changed_at": lease.and_then(|lease| jiff::Timestamp::from_millisecond(lease.changed_at).ok()).map(|at| at.to_string()),
        "logins": lease.map_or(0, |lease| lease.logins),
        "takeovers": lease.map_or(0, |lease| lease.takeovers),
        "previous_client": lease.and_then(|lease| lease.previous_client),
        "neighbours": lease.and_then(|lease| lease.neighbours),
        "neighbour_capacity": lease.and_then(|lease| lease.neighbour_capacity),
    });
    let server = office.live.as_ref().and_then(|live| live.tunnels.server.as_ref());
    if let (Some(server), Some(tunnel)) = (server, tunnel)
        && let Some(traffic) = server.plane().traffic(tunnel.tunnel)
    {
        row["traffic"] = shown(&traffic);
    }
    row
}

/// On a tunnel server without a broker: what it holds, by names that only the broker's store explains.
fn held_for_others(office: &Office) -> Vec<Value> {
    let Some(view) = office.live.as_ref().map(|live| &live.tunnels) else { return vec![] };
    let (None, Some(server)) = (&view.broker, &view.server) else { return vec![] };
    let row = |held: tunnel_broker::broker::HeldTunnel| {
        json!({
            "account": held.account,
            "state": "held",
            "client": held.client,
            "server": server.identity().address,
            "prefix": held.grant.prefix,
            "traffic": server.plane().traffic(held.tunnel).as_ref().map(shown),
        })
    };
    server.held().into_iter().map(row).collect()
}

fn shown(traffic: &tunnel_broker::tunnel::Traffic) -> Value {
    json!({
        "packets_from_site": traffic.packets_in,
        "bytes_from_site": traffic.bytes_in,
        "packets_to_site": traffic.packets_out,
        "bytes_to_site": traffic.bytes_out,
        "dropped": traffic.dropped,
    })
}
