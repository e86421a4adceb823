//! Sites.

use std::collections::HashMap;
use std::sync::Arc;

use clap::Subcommand;
use ipnet::Ipv6Net;
use schema::{Change, Directory, Site, SiteId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, unknown};

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
        /// Where it is
        #[arg(long, default_value = "")]
        region: String,
        /// How it was installed
        #[arg(long, default_value = "")]
        pattern: String,
        /// IPv6 prefix from which its phones are accepted; without it, from everywhere
        #[arg(long)]
        prefix: Option<Ipv6Net>,
    },
    /// List all sites
    List,
    /// Show one site
    Show {
        /// Its code or domain
        site: String,
    },
    /// Remove a site that has no lines
    Remove {
        /// Its code or domain
        site: String,
    },
}

impl SiteOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            SiteOperation::Add { name, code, domain, region, pattern, prefix } => {
                let site = Site { region, pattern, prefix, ..Site::new(&name, &code, &domain)? };
                site.check()?;
                let Change::PutSite(site) = office.write(Change::PutSite(site)).await? else {
                    return Err(OperationError::NoRow);
                };
                let message = format!("added site {} ({}, code {})", site.name, site.domain, site.code);
                Ok(Reply::Done { message, item: json!(site) })
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
                Ok(Reply::Item(shown(&*find(&office.directory, &site)?, &line_counts(&office.directory))))
            }
            SiteOperation::Remove { site } => {
                let site = find(&office.directory, &site)?;
                office.write(Change::RemoveSite(site.id)).await?;
                Ok(Reply::Done { message: format!("removed site {}", site.name), item: json!(*site) })
            }
        }
    }
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
