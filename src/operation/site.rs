//! Sites.

use std::collections::HashMap;
use std::sync::Arc;

use clap::Subcommand;
use dorm_provisioning::prefix_plan::{self, PlanError};
use ipnet::Ipv6Net;
use schema::{Account, AddressPlan, Change, Directory, Pool, RegionId, Site, SiteId, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, device, unix_now, unknown};

/// What can be done with sites.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SiteOperation {
    /// Add a site
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
        /// Digits dialled before an extension to reach it from another site
        #[arg(long)]
        code: String,
        /// Host part of its lines' addresses, like s042.example.net
        #[arg(long)]
        domain: String,
        /// Where it is; when there is a pool, the region of the plan that it takes its prefix from
        #[arg(long, default_value = "")]
        region: String,
        /// How it was installed
        #[arg(long, default_value = "")]
        pattern: String,
        /// IPv6 prefix from which its phones are accepted; without it, one from the pool, or from everywhere when there is no pool
        #[arg(long)]
        prefix: Option<Ipv6Net>,
        /// Take no prefix from the pool: its phones are accepted from everywhere
        #[arg(long, conflicts_with = "prefix")]
        #[serde(default)]
        no_prefix: bool,
    },
    /// Give a site another prefix, or none. A tunnel that is up is raised anew with it: the phones make new addresses and register again
    #[command(group = clap::ArgGroup::new("change").required(true))]
    Set {
        /// Its code or domain
        site: String,
        /// This prefix, by hand
        #[arg(long, group = "change")]
        prefix: Option<Ipv6Net>,
        /// One from the pool; a site that has one of the pool's keeps it
        #[arg(long, group = "change")]
        #[serde(default)]
        from_pool: bool,
        /// None: its phones are accepted from everywhere
        #[arg(long, group = "change")]
        #[serde(default)]
        no_prefix: bool,
        /// The region of the plan to take it from, and where the site is from now on [default: where it is]
        #[arg(long, conflicts_with_all = ["prefix", "no_prefix"])]
        region: Option<String>,
    },
    /// List all sites
    List,
    /// Show one site
    Show {
        /// Its code or domain
        site: String,
    },
    /// Remove a site that has no lines, devices and account
    Remove {
        /// Its code or domain
        site: String,
    },
}

impl SiteOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            SiteOperation::Add { name, code, domain, region, pattern, prefix, no_prefix } => {
                let prefix = prefix.map(|prefix| prefix.trunc());
                let site = Site { region, pattern, prefix, ..Site::new(&name, &code, &domain)? };
                site.check()?;
                let plan = office.directory.address_plan();
                if let Some(prefix) = prefix {
                    let others = prefixes(&office.directory, None);
                    prefix_plan::check_by_hand(&plan, &others, prefix, unix_now())?;
                }
                let by_plan = plan.pool.as_ref().filter(|_| site.prefix.is_none() && !no_prefix);
                let site = match by_plan {
                    None => put(office, site).await?,
                    Some(pool) => put_by_plan(office, &plan, pool, site).await?,
                };
                let mut message = format!("added site {} ({}, code {})", site.name, site.domain, site.code);
                if let Some(prefix) = site.prefix.filter(|_| prefix.is_none()) {
                    message.push_str(&format!(" with {prefix}"));
                }
                let mut item = json!(site);
                warn_outside(&plan, &site, &mut message, &mut item);
                Ok(Reply::Done { message, item })
            }
            SiteOperation::Set { site, prefix, from_pool: _, no_prefix, region } => {
                let old = Site::clone(&*find(&office.directory, &site)?);
                let new = Site { region: region.unwrap_or_else(|| old.region.clone()), ..old.clone() };
                let new = match prefix {
                    Some(prefix) => put_by_hand(office, new, prefix.trunc()).await?,
                    None if no_prefix => put(office, Site { prefix: None, ..new }).await?,
                    None => {
                        let plan = office.directory.address_plan();
                        let region = region_of(&plan, plan.pool.as_ref().ok_or(PlanError::NoPool)?, &new)?;
                        let prefix = Some(take_prefix(office, &new, region).await?);
                        put(office, Site { prefix, ..new }).await?
                    }
                };
                let before = old.prefix.filter(|_| old.prefix != new.prefix);
                if let Some(before) = before {
                    let plan = office.directory.address_plan();
                    let of_plan = plan.allocation_of(old.id).filter(|row| row.prefix == before);
                    free_row(office, &plan, &old, of_plan.is_some()).await?;
                }
                Ok(told(office, &old, &new))
            }
            SiteOperation::List => {
                let mut sites = office.directory.sites();
                sites.sort_by(|one, two| one.code.cmp(&two.code));
                let counts = line_counts(&office.directory);
                let rows = sites.iter().map(|site| shown(site, &counts)).collect();
                let columns = [
                    ("CODE", "code"),
                    ("NAME", "name"),
                    ("DOMAIN", "domain"),
                    ("PREFIX", "prefix"),
                    ("LINES", "lines"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            SiteOperation::Show { site } => {
                let site = find(&office.directory, &site)?;
                let mut row = shown(&site, &line_counts(&office.directory));
                row["devices"] = json!(office.directory.devices_of_site(site.id).len());
                row["account"] =
                    json!(office.directory.account_of_site(site.id).map(|account| account.name.clone()));
                if let Some(warning) = device::warning(&office.directory, &site) {
                    row["warning"] = json!(warning.to_string());
                }
                Ok(Reply::Item(row))
            }
            SiteOperation::Remove { site } => {
                let site = find(&office.directory, &site)?;
                office.write(Change::RemoveSite(site.id)).await?;
                free_prefix(office, &site).await?;
                Ok(Reply::Done { message: format!("removed site {}", site.name), item: json!(*site) })
            }
        }
    }
}

