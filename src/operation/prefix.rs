//! The address plan as a whole.

use std::collections::BTreeMap;

use clap::Subcommand;
use dorm_provisioning::prefix_plan::{self, SiteLeaf};
use schema::{Directory, Site};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Office, OperationError, Reply, unix_now};

/// What can be done with the address plan.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PrefixOperation {
    /// Show pool, regions, sites and VLANs as a tree
    Tree,
}

impl PrefixOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            PrefixOperation::Tree => {
                let directory = &office.directory;
                let sites: Vec<SiteLeaf> =
                    directory.sites().iter().map(|site| leaf(site, directory)).collect();
                let tree = prefix_plan::tree(&directory.address_plan(), &sites, unix_now());
                let text = tree.to_string();
                let message = match text.trim_end() {
                    "" => "there is no pool, and no site has a prefix".to_owned(),
                    text => text.to_owned(),
                };
                Ok(Reply::Done { message, item: json!(tree) })
            }
        }
    }
}

fn leaf(site: &Site, directory: &Directory) -> SiteLeaf {
    let mut vlans = BTreeMap::new();
    for device in directory.devices_of_site(site.id) {
        *vlans.entry(device.vlan).or_default() += 1;
    }
    SiteLeaf { id: site.id, title: format!("{} {}", site.code, site.name), prefix: site.prefix, vlans }
}
