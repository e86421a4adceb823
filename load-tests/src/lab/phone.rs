//! A simulated phone, or the carrier's gateway, on a thread of its own inside its namespace.
//!
//! All of its sockets are made by that thread and belong to the namespace. The phone itself comes from the crate `user-agent`.

use std::collections::VecDeque;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time;
use user_agent::{Call, CallOptions, Gateway, GatewayConfig, Phone, PhoneConfig, UaError};

use super::error::LabError;
use super::namespace::Namespace;

/// What a phone registers with.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// What is dialled inside the dorm.
    pub extension: String,
    /// The dorm's domain.
    pub domain: String,
    /// User name of the digest.
    pub auth_user: String,
    /// Password of the digest.
    pub password: String,
}

/// How far a phone has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhoneState {
    /// The address that the kernel made for it.
    pub address: Option<Ipv6Addr>,
    /// Whether the registrar has granted its registration.
    pub registered: bool,
    /// Why it is not registered, when it was refused or got no answer.
    pub trouble: Option<String>,
}

/// A phone or gateway that can call and be called. Dropping it stops its thread.
#[derive(Debug)]
pub struct Station {
    label: String,
    shared: Arc<Shared>,
    state: watch::Receiver<PhoneState>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    agent: Mutex<Option<Agent>>,
    /// Calls that came in, the newest last.
    taken: Mutex<VecDeque<Arc<Call>>>,
}

#[derive(Debug, Clone)]
enum Agent {
    Phone(Phone),
    Gateway(Gateway),
}

impl PhoneState {
    /// In words.
    pub fn describe(&self) -> String {
        match (&self.address, &self.trouble) {
            (None, None) => "no IPv6 address: no router advertises a prefix to it".to_owned(),
            (None, Some(trouble)) => trouble.clone(),
            (Some(address), _) if self.registered => format!("{address}, registered"),
            (Some(address), Some(trouble)) => format!("{address}: {trouble}"),
            (Some(address), None) => format!("{address}: its REGISTER is not answered"),
        }
    }
}

impl Station {
    /// Switches a phone on: it waits for an address from the kernel, then registers and stays registered.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn phone(
        label: &str,
        namespace: &Namespace,
        interface: &'static str,
        proxy: SocketAddr,
        credentials: Credentials,
    ) -> Result<Station, LabError> {
        Station::start(label, namespace, move |shared, state| async move {
            loop {
                let address = await_address(interface).await;
                state.send_replace(PhoneState { address: Some(address), ..PhoneState::default() });
                let local = SocketAddr::from((address, SIP_PORT));
                let Credentials { extension, domain, auth_user, password } = &credentials;
                let config = PhoneConfig::new(local, proxy, extension, domain, password);
                let config = PhoneConfig { auth_user: auth_user.clone(), auto_refresh: true, ..config };
                match Phone::bind(config) {
                    Ok(phone) => live(phone, &shared, &state, interface, address).await,
                    Err(error) => {
                        state.send_modify(|state| state.trouble = Some(error.to_string()));
                        time::sleep(TICK).await;
                    }
                }
                state.send_replace(PhoneState::default());
            }
        })
    }

    /// Starts the carrier's gateway: it answers every call.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn gateway(
        label: &str,
        namespace: &Namespace,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Station, LabError> {
        Station::start(label, namespace, move |shared, state| async move {
            match Gateway::bind(GatewayConfig::new(local, peer)) {
                Ok(gateway) => {
                    *lock(&shared.agent) = Some(Agent::Gateway(gateway.clone()));
                    state.send_modify(|state| state.registered = true);
                    loop {
                        shared.take(gateway.next_call().await);
                    }
                }
                Err(error) => state.send_modify(|state| state.trouble = Some(error.to_string())),
            }
        })
    }

    fn start<F, R>(label: &str, namespace: &Namespace, life: F) -> Result<Station, LabError>
    where
        F: FnOnce(Arc<Shared>, watch::Sender<PhoneState>) -> R + Send + 'static,
        R: Future<Output = ()>,
    {
        let shared = Arc::new(Shared { agent: Mutex::new(None), taken: Mutex::new(VecDeque::new()) });
        let (state_sender, state) = watch::channel(PhoneState::default());
        let (stop, mut stopped) = watch::channel(false);
        let (own, namespace, what) = (Arc::clone(&shared), namespace.clone(), format!("start {label}"));
        let thread = std::thread::Builder::new().name(format!("phone {label}")).spawn(move || {
            let run = || -> Result<(), LabError> {
                namespace.enter()?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(LabError::io("start a runtime"))?;
                runtime.block_on(async {
                    tokio::select! {
                        // Also when the station is gone.
                        _ = stopped.wait_for(|stop| *stop) => {}
                        () = life(Arc::clone(&own), state_sender.clone()) => {}
                    }
                });
                // Its calls end with its runtime, without a word: the phone is switched off.
                Ok(())
            };
            if let Err(error) = run() {
                state_sender.send_modify(|state| state.trouble = Some(error.to_string()));
            }
        });
        let thread = Mutex::new(Some(thread.map_err(LabError::io(what))?));
        Ok(Station { label: label.to_owned(), shared, state, stop, thread })
    }

    /// How people name it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How far it has come.
    pub fn state(&self) -> PhoneState {
        self.state.borrow().clone()
    }

    /// Tells each change of that.
    pub fn watch(&self) -> watch::Receiver<PhoneState> {
        self.state.clone()
    }

    /// Calls; returns when the INVITE is out.
    ///
    /// # Errors
    /// When it is not ready, or cannot.
    pub async fn call(&self, target: &str, options: CallOptions) -> Result<Call, UaError> {
        let agent = lock(&self.shared.agent).clone();
        match agent {
            Some(Agent::Phone(phone)) => phone.call(target, options).await,
            Some(Agent::Gateway(gateway)) => gateway.call(target, options).await,
            None => Err(UaError::Stopped),
        }
    }

    /// The phone itself, once it has an address.
    pub fn agent(&self) -> Option<Phone> {
        match &*lock(&self.shared.agent) {
            Some(Agent::Phone(phone)) => Some(phone.clone()),
            _ => None,
        }
    }

    /// Switches it off without a word to anybody; its thread has left the namespace then.
    pub fn switch_off(&self) {
        self.stop.send_replace(true);
        if let Some(thread) = lock(&self.thread).take() {
            // One that panicked is off, too.
            let _ = thread.join();
        }
    }

    /// The calls that came in, at most the latest 64, the newest last.
    pub fn taken(&self) -> Vec<Arc<Call>> {
        lock(&self.shared.taken).iter().cloned().collect()
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.switch_off();
    }
}

