//! Why packets are dropped, and how many were.

/// Why a packet does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The IPv4 header cannot be right.
    OuterMalformed,
    /// A piece of an IPv4 packet: the system reassembles before it gives packets to us.
    OuterFragment,
    /// No tunnel has this pair of IPv4 addresses.
    UnknownPair,
    /// What is inside is no IPv6 packet, or not all of it.
    InnerMalformed,
    /// An inner source that no site may have: 6to4, IPv4-mapped or -compatible, link-local, loopback, unspecified, multicast.
    ForbiddenSource,
    /// An inner destination that is not routed: the same kinds.
    ForbiddenDestination,
    /// An inner source that is ours (RFC 4213 §3.6).
    OwnSource,
    /// An inner source that is not behind this tunnel (RFC 2827).
    SpoofedSource,
    /// Congestion was marked on the way on a packet whose ends would not understand it (RFC 6040 §4.2).
    Congestion,
    /// The packet has passed too many routers.
    HopLimit,
    /// The packet would go back to where it came from (RFC 6324).
    Loop,
    /// No tunnel leads to this destination.
    NoTunnel,
    /// The packet is longer than the tunnel's MTU.
    TooBig,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 13] = [
        DropReason::OuterMalformed,
        DropReason::OuterFragment,
        DropReason::UnknownPair,
        DropReason::InnerMalformed,
        DropReason::ForbiddenSource,
        DropReason::ForbiddenDestination,
        DropReason::OwnSource,
        DropReason::SpoofedSource,
        DropReason::Congestion,
        DropReason::HopLimit,
        DropReason::Loop,
        DropReason::NoTunnel,
        DropReason::TooBig,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::OuterMalformed => "outer_malformed",
            DropReason::OuterFragment => "outer_fragment",
            DropReason::UnknownPair => "unknown_pair",
            DropReason::InnerMalformed => "inner_malformed",
            DropReason::ForbiddenSource => "forbidden_source",
            DropReason::ForbiddenDestination => "forbidden_destination",
            DropReason::OwnSource => "own_source",
            DropReason::SpoofedSource => "spoofed_source",
            DropReason::Congestion => "congestion",
            DropReason::HopLimit => "hop_limit",
            DropReason::Loop => "loop",
            DropReason::NoTunnel => "no_tunnel",
            DropReason::TooBig => "too_big",
        }
    }
}

/// What a relay has done since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    dropped: [u64; DropReason::ALL.len()],
    /// Packets given to the inside.
    pub to_inside: u64,
    /// Their bytes, without the outer header.
    pub bytes_to_inside: u64,
    /// Packets sent into a tunnel from the inside.
    pub to_tunnel: u64,
    /// Their bytes, without the outer header.
    pub bytes_to_tunnel: u64,
    /// Packets turned around from one tunnel into another.
    pub turned: u64,
    /// Their bytes, without the outer header.
    pub bytes_turned: u64,
    /// ICMPv6 errors sent.
    pub errors_sent: u64,
    /// ICMPv6 errors not sent because there were too many.
    pub errors_held_back: u64,
}

impl Counters {
    /// Packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    pub(super) fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_label_of_its_own() {
        let mut counters = Counters::default();
        for reason in DropReason::ALL {
            counters.drop(reason);
        }
        assert!(DropReason::ALL.into_iter().all(|reason| counters.dropped(reason) == 1));
        let labels: std::collections::HashSet<_> = DropReason::ALL.map(DropReason::label).into();
        assert_eq!(labels.len(), DropReason::ALL.len());
    }
}
