//! The lab: the whole picture of a dorm's coming up, in network namespaces of this machine and nothing outside them.
//!
//! The real binary plays centre, tunnel server and IADs; the kernel makes the phones' addresses; phones and the carrier's gateway are
//! those of the crate `user-agent`, on threads of this process. [`plan`] is the picture as data, [`Lab::up`] makes it.
//!
//! Namespaces and processes end with the [`Lab`]. What a killed process leaves behind, [`Folder::remove`] takes away.

mod call;
mod error;
mod folder;
mod namespace;
mod phone;
mod plain;
pub mod plan;
mod platform;
mod program;
mod provision;
mod wiring;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use call::{CallReport, LabCall, wait};
pub use error::LabError;
pub use folder::{Folder, Owner};
pub use namespace::Namespace;
pub use phone::{Credentials, PhoneState, Station};
pub use platform::Node;
pub use program::{Program, await_that};
pub use provision::Provisioned;

use plan::{CENTRE, GATEWAY, PHONE, Plan, TRUNK_SIDE, Wishes};

/// What a lab is made from.
#[derive(Debug, Clone)]
pub struct Setup {
    wishes: Wishes,
    binary: PathBuf,
    folder: Option<PathBuf>,
    disposable: bool,
    centre: Vec<(String, String)>,
}

/// A running lab. Dropping it removes it.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    folder: Folder,
    provisioned: Vec<Provisioned>,
    stations: BTreeMap<(u8, u8), Station>,
    gateway: Option<Station>,
    programs: Vec<Program>,
    centre: Option<Node>,
    renumbered: BTreeMap<u8, u32>,
}

impl Setup {
    /// A lab of this binary, for as long as people want it.
    pub fn new(binary: &Path, wishes: Wishes) -> Setup {
        Setup { wishes, binary: binary.to_owned(), folder: None, disposable: false, centre: Vec::new() }
    }

    /// Keeps its files in this folder instead of `/run/centrex6-lab/<name>`.
    #[must_use]
    pub fn folder(self, folder: Option<PathBuf>) -> Setup {
        Setup { folder, ..self }
    }

    /// Anybody may remove it once this process is gone.
    #[must_use]
    pub fn disposable(self) -> Setup {
        Setup { disposable: true, ..self }
    }