/// The prefixes of all sites but one.
pub(super) fn prefixes(directory: &Directory, but: Option<SiteId>) -> Vec<Ipv6Net> {
    let others = directory.sites().into_iter().filter(|site| Some(site.id) != but);
    others.filter_map(|site| site.prefix).collect()
}

async fn put(office: &Office, site: Site) -> Result<Site, OperationError> {
    match office.write(Change::PutSite(site)).await? {
        Change::PutSite(site) => Ok(site),
        _ => Err(OperationError::NoRow),
    }
}

/// Adds a site with a prefix from the pool.
async fn put_by_plan(
    office: &Office,
    plan: &AddressPlan,
    pool: &Pool,
    site: Site,
) -> Result<Site, OperationError> {
    let region = region_of(plan, pool, &site)?;
    // Whether there is room is known before anything is written.
    prefix_plan::allocate(plan, &prefixes(&office.directory, None), SiteId::NEW, region, unix_now())?;
    let site = put(office, site).await?;
    match take_prefix(office, &site, region).await {
        Ok(prefix) => put(office, Site { prefix: Some(prefix), ..site }).await,
        Err(error) => {
            office.write(Change::RemoveSite(site.id)).await?;
            Err(error)
        }
    }
}

/// The region of the plan that a site lies in.
fn region_of(plan: &AddressPlan, pool: &Pool, site: &Site) -> Result<RegionId, OperationError> {
    if let Some(region) = plan.region_by_name(&site.region) {
        return Ok(region.id);
    }
    if !site.region.is_empty() {
        return Err(unknown("region", &site.region));
    }
    let names: Vec<&str> = plan.regions.values().map(|region| region.name.as_str()).collect();
    let regions = if names.is_empty() {
        format!("{}; `centrex6 region add` makes the first region", pool.prefix)
    } else {
        names.join(", ")
    };
    Err(OperationError::NoPrefix { regions })
}

/// Gives a site that is there a prefix by hand: nobody else's, and none that rests after another site.
async fn put_by_hand(office: &Office, site: Site, prefix: Ipv6Net) -> Result<Site, OperationError> {
    let site = Site { prefix: Some(prefix), ..site };
    site.check()?;
    let mut plan = AddressPlan::clone(&office.directory.address_plan());
    // What the site has or had itself is not in its way.
    let own = plan.allocations.values().filter(|row| row.site == site.id && row.prefix == prefix).cloned();
    let own = own.filter(|row| row.freed_at.is_some()).collect::<Vec<_>>();
    plan.allocations.retain(|_, row| row.site != site.id);
    let others = prefixes(&office.directory, Some(site.id));
    if let Some(by) = others.iter().copied().find(|other| prefix_plan::overlap(*other, prefix)) {
        return Err(PlanError::Taken { prefix, by }.into());
    }
    prefix_plan::check_by_hand(&plan, &others, prefix, unix_now())?;
    let site = put(office, site).await?;
    for row in own {
        office.write(Change::RemovePrefixAllocation(row.id)).await?;
    }
    Ok(site)
}

