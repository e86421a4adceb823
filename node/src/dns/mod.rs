//! Names: the procedure of RFC 3263 ([`sip_core::locate`]) over the system's resolvers or our own, with a bounded cache.

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver as Hickory, TokioResolver};
use sip_core::flow::Transport;
use sip_core::locate::{Hop, Locator, Naptr, Query, Records, Srv, Step, Wanted};

use crate::config::Dns;

/// Why names cannot be looked up, or one was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// There is nobody to ask.
    #[error("no resolver: {0}; name one in [dns] servers")]
    NoResolver(String),
    /// Nothing is known under the name, by any transport that we use.
    #[error("{0:?} is not in the DNS: it has no usable NAPTR, SRV, AAAA or A records")]
    Unknown(String),
    /// Nobody answered.
    #[error("{name:?} was not found, because the resolver did not answer: {reason}")]
    Unanswered {
        /// What was looked for.
        name: String,
        /// Why, as the resolver's client has it.
        reason: String,
    },
}

/// The places behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// In the order in which they are tried; never empty.
    pub hops: Vec<Hop>,
    /// How long that is good for.
    pub valid_for: Duration,
}

/// Looks names up, for one worker: it lives on its thread and remembers answers as long as they are good. Clones share what is remembered.
#[derive(Clone)]
pub struct Resolver {
    inner: Rc<Inner>,
}

struct Inner {
    config: Dns,
    /// Made when it is first wanted, within the worker's runtime: most nodes have no name to look up.
    client: OnceCell<Result<TokioResolver, DnsError>>,
}

impl Resolver {
    /// A resolver that has asked nobody yet.
    pub fn new(config: Dns) -> Resolver {
        Resolver { inner: Rc::new(Inner { config, client: OnceCell::new() }) }
    }

