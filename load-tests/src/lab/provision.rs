//! What an operator would type before the first dorm comes up: address plan, sites, accounts, devices, lines, numbers, the trunk.

use serde_json::Value;

use super::error::LabError;
use super::phone::{Credentials, sip};
use super::plan::{Dorm, GATEWAY, POOL, PhonePlan, Plan};
use super::platform::Node;

/// Tells the centre how many neighbours a dorm's IAD can know, as the router's data sheet would; 0 is what Linux holds.
///
/// # Errors
/// When the platform refuses.
pub(super) fn declare_neighbours(dorm: &Dorm, centre: &Node, limit: u16) -> Result<(), LabError> {
    let table = if limit == 0 { NEIGHBOURS } else { limit }.to_string();
    centre.cli(&["device", "set", &dorm.iad_mac(), "--neighbours", &table]).map(drop)
}

/// What a dorm was given.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// Its prefix, like `2001:db8:8000::/48`.
    pub prefix: String,
    /// The name of its DTCP account.
    pub account: String,
    /// The password of that.
    pub password: String,
    /// What its phones register with, in their order.
    pub phones: Vec<Credentials>,
}

/// Enters everything of the plan at the centre's node; gives what each dorm got, in their order.
///
/// # Errors
/// With the first operation that the platform refuses.
pub(super) fn enter(plan: &Plan, centre: &Node) -> Result<Vec<Provisioned>, LabError> {
    centre.cli(&["pool", "set", POOL])?;
    centre.cli(&["region", "add", REGION])?;
    let gateway = format!("udp:{}", sip(GATEWAY));
    centre.cli(&["trunk", "add", "--name", "carrier", "--gateway", &gateway])?;
    centre.cli(&["route", "add", "--trunk", "carrier"])?;
    plan.dorms.iter().map(|dorm| enter_dorm(dorm, centre)).collect()
}

fn enter_dorm(dorm: &Dorm, centre: &Node) -> Result<Provisioned, LabError> {
    let (name, code, domain) = (format!("Dorm {}", dorm.number), dorm.code(), dorm.domain());
    let words = ["site", "add", "--name", &name, "--code", &code, "--domain", &domain, "--region", REGION];
    let prefix = text(&centre.cli(&words)?, "prefix")?;
    let account = dorm.account();
    let item = centre.cli(&["account", "add", "--site", &code, "--name", &account])?;
    let password = text(&item, "password")?;
    let (mac, table) = (dorm.iad_mac(), NEIGHBOURS.to_string());
    centre.cli(&["device", "add", "--site", &code, "--mac", &mac, "--model", IAD, "--neighbours", &table])?;
    let phones = dorm.phones.iter().map(|phone| enter_phone(phone, &code, &domain, centre));
    let phones = phones.collect::<Result<_, _>>()?;
    Ok(Provisioned { prefix, account, password, phones })
}

fn enter_phone(phone: &PhonePlan, code: &str, domain: &str, centre: &Node) -> Result<Credentials, LabError> {
    let extension = phone.extension();
    let line = centre.cli(&["line", "add", "--site", code, "--extension", &extension])?;
    let (auth_user, password) = (text(&line, "auth_user")?, text(&line, "password")?);
    centre.cli(&[
        "device",
        "add",
        "--site",
        code,
        "--mac",
        &phone.mac,
        "--model",
        "lab phone",
        "--line",
        &auth_user,
    ])?;
    centre.cli(&["number", "add", &phone.e164(), "--line", &auth_user])?;
    Ok(Credentials { extension, domain: domain.to_owned(), auth_user, password })
}

fn text(item: &Value, name: &str) -> Result<String, LabError> {
    item[name].as_str().map(str::to_owned).ok_or_else(|| LabError::Refused {
        operation: format!("… --json, looking for {name:?}"),
        said: item.to_string(),
    })
}

const REGION: &str = "Kanto";
const IAD: &str = "lab IAD";
/// Linux refuses further entries from here on (gc_thresh3).
const NEIGHBOURS: u16 = 1024;
