//! From configuration to running workers, one role after the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use b2bua_translator::relay::{self, RelaySettings, RelayWorker};
use b2bua_translator::{
    Country, Face, GatewayNames, KeepAlive, SessionPolicy, TranslatorCore, TranslatorWorld,
};
use node::config::Config;
use node::dns::Resolver;
use node::lifecycle::Shutdown;
use node::listener::Listener;
use node::telemetry::Mask;
use node::tls::{RoleTls, Tls};
use node::trace::Trace;
use node::worker::{BoundWorkers, WorkerContext, Workers, WorkersConfig};
use sip_core::auth::{DigestSettings, NonceKey};
use sip_core::clock::WallClock;
use sip_core::flow::Transport;
use sip_core::ids::IdSource;
use sip_proxy::{ProxyCore, StoreWorld};

use super::{Listeners, udp};
use crate::platform::foundation::Foundation;

/// What all roles of a process have in common.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) shutdown: &'a Shutdown,
    pub(super) trace: &'a Trace,
    pub(super) tls: &'a Tls,
}

/// A role whose sockets are open, and whose workers do not run yet.
pub(super) struct Bound(BoundWorkers);

impl Bound {
    pub(super) fn proxy(common: &Common<'_>) -> anyhow::Result<Bound> {
        let config = common.config;
        let mut workers = WorkersConfig::new("proxy", config.registrar_proxy.listen.clone(), &config.sip);
        workers.linger = PROXY_LINGER;
        workers.tls = Some(RoleTls::new(common.tls.clone()));
        Bound::open(workers, common)
    }

    pub(super) fn translator(
        common: &Common<'_>,
        shared: &b2bua_translator::Shared,
    ) -> anyhow::Result<Bound> {
        let config = common.config;
        let listen = [config.translator.listen_ipv6.clone(), config.translator.listen_ipv4.clone()].concat();
        let mut workers = WorkersConfig::new("translator", listen, &config.sip);
        let names = Arc::new(GatewayNames::new(shared));
        workers.tls = Some(RoleTls::new(common.tls.clone()).asking_clients().expecting(names));
        Bound::open(workers, common)
    }

    fn open(mut workers: WorkersConfig, common: &Common<'_>) -> anyhow::Result<Bound> {
        workers.trace = common.trace.clone();
        workers.workers = common.config.node.workers;
        workers.mask = Mask::new(&common.config.log);
        Ok(Bound(Workers::bind(workers, common.shutdown)?))
    }

    pub(super) fn local(&self) -> &[Listener] {
        self.0.local()
    }
}

/// Starts registrar and proxy.
pub(super) fn start_proxy(
    bound: Bound,
    config: &Config,
    foundation: &Foundation,
    listeners: &Listeners,
) -> anyhow::Result<Workers> {
    let own_translators = reachable(&listeners.translator_ipv6);
    let key = foundation.shared_key;
    let settings = sip_proxy::Settings::from_config(config, bound.local().to_vec(), own_translators, key);
    let settings = Arc::new(settings);
    let shared = sip_proxy::Shared {
        settings: Arc::clone(&settings),
        directory: Arc::clone(&foundation.directory),
        locations: Arc::clone(&foundation.locations),
        gate: Arc::new(sip_proxy::Gate::new(&config.admission, Arc::clone(&foundation.sources))),
    };
    let (writer, dns) = (foundation.writer.clone(), config.dns.clone());
    let node = node_number(&config.node.name);
    let nonce_lifetime = config.registrar_proxy.nonce_lifetime;
    let start = move |context: WorkerContext| {
        let digest = DigestSettings {
            algorithms: settings.registrar.algorithms.clone(),
            nonce_lifetime,
            ..DigestSettings::new(&settings.realm, NonceKey::new(key), node, context.worker)
        };
        let ids = IdSource::new(context.worker, context.seed);
        (
            ProxyCore::new(shared.clone(), digest, ids, wall_clock()),
            StoreWorld::new(writer.clone(), Resolver::new(dns.clone())),
        )
    };
    Ok(bound.0.spawn(start)?)
}

