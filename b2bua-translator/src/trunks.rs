//! Which gateway takes a call: routes in order, what the gateways' state and the trunks' limits allow.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use metrics::gauge;
use schema::{Directory, Gateway, GatewayHost, GatewayTransport, Route, Trunk, TrunkId};
use sip_core::flow::{Flow, Transport};
use tracing::{info, warn};

use crate::settings::{Face, Settings};

/// One place that may take a call.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The trunk, and the route that led to it; `None` toward a proxy.
    pub(crate) trunk: Option<(Arc<Trunk>, Arc<Route>)>,
    /// How and where.
    pub(crate) gateway: Gateway,
    /// The name that led there, which stays in the Request-URI (RFC 3263 §4).
    pub(crate) host: Option<GatewayHost>,
    /// Our face toward it.
    pub(crate) face: Face,
    /// The number that a redirection named, in the trunk's own form; `None` calls the number that was dialled.
    pub(crate) number: Option<String>,
}

impl Candidate {
    /// The way there.
    pub(crate) fn flow(&self) -> Flow {
        let transport = transport_of(self.gateway);
        Flow { transport, local: self.face.at(transport), remote: self.gateway.address, connection: None }
    }
}

/// The places that may take a number, in the order in which they are tried.
///
/// Gateways that are down are left out; where all are down they are tried all the same, because what OPTIONS says may be stale, and the
/// call may be for the fire brigade.
pub(crate) fn candidates(
    directory: &Directory,
    settings: &Settings,
    states: &TrunkStates,
    number: &str,
) -> VecDeque<Candidate> {
    let mut found = VecDeque::new();
    for route in directory.routes_for(number) {
        let Some(trunk) = directory.trunk(route.trunk).filter(|trunk| trunk.enabled) else { continue };
        for (gateway, host) in states.gateways_of(&trunk) {
            if let Some(face) = settings.outside(gateway.address.ip()) {
                let trunk = Some((Arc::clone(&trunk), Arc::clone(&route)));
                found.push_back(Candidate { trunk, gateway, host, face, number: None });
            }
        }
    }
    if found.iter().any(|candidate| states.is_up(candidate.gateway)) {
        found.retain(|candidate| states.is_up(candidate.gateway));
    }
    found.truncate(MAX_CANDIDATES);
    found
}

/// The proxies as candidates for a call from a trunk.
pub(crate) fn proxies(settings: &Settings) -> VecDeque<Candidate> {
    let mut seen = Vec::new();
    for address in &settings.proxies {
        // The same place over another transport is no other place.
        if seen.len() < MAX_CANDIDATES && !seen.contains(address) {
            seen.push(*address);
        }
    }
    let candidate = |address| Candidate {
        trunk: None,
        gateway: Gateway::from(address),
        host: None,
        face: settings.inside,
        number: None,
    };
    seen.into_iter().map(candidate).collect()
}

/// The enabled trunk that signals from this address, over a connection whose certificate vouches for these names: by gateway's
/// address and port first, since two trunks may share a host. A trunk with a certificate's name is known by nothing less.
pub(crate) fn trunk_of_source(
    directory: &Directory,
    states: &TrunkStates,
    source: SocketAddr,
    names: &[String],
) -> Option<Arc<Trunk>> {
    let trunks = directory.trunks();
    let enabled = || trunks.iter().filter(|trunk| trunk.enabled && trunk.is_vouched_for(names));
    let located = |trunk: &Trunk, is_it: &dyn Fn(SocketAddr) -> bool| {
        !trunk.hosts.is_empty() && states.gateways_of(trunk).iter().any(|(gateway, _)| is_it(gateway.address))
    };
    enabled()
        .find(|trunk| {
            trunk.gateways.iter().any(|gateway| gateway.address == source)
                || located(trunk, &|address| address == source)
        })
        .or_else(|| {
            enabled().find(|trunk| {
                trunk.may_signal_from(source.ip()) || located(trunk, &|address| address.ip() == source.ip())
            })
        })
        .cloned()
}

/// How a gateway is spoken to.
pub(crate) fn transport_of(gateway: Gateway) -> Transport {
    match gateway.transport {
        GatewayTransport::Udp => Transport::Udp,
        GatewayTransport::Tcp => Transport::Tcp,
        GatewayTransport::Tls => Transport::Tls,
    }
}

/// What the workers of a translator know together of trunks and gateways.
#[derive(Debug, Default)]
pub struct TrunkStates {
    gateways: RwLock<HashMap<Gateway, Arc<GatewayState>>>,
    calls: RwLock<HashMap<TrunkId, Arc<AtomicU32>>>,
    /// Where gateways are that are known by name.
    hosts: RwLock<HashMap<GatewayHost, Arc<[Gateway]>>>,
}

#[derive(Debug, Default)]
struct GatewayState {
    down: AtomicBool,
    failures: AtomicU32,
}

impl TrunkStates {
    /// Whether calls may be sent to a gateway. One that nobody has asked yet counts as up.
    pub fn is_up(&self, gateway: Gateway) -> bool {
        read(&self.gateways).get(&gateway).is_none_or(|state| !state.down.load(Ordering::Relaxed))
    }

