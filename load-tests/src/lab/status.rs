//! What a lab's state is: its namespaces, processes, phones, and what the centre says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::LabError;
use super::plan::{Access, BROKER, CENTRE, GATEWAY, TUNNEL_INSIDE, TUNNEL_SERVER};
use super::running::Lab;

/// A lab at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub folder: String,
    /// The machines of the centre and the carrier.
    pub machines: Vec<Machine>,
    /// The dorms.
    pub sites: Vec<SiteStatus>,
    /// Alarms of the centre's watch that have not been cleared, as `centrex6 alarm list` gives them.
    pub alarms: Vec<Value>,
}

/// A machine that is no dorm's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its process, when it is one of its own and runs.
    pub pid: Option<u32>,
}

/// A dorm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// From 1.
    pub number: u8,
    /// What is dialled before an extension.
    pub code: String,
    /// Its prefix.
    pub prefix: String,
    /// Its public IPv4 address.
    pub address: String,
    /// The broadband router between IAD and internet, if there is one.
    pub router: Option<Router>,
    /// The IAD's namespace.
    pub iad: String,
    /// The agent's process, while it runs.
    pub pid: Option<u32>,
    /// Whether the access line's cable is in.
    pub line_up: bool,
    /// What the broker says of its tunnel.
    pub tunnel: Option<String>,
    /// How many neighbours the IAD may know; 0 is no limit.
    pub neighbour_limit: u16,
    /// Its phones.
    pub phones: Vec<PhoneStatus>,
}

/// A broadband router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its namespace.
    pub namespace: String,
    /// Whether protocol 41 comes through.
    pub forwards_41: bool,
}

/// A phone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhoneStatus {
    /// `1/2`.
    pub label: String,
    /// Its namespace.
    pub namespace: String,
    /// What is dialled inside its dorm.
    pub extension: String,
    /// The number that rings it from outside.
    pub number: String,
    /// The address that the kernel made for it.
    pub address: Option<String>,
    /// Whether it was registered.
    pub registered: bool,
    /// Why not, when it knows.
    pub trouble: Option<String>,
}

impl Lab {
    /// How everything is now.
    ///
    /// # Errors
    /// When a node's process cannot be looked at. A centre that does not answer is no error: then there are no alarms.
    pub fn status(&mut self) -> Result<Status, LabError> {
        let plan = self.plan().clone();
        let folder = self.folder().path().display().to_string();
        let centre = self.centre()?;
        let rows = |said: Result<Value, LabError>| match said {
            Ok(Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        let accounts = rows(centre.cli(&["account", "list"]));
        let alarms = rows(centre.cli(&["alarm", "list"]));
        let centre_pid = centre.pid();
        let tunnel_pid = self.tunnel()?.pid();
        let machine = |name: &str, namespace: &str, addresses: &[String], pid| Machine {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            addresses: addresses.to_vec(),
            pid,
        };
        let machines = vec![
            machine("centre", &plan.centre, &[BROKER.to_string(), CENTRE.to_string()], centre_pid),
            machine(
                "tunnel server",
                &plan.tunnel,
                &[TUNNEL_SERVER.to_string(), TUNNEL_INSIDE.to_string()],
                tunnel_pid,
            ),
            machine("gateway", &plan.gateway, &[GATEWAY.to_string()], None),
        ];
        let mut sites = Vec::new();
        for dorm in &plan.dorms {
            let Some(running) = self.running_dorms().get(&dorm.number) else { continue };
            let account = accounts.iter().find(|row| row["name"] == running.provisioned.account.as_str());
            let phone = |planned: &super::plan::PhonePlan| {
                let state =
                    running.phones.get(&planned.number).map(|station| station.state()).unwrap_or_default();
                PhoneStatus {
                    label: planned.label(),
                    namespace: planned.namespace.clone(),
                    extension: planned.extension(),
                    number: planned.e164(),
                    address: state.address.map(|address| address.to_string()),
                    registered: state.registered,
                    trouble: state.trouble,
                }
            };
            sites.push(SiteStatus {
                number: dorm.number,
                code: dorm.code(),
                prefix: running.provisioned.prefix.clone(),
                address: dorm.public_address(running.renumbered).to_string(),
                router: dorm.router.as_ref().map(|namespace| Router {
                    namespace: namespace.clone(),
                    forwards_41: dorm.access == Access::Router,
                }),
                iad: dorm.iad.clone(),
                pid: running.iad.pid(),
                line_up: !running.cut,
                tunnel: account.and_then(|row| row["tunnel"].as_str()).map(str::to_owned),
                neighbour_limit: running.neighbours,
                phones: dorm.phones.iter().map(phone).collect(),
            });
        }
        Ok(Status { name: plan.name, folder, machines, sites, alarms })
    }
}
