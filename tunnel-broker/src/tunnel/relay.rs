//! What is done with each packet.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;

use super::counters::{Counters, DropReason};
use super::icmp::{self, Fault};
use super::packet::{self, Inner, OuterHeader, is_forbidden};
use super::rate::Limit;
use super::table::{MIN_MTU, Table};
use super::{ecn, mss};
use crate::lease::Outer;

/// What a data plane is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The source of the ICMPv6 errors that we send.
    pub address: Ipv6Addr,
    /// The networks on the inside, our own addresses among them: nothing with a source there may come out of a tunnel, and nothing for
    /// them may go into one.
    pub own: Vec<Ipv6Net>,
    /// The time to live of outer headers (RFC 4213 §3.3).
    pub ttl: u8,
    /// One ICMPv6 error an interval is sent on each tunnel's account (RFC 4443 §2.4 (f)), …
    pub error_interval: Duration,
    /// … and so many at once.
    pub error_burst: u32,
    /// Whether the segment size that TCP connections announce is lowered to the tunnel's MTU less 60 bytes.
    pub clamp_mss: bool,
}

impl Settings {
    /// Settings with the usual values: TTL 64, ten errors a second and tunnel, segment size lowered.
    pub fn new(address: Ipv6Addr, own: Vec<Ipv6Net>) -> Settings {
        let error_interval = Duration::from_millis(100);
        Settings { address, own, ttl: 64, error_interval, error_burst: 10, clamp_mss: true }
    }

    fn is_own(&self, address: Ipv6Addr) -> bool {
        address == self.address || self.own.iter().any(|network| network.contains(&address))
    }
}

/// What is to be done with a packet. Ranges are bytes of the packet that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Give this part, an IPv6 packet, to the inside.
    Inside(Range<usize>),
    /// Send the header with this part behind it to the IPv4 side.
    Tunnel(OuterHeader, Range<usize>),
    /// Drop the packet, and give this ICMPv6 error, an IPv6 packet, to the inside.
    RefuseInside(DropReason, Vec<u8>),
    /// Drop the packet, and send the header with this ICMPv6 error behind it to the IPv4 side.
    RefuseTunnel(DropReason, OuterHeader, Vec<u8>),
    /// Drop the packet.
    Drop(DropReason),
}

/// The data plane's decisions, with the tunnels and counters that they rest on.
#[derive(Debug)]
pub struct Relay {
    pub(super) settings: Settings,
    table: Table,
    counters: Counters,
    /// For the errors about destinations that no tunnel leads to.
    errors: Limit,
}

impl Relay {
    /// A relay over a table.
    pub fn new(settings: Settings, table: Table) -> Relay {
        Relay { settings, table, counters: Counters::default(), errors: Limit::default() }
    }

    /// The tunnels.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The tunnels, to be changed.
    pub fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Judges a packet from the IPv4 side, IPv4 header included, and edits its inner header where it passes.
    pub fn decapsulate(&mut self, packet: &mut [u8], now: Instant) -> Verdict {
        let outer = match packet::parse_outer(packet) {
            Ok(outer) => outer,
            Err(reason) => return self.drop(reason, None),
        };
        let ends = Outer { client: outer.source, server: outer.destination };
        let Some(from) = self.table.by_outer(ends) else { return self.drop(DropReason::UnknownPair, None) };
        let start = outer.payload.start;
        let Some(bytes) = packet.get_mut(outer.payload) else {
            return self.drop(DropReason::OuterMalformed, Some(from));
        };
        let inner = match packet::parse_inner(bytes) {
            Ok(inner) => inner,
            Err(reason) => return self.drop(reason, Some(from)),
        };
        if let Err(reason) = self.may_come_from(from, &inner) {
            return self.drop(reason, Some(from));
        }
        let Some(traffic_class) = ecn::leave(inner.traffic_class, outer.tos) else {
            return self.drop(DropReason::Congestion, Some(from));
        };
        let is_own = self.settings.is_own(inner.destination);
        let to = if is_own { None } else { self.table.by_address(inner.destination) };
        if to == Some(from) {
            return self.drop(DropReason::Loop, Some(from));
        }
        let Some(to) = to else {
            packet::set_traffic_class(bytes, traffic_class);
            self.clamp(bytes, &inner, from, from);
            self.counters.to_inside += 1;
            self.counters.bytes_to_inside += inner.len as u64;
            self.passed_in(from, inner.len);
            return Verdict::Inside(start..start + inner.len);
        };
        if inner.hop_limit <= 1 {
            return self.refuse_tunnel(from, DropReason::HopLimit, Fault::TimeExceeded, bytes, now);
        }
        let mtu = self.table.at(to).map_or(0, |tunnel| tunnel.mtu);
        if inner.len > usize::from(mtu) {
            return self.refuse_tunnel(from, DropReason::TooBig, Fault::TooBig(mtu), bytes, now);
        }
        let Some(header) = self.header(to, traffic_class, inner.len) else {
            return self.drop(DropReason::TooBig, Some(from));
        };
        packet::set_traffic_class(bytes, traffic_class);
        packet::set_hop_limit(bytes, inner.hop_limit - 1);
        self.clamp(bytes, &inner, from, to);
        self.counters.turned += 1;
        self.counters.bytes_turned += inner.len as u64;
        self.passed_in(from, inner.len);
        self.passed_out(to, inner.len);
        Verdict::Tunnel(header, start..start + inner.len)
    }

