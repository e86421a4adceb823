//! What stands at the site, and for how long it goes on standing, without I/O.
//!
//! A lost session is no lost tunnel: the tunnel server may carry packets on while the broker restarts, and after a renumbering the next login is
//! seconds away. So everything stays as it was until a login gives another answer. Only when the session is gone *and* nothing has come out of
//! the tunnel for [`CUT`], the phones are told that this way leads nowhere; their prefix stays, so that they still reach one another.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;

use crate::dtcp::Granted;
use crate::lease::Outer;

/// What the last login gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The tunnel's ends as this box sees them: its own address is the one on its interface, even behind a NAT. The far end is the tunnel
    /// server, so that it is the `client` of this pair.
    pub(super) outer: Outer,
    /// The site's prefix.
    pub(super) prefix: Ipv6Net,
    /// Our address as the broker sees it.
    pub(super) seen_as: Ipv4Addr,
}

/// The site's state over sessions.
#[derive(Debug)]
pub(super) struct Site {
    standing: Option<Standing>,
    session: Session,
    /// How many packets came out of the tunnel, and when that last grew.
    packets_in: u64,
    heard: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Up,
    Down { since: Instant },
}

impl Site {
    /// A site that has nothing yet.
    pub(super) fn new(now: Instant) -> Site {
        Site { standing: None, session: Session::Down { since: now }, packets_in: 0, heard: None }
    }

    /// A login succeeded, from this address of ours.
    pub(super) fn granted(&mut self, granted: Granted, local: Ipv4Addr) {
        let outer = Outer { client: granted.server, server: local };
        self.standing = Some(Standing { outer, prefix: granted.prefix, seen_as: granted.client });
        self.session = Session::Up;
    }

    /// The session ended.
    pub(super) fn lost(&mut self, now: Instant) {
        if self.session == Session::Up {
            self.session = Session::Down { since: now };
        }
    }

    /// So many packets have come out of the tunnel since it was raised.
    pub(super) fn heard(&mut self, now: Instant, packets_in: u64) {
        if packets_in != self.packets_in {
            self.packets_in = packets_in;
            self.heard = (packets_in > 0).then_some(now);
        }
    }

    /// What shall stand.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// When something last came out of the tunnel.
    pub(super) fn last_heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether phones shall send what goes out of the site to this box.
    pub(super) fn routes(&self, now: Instant) -> bool {
        let Session::Down { since } = self.session else { return self.standing.is_some() };
        let sign_of_life = self.heard.map_or(since, |heard| heard.max(since));
        self.standing.is_some() && now.saturating_duration_since(sign_of_life) < CUT
    }
}

impl Standing {
    /// Whether something between this box and the broker changes addresses.
    pub(super) fn is_behind_nat(&self) -> bool {
        self.seen_as != self.outer.server
    }
}

/// How long a site without a session and without packets still counts on coming back: longer than any restart of a broker.
const CUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn granted(prefix: &str) -> Granted {
        Granted {
            client: [198, 51, 100, 7].into(),
            server: [192, 0, 2, 1].into(),
            prefix: prefix.parse().unwrap(),
        }
    }

    #[test]
    fn a_login_makes_the_site_and_a_lost_session_does_not_unmake_it() {
        let now = Instant::now();
        let mut site = Site::new(now);
        assert_eq!(site.standing(), None);
        assert!(!site.routes(now));
        site.granted(granted("2001:db8:1::/48"), [198, 51, 100, 7].into());
        let standing = site.standing().unwrap();
        assert_eq!(standing.outer, Outer { client: [192, 0, 2, 1].into(), server: [198, 51, 100, 7].into() });
        assert!(!standing.is_behind_nat());
        site.lost(now + SECOND);
        assert_eq!(site.standing(), Some(standing));
        assert!(site.routes(now + 60 * SECOND));
    }

    #[test]
    fn renumbering_changes_the_ends_and_nothing_else() {
        let mut site = Site::new(Instant::now());
        site.granted(granted("2001:db8:1::/48"), [198, 51, 100, 7].into());
        let before = site.standing().unwrap();
        let after = Granted { client: [198, 51, 100, 9].into(), ..granted("2001:db8:1::/48") };
        site.granted(after, [198, 51, 100, 9].into());
        let standing = site.standing().unwrap();
        assert_eq!(standing.prefix, before.prefix);
        assert_eq!(standing.outer.client, before.outer.client);
        assert_eq!(standing.outer.server, Ipv4Addr::new(198, 51, 100, 9));
    }

    #[test]
    fn behind_a_nat_the_tunnel_ends_at_our_own_address() {
        let mut site = Site::new(Instant::now());
        site.granted(granted("2001:db8:1::/48"), [192, 168, 1, 2].into());
        let standing = site.standing().unwrap();
        assert!(standing.is_behind_nat());
        assert_eq!(standing.outer.server, Ipv4Addr::new(192, 168, 1, 2));
    }

    #[test]
    fn the_route_ends_when_neither_broker_nor_tunnel_gave_a_sign_of_life_for_long() {
        let now = Instant::now();
        let mut site = Site::new(now);
        site.granted(granted("2001:db8:1::/48"), [198, 51, 100, 7].into());
        assert!(site.routes(now + 10 * CUT), "a session is a sign of life");
        site.lost(now);
        assert!(site.routes(now + CUT - SECOND));
        assert!(!site.routes(now + CUT));
        assert!(site.standing().is_some(), "the prefix stays");
        site.heard(now + 100 * SECOND, 5);
        assert!(site.routes(now + CUT), "the tunnel works without the broker");
        site.heard(now + 200 * SECOND, 5);
        site.lost(now + 300 * SECOND);
        assert!(!site.routes(now + 100 * SECOND + CUT), "the same count is no news, and a loss counts once");
        site.granted(granted("2001:db8:1::/48"), [198, 51, 100, 7].into());
        assert!(site.routes(now + 2 * CUT));
    }
}