/// Starts the translator.
pub(super) fn start_translator(
    bound: Bound,
    config: &Config,
    foundation: &Foundation,
    listeners: &Listeners,
    shared: b2bua_translator::Shared,
) -> anyhow::Result<Workers> {
    let role = &config.translator;
    let proxies = match role.proxy {
        Some(proxy) => vec![proxy.addr],
        None => reachable(&listeners.proxy).iter().map(|listener| listener.addr).collect(),
    };
    ensure!(!proxies.is_empty(), "[translator] proxy: there is no proxy in this process, so name one");
    let inside = face(&listeners.translator_ipv6, role.media_ipv6.map(IpAddr::from), "media_ipv6")?
        .context("[translator] listen_ipv6: at least one UDP listener is needed toward the proxy")?;
    let outside_v4 = face(&listeners.translator_ipv4, role.media_ipv4.map(IpAddr::from), "media_ipv4")?;
    let plan = &config.dial_plan;
    let settings = b2bua_translator::Settings {
        outside_v4,
        // Trunks over IPv6 come in where the proxy does; the source address tells them apart.
        outside_v6: Some(inside),
        country: Country {
            code: plan.country_code.clone(),
            national_prefix: plan.national_prefix.clone(),
            international_prefix: plan.international_prefix.clone(),
        },
        emergency: plan.emergency.clone(),
        transaction: sip_core::transaction::Settings {
            urgent: plan.emergency.clone(),
            ..config.sip.transactions()
        },
        max_calls: role.max_calls,
        keep_alive: KeepAlive { every: role.trunk_options_interval, ..KeepAlive::default() },
        session: SessionPolicy {
            interval: seconds(role.session_expires).filter(|seconds| *seconds > 0),
            min: seconds(role.min_session_expires).unwrap_or(u32::MAX),
        },
        mask: Mask::new(&config.log),
        ..b2bua_translator::Settings::new(&config.node.name, inside, proxies)
    };
    let settings = Arc::new(settings);
    foundation.watch_calls(shared.clone());
    let ports = relay::PortRange::new(role.media_ports.first(), role.media_ports.last())?;
    let workers = bound.0.count();
    let ports = u16::try_from(workers).ok().and_then(|workers| ports.split(workers));
    let ports = ports.with_context(|| format!("[translator] media_ports: too few for {workers} workers"))?;
    let addresses: Vec<IpAddr> =
        [Some(inside), outside_v4].into_iter().flatten().map(|face| face.media).collect();
    let (rest, silence) = (role.media_rest, role.media_silence);
    let (writer, dns) = (foundation.writer.clone(), config.dns.clone());
    let start = move |context: WorkerContext| {
        // One range a worker: split() gave exactly as many as there are.
        let ports = ports.get(usize::from(context.worker.0)).copied().unwrap_or(ports[0]);
        let relay =
            RelaySettings { rest, silence: Some(silence), ..RelaySettings::new(addresses.clone(), ports) };
        let world = TranslatorWorld::new(RelayWorker::new(relay), writer.clone(), Resolver::new(dns.clone()));
        let ids = IdSource::new(context.worker, context.seed);
        (TranslatorCore::new(Arc::clone(&settings), shared.clone(), ids, wall_clock()), world)
    };
    Ok(bound.0.spawn(start)?)
}

fn seconds(span: Duration) -> Option<u32> {
    u32::try_from(span.as_secs()).ok()
}

/// How others see a side of the translator: its first UDP listener, and where its media is.
fn face(listeners: &[Listener], media: Option<IpAddr>, key: &str) -> anyhow::Result<Option<Face>> {
    let Some(bound) = udp(listeners) else { return Ok(None) };
    let media = media.unwrap_or(bound.ip());
    if media.is_unspecified() {
        bail!(
            "[translator] {key}: the listener is on every address, so say which one phones and gateways send media to"
        );
    }
    // A listener on a wildcard address is written as the media address, which is one of ours for sure.
    let signalling = if bound.ip().is_unspecified() { SocketAddr::new(media, bound.port()) } else { bound };
    let port = |transport: Transport| {
        let found = listeners.iter().find(|listener| listener.transport == transport);
        found.map(|listener| listener.addr.port())
    };
    let (tcp, tls) = (port(Transport::Tcp), port(Transport::Tls));
    Ok(Some(Face { tcp, tls, ..Face::new(signalling, media) }))
}

/// Our own listeners as the other role of this process reaches them: a wildcard address is reached on the loopback.
fn reachable(listeners: &[Listener]) -> Vec<Listener> {
    let on_loopback = |listener: &Listener| match listener.addr.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), listener.addr.port())
        }
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), listener.addr.port())
        }
        _ => listener.addr,
    };
    let datagrams = listeners.iter().filter(|listener| listener.transport == Transport::Udp);
    datagrams.map(|listener| Listener { addr: on_loopback(listener), ..*listener }).collect()
}

/// Names the node in nonces: a nonce of another node counts as stale.
fn node_number(name: &str) -> u16 {
    // FNV-1a, folded: any even spread does.
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as u16 ^ hash as u16
}

fn wall_clock() -> WallClock {
    WallClock::new(Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A stopping translator hangs up on the phones through the proxy, which is told to stop at the same moment.
const PROXY_LINGER: Duration = Duration::from_millis(500);