    /// Notes that a gateway answered.
    pub(crate) fn answered(&self, gateway: Gateway) {
        let state = self.gateway(gateway);
        state.failures.store(0, Ordering::Relaxed);
        if state.down.swap(false, Ordering::Relaxed) {
            info!(%gateway, "gateway is up again");
        }
        show(gateway, true);
    }

    /// Notes that a gateway did not answer, or said that it cannot serve. `limit` failures in a row take it down.
    pub(crate) fn failed(&self, gateway: Gateway, limit: u32) {
        let state = self.gateway(gateway);
        let failures = state.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= limit && !state.down.swap(true, Ordering::Relaxed) {
            warn!(%gateway, failures, "gateway is down");
            show(gateway, false);
        }
    }

    /// Forgets gateways that no trunk has any more.
    pub(crate) fn keep_only(&self, gateways: &[Gateway]) {
        let mut known = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|gateway, _| gateways.contains(gateway));
    }

    /// The gateways of a trunk in the order in which they are tried, those that are known by name where they were found last.
    pub(crate) fn gateways_of(&self, trunk: &Trunk) -> Vec<(Gateway, Option<GatewayHost>)> {
        let mut found: Vec<(Gateway, Option<GatewayHost>)> =
            trunk.gateways.iter().map(|gateway| (*gateway, None)).collect();
        if !trunk.hosts.is_empty() {
            let known = read(&self.hosts);
            for host in &trunk.hosts {
                let places = known.get(host).into_iter().flat_map(|places| places.iter());
                for gateway in places {
                    if !found.iter().any(|(known, _)| known == gateway) {
                        found.push((*gateway, Some(host.clone())));
                    }
                }
            }
        }
        found
    }

    /// Notes where a gateway is that is known by name.
    pub(crate) fn set_host(&self, host: &GatewayHost, gateways: Vec<Gateway>) {
        let mut known = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.clone(), gateways.into());
    }

    /// Whether these are the places that are known, in whatever order.
    pub(crate) fn has_same(&self, host: &GatewayHost, gateways: &[Gateway]) -> bool {
        let known = read(&self.hosts);
        known.get(host).is_some_and(|known| {
            known.len() == gateways.len() && gateways.iter().all(|gateway| known.contains(gateway))
        })
    }

    /// Forgets names that no trunk has any more.
    pub(crate) fn keep_only_hosts(&self, hosts: &[GatewayHost]) {
        if !read(&self.hosts).is_empty() {
            let mut known = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
            known.retain(|host, _| hosts.contains(host));
        }
    }

    /// Takes one of the calls that a trunk may carry in this process; `None` when it carries as many as it may.
    pub(crate) fn admit(&self, trunk: &Trunk, urgent: bool) -> Option<Permit> {
        let known = read(&self.calls).get(&trunk.id).cloned();
        let calls = known.unwrap_or_else(|| {
            let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(calls.entry(trunk.id).or_default())
        });
        let limit = trunk.max_calls.filter(|_| !urgent).unwrap_or(u32::MAX);
        calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(1).filter(|now| *now <= limit)
            })
            .ok()?;
        Some(Permit { calls })
    }

    /// The calls that a trunk carries in this process.
    pub fn calls(&self, trunk: TrunkId) -> u32 {
        read(&self.calls).get(&trunk).map_or(0, |calls| calls.load(Ordering::Relaxed))
    }

    fn gateway(&self, gateway: Gateway) -> Arc<GatewayState> {
        if let Some(state) = read(&self.gateways).get(&gateway) {
            return Arc::clone(state);
        }
        let mut known = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(gateway).or_default())
    }
}

/// One call's share of a trunk's limit, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    calls: Arc<AtomicU32>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn show(gateway: Gateway, up: bool) {
    gauge!("centrex6_translator_gateway_up", "gateway" => gateway.to_string()).set(f64::from(u8::from(up)));
}

/// Gateways tried for one call: more would keep the caller waiting for ever.
const MAX_CANDIDATES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> Gateway {
        "192.0.2.1:5060".parse().unwrap()
    }

    #[test]
    fn failures_in_a_row_take_a_gateway_down() {
        let states = TrunkStates::default();
        assert!(states.is_up(gateway()));
        states.failed(gateway(), 2);
        states.answered(gateway());
        states.failed(gateway(), 2);
        assert!(states.is_up(gateway()));
        states.failed(gateway(), 2);
        assert!(!states.is_up(gateway()));
        states.answered(gateway());
        assert!(states.is_up(gateway()));
        states.keep_only(&[]);
        assert!(states.gateways.read().unwrap().is_empty());
    }

    #[test]
    fn permits_come_back() {
        let states = TrunkStates::default();
        let mut trunk = Trunk::new("carrier", vec![gateway()]).unwrap();
        trunk.max_calls = Some(2);
        let one = states.admit(&trunk, false);
        let two = states.admit(&trunk, false);
        assert!(one.is_some() && two.is_some() && states.admit(&trunk, false).is_none());
        let urgent = states.admit(&trunk, true);
        assert!(urgent.is_some(), "a call for help is one too many, and taken");
        drop(urgent);
        drop(one);
        assert_eq!(states.calls(trunk.id), 1);
        assert!(states.admit(&trunk, false).is_some());
    }
}
