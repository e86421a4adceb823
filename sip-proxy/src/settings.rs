//! What the carrier sets for the proxy, validated; and what follows from it: which hosts are ours, and how we name ourselves.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use node::config::{Config, DigestAlgorithm};
use node::listener::Listener;
use node::telemetry::Mask;
use registrar::GruuKey;
use sip_core::auth::Algorithm;
use sip_core::flow::{Flow, Transport};
use sip_core::wire::header::NameAddr;
use sip_core::wire::{Host, HostPort, Method};
use sip_core::{subscription, transaction};

use crate::dial_plan::DialPlan;
use crate::fork::Timers;
use crate::record_route::RouteSigner;
use crate::session_timer::SessionPolicy;

/// The proxy's policy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, in call records.
    pub node: String,
    /// The platform's realm; as a host in a URI it means us.
    pub realm: String,
    /// What our own responses say in Server; empty for nothing.
    pub user_agent: String,
    /// Where we listen, as bound: no port is 0.
    pub listeners: Vec<Listener>,
    /// What Via and Record-Route name instead of the listeners' addresses: the first that fits the address family; a name fits both.
    pub advertise: Vec<HostPort>,
    /// The translators that external calls go to, in turn.
    pub translators: Vec<Listener>,
    /// Other translators that we take requests from, each by its exact address.
    pub trusted: Vec<Listener>,
    /// Networks whose requests are taken as a translator's.
    pub trusted_networks: Vec<IpNet>,
    /// Which numbers lead outside.
    pub dial_plan: DialPlan,
    /// What log lines hide.
    pub mask: Mask,
    /// How long things may take.
    pub timers: Timers,
    /// What session timers shall be.
    pub session: SessionPolicy,
    /// Whether a phone's redirection to another line is followed; else every 3xx goes to the caller.
    pub follow_redirects: bool,
    /// How much may be under way.
    pub limits: ProxyLimits,
    /// The transaction layer's part.
    pub transactions: transaction::Settings,
    /// The registrar's part.
    pub registrar: registrar::Settings,
    /// Subscriptions to registrations, each worker's.
    pub subscriptions: subscription::Settings,
    /// Signs our Record-Route.
    pub signer: RouteSigner,
}

/// Bounds of one worker.
#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// Contacts to which one request is forked at most.
    pub max_branches: usize,
    /// Requests that may be under way; more get 503.
    pub max_contexts: usize,
    /// Calls that are kept in memory for their call record.
    pub max_calls: usize,
    /// A call whose BYE never came is closed after so long without a sign of life.
    pub lost_call: Duration,
    /// The Retry-After of our own 503, in seconds.
    pub retry_after: u32,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        ProxyLimits {
            max_branches: 16,
            max_contexts: 50_000,
            max_calls: 100_000,
            lost_call: Duration::from_secs(12 * 3600),
            retry_after: 5,
        }
    }
}

impl Settings {
    /// The settings of the role `registrar-proxy`.
    ///
    /// `listeners` are the bound ones. `own_translators` are this process's own: they stand in where the configuration names
    /// none, and are trusted in any case. `key` is the secret that all nodes share.
    pub fn from_config(
        config: &Config,
        listeners: Vec<Listener>,
        own_translators: Vec<Listener>,
        key: [u8; 32],
    ) -> Settings {
        let role = &config.registrar_proxy;
        let plan = &config.dial_plan;
        let translators =
            if role.translators.is_empty() { own_translators.clone() } else { role.translators.clone() };
        Settings {
            node: config.node.name.clone(),
            realm: config.sip.realm.clone(),
            user_agent: config.sip.user_agent.clone(),
            listeners,
            advertise: role
                .advertise
                .iter()
                .filter_map(|own| HostPort::parse(&own.to_string()).ok())
                .collect(),
            translators,
            trusted: own_translators,
            trusted_networks: role.trusted_translators.clone(),
            dial_plan: DialPlan {
                country_code: plan.country_code.clone(),
                national_prefix: plan.national_prefix.clone(),
                international_prefix: plan.international_prefix.clone(),
                outside_line: plan.outside_line.clone(),
                external_prefixes: plan.external_prefixes.clone(),
                emergency: plan.emergency.clone(),
            },
            mask: Mask::new(&config.log),
            timers: Timers {
                cancelled: config.sip.t1 * 64,
                ring: role.ring_timeout,
                // Timer C is longer than three minutes, and outlasts the ringing.
                branch: Timers::default().branch.max(role.ring_timeout + Duration::from_secs(5)),
                ..Timers::default()
            },
            session: SessionPolicy {
                interval: Some(role.session_expires).filter(|interval| !interval.is_zero()),
                shortest: role.min_session_expires,
            },
            follow_redirects: role.follow_redirects,
            limits: ProxyLimits::default(),
            transactions: transaction::Settings {
                // We say 100 ourselves, and look for loops by RFC 5393.
                trying_after: None,
                detect_merged: is_answered_here,
                urgent: plan.emergency.clone(),
                ..config.sip.transactions()
            },
            registrar: registrar::Settings {
                node: config.node.name.clone(),
                realm: config.sip.realm.clone(),
                algorithms: role.digest_algorithms.iter().map(algorithm).collect(),
                min_expires: role.min_expires,
                max_expires: role.max_expires,
                default_expires: role.default_expires,
                max_bindings: role.max_bindings_per_line,
                service_route: role
                    .service_route
                    .iter()
                    .filter_map(|route| NameAddr::parse(route.as_str()).ok())
                    .collect(),
                // A sign of life before we would close the stream.
                flow_timer: (config.sip.stream.idle * 4 / 5)
                    .clamp(Duration::from_secs(10), Duration::from_secs(840)),
                gruu: GruuKey::new(key),
                mask: Mask::new(&config.log),
            },
            subscriptions: subscription::Settings::default(),
            signer: RouteSigner::new(key),
        }
    }

