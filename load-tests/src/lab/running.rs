//! A lab that runs: how it comes up, what can be done with it, how it goes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{LabCall, wait};
use super::errand::Errand;
use super::error::LabError;
use super::folder::Folder;
use super::iad::Iad;
use super::namespace::Namespace;
use super::party::Party;
use super::phone::{self, Station};
use super::plan::{
    BROKER, CENTRE, Dorm, GATEWAY, PHONE, POOL, Plan, TRUNK_SIDE, TUNNEL_INSIDE, TUNNEL_SERVER,
};
use super::platform::Node;
use super::provision::{self, Provisioned};
use super::setup::Setup;
use super::{check_machine, fault, wiring};

/// A running lab. Dropping it removes it.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    folder: Folder,
    dorms: BTreeMap<u8, RunningDorm>,
    gateway: Option<Arc<Station>>,
    centre: Option<Node>,
    tunnel: Option<Node>,
    hosts: u8,
}

/// What runs in a dorm, and how it was treated.
#[derive(Debug)]
pub(super) struct RunningDorm {
    pub(super) provisioned: Provisioned,
    pub(super) iad: Iad,
    pub(super) phones: BTreeMap<u8, Arc<Station>>,
    pub(super) renumbered: u32,
    pub(super) cut: bool,
    pub(super) neighbours: u16,
}

impl Lab {
    /// Makes everything of the setup and waits until every phone is registered; tells what it is at.
    ///
    /// # Errors
    /// When something cannot be made or does not come up. Nothing of it is left then.
    pub fn up(setup: &Setup, mut progress: impl FnMut(&str)) -> Result<Lab, LabError> {
        check_machine()?;
        if !setup.binary.exists() {
            return Err(LabError::NoBinary { path: setup.binary.clone() });
        }
        let plan = setup.wishes.plan()?;
        let folder = Folder::of(&plan.name, setup.folder.as_deref());
        folder.claim(setup.disposable)?;
        // From here on, dropping it cleans up.
        let mut lab =
            Lab { plan, folder, dorms: BTreeMap::new(), gateway: None, centre: None, tunnel: None, hosts: 0 };
        wiring::build(&lab.plan, &mut progress)?;
        progress("tunnel server and centre");
        lab.start_nodes(setup)?;
        progress("sites, accounts, lines and numbers");
        let provisioned = provision::enter(&lab.plan, lab.centre()?)?;
        let gateway = Namespace::named(&lab.plan.gateway);
        let trunk_side = SocketAddr::from((TRUNK_SIDE, TRANSLATOR_PORT));
        lab.gateway = Some(Arc::new(Station::gateway("gateway", &gateway, phone::sip(GATEWAY), trunk_side)?));
        for (dorm, provisioned) in lab.plan.dorms.clone().iter().zip(provisioned) {
            progress(&format!("IAD and phones of site {}", dorm.number));
            let running = lab.start_dorm(setup, dorm, provisioned)?;
            lab.dorms.insert(dorm.number, running);
        }
        if setup.await_phones {
            progress("waiting for the phones");
            lab.await_phones(REGISTERED_IN)?;
        }
        Ok(lab)
    }

    /// The picture.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where its files are.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Waits until every phone is registered.
    ///
    /// # Errors
    /// When one is not in time, with what it says and the end of its IAD's log.
    pub fn await_phones(&mut self, limit: Duration) -> Result<(), LabError> {
        let deadline = Instant::now() + limit;
        for (site, dorm) in &mut self.dorms {
            for station in dorm.phones.values() {
                loop {
                    let (mut watch, step) = (station.watch(), Duration::from_millis(500));
                    if wait("", step, watch.wait_for(|state| state.registered)).is_ok() {
                        break;
                    }
                    dorm.iad.check()?;
                    if Instant::now() > deadline {
                        let what = format!(
                            "phone {} of site {site} registers ({})\nthe end of the IAD's log:\n{}",
                            station.label(),
                            station.state().describe(),
                            dorm.iad.tail()
                        );
                        return Err(LabError::Late { what, seconds: limit.as_secs() });
                    }
                }
            }
        }
        Ok(())
    }

    /// A phone, or the gateway.
    ///
    /// # Errors
    /// When there is none.
    pub fn station(&self, party: Party) -> Result<Arc<Station>, LabError> {
        let found = match party {
            Party::Gateway => self.gateway.as_ref(),
            Party::Phone(site, phone) => self.dorms.get(&site).and_then(|dorm| dorm.phones.get(&phone)),
        };
        found.cloned().ok_or_else(|| LabError::Wish { what: format!("there is no phone {party}") })
    }

