//! Call records.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use schema::{CallQuery, CallRecord, CallResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ladder::Ladder;
use super::{Office, OperationError, Reply, line, trunk, unknown};

/// What can be done with call records.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallOperation {
    /// List call records, the newest first
    List {
        /// Only with this caller or called party
        #[arg(long)]
        party: Option<String>,
        /// Only of this line (authentication user name)
        #[arg(long)]
        line: Option<String>,
        /// Only over this trunk
        #[arg(long)]
        trunk: Option<String>,
        /// Only with this result: answered, busy, no_answer, cancelled, failed or rejected
        #[arg(long)]
        result: Option<CallResult>,
        /// How many, at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one call record, with its media statistics
    Show {
        /// Its id, as listed
        id: String,
    },
    /// Draw a call's SIP messages, as far as this node remembers them
    Ladder {
        /// Its id, as listed, or a Call-ID
        id: String,
        /// The messages themselves, too
        #[arg(long)]
        #[serde(default)]
        messages: bool,
    },
}

impl CallOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            CallOperation::List { party, line, trunk, result, limit } => {
                let line =
                    line.map(|key| line::find(&office.directory, &key)).transpose()?.map(|line| line.id);
                let trunk =
                    trunk.map(|key| trunk::find(&office.directory, &key)).transpose()?.map(|trunk| trunk.id);
                let query =
                    CallQuery { party, line, trunk, result, limit: Some(limit), ..CallQuery::default() };
                let rows = office.store.call_records(&query).await?.iter().map(shown).collect();
                let columns = [
                    ("STARTED", "started"),
                    ("CALLER", "caller"),
                    ("CALLED", "callee"),
                    ("DIRECTION", "direction"),
                    ("RESULT", "result"),
                    ("STATUS", "status"),
                    ("SECONDS", "seconds"),
                    ("ID", "id"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            CallOperation::Show { id } => {
                let record = office.store.call_record(&id).await?.ok_or_else(|| unknown("call", &id))?;
                Ok(Reply::Item(shown(&record)))
            }
            CallOperation::Ladder { id, messages } => {
                let Some(live) = &office.live else { return Err(OperationError::NotLive) };
                let record = office.store.call_record(&id).await?;
                let call_ids: Vec<&str> = match &record {
                    Some(record) => record.call_ids.iter().map(String::as_str).collect(),
                    None => vec![&id],
                };
                let ladder = Ladder::of(live.trace.messages_of(&call_ids));
                if ladder.is_empty() {
                    return Err(match record {
                        Some(record) => OperationError::Forgotten { id, node: record.node },
                        None => unknown("call", &id),
                    });
                }
                let name = |addr| name(office, record.as_ref(), addr);
                let item = json!({ "call": id, "messages": ladder.json(name, messages) });
                Ok(Reply::Done { message: ladder.text(name, messages), item })
            }
        }
    }
}

/// What people call the one at an address: a trunk, or the line that the call is of.
fn name(office: &Office, record: Option<&CallRecord>, addr: SocketAddr) -> Option<String> {
    let trunks = office.directory.trunks();
    let trunk = trunks.iter().find(|trunk| trunk.gateways.iter().any(|gateway| gateway.address == addr));
    if let Some(trunk) = trunk {
        return Some(format!("trunk {}", trunk.name));
    }
    let line = office.directory.line(record?.line?)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let bindings = office.locations.lookup(line.id, since);
    let is_here = bindings.iter().any(|binding| binding.source == Some(addr));
    is_here.then(|| format!("line {}", line.auth_user))
}

fn shown(record: &CallRecord) -> Value {
    let mut row = json!(record);
    let started =
        jiff::Timestamp::from_millisecond(record.started_at).map(|time| time.strftime("%F %T").to_string());
    row["started"] = json!(started.unwrap_or_default());
    row["seconds"] = json!(record.talked_ms().map(|ms| ms as f64 / 1000.0));
    row
}
