//! Locating SIP servers (RFC 3263): from a host's name to the places to try, in order. What it must know of the DNS it asks for, one
//! question after the other; who answers is not its business.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::flow::Transport;
use crate::wire::{Host, HostPort, SipUri};

/// What is looked for: the host of a URI, and what the URI says beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The host's name; addresses need no looking for.
    pub host: String,
    /// The port, where one is given.
    pub port: Option<u16>,
    /// The transport, where one is given: by parameter, or by the scheme `sips`.
    pub transport: Option<Transport>,
}

impl Wanted {
    /// What a URI wants looked up. `None` where its host is an address, or a name that leads nowhere by definition (RFC 2606).
    pub fn of(uri: &SipUri) -> Option<Wanted> {
        let maddr = uri.params.value("maddr").and_then(|host| HostPort::parse(host).ok());
        let host = maddr.as_ref().map_or(&uri.host_port.host, |maddr| &maddr.host);
        let Host::Name(name) = host else { return None };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let leads_nowhere = name.is_empty() || name == "invalid" || name.ends_with(".invalid");
        let (port, transport) = (uri.host_port.port, uri.required_transport());
        (!leads_nowhere).then_some(Wanted { host: name, port, transport })
    }
}

/// One place to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hop {
    /// How.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
}

/// What the DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// NAPTR records (RFC 3403).
    Naptr(String),
    /// SRV records (RFC 2782).
    Srv(String),
    /// AAAA and A records.
    Addresses(String),
}

/// What the DNS knows; nothing of a kind when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// NAPTR records.
    pub naptr: Vec<Naptr>,
    /// SRV records.
    pub srv: Vec<Srv>,
    /// Addresses, the preferred ones first.
    pub addresses: Vec<IpAddr>,
}

/// A NAPTR record, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// The lowest is taken.
    pub order: u16,
    /// The lower, the better.
    pub preference: u16,
    /// `s` leads to an SRV record.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub service: String,
    /// The name of the SRV records.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// The lower, the earlier.
    pub priority: u16,
    /// How often it comes first among its equals.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` says that there is no such service.
    pub target: String,
}

/// What a [`Locator`] wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this, and give the answer to [`Locator::answer`].
    Ask(Query),
    /// These are the places, the first one first; none when nothing was found.
    Done(Vec<Hop>),
}

/// The procedure of RFC 3263 §4 for one name.
#[derive(Debug)]
pub struct Locator {
    wanted: Wanted,
    /// Transports that we can use, the preferred one first.
    usable: Vec<Transport>,
    stage: Stage,
    hops: Vec<Hop>,
    /// For the weights.
    random: u64,
    asked: usize,
}

#[derive(Debug)]
enum Stage {
    Naptr,
    /// SRV records by name, one after the other until some are there; and then, by `all`, of the others, too.
    Srv {
        left: VecDeque<(Transport, String)>,
        all: bool,
        found: VecDeque<Server>,
    },
    Addresses {
        left: VecDeque<Server>,
    },
    Done,
}

/// A host that has the service.
#[derive(Debug)]
struct Server {
    transport: Transport,
    name: String,
    port: u16,
}

impl Locator {
    /// Begins to look. `usable` are the transports that we can open a way by, the preferred one first; `random` decides among servers of
    /// equal priority.
    pub fn new(wanted: Wanted, usable: &[Transport], random: u64) -> Locator {
        let usable: Vec<Transport> =
            usable.iter().copied().filter(|transport| !transport.is_websocket()).collect();
        let mut locator = Locator { stage: Stage::Done, wanted, usable, hops: Vec::new(), random, asked: 0 };
        locator.stage = locator.first();
        locator
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        let query = match &self.stage {
            _ if self.asked >= MAX_QUERIES || self.hops.len() >= MAX_HOPS => None,
            Stage::Naptr => Some(Query::Naptr(self.wanted.host.clone())),
            Stage::Srv { left, .. } => left.front().map(|(_, name)| Query::Srv(name.clone())),
            Stage::Addresses { left } => left.front().map(|host| Query::Addresses(host.name.clone())),
            Stage::Done => None,
        };
        query.map_or_else(|| Step::Done(self.hops.clone()), Step::Ask)
    }