    /// Whether a request comes from a translator of ours: by exact address, or by network.
    pub(crate) fn is_translator(&self, flow: &Flow) -> bool {
        let exact = |own: &Listener| own.transport == flow.transport && own.addr == flow.remote;
        self.translators.iter().chain(&self.trusted).any(exact)
            || self.trusted_networks.iter().any(|network| network.contains(&flow.remote.ip()))
    }

    /// Whether a translator listens at this address, by whatever transport.
    pub(crate) fn is_translator_address(&self, addr: SocketAddr) -> bool {
        self.translators.iter().chain(&self.trusted).any(|own| own.addr == addr)
            || self.trusted_networks.iter().any(|network| network.contains(&addr.ip()))
    }

    /// Whether host and port mean us, seen from where a message came in. Domains of sites are not asked here.
    pub(crate) fn is_own(&self, host_port: &HostPort, flow: &Flow) -> bool {
        let port = host_port.port.unwrap_or(Transport::Udp.default_port());
        match host_port.host.ip() {
            Some(ip) => {
                let addr = SocketAddr::new(ip, port);
                let listens = |own: &Listener| {
                    own.addr == addr
                        || own.addr.ip().is_unspecified() && own.addr.port() == port && ip == flow.local.ip()
                };
                addr == flow.local
                    || self.listeners.iter().any(listens)
                    || self.is_advertised(host_port, flow)
            }
            None => {
                let is_realm =
                    matches!(&host_port.host, Host::Name(name) if name.eq_ignore_ascii_case(&self.realm));
                is_realm || self.is_advertised(host_port, flow)
            }
        }
    }

    /// How Via and Record-Route name us on a flow.
    pub(crate) fn name_on(&self, flow: &Flow) -> HostPort {
        let fits = |own: &&HostPort| own.host.ip().is_none_or(|ip| ip.is_ipv6() == flow.local.is_ipv6());
        match self.advertise.iter().find(fits) {
            // A port that is not told is that of the listener; the default one is left out, as it was in the configuration. The port
            // that is told is that of UDP and TCP.
            Some(own) => {
                let is_plain = matches!(flow.transport, Transport::Udp | Transport::Tcp);
                let port = own
                    .port
                    .filter(|_| is_plain)
                    .or((flow.local.port() != flow.transport.default_port()).then_some(flow.local.port()));
                HostPort { host: own.host.clone(), port }
            }
            None => flow.local.into(),
        }
    }

