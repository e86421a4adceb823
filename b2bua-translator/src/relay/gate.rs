//! Which sources may send to a side, and the latch.
//!
//! A packet passes when its address is allowed by the policy, and, once a source has been learned, when it comes from
//! exactly that source. The source is learned once per offer/answer, so that a stranger who can spoof or who sits in the
//! same network cannot take a running stream over.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::statistics::DropReason;

/// Who may send to a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePolicy {
    /// The address that SDP names, from any port: for phones.
    Exact(IpAddr),
    /// Any address of these networks: the media networks of a trunk.
    Networks(Vec<IpNet>),
    /// Nobody: the other side has not said where it is.
    Nobody,
}

impl SourcePolicy {
    /// Whether packets from an address are taken.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            SourcePolicy::Exact(only) => *only == address,
            SourcePolicy::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
            SourcePolicy::Nobody => false,
        }
    }
}

/// One of the two sockets of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Rtp,
    Rtcp,
}

/// The policy and what was learned, for the two channels of a side.
#[derive(Debug)]
pub(super) struct Gate {
    policy: SourcePolicy,
    rtp: Route,
    rtcp: Route,
}

#[derive(Debug, Default)]
struct Route {
    /// As SDP says.
    announced: Option<SocketAddr>,
    /// Where packets go now.
    destination: Option<SocketAddr>,
    /// The only source taken until the next offer/answer.
    latched: Option<SocketAddr>,
}

impl Gate {
    /// Closed for everybody until the first offer or answer.
    pub(super) fn new() -> Self {
        Gate { policy: SourcePolicy::Nobody, rtp: Route::default(), rtcp: Route::default() }
    }

    /// Takes what an offer or answer says and re-arms the latch.
    pub(super) fn update(&mut self, policy: SourcePolicy, rtp: Option<SocketAddr>, rtcp: Option<SocketAddr>) {
        let same_policy = self.policy == policy;
        self.policy = policy;
        self.rtp.update(rtp, same_policy);
        self.rtcp.update(rtcp, same_policy);
    }

    /// Whether a packet may pass.
    pub(super) fn check(&self, channel: Channel, source: SocketAddr) -> Result<(), DropReason> {
        match self.route(channel).latched {
            Some(latched) if latched == source => Ok(()),
            Some(_) if self.policy.allows(source.ip()) => Err(DropReason::OtherSource),
            None if self.policy.allows(source.ip()) => Ok(()),
            _ if self.policy == SourcePolicy::Nobody => Err(DropReason::Unexpected),
            _ => Err(DropReason::Stranger),
        }
    }

    /// Fixes the source of a channel, unless it is fixed already. Gives the new destination, if it changed.
    pub(super) fn latch(&mut self, channel: Channel, source: SocketAddr) -> Option<SocketAddr> {
        let route = match channel {
            Channel::Rtp => &mut self.rtp,
            Channel::Rtcp => &mut self.rtcp,
        };
        if route.latched.is_some() {
            return None;
        }
        route.latched = Some(source);
        (route.destination.replace(source) != Some(source)).then_some(source)
    }

    /// Where packets go: the learned source, else what SDP says.
    pub(super) fn destination(&self, channel: Channel) -> Option<SocketAddr> {
        self.route(channel).destination
    }

    /// The learned source of RTP.
    pub(super) fn learned(&self) -> Option<SocketAddr> {
        self.rtp.latched
    }

    fn route(&self, channel: Channel) -> &Route {
        match channel {
            Channel::Rtp => &self.rtp,
            Channel::Rtcp => &self.rtcp,
        }
    }
}

impl Route {
    fn update(&mut self, announced: Option<SocketAddr>, same_policy: bool) {
        // A session refresh that repeats the address says nothing new: until the source is learned again, packets keep
        // going where they were heard from.
        if self.announced != announced || !same_policy {
            self.announced = announced;
            self.destination = announced;
        }
        self.latched = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_phone_is_taken_from_its_address_and_then_its_port() {
        let mut gate = Gate::new();
        let phone = at("[2001:db8::101]:4000");
        assert_eq!(gate.check(Channel::Rtp, phone), Err(DropReason::Unexpected));
        gate.update(SourcePolicy::Exact(phone.ip()), Some(phone), Some(at("[2001:db8::101]:4001")));
        assert_eq!(gate.destination(Channel::Rtp), Some(phone));

        let moved = at("[2001:db8::101]:4444");
        assert_eq!(gate.check(Channel::Rtp, at("[2001:db8::66]:4000")), Err(DropReason::Stranger));
        assert_eq!(gate.check(Channel::Rtp, moved), Ok(()));
        assert_eq!(gate.latch(Channel::Rtp, moved), Some(moved));
        assert_eq!(gate.destination(Channel::Rtp), Some(moved));
        assert_eq!(gate.check(Channel::Rtp, phone), Err(DropReason::OtherSource));
        assert_eq!(gate.latch(Channel::Rtp, phone), None);
        assert_eq!(gate.check(Channel::Rtp, moved), Ok(()));
        // RTCP is learned for itself.
        assert_eq!(gate.destination(Channel::Rtcp), Some(at("[2001:db8::101]:4001")));
        assert_eq!(gate.check(Channel::Rtcp, at("[2001:db8::101]:9")), Ok(()));

        // A refresh re-arms the latch and keeps the way out; a new address changes the way out too.
        gate.update(SourcePolicy::Exact(phone.ip()), Some(phone), None);
        assert_eq!(gate.destination(Channel::Rtp), Some(moved));
        assert_eq!(gate.check(Channel::Rtp, phone), Ok(()));
        let other = at("[2001:db8::102]:5000");
        gate.update(SourcePolicy::Exact(other.ip()), Some(other), None);
        assert_eq!(gate.destination(Channel::Rtp), Some(other));
        assert_eq!(gate.check(Channel::Rtp, phone), Err(DropReason::Stranger));
    }

    #[test]
    fn a_trunk_is_taken_from_its_networks() {
        let mut gate = Gate::new();
        let networks = vec!["198.51.100.0/25".parse().unwrap(), "2001:db8:5::/48".parse().unwrap()];
        gate.update(SourcePolicy::Networks(networks), None, None);
        assert_eq!(gate.destination(Channel::Rtp), None);
        assert_eq!(gate.check(Channel::Rtp, at("198.51.100.200:1")), Err(DropReason::Stranger));
        let source = at("198.51.100.7:16384");
        assert_eq!(gate.check(Channel::Rtp, source), Ok(()));
        assert_eq!(gate.latch(Channel::Rtp, source), Some(source));
        assert_eq!(gate.check(Channel::Rtp, at("198.51.100.8:16384")), Err(DropReason::OtherSource));
    }
}
