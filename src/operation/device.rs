//! Devices: phones and routers.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use dorm_provisioning::identity::{self, Addressing, Comparison, Mac};
use dorm_provisioning::neighbours::{self, Overflow};
use schema::{Change, Device, DeviceId, Directory, LineId, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, line, site, unix_now, unknown};

/// What can be done with devices.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeviceOperation {
    /// Add a phone or router
    Add {
        /// Code or domain of its site
        #[arg(long)]
        site: String,
        /// Its MAC, in any usual spelling
        #[arg(long)]
        mac: Mac,
        /// What it is, as its maker calls it
        #[arg(long)]
        model: String,
        /// The VLAN that it is in; 0 when the site does not tag
        #[arg(long, default_value_t = 0)]
        vlan: u16,
        /// Authentication user name of the line that it registers
        #[arg(long)]
        line: Option<String>,
        /// How it comes by its address: slaac (from the MAC), opaque (RFC 7217), static or dhcpv6
        #[arg(long, default_value_t)]
        addressing: Addressing,
        /// The address that it was given by hand
        #[arg(long, requires = "addressing")]
        address: Option<Ipv6Addr>,
        /// For a router: how many entries its neighbour table holds
        #[arg(long, value_name = "ENTRIES")]
        neighbours: Option<u32>,
    },
    /// Change what is known of a device; what is not named stays
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Its MAC or number
        device: String,
        /// What it is, as its maker calls it
        #[arg(long, group = "change")]
        model: Option<String>,
        /// The VLAN that it is in; 0 when the site does not tag
        #[arg(long, group = "change")]
        vlan: Option<u16>,
        /// Authentication user name of the line that it registers
        #[arg(long, group = "change")]
        line: Option<String>,
        /// It registers no line
        #[arg(long, group = "change", conflicts_with = "line")]
        #[serde(default)]
        no_line: bool,
        /// How it comes by its address: slaac (from the MAC), opaque (RFC 7217), static or dhcpv6
        #[arg(long, group = "change")]
        addressing: Option<Addressing>,
        /// The address that it was given by hand
        #[arg(long, group = "change")]
        address: Option<Ipv6Addr>,
        /// For a router: how many entries its neighbour table holds; 0 when it is none after all
        #[arg(long, group = "change", value_name = "ENTRIES")]
        neighbours: Option<u32>,
    },
    /// List devices with the address that each should have and the one that it registered from
    List {
        /// Only those of this site (code or domain)
        #[arg(long)]
        site: Option<String>,
    },
    /// Show one device
    Show {
        /// Its MAC or number
        device: String,
    },
    /// Remove a device
    Remove {
        /// Its MAC or number
        device: String,
    },
}

impl DeviceOperation {
    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            DeviceOperation::Add { site, mac, model, vlan, line, addressing, address, neighbours } => {
                let site = site::find(&office.directory, &site)?;
                let device = Device {
                    addressing,
                    static_address: address,
                    line: line.map(|key| line_at(&office.directory, &key, &site)).transpose()?,
                    neighbours,
                    ..Device::new(site.id, mac, &model, vlan)?
                };
                put(office, &site, device, "added").await
            }
            DeviceOperation::Set { device, model, vlan, line, no_line, addressing, address, neighbours } => {
                let old = Device::clone(&*find(&office.directory, &device)?);
                let site =
                    office.directory.site(old.site).ok_or_else(|| unknown("site", &old.site.to_string()))?;
                let addressing = addressing.unwrap_or(old.addressing);
                let line = match line {
                    Some(key) => Some(line_at(&office.directory, &key, &site)?),
                    None => old.line.filter(|_| !no_line),
                };
                let device = Device {
                    model: model.unwrap_or(old.model),
                    vlan: vlan.unwrap_or(old.vlan),
                    // An address by hand goes when the device makes its own from now on.
                    static_address: address
                        .or(old.static_address.filter(|_| addressing == Addressing::Static)),
                    neighbours: neighbours.or(old.neighbours).filter(|entries| *entries > 0),
                    addressing,
                    line,
                    ..old
                };
                put(office, &site, device, "changed").await
            }
            DeviceOperation::List { site } => {
                let sites = match site {
                    Some(key) => vec![site::find(&office.directory, &key)?],
                    None => office.directory.sites(),
                };
                let devices = sites.iter().flat_map(|site| office.directory.devices_of_site(site.id));
                let rows = devices.map(|device| shown(&device, office)).collect();
                let columns = [
                    ("MAC", "mac"),
                    ("SITE", "site_code"),
                    ("MODEL", "model"),
                    ("VLAN", "vlan"),
                    ("LINE", "auth_user"),
                    ("PREDICTED", "predicted"),
                    ("LEARNED", "learned"),
                    ("VERDICT", "verdict"),
                ];
                Ok(Reply::rows(&columns, rows))
            }
            DeviceOperation::Show { device } => {
                Ok(Reply::Item(shown(&*find(&office.directory, &device)?, office)))
            }
            DeviceOperation::Remove { device } => {
                let device = find(&office.directory, &device)?;
                let item = shown(&device, office);
                office.write(Change::RemoveDevice(device.id)).await?;
                Ok(Reply::Done { message: format!("removed device {}", device.mac), item })
            }
        }
    }
}