    /// Takes the answer to the query that [`step`](Locator::step) gave: no records where there are none or nobody answered.
    pub fn answer(&mut self, records: Records) {
        self.asked += 1;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Naptr => self.after_naptr(&records.naptr),
            Stage::Srv { left, all, found } => self.after_srv(left, all, found, records.srv),
            Stage::Addresses { mut left } => {
                if let Some(Server { transport, port, .. }) = left.pop_front() {
                    let hops = records
                        .addresses
                        .into_iter()
                        .map(|ip| Hop { transport, addr: SocketAddr::new(ip, port) });
                    for hop in hops {
                        if self.hops.len() < MAX_HOPS && !self.hops.contains(&hop) {
                            self.hops.push(hop);
                        }
                    }
                }
                addresses(left)
            }
            Stage::Done => Stage::Done,
        };
    }

    /// RFC 3263 §4.1: what is said is not asked for.
    fn first(&self) -> Stage {
        let Wanted { host, port, transport } = &self.wanted;
        match (transport, port) {
            (Some(transport), _) if !self.usable.contains(transport) => Stage::Done,
            (transport, Some(port)) => {
                let transport = transport.unwrap_or(Transport::Udp);
                addresses([Server { transport, name: host.clone(), port: *port }].into())
            }
            (Some(transport), None) => Stage::Srv {
                left: [(*transport, srv_name(*transport, host))].into(),
                all: false,
                found: VecDeque::new(),
            },
            (None, None) => Stage::Naptr,
        }
    }

    fn after_naptr(&self, records: &[Naptr]) -> Stage {
        let mut services: Vec<(&Naptr, Transport)> = records
            .iter()
            .take(MAX_RECORDS)
            .filter(|record| record.flags.eq_ignore_ascii_case("s"))
            .filter_map(|record| Some((record, transport_of(&record.service)?)))
            .filter(|(_, transport)| self.usable.contains(transport))
            .collect();
        services.sort_by_key(|(record, _)| (record.order, record.preference));
        let order = services.first().map(|(record, _)| record.order);
        // RFC 3403 §4.1: what has a higher order is never looked at once there was a match.
        services.retain(|(record, _)| Some(record.order) == order);
        let left: VecDeque<(Transport, String)> =
            services.into_iter().map(|(record, transport)| (transport, record.replacement.clone())).collect();
        if !left.is_empty() {
            return Stage::Srv { left, all: true, found: VecDeque::new() };
        }
        // No NAPTR: the SRV records of each transport, in our order. TLS is taken where it is asked for.
        let plain = self.usable.iter().filter(|transport| !transport.is_secure());
        let left = plain.map(|transport| (*transport, srv_name(*transport, &self.wanted.host))).collect();
        Stage::Srv { left, all: false, found: VecDeque::new() }
    }

    fn after_srv(
        &mut self,
        mut left: VecDeque<(Transport, String)>,
        all: bool,
        mut found: VecDeque<Server>,
        records: Vec<Srv>,
    ) -> Stage {
        let Some((transport, _)) = left.pop_front() else { return addresses(found) };
        // RFC 2782: a single `.` says that the service is decidedly not there.
        let is_absent = records.iter().all(|record| matches!(record.target.as_str(), "." | ""));
        if records.is_empty() || !is_absent {
            let ordered = self.ordered(records);
            found.extend(ordered.into_iter().map(|record| Server {
                transport,
                name: record.target,
                port: record.port,
            }));
        } else if !all {
            // The other transports may be there, but what is said by name is not.
            if left.is_empty() && found.is_empty() {
                return Stage::Done;
            }
        }
        if !left.is_empty() && (all || found.is_empty()) {
            return Stage::Srv { left, all, found };
        }
        if found.is_empty() && !all {
            // RFC 3263 §4.2: without SRV records, the addresses of the name itself.
            let transport = self.wanted.transport.unwrap_or(Transport::Udp);
            let host = Server { transport, name: self.wanted.host.clone(), port: transport.default_port() };
            found.push_back(host);
        }
        addresses(found)
    }

    /// By priority, and within one by chance and weight (RFC 2782).
    fn ordered(&mut self, mut records: Vec<Srv>) -> Vec<Srv> {
        records.retain(|record| !matches!(record.target.as_str(), "." | ""));
        records.truncate(MAX_RECORDS);
        // Those without weight first, so that they have a very small chance of being chosen.
        records.sort_by_key(|record| (record.priority, record.weight));
        let mut ordered = Vec::with_capacity(records.len());
        while let Some(priority) = records.first().map(|record| record.priority) {
            let equals = records.iter().take_while(|record| record.priority == priority);
            let total: u64 = equals.clone().map(|record| u64::from(record.weight)).sum();
            let mut point = self.next_random() % (total + 1);
            let chosen = equals.clone().position(|record| {
                let weight = u64::from(record.weight);
                let is_here = point <= weight;
                point = point.saturating_sub(weight);
                is_here
            });
            ordered.push(records.remove(chosen.unwrap_or_default()));
        }
        ordered
    }

    /// SplitMix64: nobody gains by guessing it.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn addresses(left: VecDeque<Server>) -> Stage {
    if left.is_empty() { Stage::Done } else { Stage::Addresses { left } }
}

/// RFC 3263 §4.1.
fn transport_of(service: &str) -> Option<Transport> {
    let is = |word: &str| service.eq_ignore_ascii_case(word);
    match () {
        () if is("SIP+D2U") => Some(Transport::Udp),
        () if is("SIP+D2T") => Some(Transport::Tcp),
        () if is("SIPS+D2T") => Some(Transport::Tls),
        () => None,
    }
}

fn srv_name(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{host}"),
        Transport::Tcp => format!("_sip._tcp.{host}"),
        Transport::Tls => format!("_sips._tcp.{host}"),
        // RFC 7118 knows none; they are never usable.
        Transport::Ws => format!("_sip._ws.{host}"),
        Transport::Wss => format!("_sips._ws.{host}"),
    }
}

/// Records of one answer that are looked at.
const MAX_RECORDS: usize = 16;
/// Places that are tried at most.
const MAX_HOPS: usize = 16;
/// Questions for one name.
const MAX_QUERIES: usize = 24;

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
