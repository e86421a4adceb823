//! Regions.

use clap::Subcommand;
use dorm_provisioning::prefix_plan;
use schema::{AddressPlan, Change, Region, RegionBlock, RegionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, site, unix_now, unknown};

/// What can be done with regions.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RegionOperation {
    /// Add a region and give it a block of the pool, with room to grow
    Add {
        /// What people call it
        name: String,
        /// How many sites it shall have room for from the start
        #[arg(long, default_value_t = 1)]
        sites: u32,
    },
    /// List all regions
    List,
    /// Remove a region without sites; its blocks are the pool's again
    Remove {
        /// Its name
        name: String,
    },
}

impl RegionOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            RegionOperation::Add { name, sites } => {
                let region = Region::new(&name)?;
                let taken = site::prefixes(&office.directory, None);
                // Whether there is room is known before anything is written.
                let mut trial = AddressPlan::clone(&office.directory.address_plan());
                trial.apply(&Change::PutRegion(region.clone()));
                let blocks = prefix_plan::give_blocks(&trial, &taken, RegionId::NEW, sites, unix_now())?;
                let Change::PutRegion(region) = office.write(Change::PutRegion(region)).await? else {
                    return Err(OperationError::NoRow);
                };
                for block in blocks {
                    office.write(Change::PutRegionBlock(RegionBlock { region: region.id, ..block })).await?;
                }
                let item = shown(&region, &office.directory.address_plan());
                let blocks: Vec<&str> =
                    item["blocks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let message = format!("added region {} with {}", region.name, blocks.join(" and "));
                Ok(Reply::Done { message, item })
            }
            RegionOperation::List => {
                let plan = office.directory.address_plan();
                let mut regions: Vec<&Region> = plan.regions.values().collect();
                regions.sort_by(|one, other| one.name.cmp(&other.name));
                let rows = regions.into_iter().map(|region| shown(region, &plan)).collect();
                let columns =
                    [("REGION", "name"), ("BLOCKS", "blocks"), ("SITES", "sites"), ("ROOM", "room")];
                Ok(Reply::rows(&columns, rows))
            }
            RegionOperation::Remove { name } => {
                let plan = office.directory.address_plan();
                let region = plan.region_by_name(&name).ok_or_else(|| unknown("region", &name))?;
                let item = shown(region, &plan);
                for change in prefix_plan::dissolve(&plan, region.id)? {
                    if let Err(error) = office.write(change).await {
                        give_back(office, &plan, region.id).await?;
                        return Err(error);
                    }
                }
                Ok(Reply::Done { message: format!("removed region {name}"), item })
            }
        }
    }
}

/// Gives a region the blocks back that it lost: a site came into it while it was being removed.
async fn give_back(office: &Office, before: &AddressPlan, region: RegionId) -> Result<(), OperationError> {
    let now = office.directory.address_plan();
    for block in before.blocks.values().filter(|block| block.region == region) {
        if !now.blocks.contains_key(&block.id) {
            office.write(Change::PutRegionBlock(block.clone())).await?;
        }
    }
    Ok(())
}

fn shown(region: &Region, plan: &AddressPlan) -> Value {
    let blocks: Vec<_> =
        plan.blocks.values().filter(|block| block.region == region.id).map(|block| block.prefix).collect();
    let live =
        |region| move |row: &&schema::PrefixAllocation| row.region == Some(region) && row.freed_at.is_none();
    let room = plan.pool.as_ref().map(|pool| prefix_plan::sites_a_block(pool) * blocks.len() as u64);
    json!({
        "id": region.id,
        "name": region.name,
        "blocks": blocks,
        "sites": plan.allocations.values().filter(live(region.id)).count(),
        "room": room,
    })
}
