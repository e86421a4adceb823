//! Makes findings of evidence, without I/O.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

use ipnet::Ipv6Net;

use super::super::neighbours::Level;
use super::super::run::REMEDY as FULL_TABLE;
use super::super::status::{AddressState, Failure, LanStatus, OtherRouter, PhoneStatus, Status};
use super::{Finding, Report, State, Step};

/// What was collected.
#[derive(Debug)]
pub(super) struct Evidence {
    /// How the running agent is; nothing when none runs.
    pub(super) agent: Option<Status>,
    /// Our address towards the broker, and through what it leaves.
    pub(super) line: Option<LineSeen>,
    /// What became of the login.
    pub(super) login: LoginSeen,
    /// The LANs, one for each that the agent was told.
    pub(super) lans: Vec<LanSeen>,
    /// What became of a packet through the tunnel.
    pub(super) tunnel: TunnelSeen,
    /// Whether packets came out of the tunnel while that was tried.
    pub(super) carried: bool,
    /// What became of an OPTIONS to the SIP centre.
    pub(super) sip: SipSeen,
}

#[derive(Debug)]
pub(super) struct LineSeen {
    pub(super) local: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) interface: Option<String>,
}

#[derive(Debug)]
pub(super) enum LoginSeen {
    /// Logged in now.
    In(Granted),
    /// Not now; but what an earlier login gave still stands.
    Lost(Failure, Granted),
    /// Not at all.
    Failed(Failure),
    /// The agent has just begun.
    Waiting,
}

/// What a login gave.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) prefix: Ipv6Net,
    pub(super) server: Ipv4Addr,
    pub(super) local: Ipv4Addr,
    pub(super) seen_as: Ipv4Addr,
}

#[derive(Debug)]
pub(super) struct LanSeen {
    pub(super) lan: LanStatus,
    /// Addresses in the LAN's /64 that were seen: in the neighbour table, or in an answer to an echo request to all nodes.
    pub(super) phones: usize,
}

/// What became of a packet through the tunnel.
#[derive(Debug)]
pub(super) enum TunnelSeen {
    NotTried,
    /// Somebody behind it answered.
    Answered(Ipv6Addr),
    /// Nobody did, nor when the packet was sent past our own routing.
    Silent {
        /// What the system or a router said about it.
        error: Option<io::Error>,
    },
    /// Nobody did; but past our own routing somebody did.
    OnlyDirectly(Ipv6Addr),
}

/// What became of an OPTIONS to the SIP centre.
#[derive(Debug)]
pub(super) enum SipSeen {
    NotTried,
    /// The broker does not say where the centre is.
    Nowhere,
    /// It answered with this status line.
    Answered(SocketAddrV6, String),
    Silent(SocketAddrV6),
}

impl Evidence {
    /// Judges the evidence.
    pub(super) fn judge(&self) -> Report {
        let mut steps: Vec<Finding> = Vec::new();
        for step in Step::ALL {
            let missing = needs(step).iter().copied().find(|needed| {
                steps
                    .iter()
                    .any(|it| it.step == *needed && matches!(it.state, State::Fails | State::NotTried))
            });
            steps.push(match missing {
                Some(needed) => Finding::new(
                    step,
                    State::NotTried,
                    format!("not tried: step {} must hold first", needed.number()),
                ),
                None => self.judge_step(step),
            });
        }
        Report {
            good: steps.iter().all(|finding| !matches!(finding.state, State::Fails | State::NotTried)),
            agent_running: self.agent.is_some(),
            steps,
        }
    }

    fn judge_step(&self, step: Step) -> Finding {
        match step {
            Step::Line => self.line(),
            Step::Login => self.login(),
            Step::Prefix => self.prefix(),
            Step::Advertisement => self.advertisement(),
            Step::Tunnel => self.tunnel(),
            Step::Addresses => self.addresses(),
            Step::Registration => self.registration(),
            Step::Calls => self.calls(),
        }
    }

    fn line(&self) -> Finding {
        let Some(line) = &self.line else {
            return Finding::fails(
                Step::Line,
                "no way into the IPv4 Internet",
                "this box has no IPv4 address, or no default route",
                "check the cable to the broadband router or modem, then DHCP or the PPPoE login (`ip addr`, `ip route`)",
            );
        };
        let through = match (line.gateway, &line.interface) {
            (Some(gateway), Some(interface)) => format!(" through {gateway} ({interface})"),
            (None, Some(interface)) => format!(" through {interface}"),
            _ => String::new(),
        };
        Finding::holds(Step::Line, format!("{}{through}", line.local))
    }

