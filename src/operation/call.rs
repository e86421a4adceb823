//! Call records.

use clap::Subcommand;
use schema::{CallQuery, CallRecord, CallResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
        }
    }
}

fn shown(record: &CallRecord) -> Value {
    let mut row = json!(record);
    let started =
        jiff::Timestamp::from_millisecond(record.started_at).map(|time| time.strftime("%F %T").to_string());
    row["started"] = json!(started.unwrap_or_default());
    row["seconds"] = json!(record.talked_ms().map(|ms| ms as f64 / 1000.0));
    row
}
