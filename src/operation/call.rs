//! Call records.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use node::trace::Traced;
use schema::{CallQuery, CallRecord, CallResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ladder::Ladder;
use super::{Office, OperationError, Reply, explain, line, trunk, unknown};

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
    /// Say in one sentence why a call ended as it did
    Explain {
        /// Its id, as listed, or a Call-ID
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
            CallOperation::Explain { id } => {
                let record = found(office, &id).await?;
                let noted =
                    record.as_ref().map(|record| record.explanation.clone()).filter(|why| !why.is_empty());
                let sentence = match noted {
                    Some(sentence) => sentence,
                    None => match (from_trace(office, record.as_ref(), &id), &record) {
                        (Err(_), Some(record)) => explain::of_record(record),
                        (told, _) => told?,
                    },
                };
                let item = json!({ "call": id, "explanation": sentence });
                Ok(Reply::Done { message: sentence, item })
            }
            CallOperation::Ladder { id, messages } => {
                let record = office.store.call_record(&id).await?;
                let ladder = Ladder::of(remembered(office, record.as_ref(), &id)?);
                let name = |addr| name(office, record.as_ref(), addr);
                let item = json!({ "call": id, "messages": ladder.json(name, messages) });
                Ok(Reply::Done { message: ladder.text(name, messages), item })
            }
        }
    }
}

/// The record of a call by its id, or of a late one by the Call-ID of one of its legs.
async fn found(office: &Office, id: &str) -> Result<Option<CallRecord>, OperationError> {
    if let Some(record) = office.store.call_record(id).await? {
        return Ok(Some(record));
    }
    let latest = CallQuery { limit: Some(LATEST), ..CallQuery::default() };
    let records = office.store.call_records(&latest).await?;
    Ok(records.into_iter().find(|record| record.call_ids.iter().any(|call_id| call_id == id)))
}

/// The sentence for a call by the messages that this node remembers.
fn from_trace(office: &Office, record: Option<&CallRecord>, id: &str) -> Result<String, OperationError> {
    let messages = remembered(office, record, id)?;
    let sentence = explain::of_messages(&messages, |addr| name(office, record, addr));
    sentence.ok_or_else(|| unknown("call", id))
}

/// The messages of a call, by its id or by a Call-ID.
fn remembered(office: &Office, record: Option<&CallRecord>, id: &str) -> Result<Vec<Traced>, OperationError> {
    let Some(live) = &office.live else { return Err(OperationError::NotLive) };
    let call_ids: Vec<&str> = match record {
        Some(record) => record.call_ids.iter().map(String::as_str).collect(),
        None => vec![id],
    };
    let messages = live.trace.messages_of(&call_ids);
    match record {
        _ if !messages.is_empty() => Ok(messages),
        Some(record) => Err(OperationError::Forgotten { id: id.to_owned(), node: record.node.clone() }),
        None => Err(unknown("call", id)),
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

/// Records in which a Call-ID is looked for.
const LATEST: u32 = 1_000;