    /// Changes one setting of the centre's node, like `NODE__WORKERS`.
    #[must_use]
    pub fn centre(mut self, key: &str, value: &str) -> Setup {
        self.centre.push((format!("CENTREX6__{key}"), value.to_owned()));
        self
    }
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
        let mut lab = Lab {
            plan,
            folder,
            provisioned: Vec::new(),
            stations: BTreeMap::new(),
            gateway: None,
            programs: Vec::new(),
            centre: None,
            renumbered: BTreeMap::new(),
        };
        wiring::build(&lab.plan, &mut progress)?;
        progress("the centre's node");
        lab.start_centre(setup)?;
        progress("sites, lines and numbers");
        if let Some(centre) = &lab.centre {
            lab.provisioned = provision::enter(&lab.plan, centre)?;
        }
        progress("the carrier's gateway");
        let namespace = Namespace::named(&lab.plan.gateway);
        let gateway = Station::gateway(
            "gateway",
            &namespace,
            phone::sip(GATEWAY),
            SocketAddr::from((TRUNK_SIDE, 5070)),
        )?;
        lab.gateway = Some(gateway);
        plain::backbone(&lab.plan)?;
        for (dorm, provisioned) in lab.plan.dorms.iter().zip(&lab.provisioned) {
            let config = plain::dorm(&lab.plan, dorm, &provisioned.prefix)?;
            let file = lab.folder.file(&format!("radvd{}.conf", dorm.number));
            std::fs::write(&file, config).map_err(LabError::io("write radvd.conf"))?;
            let namespace = Namespace::named(&dorm.iad);
            let mut command = namespace.command("radvd");
            let pid = lab.folder.file(&format!("radvd{}.pid", dorm.number));
            command.args(["-n", "-m", "stderr", "-C"]).arg(&file).arg("-p").arg(pid);
            let log = lab.folder.file(&format!("radvd{}.log", dorm.number));
            lab.programs.push(Program::start("radvd", &namespace, &mut command, &log)?);
        }
        progress("phones");
        for (dorm, provisioned) in lab.plan.dorms.iter().zip(&lab.provisioned) {
            for (phone, credentials) in dorm.phones.iter().zip(&provisioned.phones) {
                let namespace = Namespace::named(&phone.namespace);
                let proxy = phone::sip(CENTRE);
                let station = Station::phone(&phone.label(), &namespace, PHONE, proxy, credentials.clone())?;
                lab.stations.insert((phone.site, phone.number), station);
            }
        }
        lab.await_phones(REGISTERED_IN)?;
        Ok(lab)
    }

    /// The picture.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Waits until every phone is registered.
    ///
    /// # Errors
    /// When one is not in time, with what it says.
    pub fn await_phones(&mut self, limit: Duration) -> Result<(), LabError> {
        let deadline = Instant::now() + limit;
        for station in self.stations.values() {
            let mut watch = station.watch();
            let left = deadline.saturating_duration_since(Instant::now());
            if wait("", left, watch.wait_for(|state| state.registered)).is_err() {
                let state = station.state();
                let trouble = match (&state.address, &state.trouble) {
                    (None, _) => "it has no IPv6 address: no router advertises a prefix to it".to_owned(),
                    (Some(address), Some(trouble)) => format!("{address}: {trouble}"),
                    (Some(address), None) => format!("{address}: its REGISTER is not answered"),
                };
                let what = format!("phone {} registers ({trouble})", station.label());
                return Err(LabError::Late { what, seconds: limit.as_secs() });
            }
        }
        Ok(())
    }

    /// A phone.
    ///
    /// # Errors
    /// When there is none.
    pub fn phone(&self, site: u8, phone: u8) -> Result<&Station, LabError> {
        self.stations
            .get(&(site, phone))
            .ok_or_else(|| LabError::Wish { what: format!("there is no phone {site}/{phone}") })
    }

    /// The carrier's gateway.
    ///
    /// # Errors
    /// When it is not there yet.
    pub fn gateway(&self) -> Result<&Station, LabError> {
        self.gateway.as_ref().ok_or_else(|| LabError::Wish { what: "there is no gateway".to_owned() })
    }

    /// The centre's node.
    ///
    /// # Errors
    /// When it is not there yet.
    pub fn centre(&mut self) -> Result<&mut Node, LabError> {
        self.centre.as_mut().ok_or_else(|| LabError::Wish { what: "there is no centre".to_owned() })
    }

    fn start_centre(&mut self, setup: &Setup) -> Result<(), LabError> {
        let sections = format!(
            "[registrar_proxy]\nlisten = [\"udp:[{CENTRE}]:5060\", \"tcp:[{CENTRE}]:5060\"]\n\
             [translator]\nlisten_ipv6 = [\"udp:[{CENTRE}]:5070\"]\nlisten_ipv4 = [\"udp:{TRUNK_SIDE}:5070\"]\n",
        );
        let folder = self.folder.make("centre")?;
        let namespace = Namespace::named(&self.plan.centre);
        let node = Node::new(&setup.binary, "centre", &namespace, &folder, &sections, &setup.centre)?;
        self.centre.insert(node).start()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Threads inside the namespaces first, then processes, then the namespaces.
        self.stations.clear();
        self.gateway = None;
        self.programs.clear();
        self.centre = None;
        if let Err(error) = self.folder.remove() {
            eprintln!("the lab {} could not be removed: {error}", self.plan.name);
        }
    }
}

/// Whether a lab can be made here.
///
/// # Errors
/// With what is missing.
pub fn check_machine() -> Result<(), LabError> {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Err(LabError::NotRoot);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in PROGRAMS {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
            return Err(LabError::NoProgram { program, package });
        }
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(LabError::Kernel { what: "make TUN devices (/dev/net/tun is missing)" });
    }
    Ok(())
}

/// What the lab runs, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];
const REGISTERED_IN: Duration = Duration::from_secs(60);