    /// Calls, and waits until audio flows both ways.
    ///
    /// # Errors
    /// When it does not.
    pub fn call(&self, from: Party, to: Party) -> Result<LabCall, LabError> {
        let errand = Errand::between(&self.plan, from, to)?;
        LabCall::set_up(&*self.station(from)?, &*self.station(to)?, &errand.dialled)
    }

    /// The centre's node.
    ///
    /// # Errors
    /// When it is not there yet.
    pub fn centre(&self) -> Result<&Node, LabError> {
        self.centre.as_ref().ok_or_else(|| LabError::Wish { what: "there is no centre".to_owned() })
    }

    /// The tunnel server's node.
    ///
    /// # Errors
    /// When it is not there yet.
    pub fn tunnel(&self) -> Result<&Node, LabError> {
        self.tunnel.as_ref().ok_or_else(|| LabError::Wish { what: "there is no tunnel server".to_owned() })
    }

    /// Kills the centre's node, or stops it in order, and starts it again: broker, proxy, translator and watch are away meanwhile, the
    /// tunnel server is not.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub fn restart_centre(&mut self, in_order: bool) -> Result<(), LabError> {
        let centre = self.centre.as_mut().ok_or(LabError::Wish { what: "there is no centre".to_owned() })?;
        if in_order {
            centre.stop()?;
        }
        centre.kill();
        centre.start()
    }

    /// A dorm's IAD.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn iad(&mut self, site: u8) -> Result<&mut Iad, LabError> {
        self.running(site).map(|dorm| &mut dorm.iad)
    }

    /// What a dorm was given when it was entered.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn provisioned(&mut self, site: u8) -> Result<&Provisioned, LabError> {
        self.running(site).map(|dorm| &dorm.provisioned)
    }

    /// Gives a dorm another public address; the old one is gone at once. Gives both.
    ///
    /// # Errors
    /// When there is no such site, or the system refuses.
    pub fn renumber(&mut self, site: u8) -> Result<(Ipv4Addr, Ipv4Addr), LabError> {
        let dorm = self.plan.dorm(site)?.clone();
        let plan = self.plan.clone();
        let running = self.running(site)?;
        let (from, to) =
            (dorm.public_address(running.renumbered), dorm.public_address(running.renumbered + 1));
        wiring::renumber(&plan, &dorm, from, to)?;
        running.renumbered += 1;
        Ok((from, to))
    }

    /// Pulls the cable of a dorm's access line, or puts it in again.
    ///
    /// # Errors
    /// When there is no such site, or the system refuses.
    pub fn set_line(&mut self, site: u8, up: bool) -> Result<(), LabError> {
        wiring::set_line(&self.plan, self.plan.dorm(site)?, up)?;
        self.running(site)?.cut = !up;
        Ok(())
    }

    /// Cuts an IAD's power: its agent is killed without a word.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn power_off(&mut self, site: u8) -> Result<(), LabError> {
        self.iad(site)?.power_off();
        Ok(())
    }

    /// Gives an IAD its power back.
    ///
    /// # Errors
    /// When there is no such site, or the agent cannot be started.
    pub fn power_on(&mut self, site: u8) -> Result<(), LabError> {
        self.iad(site)?.power_on()
    }

    /// Lets a dorm's IAD know only so many neighbours, and tells the centre that this is the size of its table; 0 lifts the limit.
    ///
    /// # Errors
    /// When there is no such site, or the system or the centre refuses.
    pub fn limit_neighbours(&mut self, site: u8, limit: u16) -> Result<(), LabError> {
        let dorm = self.plan.dorm(site)?;
        fault::limit_neighbours(dorm, limit)?;
        provision::declare_neighbours(dorm, self.centre()?, limit)?;
        self.running(site)?.neighbours = limit;
        Ok(())
    }

    /// A further machine on the internet with a public address of its own.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add_host(&mut self) -> Result<(Namespace, Ipv4Addr), LabError> {
        self.hosts += 1;
        let number = self.hosts;
        let namespace = Namespace::create(&format!("{}host{number}", super::plan::prefix(&self.plan.name)))?;
        let address = Ipv4Addr::new(203, 0, 113, 255 - number.min(4));
        wiring::attach_host(&self.plan, &namespace, &format!("host{number}"), address)?;
        Ok((namespace, address))
    }

    /// Removes it, and says so when that fails.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn down(mut self) -> Result<usize, LabError> {
        self.take_down()
    }

    pub(super) fn running_dorms(&mut self) -> &mut BTreeMap<u8, RunningDorm> {
        &mut self.dorms
    }

    fn running(&mut self, site: u8) -> Result<&mut RunningDorm, LabError> {
        let sites = self.plan.dorms.len();
        self.dorms.get_mut(&site).ok_or_else(|| LabError::Wish {
            what: format!("there is no site {site}: this lab has 1 to {sites}"),
        })
    }

    fn start_nodes(&mut self, setup: &Setup) -> Result<(), LabError> {
        let folder = self.folder.make("centre")?;
        let sections = format!(
            "roles = [\"registrar-proxy\", \"translator\", \"tunnel-broker\", \"watch\"]\n\
             [registrar_proxy]\nlisten = [\"udp:[{CENTRE}]:5060\", \"tcp:[{CENTRE}]:5060\"]\n\
             [translator]\nlisten_ipv6 = [\"udp:[{CENTRE}]:5070\"]\n\
             listen_ipv4 = [\"udp:{TRUNK_SIDE}:{TRANSLATOR_PORT}\"]\n\
             [tunnel_broker]\nlisten = \"{BROKER}:20200\"\nservers = [\"[{TUNNEL_INSIDE}]:{CONTROL_PORT}\"]\n\
             centre_sip = \"[{CENTRE}]:5060\"\n{QUICK_WATCH}",
        );
        let namespace = Namespace::named(&self.plan.centre);
        let mut centre = Node::new(&setup.binary, "centre", &namespace, &folder, &sections, &setup.centre)?;
        // Makes the key that both nodes share.
        centre.cli(&["node", "status"])?;
        let sections = format!(
            "roles = [\"tunnel-server\"]\nkey_file = \"{}\"\n\
             [tunnel_server]\naddress = \"{TUNNEL_SERVER}\"\nnetworks = [\"{POOL}\"]\n\
             control_listen = \"[{TUNNEL_INSIDE}]:{CONTROL_PORT}\"\n",
            centre.key_file().display()
        );
        let folder = self.folder.make("tunnel")?;
        let namespace = Namespace::named(&self.plan.tunnel);
        let tunnel = Node::new(&setup.binary, "tunnel", &namespace, &folder, &sections, &[])?;
        self.tunnel.insert(tunnel).start()?;
        let started = centre.start();
        self.centre = Some(centre);
        started
    }

    fn start_dorm(
        &self,
        setup: &Setup,
        dorm: &Dorm,
        provisioned: Provisioned,
    ) -> Result<RunningDorm, LabError> {
        let folder = self.folder.make(&format!("site{}", dorm.number))?;
        let mut iad = Iad::new(setup, dorm, &provisioned, &folder)?;
        if setup.agents {
            iad.power_on()?;
        }
        let mut phones = BTreeMap::new();
        for (phone, credentials) in dorm.phones.iter().zip(&provisioned.phones) {
            let namespace = Namespace::named(&phone.namespace);
            let proxy = phone::sip(CENTRE);
            let station = Station::phone(&phone.label(), &namespace, PHONE, proxy, credentials.clone())?;
            phones.insert(phone.number, Arc::new(station));
        }
        Ok(RunningDorm { provisioned, iad, phones, renumbered: 0, cut: false, neighbours: 0 })
    }

    fn take_down(&mut self) -> Result<usize, LabError> {
        // Threads inside the namespaces first, then processes, then the namespaces.
        for station in self.dorms.values().flat_map(|dorm| dorm.phones.values()).chain(&self.gateway) {
            station.switch_off();
        }
        self.dorms.clear();
        self.gateway = None;
        (self.centre, self.tunnel) = (None, None);
        self.folder.remove()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        if let Err(error) = self.take_down() {
            eprintln!("the lab {} could not be removed: {error}", self.plan.name);
        }
    }
}

impl Lab {
    /// What a failed test leaves to read.
    fn show_logs(&self) {
        for node in self.centre.iter().chain(&self.tunnel) {
            eprintln!(
                "--- the end of the log of {}\n{}",
                node.name(),
                super::program::tail(&node.log(), SHOWN)
            );
        }
        for (site, dorm) in &self.dorms {
            eprintln!("--- the end of the log of the IAD of site {site}\n{}", dorm.iad.tail());
            for phone in dorm.phones.values() {
                eprintln!("phone {}: {}", phone.label(), phone.state().describe());
            }
        }
    }
}

const TRANSLATOR_PORT: u16 = 5070;
/// Where the tunnel server takes the broker's orders.
const CONTROL_PORT: u16 = 20202;
/// People who break something in a lab do not wait for minutes until the watch sees it.
const QUICK_WATCH: &str = "[watch]\nphone_interval_s = 10\niad_interval_s = 5\nretry_interval_ms = 1000\nanswer_within_ms = 1500\n\
                           survey_interval_s = 10\ngrace_s = 5\n";
const REGISTERED_IN: Duration = Duration::from_secs(60);
/// Lines of a log that a failed test shows.
const SHOWN: usize = 40;