impl Shared {
    fn take(&self, call: Call) {
        let mut taken = lock(&self.taken);
        if taken.len() >= MAX_TAKEN {
            taken.pop_front();
        }
        taken.push_back(Arc::new(call));
    }
}

/// The phone's life at one address: registers, takes calls, until the address is gone.
async fn live(
    phone: Phone,
    shared: &Shared,
    state: &watch::Sender<PhoneState>,
    interface: &str,
    address: Ipv6Addr,
) {
    *lock(&shared.agent) = Some(Agent::Phone(phone.clone()));
    let register = async {
        loop {
            match phone.register().await {
                Ok(_) => {
                    state.send_modify(|state| (state.registered, state.trouble) = (true, None));
                    std::future::pending::<()>().await;
                }
                Err(error) => state.send_modify(|state| state.trouble = Some(error.to_string())),
            }
            time::sleep(AGAIN).await;
        }
    };
    let answer = async {
        loop {
            shared.take(phone.next_call().await);
        }
    };
    let stay = async {
        while addresses(interface).contains(&address) {
            time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = register => {}
        () = answer => {}
        () = stay => {}
    }
    *lock(&shared.agent) = None;
}

async fn await_address(interface: &str) -> Ipv6Addr {
    loop {
        if let Some(address) = addresses(interface).first() {
            return *address;
        }
        time::sleep(TICK).await;
    }
}

/// The global addresses of an interface that can be used, as the thread's namespace has them.
fn addresses(interface: &str) -> Vec<Ipv6Addr> {
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(|line| usable(line, interface)).collect()
}

/// Reads a line such as `20010db8…0101 02 40 00 00 eth0`: address, index, prefix length, scope, flags, name.
fn usable(line: &str, interface: &str) -> Option<Ipv6Addr> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let scope = fields.nth(2)?;
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    let found = scope == GLOBAL && flags & UNUSABLE == 0 && fields.next()? == interface;
    found.then(|| Ipv6Addr::from(address))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an address of the family of `like` listens for SIP.
pub(super) fn sip(ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), SIP_PORT)
}

/// Where phones and the gateway listen for SIP.
const SIP_PORT: u16 = 5060;
/// Between two looks for an address.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks whether the address is still there.
const LOOK: Duration = Duration::from_secs(1);
/// After a refused registration.
const AGAIN: Duration = Duration::from_secs(2);
const MAX_TAKEN: usize = 64;
/// The scope of a global address in if_inet6.
const GLOBAL: &str = "00";
/// Flags of if_inet6: deprecated, tentative, or a duplicate (IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_DADFAILED).
const UNUSABLE: u8 = 0x20 | 0x40 | 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_global_address_that_is_ready_counts() {
        let line = |scope: &str, flags: &str| {
            format!("20010db88000000000c600fffe000101 02 40 {scope} {flags}     eth0")
        };
        let address: Ipv6Addr = "2001:db8:8000:0:c6:ff:fe00:101".parse().unwrap();
        assert_eq!(usable(&line("00", "00"), "eth0"), Some(address));
        assert_eq!(usable(&line("00", "80"), "eth0"), Some(address), "permanent");
        for (scope, flags) in [("20", "80"), ("00", "40"), ("00", "08"), ("00", "20")] {
            assert_eq!(usable(&line(scope, flags), "eth0"), None, "{scope} {flags}");
        }
        assert_eq!(usable(&line("00", "00"), "lan"), None);
        assert_eq!(usable("nonsense", "eth0"), None);
    }
}
