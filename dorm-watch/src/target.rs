//! The addresses that are asked.

use std::collections::BTreeMap;
use std::net::SocketAddrV6;
use std::time::Instant;

use crate::io::Method;

/// What is known of an address.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    role: Role,
    health: Health,
    /// Questions in a row without an answer.
    pub(crate) failures: u32,
    /// Times in a row that it was found mute.
    pub(crate) mute_times: u32,
    pub(crate) in_flight: bool,
    pub(crate) answered_at: Option<Instant>,
    /// Whether it has ever answered, also before the watch started.
    seen: bool,
    /// How it is asked: by OPTIONS when it has ever answered them, because a phone whose kernel still answers echo may be dead to SIP.
    pub(crate) prefers: Option<Method>,
}

/// The addresses of a site, and how many of its phones are how: asking that does not take a look at each.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    all: BTreeMap<SocketAddrV6, Target>,
    /// Phones by health.
    phones: [usize; 4],
    /// The IAD and phones that have ever answered.
    seen: usize,
    /// Counts what changes who is counted how.
    version: u64,
}

/// Whose address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The site's router.
    Iad,
    /// A phone's. `local` says that it lies in the site's prefix, so that an answer proves the way to the site.
    Phone {
        /// See above.
        local: bool,
    },
    /// Somewhere a MAC was seen that was seen elsewhere too.
    Place,
}

/// Whether it lives, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Health {
    /// Not asked yet, or not judged.
    Unknown,
    /// It answered when it was last asked.
    Answering,
    /// It did not answer when it was last asked; it is asked again soon.
    Suspected,
    /// It does not answer.
    Mute,
}

impl Targets {
    pub(crate) fn get(&self, address: SocketAddrV6) -> Option<&Target> {
        self.all.get(&address)
    }

    /// To change what is not counted.
    pub(crate) fn get_mut(&mut self, address: SocketAddrV6) -> Option<&mut Target> {
        self.all.get_mut(&address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddrV6, &Target)> {
        self.all.iter().map(|(address, target)| (*address, target))
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddrV6> {
        self.all.keys().copied().collect()
    }

    /// An address gets a role; says whether it is new.
    pub(crate) fn assign(&mut self, address: SocketAddrV6, role: Role) -> bool {
        let is_new = !self.all.contains_key(&address);
        if is_new {
            self.all.insert(address, Target::new(role));
            self.count(address, true);
        } else {
            self.change(address, |target| target.role = role);
        }
        is_new
    }

    pub(crate) fn remove(&mut self, address: SocketAddrV6) -> Option<Target> {
        self.count(address, false);
        self.all.remove(&address)
    }

    pub(crate) fn set_health(&mut self, address: SocketAddrV6, health: Health) {
        if self.all.get(&address).is_some_and(|target| target.health != health) {
            self.change(address, |target| target.health = health);
        }
    }

    /// It answered before the watch started.
    pub(crate) fn set_seen(&mut self, address: SocketAddrV6) {
        self.change(address, |target| target.seen = true);
    }

    /// Takes an answer; says whether it tells anything new.
    pub(crate) fn answered(&mut self, address: SocketAddrV6, now: Instant, method: Method) -> bool {
        let Some(target) = self.all.get_mut(&address) else { return false };
        target.failures = 0;
        target.mute_times = 0;
        target.answered_at = Some(now);
        if target.prefers != Some(Method::Options) {
            target.prefers = Some(method);
        }
        let is_new = target.health != Health::Answering || !target.seen;
        if is_new {
            self.change(address, |target| (target.health, target.seen) = (Health::Answering, true));
        }
        is_new
    }

    /// How many phones are so.
    pub(crate) fn phones(&self, health: Health) -> usize {
        self.phones.get(health as usize).copied().unwrap_or_default()
    }

    /// Whether the IAD or a phone has ever answered.
    pub(crate) fn any_seen(&self) -> bool {
        self.seen > 0
    }

    /// Another number when somebody counts otherwise than before.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Something else changed by which addresses are counted.
    pub(crate) fn touch(&mut self) {
        self.version = self.version.wrapping_add(1);
    }

    fn change(&mut self, address: SocketAddrV6, change: impl FnOnce(&mut Target)) {
        self.count(address, false);
        if let Some(target) = self.all.get_mut(&address) {
            change(target);
        }
        self.count(address, true);
    }

    fn count(&mut self, address: SocketAddrV6, comes: bool) {
        self.version = self.version.wrapping_add(1);
        let Some(target) = self.all.get(&address) else { return };
        let step = |number: &mut usize| match comes {
            true => *number += 1,
            false => *number = number.saturating_sub(1),
        };
        if target.seen && target.role != Role::Place {
            step(&mut self.seen);
        }
        if target.is_phone() {
            self.phones.get_mut(target.health as usize).into_iter().for_each(step);
        }
    }
}

impl Target {
    fn new(role: Role) -> Target {
        Target {
            role,
            health: Health::Unknown,
            failures: 0,
            mute_times: 0,
            in_flight: false,
            answered_at: None,
            seen: false,
            prefers: None,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.seen
    }

    pub(crate) fn is_phone(&self) -> bool {
        matches!(self.role, Role::Phone { .. })
    }

    /// By which methods to ask: as it answers, and by both while that is in doubt. A router is no SIP element.
    pub(crate) fn methods(&self) -> (bool, bool) {
        match (self.role, self.health, self.prefers) {
            (Role::Iad, ..) => (false, true),
            (_, _, Some(Method::Options)) => (true, false),
            (_, Health::Answering, Some(Method::Echo)) => (false, true),
            _ => (true, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_what_a_look_at_each_would_say() {
        let mut targets = Targets::default();
        let address = |port| SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0);
        let now = Instant::now();
        targets.assign(address(0), Role::Iad);
        targets.assign(address(1), Role::Place);
        for port in 2..12 {
            assert!(targets.assign(address(port), Role::Phone { local: port % 2 == 0 }));
        }
        assert!(targets.answered(address(1), now, Method::Echo) && !targets.any_seen());
        assert!(targets.answered(address(3), now, Method::Options));
        let version = targets.version();
        assert!(!targets.answered(address(3), now, Method::Options), "nothing new");
        assert_eq!((targets.version(), targets.any_seen()), (version, true));
        targets.set_health(address(4), Health::Suspected);
        targets.set_health(address(5), Health::Mute);
        targets.set_health(address(0), Health::Mute);
        targets.assign(address(1), Role::Phone { local: true });
        targets.assign(address(5), Role::Place);
        targets.set_seen(address(6));
        targets.remove(address(3));
        targets.remove(address(99));
        for health in [Health::Unknown, Health::Answering, Health::Suspected, Health::Mute] {
            let counted = targets.iter().filter(|(_, target)| target.is_phone() && target.health() == health);
            assert_eq!(targets.phones(health), counted.count(), "{health:?}");
        }
        assert_eq!(targets.seen, 2);
    }
}