/// What an operator is told of a site with another prefix.
fn told(office: &Office, old: &Site, new: &Site) -> Reply {
    let words = |prefix: Option<Ipv6Net>| prefix.map_or("no prefix".to_owned(), |prefix| prefix.to_string());
    let mut item = json!(new);
    let mut message = match (old.prefix, new.prefix) {
        (before, now) if before == now => format!("site {} has {} already", new.name, words(now)),
        (before, now) => {
            item["former_prefix"] = json!(before);
            format!("site {} has {} from now on; it had {}", new.name, words(now), words(before))
        }
    };
    let account = office.directory.account_of_site(new.id);
    let is_up = |account: &Account| office.directory.lease(account.id).is_some_and(|lease| lease.up);
    if old.prefix != new.prefix
        && let Some(account) = account.filter(|account| is_up(account))
    {
        message.push_str(&format!(
            "\nits tunnel is up: account {} logs in again, and its phones make new addresses and register again",
            account.name
        ));
    }
    warn_outside(&office.directory.address_plan(), new, &mut message, &mut item);
    Reply::Done { message, item }
}

/// Says so when no tunnel server leads a site's prefix to its tunnels by itself.
fn warn_outside(plan: &AddressPlan, site: &Site, message: &mut String, item: &mut Value) {
    let Some((pool, prefix)) = plan.pool.as_ref().zip(site.prefix) else { return };
    if !pool.prefix.contains(&prefix) {
        let warning = format!(
            "{prefix} is outside the pool {}: tunnel servers carry it only when [tunnel_server] networks names it",
            pool.prefix
        );
        message.push_str(&format!("\nwarning: {warning}"));
        item["warning"] = json!(warning);
    }
}

/// Takes a prefix for a site. When somebody else took the same one at the same moment, the plan is read again from the store.
async fn take_prefix(office: &Office, site: &Site, region: RegionId) -> Result<Ipv6Net, OperationError> {
    let mut plan = AddressPlan::clone(&office.directory.address_plan());
    let mut others = prefixes(&office.directory, Some(site.id));
    let mut attempts = 0;
    loop {
        attempts += 1;
        let grant = prefix_plan::allocate(&plan, &others, site.id, region, unix_now())?;
        let prefix = grant.allocation.prefix;
        let mut outcome = Ok(());
        for change in grant.changes() {
            if let Err(error) = office.write(change).await {
                outcome = Err(error);
                break;
            }
        }
        match outcome {
            Ok(()) => return Ok(prefix),
            Err(OperationError::Store(StoreError::Duplicate { .. } | StoreError::Missing { .. }))
                if attempts < ATTEMPTS =>
            {
                let contents = office.store.load().await?;
                plan = AddressPlan::from(&contents);
                let of_others = contents.sites.iter().filter(|other| other.id != site.id);
                others = of_others.filter_map(|other| other.prefix).collect();
            }
            Err(error) => return Err(error),
        }
    }
}

/// Lets the prefix of a removed site rest.
async fn free_prefix(office: &Office, site: &Site) -> Result<(), OperationError> {
    let plan = office.directory.address_plan();
    let of_plan = plan.allocation_of(site.id).is_some();
    free_row(office, &plan, site, of_plan).await
}

/// Lets a site's prefix rest: the plan's, or the one that it was given by hand.
async fn free_row(
    office: &Office,
    plan: &AddressPlan,
    site: &Site,
    of_plan: bool,
) -> Result<(), OperationError> {
    let freed = match of_plan {
        true => prefix_plan::free(plan, site.id, unix_now()).map(|row| (row, None)),
        false => site.prefix.and_then(|prefix| prefix_plan::free_by_hand(plan, site.id, prefix, unix_now())),
    };
    let Some((row, replaced)) = freed else { return Ok(()) };
    if let Some(replaced) = replaced {
        office.write(Change::RemovePrefixAllocation(replaced)).await?;
    }
    office.write(Change::PutPrefixAllocation(row)).await.map(|_| ())
}

/// The site that a user means by its code or domain.
pub(super) fn find(directory: &Directory, key: &str) -> Result<Arc<Site>, OperationError> {
    let by_code = directory.sites().into_iter().find(|site| site.code == key);
    by_code
        .or_else(|| directory.site_by_domain(&key.to_ascii_lowercase()))
        .ok_or_else(|| unknown("site", key))
}

fn shown(site: &Site, line_counts: &HashMap<SiteId, usize>) -> Value {
    let mut row = json!(site);
    row["lines"] = json!(line_counts.get(&site.id).copied().unwrap_or(0));
    row
}

fn line_counts(directory: &Directory) -> HashMap<SiteId, usize> {
    let mut counts = HashMap::new();
    for line in directory.lines() {
        *counts.entry(line.site).or_default() += 1;
    }
    counts
}

/// How often a prefix is tried for that somebody else takes at the same moment. One of those who try succeeds each time.
const ATTEMPTS: usize = 32;