/// Writes a device, and says what becomes of it.
async fn put(office: &Office, site: &Site, device: Device, done: &str) -> Result<Reply, OperationError> {
    device.check()?;
    if let Some(prefix) = site.prefix {
        identity::vlan_prefix(prefix, device.vlan)?;
    }
    let Change::PutDevice(device) = office.write(Change::PutDevice(device)).await? else {
        return Err(OperationError::NoRow);
    };
    let mut item = shown(&device, office);
    let mut message = format!("{done} device {} at site {}", device.mac, site.name);
    if let Some(predicted) = item["predicted"].as_str() {
        message.push_str(&format!(", expected at {predicted}"));
    }
    warn(&office.directory, site, &mut message, &mut item);
    Ok(Reply::Done { message, item })
}

/// The line that a device of a site shall register.
fn line_at(directory: &Directory, key: &str, site: &Site) -> Result<LineId, OperationError> {
    let line = line::find(directory, key)?;
    if line.site != site.id {
        return Err(OperationError::LineElsewhere { line: line.auth_user.clone(), site: site.code.clone() });
    }
    Ok(line.id)
}

/// The device that a user means by its MAC or number.
fn find(directory: &Directory, key: &str) -> Result<Arc<Device>, OperationError> {
    let by_mac = key.parse().ok().and_then(|mac| directory.device_by_mac(mac));
    let by_id = || directory.device(DeviceId(key.parse().ok()?));
    by_mac.or_else(by_id).ok_or_else(|| unknown("device", key))
}

fn shown(device: &Device, office: &Office) -> Value {
    let directory = &office.directory;
    let site = directory.site(device.site);
    let prefix = site.as_ref().and_then(|site| site.prefix);
    let predicted = identity::predicted(device, prefix);
    let learned = learned(device, predicted, office);
    let mut row = json!(device);
    row["site_code"] = json!(site.map(|site| site.code.clone()));
    row["auth_user"] =
        json!(device.line.and_then(|line| directory.line(line)).map(|line| line.auth_user.clone()));
    row["predicted"] = json!(predicted);
    row["learned"] = json!(learned);
    let (verdict, cause) = match identity::compare(device, prefix, learned) {
        Comparison::Match => ("match", None),
        Comparison::Unknown => ("unknown", None),
        Comparison::Mismatch { cause, .. } => ("mismatch", Some(cause.to_string())),
    };
    row["verdict"] = json!(verdict);
    row["cause"] = json!(cause);
    row
}

/// The address that the device's line registered from.
fn learned(device: &Device, predicted: Option<Ipv6Addr>, office: &Office) -> Option<IpAddr> {
    let now = Duration::from_secs(unix_now().unsigned_abs());
    let bindings = office.locations.lookup(device.line?, now);
    dorm_watch::learned(device, predicted, &bindings).map(|(address, _)| address)
}

/// Adds the [`warning`] to an answer, when there is one.
pub(super) fn warn(directory: &Directory, site: &Site, message: &mut String, item: &mut Value) {
    if let Some(warning) = warning(directory, site) {
        message.push_str(&format!("\nwarning: {warning}"));
        item["warning"] = json!(warning.to_string());
    }
}

/// Whether the phones of a site are too many for one of its routers. Lines count as phones to come.
pub(super) fn warning(directory: &Directory, site: &Site) -> Option<Overflow> {
    let devices = directory.devices_of_site(site.id);
    let table = |device: &Device| {
        device.neighbours.or_else(|| neighbours::table_of(&device.model).filter(|_| device.line.is_none()))
    };
    let router =
        devices.iter().filter_map(|device| Some((table(device)?, device))).min_by_key(|(table, _)| *table);
    let (table, router) = router?;
    let phones =
        devices.iter().filter(|device| device.neighbours.is_none() && device.id != router.id).count();
    let lines = directory.lines_of_site(site.id).len();
    neighbours::check(phones.max(lines), &router.model, table)
}