    /// The places behind a name. `usable` are the transports that we can open a way by, the preferred one first.
    ///
    /// # Errors
    ///
    /// [`DnsError`], when there is none.
    pub async fn locate(&self, wanted: Wanted, usable: &[Transport]) -> Result<Located, DnsError> {
        let name = wanted.host.clone();
        let client = self.inner.client.get_or_init(|| client(&self.inner.config)).as_ref();
        let client = client.map_err(DnsError::clone)?;
        let mut random = [0; 8];
        // Without randomness the order among equals is always the same.
        let _ = getrandom::fill(&mut random);
        let mut locator = Locator::new(wanted, usable, u64::from_le_bytes(random));
        let mut valid_for = self.inner.config.max_ttl;
        let mut unanswered = None;
        loop {
            match locator.step() {
                Step::Ask(query) => {
                    let found = look_up(client, &query).await;
                    valid_for = valid_for.min(found.valid_for.unwrap_or(valid_for));
                    unanswered = unanswered.or(found.unanswered);
                    locator.answer(found.records);
                }
                Step::Done(hops) if hops.is_empty() => {
                    return Err(match unanswered {
                        Some(reason) => DnsError::Unanswered { name, reason },
                        None => DnsError::Unknown(name),
                    });
                }
                // Nobody is asked more than once a second for the same.
                Step::Done(hops) => return Ok(Located { hops, valid_for: valid_for.max(SHORTEST) }),
            }
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

fn client(config: &Dns) -> Result<TokioResolver, DnsError> {
    let failed = |error: NetError| DnsError::NoResolver(error.to_string());
    let mut builder = if config.servers.is_empty() {
        Hickory::builder_tokio().map_err(failed)?
    } else {
        let servers = config.servers.iter().map(|server| {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let servers = ResolverConfig::from_name_servers(servers.collect());
        Hickory::builder_with_config(servers, TokioRuntimeProvider::default())
    };
    let ResolverOpts { cache_size, timeout, positive_max_ttl, negative_max_ttl, .. } = builder.options_mut();
    *cache_size = config.cache;
    *timeout = config.timeout;
    *positive_max_ttl = Some(config.max_ttl);
    *negative_max_ttl = Some(config.negative_ttl);
    builder.build().map_err(failed)
}

/// What was found, how long it is good for, and why nobody answered.
#[derive(Default)]
struct Found {
    records: Records,
    valid_for: Option<Duration>,
    unanswered: Option<String>,
}

async fn look_up(client: &TokioResolver, query: &Query) -> Found {
    let mut found = Found::default();
    match query {
        Query::Naptr(name) => found.take(one(client, name, RecordType::NAPTR).await),
        Query::Srv(name) => found.take(one(client, name, RecordType::SRV).await),
        Query::Addresses(name) => {
            // The platform is one of IPv6; IPv4 comes after it.
            let (v6, v4) =
                tokio::join!(one(client, name, RecordType::AAAA), one(client, name, RecordType::A));
            found.take(v6);
            found.take(v4);
        }
    }
    found
}

async fn one(client: &TokioResolver, name: &str, kind: RecordType) -> Result<Lookup, NetError> {
    let mut name = Name::from_utf8(name).map_err(|error| NetError::from(error.to_string()))?;
    // A name in a URI is whole: no search list applies to it.
    name.set_fqdn(true);
    client.lookup(name, kind).await
}

impl Found {
    fn take(&mut self, lookup: Result<Lookup, NetError>) {
        match lookup {
            Ok(lookup) => {
                let left = lookup.valid_until().saturating_duration_since(Instant::now());
                self.valid_for = Some(self.valid_for.map_or(left, |known| known.min(left)));
                lookup.answers().iter().for_each(|record| self.records.add(&record.data));
            }
            Err(error) if error.is_no_records_found() => {}
            Err(error) => self.unanswered = Some(error.to_string()),
        }
    }
}

trait Add {
    fn add(&mut self, data: &RData);
}

impl Add for Records {
    fn add(&mut self, data: &RData) {
        match data {
            RData::A(ip) => self.addresses.push(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => self.addresses.push(IpAddr::V6(ip.0)),
            RData::SRV(srv) => self.srv.push(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_utf8(),
            }),
            RData::NAPTR(naptr) => self.naptr.push(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                service: String::from_utf8_lossy(&naptr.services).into_owned(),
                replacement: naptr.replacement.to_utf8(),
            }),
            // Aliases on the way.
            _ => {}
        }
    }
}

const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::testing::Zone;
    use super::*;

    const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    fn resolver(zone: &Zone) -> Resolver {
        Resolver::new(Dns { servers: vec![zone.addr], ..Dns::default() })
    }

    fn wanted(host: &str) -> Wanted {
        Wanted { host: host.to_owned(), port: None, transport: None }
    }

    fn shown(located: &Located) -> Vec<String> {
        located.hops.iter().map(|hop| format!("{} {}", hop.transport, hop.addr)).collect()
    }

    /// RFC 3263 §4: NAPTR, then SRV, then AAAA and A, as a server says them.
    #[tokio::test(flavor = "local")]
    async fn a_name_becomes_places() {
        let zone = Zone::serve(
            "example.net NAPTR 10 50 s SIP+D2T _sip._tcp.example.net\n\
             _sip._tcp.example.net SRV 20 0 5070 two.example.net\n\
             _sip._tcp.example.net SRV 10 0 5060 one.example.net\n\
             one.example.net AAAA 2001:db8::1\n\
             one.example.net A 192.0.2.1\n\
             two.example.net A 192.0.2.2\n",
        );
        let located = resolver(&zone).locate(wanted("example.net"), &ALL).await.unwrap();
        assert_eq!(shown(&located), ["TCP [2001:db8::1]:5060", "TCP 192.0.2.1:5060", "TCP 192.0.2.2:5070"]);
        assert!(located.valid_for <= Duration::from_secs(Zone::TTL.into()), "{located:?}");
    }

    #[tokio::test(flavor = "local")]
    async fn answers_are_remembered_and_their_lack_is_too() {
        let zone = Zone::serve("here.example.net A 192.0.2.1\n");
        let resolver = resolver(&zone);
        let first = resolver.locate(wanted("here.example.net"), &ALL).await.unwrap();
        let unknown = Err(DnsError::Unknown("gone.example.net".to_owned()));
        assert_eq!(resolver.locate(wanted("gone.example.net"), &ALL).await, unknown);
        let asked = zone.asked();
        assert!(asked > 0);
        assert_eq!(resolver.locate(wanted("here.example.net"), &ALL).await.unwrap().hops, first.hops);
        assert_eq!(resolver.clone().locate(wanted("gone.example.net"), &ALL).await, unknown);
        assert_eq!(zone.asked(), asked);
    }

    #[tokio::test(flavor = "local")]
    async fn silence_is_no_lack() {
        // Nobody reads what comes to this socket.
        let silent = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let config = Dns {
            servers: vec![silent.local_addr().unwrap()],
            timeout: Duration::from_millis(50),
            ..Dns::default()
        };
        let error = Resolver::new(config).locate(wanted("example.net"), &ALL).await.unwrap_err();
        assert!(matches!(error, DnsError::Unanswered { .. }), "{error}");
    }
}
