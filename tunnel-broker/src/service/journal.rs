//! What the broker tells becomes log lines, metrics and leases.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use node::telemetry::Mask;

use super::leases::Leases;
use crate::broker::{Event, ServerId, TunnelFailure};

/// Writes down what happens.
pub(super) struct Journal {
    mask: Mask,
    leases: Option<Leases>,
    sessions: HashMap<Arc<str>, Session>,
    metrics: Metrics,
}

/// What there is of an account's sessions.
#[derive(Debug, Default)]
struct Session {
    up: bool,
    /// Sessions that were taken over and whose end is still to be told.
    replaced: usize,
}

impl Journal {
    pub(super) fn new(mask: Mask, leases: Option<Leases>) -> Journal {
        Journal { mask, leases, sessions: HashMap::new(), metrics: Metrics::new() }
    }

    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::LoggedIn { account, outer, server } => {
                tracing::info!(%account, client = %self.ip(outer.client), server = server.0, "site logged in");
                self.metrics.logins.increment(1);
                let session = self.sessions.entry(account.clone()).or_default();
                if !std::mem::replace(&mut session.up, true) {
                    self.metrics.sessions.increment(1);
                }
                self.lease(|leases| leases.logged_in(account, outer));
            }
            Event::LoggedOut { account, peer } => {
                tracing::info!(%account, client = %self.ip(*peer), "site's session ended");
                let Some(session) = self.sessions.get_mut(account) else { return };
                if session.replaced > 0 {
                    session.replaced -= 1;
                } else {
                    if session.up {
                        self.metrics.sessions.decrement(1);
                    }
                    self.sessions.remove(account);
                    self.lease(|leases| leases.logged_out(account));
                }
            }
            Event::TakenOver { account, from, to } => {
                tracing::info!(%account, from = %self.ip(*from), to = %self.ip(*to), "a newer session took over");
                self.metrics.takeovers.increment(1);
                self.sessions.entry(account.clone()).or_default().replaced += 1;
                self.lease(|leases| leases.taken_over(account));
            }
            Event::Reported { account, report } => {
                tracing::debug!(%account, neighbours = report.neighbours, capacity = report.capacity, "site reported");
                self.metrics.reports.increment(1);
                self.lease(|leases| leases.reported(account, *report));
            }
            Event::AuthenticationFailed { peer, user } => {
                let user = user.as_deref().unwrap_or("-");
                tracing::info!(user, client = %self.ip(*peer), "login failed: wrong user name or password");
                failure("authentication");
            }
            Event::AddressConflict { account, holder, address } => {
                tracing::warn!(
                    %account, %holder, address = %self.ip(*address),
                    "login refused: another account has a tunnel from this address, and protocol 41 cannot tell the two apart"
                );
                failure("address_in_use");
            }
            Event::SoldOut { account } => {
                tracing::warn!(%account, "login refused: no tunnel server has room or is there");
                failure("sold_out");
            }
            Event::ServerFailed { server, failure: reason } => {
                tracing::warn!(server = server.0, %reason, "the tunnel server did not do as it was told");
                counter!(SERVER_FAILURES, "reason" => word(*reason)).increment(1);
            }
            Event::Unclaimed { account } => {
                tracing::info!(%account, "the site did not return after the broker's restart: its tunnel goes");
                self.lease(|leases| leases.logged_out(account));
            }
        }
    }

    pub(super) fn server(&self, server: ServerId, is_up: bool) {
        gauge!(SERVER_UP, "server" => server.0.to_string()).set(if is_up { 1.0 } else { 0.0 });
    }

    pub(super) fn connections(&self, connections: usize) {
        self.metrics.connections.set(connections as f64);
    }

    pub(super) fn slow_reader(&self) {
        refused(Refused::SlowReader);
    }

    fn lease(&mut self, note: impl FnOnce(&mut Leases)) {
        if let Some(leases) = &mut self.leases {
            note(leases);
        }
    }

    fn ip(&self, ip: Ipv4Addr) -> impl std::fmt::Display + use<> {
        self.mask.ip(ip.into())
    }
}

/// Handles that are looked up once.
struct Metrics {
    connections: Gauge,
    sessions: Gauge,
    logins: Counter,
    takeovers: Counter,
    reports: Counter,
}

impl Metrics {
    fn new() -> Metrics {
        let metrics = Metrics {
            connections: gauge!(CONNECTIONS),
            sessions: gauge!(SESSIONS),
            logins: counter!(LOGINS),
            takeovers: counter!(TAKEOVERS),
            reports: counter!(REPORTS),
        };
        metrics.connections.set(0.0);
        metrics.sessions.set(0.0);
        metrics
    }
}

/// Why somebody was turned away without the broker's word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// Too many connections, in all or from his address.
    Door,
    /// TLS did not come about.
    Handshake,
    /// He does not read what he is sent.
    SlowReader,
}

pub(super) fn refused(why: Refused) {
    let reason = match why {
        Refused::Door => "too_many",
        Refused::Handshake => "tls_handshake",
        Refused::SlowReader => "slow_reader",
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

fn failure(reason: &'static str) {
    counter!(FAILURES, "reason" => reason).increment(1);
}

fn word(failure: TunnelFailure) -> &'static str {
    match failure {
        TunnelFailure::Full => "full",
        TunnelFailure::Unknown => "unknown",
        TunnelFailure::Clash => "clash",
        TunnelFailure::Unreachable => "unreachable",
    }
}

/// Explains the metrics to whoever reads them.
pub fn describe_metrics() {
    describe_gauge!(CONNECTIONS, "Clients' connections to the tunnel broker");
    describe_gauge!(SESSIONS, "Sites that have a session and a tunnel");
    describe_counter!(LOGINS, "Logins that ended with a tunnel");
    describe_counter!(TAKEOVERS, "Logins that took over from a session that was still up");
    describe_counter!(REPORTS, "Reports of sites about their neighbour tables");
    describe_counter!(FAILURES, "Logins that failed, by reason");
    describe_counter!(REFUSED, "Connections that were ended without the broker's word, by reason");
    describe_counter!(SERVER_FAILURES, "Orders that a tunnel server did not carry out, by reason");
    describe_gauge!(
        SERVER_UP,
        "Whether the tunnel server is there, by its place in tunnel_broker.servers from 1"
    );
}

const CONNECTIONS: &str = "centrex6_dtcp_connections";
const SESSIONS: &str = "centrex6_dtcp_sessions";
const LOGINS: &str = "centrex6_dtcp_logins_total";
const TAKEOVERS: &str = "centrex6_dtcp_takeovers_total";
const REPORTS: &str = "centrex6_dtcp_reports_total";
const FAILURES: &str = "centrex6_dtcp_login_failures_total";
const REFUSED: &str = "centrex6_dtcp_connections_refused_total";
const SERVER_FAILURES: &str = "centrex6_tunnel_server_failures_total";
const SERVER_UP: &str = "centrex6_tunnel_server_up";
