//! Nodes.

use std::sync::Arc;

use clap::Subcommand;
use node::sources::Sources;
use node::trace::Trace;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tunnel::Tunnels;
use super::{Office, OperationError, Reply};

/// What can be done with nodes.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeOperation {
    /// Show every node, and what the one on this machine is doing
    Status,
}

/// What a running node knows of itself.
#[derive(Clone)]
pub(crate) struct Live {
    /// Its name.
    pub node: String,
    /// Its state as a JSON object: addresses, calls, registrations.
    pub state: Arc<dyn Fn() -> Value + Send + Sync>,
    /// The SIP messages that it remembers.
    pub trace: Trace,
    /// Where requests came from.
    pub sources: Arc<Sources>,
    /// Its tunnel roles.
    pub tunnels: Tunnels,
    /// Its watch, when it plays the role.
    pub watch: Option<dorm_watch::Handle>,
}

impl NodeOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let NodeOperation::Status = self;
        let now = jiff::Timestamp::now().as_millisecond();
        let mut nodes = office.store.nodes().await?;
        nodes.sort_by(|one, two| one.name.cmp(&two.name));
        let rows = nodes.iter().map(|node| {
            let silent = (now - node.seen_at).max(0) / 1000;
            let mut row = json!(node);
            row["state"] = json!(if silent <= SILENT_AFTER { "up" } else { "silent" });
            row["seen_seconds_ago"] = json!(silent);
            row["up_seconds"] = json!((node.seen_at - node.started_at).max(0) / 1000);
            if let Some(live) = office.live.as_ref().filter(|live| live.node == node.name)
                && let (Value::Object(state), Some(row)) = ((live.state)(), row.as_object_mut())
            {
                row.extend(state);
            }
            row
        });
        let columns = [
            ("NODE", "name"),
            ("STATE", "state"),
            ("ROLES", "roles"),
            ("UP (s)", "up_seconds"),
            ("SEEN (s ago)", "seen_seconds_ago"),
            ("CALLS", "calls"),
            ("REGISTERED", "registered_lines"),
        ];
        Ok(Reply::rows(&columns, rows.collect()))
    }
}

/// Seconds without a sign of life after which a node counts as silent: three of the writes that each node makes every ten.
const SILENT_AFTER: i64 = 30;