    /// Judges an IPv6 packet from the inside. The system that routed it here has counted its hop limit down.
    pub fn encapsulate(&mut self, packet: &mut [u8], now: Instant) -> Verdict {
        let inner = match packet::parse_inner(packet) {
            Ok(inner) => inner,
            Err(reason) => return self.drop(reason, None),
        };
        if is_forbidden(inner.source) {
            return self.drop(DropReason::ForbiddenSource, None);
        }
        if is_forbidden(inner.destination) {
            return self.drop(DropReason::ForbiddenDestination, None);
        }
        // What is inside was routed out: only a route that is missing there does so.
        if self.settings.is_own(inner.destination) {
            return self.drop(DropReason::Loop, None);
        }
        let Some(to) = self.table.by_address(inner.destination) else {
            let limited = self.errors.allows(self.settings.error_interval, self.settings.error_burst, now);
            return self.refuse_inside(limited, None, DropReason::NoTunnel, Fault::Unreachable, packet);
        };
        let Some(tunnel) = self.table.at_mut(to) else { return self.drop(DropReason::NoTunnel, None) };
        if tunnel.grant.covers(inner.source) && !self.settings.is_own(inner.source) {
            return self.drop(DropReason::Loop, Some(to));
        }
        if inner.hop_limit == 0 {
            return self.drop(DropReason::HopLimit, Some(to));
        }
        if inner.len > usize::from(tunnel.mtu) {
            let fault = Fault::TooBig(tunnel.mtu);
            let allowed = tunnel.errors.allows(self.settings.error_interval, self.settings.error_burst, now);
            return self.refuse_inside(allowed, Some(to), DropReason::TooBig, fault, packet);
        }
        let Some(header) = self.header(to, inner.traffic_class, inner.len) else {
            return self.drop(DropReason::TooBig, Some(to));
        };
        self.clamp(packet, &inner, to, to);
        self.counters.to_tunnel += 1;
        self.counters.bytes_to_tunnel += inner.len as u64;
        self.passed_out(to, inner.len);
        Verdict::Tunnel(header, 0..inner.len)
    }

    /// Whether a tunnel's far end may send this packet.
    fn may_come_from(&self, from: usize, inner: &Inner) -> Result<(), DropReason> {
        if is_forbidden(inner.source) {
            return Err(DropReason::ForbiddenSource);
        }
        if self.settings.is_own(inner.source) {
            return Err(DropReason::OwnSource);
        }
        if !self.table.at(from).is_some_and(|tunnel| tunnel.grant.covers(inner.source)) {
            return Err(DropReason::SpoofedSource);
        }
        if is_forbidden(inner.destination) {
            return Err(DropReason::ForbiddenDestination);
        }
        Ok(())
    }

    /// Lowers what a TCP connection announces to the narrower of two tunnels.
    fn clamp(&self, packet: &mut [u8], inner: &Inner, one: usize, other: usize) {
        if self.settings.clamp_mss {
            let mtu = |index| self.table.at(index).map_or(MIN_MTU, |tunnel| tunnel.mtu);
            mss::clamp(packet, inner, mtu(one).min(mtu(other)));
        }
    }

    fn header(&self, to: usize, traffic_class: u8, inner_len: usize) -> Option<OuterHeader> {
        let Outer { client, server } = self.table.at(to)?.outer;
        OuterHeader::new(server, client, traffic_class, inner_len, self.settings.ttl)
    }

    fn passed_in(&mut self, from: usize, len: usize) {
        if let Some(tunnel) = self.table.at_mut(from) {
            tunnel.traffic.packets_in += 1;
            tunnel.traffic.bytes_in += len as u64;
        }
    }

    fn passed_out(&mut self, to: usize, len: usize) {
        if let Some(tunnel) = self.table.at_mut(to) {
            tunnel.traffic.packets_out += 1;
            tunnel.traffic.bytes_out += len as u64;
        }
    }

    fn drop(&mut self, reason: DropReason, tunnel: Option<usize>) -> Verdict {
        self.count_drop(reason, tunnel);
        Verdict::Drop(reason)
    }

    fn count_drop(&mut self, reason: DropReason, tunnel: Option<usize>) {
        self.counters.drop(reason);
        if let Some(tunnel) = tunnel.and_then(|index| self.table.at_mut(index)) {
            tunnel.traffic.dropped += 1;
        }
    }

    /// Drops a packet that came out of a tunnel, and tells its sender, when that is not told too often.
    fn refuse_tunnel(
        &mut self,
        from: usize,
        reason: DropReason,
        fault: Fault,
        packet: &[u8],
        now: Instant,
    ) -> Verdict {
        let (interval, burst) = (self.settings.error_interval, self.settings.error_burst);
        let allowed =
            self.table.at_mut(from).is_some_and(|tunnel| tunnel.errors.allows(interval, burst, now));
        self.count_drop(reason, Some(from));
        let error = self.error(allowed, fault, packet);
        match error.and_then(|error| Some((self.header(from, 0, error.len())?, error))) {
            Some((header, error)) => Verdict::RefuseTunnel(reason, header, error),
            None => Verdict::Drop(reason),
        }
    }

    /// Drops a packet from the inside, and tells its sender when that is allowed.
    fn refuse_inside(
        &mut self,
        allowed: bool,
        tunnel: Option<usize>,
        reason: DropReason,
        fault: Fault,
        packet: &[u8],
    ) -> Verdict {
        self.count_drop(reason, tunnel);
        match self.error(allowed, fault, packet) {
            Some(error) => Verdict::RefuseInside(reason, error),
            None => Verdict::Drop(reason),
        }
    }

    fn error(&mut self, allowed: bool, fault: Fault, packet: &[u8]) -> Option<Vec<u8>> {
        if !allowed {
            self.counters.errors_held_back += 1;
            return None;
        }
        let error = icmp::error(fault, packet, self.settings.address)?;
        self.counters.errors_sent += 1;
        Some(error)
    }
}