    fn login(&self) -> Finding {
        match &self.login {
            LoginSeen::In(granted) => {
                let nat = if granted.is_behind_nat() {
                    format!("; behind a NAT: {} is seen as {}", granted.local, granted.seen_as)
                } else {
                    String::new()
                };
                Finding::holds(Step::Login, format!("logged in{nat}"))
            }
            LoginSeen::Lost(failure, _) => {
                let seen = "no session now; the tunnel of the last login still stands";
                Finding::fails(Step::Login, seen, &failure.cause, &failure.remedy)
            }
            LoginSeen::Failed(failure) => {
                Finding::fails(Step::Login, failure.stage.shortfall(), &failure.cause, &failure.remedy)
            }
            LoginSeen::Waiting => Finding::fails(
                Step::Login,
                "not yet logged in",
                "the agent has just started, or the broker takes its time",
                "wait half a minute and check again",
            ),
        }
    }

    fn prefix(&self) -> Finding {
        match self.granted() {
            Some(granted) => Finding::holds(
                Step::Prefix,
                format!("{} by the tunnel server {}", granted.prefix, granted.server),
            ),
            None => Finding::new(Step::Prefix, State::NotTried, "not tried: step 2 must hold first"),
        }
    }

    fn advertisement(&self) -> Finding {
        let step = Step::Advertisement;
        let fails = |seen: String, cause: &str, remedy: &str| Finding::fails(step, seen, cause, remedy);
        let Some(agent) = &self.agent else {
            return fails(
                "nobody advertises".into(),
                "the agent does not run on this box",
                "start it: `systemctl start centrex6-iad`, on OpenWrt `/etc/init.d/centrex6-iad start`",
            );
        };
        for LanSeen { lan, .. } in &self.lans {
            if let Some((seen, cause, remedy)) = lan_trouble(lan) {
                return fails(format!("{}: {seen}", lan.interface), &cause, remedy);
            }
            if let Some(other) = lan.others.iter().find(|other| is_rogue(other) && !stands_in(other, lan)) {
                return fails(
                    format!("{}: advertised; but so does {}", lan.interface, name(other)),
                    "another router advertises on the phones' LAN: phones may take their way through it, or make a second address from its prefixes",
                    "find the device with this address (often a resident's router plugged in the wrong way round) and unplug it, or separate the phones' VLAN from the residents' on the switch",
                );
            }
            let is_due = subnet(lan).filter(|_| !lan.advertises);
            let is_done = lan.others.iter().any(|other| other.routes && stands_in(other, lan));
            if let Some(subnet) = is_due.filter(|_| !is_done) {
                return fails(
                    format!("{}: nobody advertises {subnet} and a way out", lan.interface),
                    "the agent was told not to advertise (no_advertise), and nobody else on the LAN was heard to do so",
                    "let radvd or odhcpd on this box advertise the prefix with a router lifetime, or take no_advertise out of the agent's settings",
                );
            }
        }
        if let Some(fault) = &agent.forwarding_fault {
            return fails(
                "advertised; but this box forwards no IPv6".into(),
                fault,
                "let the agent write the setting (run it as root, outside a read-only container), or set net.ipv6.conf.all.forwarding=1 yourself",
            );
        }
        let lans = self.lans.iter().map(|LanSeen { lan, .. }| match lan.address {
            Some(address) => format!("{address} on {}", lan.interface),
            None => lan.interface.clone(),
        });
        Finding::holds(step, lans.collect::<Vec<_>>().join(", "))
    }

    fn tunnel(&self) -> Finding {
        let step = Step::Tunnel;
        let status = self.agent.as_ref();
        if let Some(fault) = status.and_then(|agent| agent.tunnel_fault.as_deref()) {
            return Finding::fails(step, "the tunnel does not stand", fault, "see the agent's log");
        }
        let tunnel = status.and_then(|agent| agent.tunnel.as_ref());
        if let Some(fault) = tunnel.and_then(|tunnel| tunnel.fault.as_deref()) {
            return Finding::fails(
                step,
                "the routes into the tunnel are missing",
                fault,
                "see the agent's log",
            );
        }
        match &self.tunnel {
            TunnelSeen::Answered(by) => {
                Finding::holds(step, format!("a packet went through; {by} answered from the far side"))
            }
            TunnelSeen::OnlyDirectly(by) => Finding::fails(
                step,
                format!("protocol 41 comes through ({by} answered), but not for what this box routes"),
                "a firewall rule or a route of this box keeps packets from the tunnel device",
                "let the firewall pass IPv6 out of and into cx6iad, and look where `ip -6 route get 2000::` leads",
            ),
            // Nobody has to answer a packet that dies on the way; what came out of the tunnel meanwhile is a better witness.
            TunnelSeen::Silent { .. } if self.carried || matches!(self.sip, SipSeen::Answered(..)) => {
                Finding::holds(step, "packets come out of it; the far side does not answer a test packet")
            }
            TunnelSeen::Silent { error } => self.silent(error.as_ref()),
            TunnelSeen::NotTried => Finding::new(step, State::Unknown, "could not be tried"),
        }
    }

