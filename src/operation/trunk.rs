//! Trunks.

use std::sync::Arc;

use clap::Subcommand;
use ipnet::IpNet;
use schema::{Change, Directory, GatewayPlace, Trunk};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Office, OperationError, Reply, unknown};

/// What can be done with trunks.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrunkOperation {
    /// Add a trunk
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
        /// Where calls are sent, like udp:192.0.2.1:5060 or gw.example.net; several in the order of preference, names after addresses
        #[arg(long = "gateway", required = true)]
        gateways: Vec<GatewayPlace>,
        /// Networks that its signalling may come from, beside the gateways
        #[arg(long = "source")]
        sources: Vec<IpNet>,
        /// Networks that its media may come from [default: the gateways' addresses; needed where one is named]
        #[arg(long = "media-network")]
        media_networks: Vec<IpNet>,
        /// How many calls it may carry at once
        #[arg(long)]
        max_calls: Option<u32>,
        /// The largest request sent to it over UDP, in bytes
        #[arg(long)]
        max_udp_bytes: Option<u32>,
        /// The name in its gateways' certificates, for gateways spoken to over TLS and connections from it
        #[arg(long)]
        #[serde(default)]
        certificate_name: Option<String>,
        /// A codec that may pass, like PCMA, opus or t38 (fax); several, or none for all
        #[arg(long = "codec")]
        #[serde(default)]
        codecs: Vec<String>,
        /// Let it send calls elsewhere over itself, by REFER or a 3xx response
        #[arg(long)]
        #[serde(default)]
        may_redirect: bool,
        /// Caller's number for lines that have none
        #[arg(long)]
        default_caller: Option<String>,
    },
    /// Change what may pass over a trunk; what is not named stays. Calls that are up keep their codecs
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Its name
        trunk: String,
        /// The codecs that may pass from now on, like PCMA, opus or t38 (fax)
        #[arg(long = "codec", group = "change", conflicts_with = "any_codec")]
        codecs: Vec<String>,
        /// Let every codec pass
        #[arg(long, group = "change")]
        #[serde(default)]
        any_codec: bool,
        /// Whether it may send calls elsewhere over itself, by REFER or a 3xx response
        #[arg(long, group = "change")]
        may_redirect: Option<bool>,
        /// Whether calls are sent to it and taken from it
        #[arg(long, group = "change")]
        enabled: Option<bool>,
    },
    /// List all trunks
    List,
    /// Show one trunk
    Show {
        /// Its name
        trunk: String,
    },
    /// Remove a trunk that has no routes
    Remove {
        /// Its name
        trunk: String,
    },
}

impl TrunkOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            TrunkOperation::Add {
                name,
                gateways,
                sources,
                media_networks,
                max_calls,
                max_udp_bytes,
                certificate_name,
                codecs,
                may_redirect,
                default_caller,
            } => {
                let (gateways, hosts) = GatewayPlace::split(gateways);
                let mut trunk = Trunk::draft(&name, gateways, hosts);
                if !media_networks.is_empty() {
                    trunk.media_networks = media_networks;
                }
                let trunk = Trunk {
                    sources,
                    max_calls,
                    max_udp_bytes,
                    certificate_name,
                    codecs,
                    may_redirect,
                    default_caller,
                    ..trunk
                };
                trunk.check()?;
                let Change::PutTrunk(trunk) = office.write(Change::PutTrunk(trunk)).await? else {
                    return Err(OperationError::NoRow);
                };
                Ok(Reply::Done { message: format!("added trunk {}", trunk.name), item: json!(trunk) })
            }
            TrunkOperation::Set { trunk, codecs, any_codec, may_redirect, enabled } => {
                let old = Trunk::clone(&*find(&office.directory, &trunk)?);
                let trunk = Trunk {
                    codecs: if codecs.is_empty() && !any_codec { old.codecs } else { codecs },
                    may_redirect: may_redirect.unwrap_or(old.may_redirect),
                    enabled: enabled.unwrap_or(old.enabled),
                    ..old
                };
                trunk.check()?;
                let Change::PutTrunk(trunk) = office.write(Change::PutTrunk(trunk)).await? else {
                    return Err(OperationError::NoRow);
                };
                Ok(Reply::Done { message: format!("changed trunk {}", trunk.name), item: json!(trunk) })
            }
            TrunkOperation::List => {
                let mut trunks = office.directory.trunks();
                trunks.sort_by(|one, two| one.name.cmp(&two.name));
                let rows = trunks.iter().map(|trunk| json!(**trunk)).collect();
                let columns = [
                    ("NAME", "name"),
                    ("GATEWAYS", "gateways"),
                    ("NAMED", "hosts"),
                    ("MEDIA FROM", "media_networks"),
                    ("ENABLED", "enabled"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            TrunkOperation::Show { trunk } => Ok(Reply::Item(json!(*find(&office.directory, &trunk)?))),
            TrunkOperation::Remove { trunk } => {
                let trunk = find(&office.directory, &trunk)?;
                office.write(Change::RemoveTrunk(trunk.id)).await?;
                Ok(Reply::Done { message: format!("removed trunk {}", trunk.name), item: json!(*trunk) })
            }
        }
    }
}

/// The trunk that a user means by its name.
pub(super) fn find(directory: &Directory, key: &str) -> Result<Arc<Trunk>, OperationError> {
    directory.trunks().into_iter().find(|trunk| trunk.name == key).ok_or_else(|| unknown("trunk", key))
}
