//! Where requests come from, and who is taken for a scanner.

use std::net::IpAddr;
use std::time::Instant;

use clap::Subcommand;
use node::sources::{Source, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, unknown};

/// What can be done with sources of requests.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceOperation {
    /// List the sources that this node slows, drops or watches, the worst first
    List,
    /// Forget what a source did
    Forgive {
        /// The address, or any address of a /64 that is dropped as a whole
        address: IpAddr,
    },
}

impl SourceOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let Some(live) = &office.live else { return Err(OperationError::NotRunning) };
        match self {
            SourceOperation::List => {
                let columns = [
                    ("SOURCE", "source"),
                    ("STATE", "state"),
                    ("OFFENCES", "offences"),
                    ("LAST", "last_offence"),
                    ("SECONDS AGO", "seconds_ago"),
                    ("NOT READ", "dropped"),
                    ("LIMITED", "limited"),
                    ("FREE IN (s)", "free_in_seconds"),
                ];
                let rows = live.sources.list(Instant::now()).iter().take(MAX_ROWS).map(shown).collect();
                Ok(Reply::rows(&columns, rows))
            }
            SourceOperation::Forgive { address } => {
                let sources = [Some(Source::Address(address)), Source::network_of(address)];
                // Both, without stopping at the first.
                let forgiven =
                    sources.into_iter().flatten().filter(|source| live.sources.forgive(*source)).count();
                match forgiven {
                    0 => Err(unknown("source", &address.to_string())),
                    _ => Ok(Reply::Done {
                        message: format!("{address} is forgiven"),
                        item: json!({ "address": address }),
                    }),
                }
            }
        }
    }
}

fn shown(view: &View) -> Value {
    json!({
        "source": view.source.to_string(),
        "state": view.standing.as_str(),
        "points": view.points,
        "offences": view.offences,
        "last_offence": view.last.map(|offence| offence.as_str()),
        "seconds_ago": view.idle.as_secs(),
        "dropped": view.dropped,
        "limited": view.limited,
        "free_in_seconds": view.left.map(|left| left.as_secs()),
    })
}

/// Sources that are shown: those that did most.
const MAX_ROWS: usize = 1_000;