    /// A flow to `remote`, from the listener of that transport and family. `None` when there is none.
    pub(crate) fn outgoing(&self, transport: Transport, remote: SocketAddr, incoming: &Flow) -> Option<Flow> {
        let flow = |local| Some(Flow { transport, local, remote, connection: None });
        if incoming.transport == transport && self.can_send_from(incoming.local, remote) {
            return flow(incoming.local);
        }
        let fits = |own: &&Listener| own.transport == transport && own.addr.is_ipv6() == remote.is_ipv6();
        let exact = self.listeners.iter().filter(fits).find(|own| self.can_send_from(own.addr, remote));
        let own = exact.or_else(|| self.listeners.iter().find(fits))?.addr;
        if !own.ip().is_unspecified() {
            return flow(own);
        }
        // On every address: the one that the other side used to reach us is one that we have.
        let candidates = [incoming.local.ip(), Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        let addrs = candidates.map(|ip| SocketAddr::new(ip, own.port()));
        // Where none serves, the system chooses.
        flow(addrs.into_iter().find(|addr| self.can_send_from(*addr, remote)).unwrap_or(own))
    }

    /// Whether one of our addresses can reach `remote`: of the same family, and what stays in the machine stays there.
    pub(crate) fn can_send_from(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        local.is_ipv6() == remote.is_ipv6()
            && local.ip().is_loopback() == remote.ip().is_loopback()
            && !local.ip().is_unspecified()
    }

    /// Whether the address is one that we can send from, as far as can be told: not one that we only go by.
    pub(crate) fn listens_on(&self, addr: SocketAddr) -> bool {
        let listens = |own: &Listener| {
            own.addr == addr || own.addr.ip().is_unspecified() && own.addr.port() == addr.port()
        };
        self.listeners.iter().any(listens)
            && self.advertise.iter().all(|own| own.host.ip() != Some(addr.ip()))
    }

    fn is_advertised(&self, host_port: &HostPort, flow: &Flow) -> bool {
        let is_told = self.advertise.iter().any(|own| {
            own.host == host_port.host
                && (own.port == host_port.port
                    || own.port.unwrap_or(flow.local.port()) == host_port.port.unwrap_or(5060))
        });
        // Under TLS the port that is told is another.
        is_told || !self.advertise.is_empty() && *host_port == self.name_on(flow)
    }
}

/// What never goes further than to us.
fn is_answered_here(method: &Method) -> bool {
    *method == Method::Register
}

fn algorithm(algorithm: &DigestAlgorithm) -> Algorithm {
    match algorithm {
        DigestAlgorithm::Md5 => Algorithm::Md5,
        DigestAlgorithm::Sha256 => Algorithm::Sha256,
        DigestAlgorithm::Sha512_256 => Algorithm::Sha512_256,
    }
}

#[cfg(test)]
impl Settings {
    /// One UDP and one TCP listener at `[2001:db8::1]:5060`, and translators at `::5` and `::6`, port 5070.
    pub(crate) fn for_tests() -> Settings {
        let own = "[2001:db8::1]:5060".parse().unwrap();
        Settings {
            node: "node1".to_owned(),
            realm: "centrex6.example".to_owned(),
            user_agent: "Centrex6".to_owned(),
            listeners: vec![Listener::udp(own), Listener::tcp(own)],
            advertise: Vec::new(),
            translators: ["[2001:db8::5]:5070", "[2001:db8::6]:5070"]
                .map(|addr| Listener::udp(addr.parse().unwrap()))
                .to_vec(),
            trusted: Vec::new(),
            trusted_networks: Vec::new(),
            dial_plan: DialPlan::default(),
            mask: Mask::default(),
            timers: Timers::default(),
            session: SessionPolicy::default(),
            follow_redirects: true,
            limits: ProxyLimits::default(),
            transactions: transaction::Settings {
                trying_after: None,
                detect_merged: is_answered_here,
                ..transaction::Settings::default()
            },
            registrar: registrar::Settings {
                realm: "centrex6.example".to_owned(),
                ..registrar::Settings::default()
            },
            subscriptions: subscription::Settings::default(),
            signer: RouteSigner::new([7; 32]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::10]:5062".parse().unwrap());
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }

    fn is_own(settings: &Settings, text: &str) -> bool {
        settings.is_own(&HostPort::parse(text).unwrap(), &flow())
    }

    #[test]
    fn knows_its_own_names() {
        let mut settings = Settings::for_tests();
        settings.advertise = vec![HostPort::parse("sip.example.net").unwrap()];
        for text in [
            "[2001:db8::1]",
            "[2001:db8::1]:5060",
            "Centrex6.Example",
            "sip.example.net",
            "sip.example.net:5060",
        ] {
            assert!(is_own(&settings, text), "{text}");
        }
        for text in
            ["[2001:db8::1]:5061", "[2001:db8::2]", "example.net", "sip.example.net:5061", "192.0.2.1"]
        {
            assert!(!is_own(&settings, text), "{text}");
        }
        settings.listeners = vec![Listener::udp("[::]:5060".parse().unwrap())];
        assert!(is_own(&settings, "[2001:db8::1]"));
        assert!(!is_own(&settings, "[2001:db8::2]"));
        assert_eq!(settings.name_on(&flow()).to_string(), "sip.example.net");
        settings.advertise = vec![HostPort::parse("sip.example.net:5080").unwrap()];
        assert_eq!(settings.name_on(&flow()).to_string(), "sip.example.net:5080");
        let local = "[2001:db8::1]:5061".parse().unwrap();
        let tls = Flow { transport: Transport::Tls, local, ..flow() };
        assert_eq!(settings.name_on(&tls).to_string(), "sip.example.net");
        assert!(settings.is_own(&settings.name_on(&tls), &tls));
    }

    #[test]
    fn a_translator_is_known_by_its_exact_address() {
        let mut settings = Settings::for_tests();
        let from = |remote: &str| Flow { remote: remote.parse().unwrap(), ..flow() };
        assert!(settings.is_translator(&from("[2001:db8::5]:5070")));
        assert!(!settings.is_translator(&from("[2001:db8::5]:5060")));
        assert!(!settings.is_translator(&from("[2001:db8::7]:5070")));
        settings.trusted_networks = vec!["2001:db8:1::/64".parse().unwrap()];
        assert!(settings.is_translator(&from("[2001:db8:1::7]:1234")));
    }

    #[test]
    fn follows_the_configuration() {
        let text = "[sip]\nrealm = \"r.example\"\nt1_ms = 100\n[dial_plan]\ncountry_code = \"1\"\n\
                    [registrar_proxy]\nadvertise = [\"sip.example.net\"]\nmax_bindings_per_line = 3\n";
        let config = Config::parse(text, None, []).unwrap();
        let own = Listener::udp("[::1]:5070".parse().unwrap());
        let bound = vec![Listener::udp("[::1]:5060".parse().unwrap())];
        let settings = Settings::from_config(&config, bound.clone(), vec![own], [1; 32]);
        assert_eq!((settings.realm.as_str(), settings.registrar.realm.as_str()), ("r.example", "r.example"));
        assert_eq!(settings.translators, [own]);
        assert_eq!(settings.timers.cancelled, Duration::from_millis(6400));
        assert_eq!((settings.dial_plan.country_code.as_str(), settings.registrar.max_bindings), ("1", 3));
        assert_eq!(settings.advertise, [HostPort::parse("sip.example.net").unwrap()]);
        assert!(!format!("{settings:?}").contains("[1, 1"), "the key is not shown");
        // Named translators are used, and our own is still trusted, by its exact address.
        let text = "[registrar_proxy]\ntranslators = [\"udp:[2001:db8::5]:5070\"]\n";
        let config = Config::parse(text, None, []).unwrap();
        let settings = Settings::from_config(&config, bound, vec![own], [1; 32]);
        assert_eq!(settings.translators, [Listener::udp("[2001:db8::5]:5070".parse().unwrap())]);
        let from = |remote: &str| Flow { remote: remote.parse().unwrap(), ..flow() };
        assert!(settings.is_translator(&from("[::1]:5070")) && !settings.is_translator(&from("[::1]:6000")));
    }

    #[test]
    fn outgoing_flows_keep_transport_and_family() {
        let settings = Settings::for_tests();
        let to = |transport, remote: &str| settings.outgoing(transport, remote.parse().unwrap(), &flow());
        let local = |transport, remote| to(transport, remote).map(|flow| flow.local.to_string());
        assert_eq!(local(Transport::Udp, "[2001:db8::9]:1").as_deref(), Some("[2001:db8::1]:5060"));
        assert_eq!(local(Transport::Tcp, "[2001:db8::9]:1").as_deref(), Some("[2001:db8::1]:5060"));
        assert_eq!(local(Transport::Tls, "[2001:db8::9]:1"), None);
        assert_eq!(local(Transport::Udp, "192.0.2.1:1"), None);
        // On every address: the loopback only for the loopback.
        let mut settings = settings.clone();
        settings.listeners = vec![Listener::udp("[::]:5060".parse().unwrap())];
        let local = |incoming: &Flow, remote: &str| {
            let flow = settings.outgoing(Transport::Udp, remote.parse().unwrap(), incoming).unwrap();
            flow.local.to_string()
        };
        let inside =
            Flow { local: "[::1]:5060".parse().unwrap(), remote: "[::1]:5070".parse().unwrap(), ..flow() };
        assert_eq!(local(&flow(), "[2001:db8::9]:1"), "[2001:db8::1]:5060");
        assert_eq!(local(&flow(), "[::1]:5070"), "[::1]:5060");
        assert_eq!(local(&inside, "[::1]:5071"), "[::1]:5060");
        assert_eq!(local(&inside, "[2001:db8::9]:1"), "[::]:5060");
    }
}
