//! The pool of prefixes.

use clap::Subcommand;
use dorm_provisioning::prefix_plan;
use ipnet::Ipv6Net;
use schema::{Change, Pool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply};

/// What can be done with the pool.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PoolOperation {
    /// Set the prefix that sites get theirs from, or widen it
    Set {
        /// The carrier's prefix, like 2001:db8::/32
        prefix: Ipv6Net,
        /// Length of a region's block [default: six bits more than the pool's: 64 blocks]
        #[arg(long, value_name = "BITS")]
        block_length: Option<u8>,
        /// Length of a site's prefix [default: 48]
        #[arg(long, value_name = "BITS")]
        site_length: Option<u8>,
        /// Days for which a freed prefix rests before another site may have it [default: 30]
        #[arg(long, value_name = "DAYS")]
        rest_days: Option<u16>,
    },
    /// Show the pool
    Show,
}

impl PoolOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        let plan = office.directory.address_plan();
        match self {
            PoolOperation::Set { prefix, block_length, site_length, rest_days } => {
                let fresh = Pool::new(prefix)?;
                // What was set before stays unless it is named.
                let base = plan.pool.clone().unwrap_or_else(|| fresh.clone());
                let keep = !plan.blocks.is_empty();
                let pool = Pool {
                    block_len: block_length.unwrap_or(if keep { base.block_len } else { fresh.block_len }),
                    site_len: site_length.unwrap_or(base.site_len),
                    rest: rest_days.map_or(base.rest, |days| i64::from(days) * DAY),
                    ..fresh
                };
                pool.check()?;
                prefix_plan::check_pool(&plan, &pool)?;
                office.write(Change::PutPool(pool.clone())).await?;
                let blocks = 1_u64 << (pool.block_len - pool.prefix.prefix_len());
                let message = format!(
                    "the pool is {}: {blocks} blocks of /{} with {} sites of /{} each",
                    pool.prefix,
                    pool.block_len,
                    prefix_plan::sites_a_block(&pool),
                    pool.site_len
                );
                Ok(Reply::Done { message, item: shown(&pool) })
            }
            PoolOperation::Show => {
                let pool = plan.pool.as_ref().ok_or(prefix_plan::PlanError::NoPool)?;
                let mut item = shown(pool);
                item["blocks_given"] = json!(plan.blocks.len());
                item["sites"] = json!(plan.allocations.values().filter(|row| row.freed_at.is_none()).count());
                Ok(Reply::Item(item))
            }
        }
    }
}

fn shown(pool: &Pool) -> Value {
    json!({
        "prefix": pool.prefix,
        "block_length": pool.block_len,
        "site_length": pool.site_len,
        "rest_days": pool.rest / DAY,
    })
}

/// Seconds.
const DAY: i64 = 24 * 3600;