    fn silent(&self, error: Option<&io::Error>) -> Finding {
        let seen = "nothing comes back through the tunnel, although the broker let us in";
        match error.and_then(io::Error::raw_os_error) {
            // ICMP "protocol unreachable": a machine that was reached has nobody for it.
            Some(libc::ENOPROTOOPT | libc::ECONNREFUSED) => {
                return Finding::fails(
                    Step::Tunnel,
                    seen,
                    "the tunnel server's machine, or a router before it, says that it takes no protocol 41",
                    "call the operator: the tunnel server does not run, or a router of theirs refuses protocol 41",
                );
            }
            Some(libc::EPERM | libc::EACCES) => {
                return Finding::fails(
                    Step::Tunnel,
                    seen,
                    "this box's own firewall refuses to send protocol 41",
                    "let this box's firewall send IP protocol 41 (a protocol, not a port) to the tunnel server",
                );
            }
            _ => {}
        }
        let granted = self.granted();
        match granted.filter(|granted| granted.is_behind_nat()) {
            Some(granted) => Finding::fails(
                Step::Tunnel,
                seen,
                "protocol 41 does not come through your broadband router",
                format!(
                    "forward IP protocol 41 (a protocol, not a TCP or UDP port; some routers call it 6in4, IPv6 pass-through or DMZ host) in the broadband router to this box, {}; if the router cannot, let this box do the PPPoE login itself, or use another router",
                    granted.local
                ),
            ),
            None => Finding::fails(
                Step::Tunnel,
                seen,
                "protocol 41 does not come through: this box's own firewall, the broadband router or the line's provider holds it back",
                "let this box's firewall accept IP protocol 41 (a protocol, not a port) from the tunnel server; forward protocol 41 to this box if there is a broadband router before it; then call the line's provider",
            ),
        }
    }

    fn addresses(&self) -> Finding {
        let step = Step::Addresses;
        let neighbours = self.agent.as_ref().and_then(|agent| agent.neighbours);
        let total: usize = self.lans.iter().map(|lan| lan.phones).sum();
        let counts: Vec<_> =
            self.lans.iter().map(|it| format!("{} on {}", it.phones, it.lan.interface)).collect();
        let seen = format!("{total} devices with an address of the site ({})", counts.join(", "));
        let table = neighbours.map(|it| format!("{} of {} entries", it.fill.entries, it.fill.capacity));
        match neighbours.map(|it| it.level) {
            Some(Level::Full) => Finding::fails(
                step,
                seen,
                format!(
                    "the neighbour table is full ({}): further phones stay mute",
                    table.unwrap_or_default()
                ),
                FULL_TABLE,
            ),
            _ if total == 0 => Finding::fails(
                step,
                "no device has made an address",
                "no phone is plugged in, or the phones are in another VLAN than this LAN, or IPv6 is switched off in them",
                "plug a phone in and wait a minute; check the VLAN of the switch's ports; set the phone's IPv6 mode to automatic (SLAAC)",
            ),
            Some(Level::Pressing) => Finding {
                remedy: Some(format!(
                    "the neighbour table is nearly full ({}): {FULL_TABLE}",
                    table.unwrap_or_default()
                )),
                ..Finding::holds(step, seen)
            },
            _ => Finding::holds(step, seen),
        }
    }

    fn registration(&self) -> Finding {
        let step = Step::Registration;
        match &self.sip {
            SipSeen::Answered(centre, line) => {
                let phones = match self.phones() {
                    Some(phones) => format!("; it let {} phones in within the last hour", phones.registered),
                    None => String::new(),
                };
                Finding::holds(step, format!("{centre} answers: {line}{phones}"))
            }
            SipSeen::Silent(centre) => Finding::fails(
                step,
                format!("{centre} does not answer an OPTIONS request over UDP"),
                "the tunnel works, but the SIP centre is away or does not take requests from this site",
                "call the operator and say that the tunnel works and SIP does not",
            ),
            SipSeen::Nowhere => Finding {
                remedy: Some("ask the operator to set `centre_sip` at the tunnel broker".into()),
                ..Finding::new(step, State::Unknown, "the broker does not say where the SIP centre is")
            },
            SipSeen::NotTried => {
                Finding::new(step, State::Unknown, "cannot be tried while the agent does not run")
            }
        }
    }

    fn calls(&self) -> Finding {
        match self.phones() {
            Some(PhoneStatus { calls, last_call: Some(ago), .. }) => Finding::holds(
                Step::Calls,
                format!(
                    "{calls} calls of phones here were answered since the agent started, the last one {ago} s ago"
                ),
            ),
            _ => Finding {
                remedy: Some(CALLS.into()),
                ..Finding::new(Step::Calls, State::Unknown, "no answered call was seen yet")
            },
        }
    }

    fn phones(&self) -> Option<PhoneStatus> {
        self.agent.as_ref()?.phones
    }

    fn granted(&self) -> Option<&Granted> {
        match &self.login {
            LoginSeen::In(granted) | LoginSeen::Lost(_, granted) => Some(granted),
            LoginSeen::Failed(_) | LoginSeen::Waiting => None,
        }
    }
}

impl Granted {
    pub(super) fn is_behind_nat(&self) -> bool {
        self.local != self.seen_as
    }
}

impl Finding {
    fn new(step: Step, state: State, seen: impl Into<String>) -> Finding {
        Finding { step, state, seen: seen.into(), cause: None, remedy: None }
    }

    fn holds(step: Step, seen: impl Into<String>) -> Finding {
        Finding::new(step, State::Holds, seen)
    }

    fn fails(
        step: Step,
        seen: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            cause: Some(cause.into()),
            remedy: Some(remedy.into()),
            ..Finding::new(step, State::Fails, seen)
        }
    }
}

/// The steps without which a step cannot be tried. A lost session alone hinders nothing: what it gave still stands.
fn needs(step: Step) -> &'static [Step] {
    match step {
        Step::Line => &[],
        Step::Login => &[Step::Line],
        Step::Prefix => &[],
        Step::Advertisement | Step::Tunnel => &[Step::Prefix],
        Step::Addresses => &[Step::Advertisement],
        Step::Registration => &[Step::Tunnel],
        Step::Calls => &[Step::Addresses, Step::Registration],
    }
}

/// What is wrong with a LAN of ours: what was seen, the cause, the remedy.
fn lan_trouble(lan: &LanStatus) -> Option<(&'static str, String, &'static str)> {
    if !lan.exists {
        let cause = "there is no such interface".to_owned();
        return Some(("missing", cause, "check the name given with --lan; `ip link` lists the interfaces"));
    }
    if !lan.up {
        let cause = "the interface is switched off".to_owned();
        return Some((
            "off",
            cause,
            "switch it on: `ip link set INTERFACE up`, and for good in the system's network settings",
        ));
    }
    if !lan.carrier {
        let cause = "no cable, or the device at its other end is off".to_owned();
        return Some(("no link", cause, "check the cable to the switch, and that the switch has power"));
    }
    if lan.address_state == Some(AddressState::Duplicate) {
        let cause =
            "another box on the LAN has this box's address: a second IAD, or this one is plugged in twice"
                .to_owned();
        return Some(("address taken", cause, "unplug the other one, then restart the agent"));
    }
    if let Some(fault) = &lan.fault {
        return Some((
            "not ready",
            fault.clone(),
            "see the agent's log; IPv6 must not be switched off on the interface (net.ipv6.conf.INTERFACE.disable_ipv6=0)",
        ));
    }
    if lan.address.is_none() || lan.advertises && lan.advertised.is_none() {
        let cause = "the agent has not come round to it yet".to_owned();
        return Some(("not advertised yet", cause, "wait some seconds and check again"));
    }
    None
}

fn is_rogue(other: &OtherRouter) -> bool {
    other.routes || !other.prefixes.is_empty()
}

/// Whether this is the program that advertises in the agent's place.
fn stands_in(other: &OtherRouter, lan: &LanStatus) -> bool {
    !lan.advertises && subnet(lan).is_some_and(|subnet| other.prefixes.contains(&subnet))
}

/// The /64 that is to be advertised, once the agent has its address there.
fn subnet(lan: &LanStatus) -> Option<Ipv6Net> {
    lan.address.map(|address| Ipv6Net::new_assert(address, 64).trunc())
}

fn name(other: &OtherRouter) -> String {
    match &other.mac {
        Some(mac) => format!("{} (MAC {mac})", other.address),
        None => other.address.to_string(),
    }
}

/// This box sees SIP over UDP as it passes, no more.
const CALLS: &str = "call from one phone to another, then check again; calls over TLS or TCP cannot be seen from here, the centre shows them (`centrex6 call list`)";
