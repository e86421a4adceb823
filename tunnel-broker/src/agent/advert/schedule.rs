//! When an advertisement is sent, and what it says then (RFC 4861 §6.2), without I/O.
//!
//! Every advertisement goes to all nodes, solicited ones too (§6.2.6 allows either): after a power cut ninety phones ask at once, and one
//! answer serves them all.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;
use rand::RngExt;
use rand::rngs::StdRng;

use super::message::{Advertisement, Prefix};

/// Advertises one LAN.
#[derive(Debug)]
pub(crate) struct Advertiser {
    content: Content,
    /// Prefixes that were taken back, and when nobody uses them any more.
    ended: Vec<(Ipv6Net, Instant)>,
    /// When the next one is due; never while there is nothing to say.
    next: Option<Instant>,
    /// When the last one was sent.
    last: Option<Instant>,
    /// How many are still sent at the short, initial interval.
    initial: u32,
    rng: StdRng,
}

/// What is advertised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The LAN's /64.
    pub(crate) prefix: Option<Ipv6Net>,
    /// Whether we are a default router.
    pub(crate) routes: bool,
    /// DNS servers.
    pub(crate) dns: Vec<Ipv6Addr>,
    /// The MTU that goes through the tunnel.
    pub(crate) mtu: u16,
}

impl Advertiser {
    /// An advertiser that says nothing yet.
    pub(crate) fn new(rng: StdRng) -> Advertiser {
        Advertiser { content: Content::default(), ended: Vec::new(), next: None, last: None, initial: 0, rng }
    }

    /// Advertises something else from now on. A prefix that is no longer in it is told to be obsolete beside the new one, until no host
    /// can have an address from it any more (RFC 9096 §3.5).
    pub(crate) fn set(&mut self, now: Instant, content: Content) {
        if content == self.content {
            return;
        }
        if let Some(before) = self.content.prefix.filter(|before| Some(*before) != content.prefix) {
            self.ended.push((before, now + VALID));
            // An operator who renumbers again and again does not make the message grow.
            if self.ended.len() > MAX_ENDED {
                self.ended.remove(0);
            }
        }
        self.ended.retain(|(prefix, _)| Some(*prefix) != content.prefix);
        self.content = content;
        self.restart(now);
    }

    /// The LAN came back, or its interface did: whoever is there now has heard nothing yet.
    pub(crate) fn restart(&mut self, now: Instant) {
        if self.content.prefix.is_none() && self.ended.is_empty() {
            return;
        }
        self.initial = MAX_INITIAL_RTR_ADVERTISEMENTS;
        self.next = Some(self.not_too_soon(now));
    }

    /// A host asked (§6.2.6).
    pub(crate) fn solicited(&mut self, now: Instant) {
        let Some(next) = self.next else { return };
        let delay = self.rng.random_range(Duration::ZERO..=MAX_RA_DELAY_TIME);
        self.next = Some(next.min(self.not_too_soon(now) + delay));
    }

    /// What [`poll`](Self::poll) gave could not be sent: it comes again soon.
    pub(crate) fn retry(&mut self, now: Instant) {
        self.initial = MAX_INITIAL_RTR_ADVERTISEMENTS;
        self.next = Some(now + RETRY);
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The advertisement that is due now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Advertisement> {
        if self.next? > now {
            return None;
        }
        self.ended.retain(|(_, until)| *until > now);
        self.last = Some(now);
        let interval = self.rng.random_range(MIN_RTR_ADV_INTERVAL..=MAX_RTR_ADV_INTERVAL);
        self.initial = self.initial.saturating_sub(1);
        let interval =
            if self.initial > 0 { interval.min(MAX_INITIAL_RTR_ADVERT_INTERVAL) } else { interval };
        let is_silent = self.content.prefix.is_none() && self.ended.is_empty();
        self.next = (!is_silent).then(|| now + interval);
        (!is_silent).then(|| self.advertisement(now))
    }

    /// The last advertisement, at an orderly end: we are no router any more, and nobody shall use the prefix for anything new (§6.2.5).
    /// Nothing when nothing was advertised.
    ///
    /// Hosts take the preferred lifetime of 0 at once; the valid one they do not take from just anybody (RFC 4862 §5.5.3 (e)): their
    /// addresses are gone when the time is over that was told last.
    pub(crate) fn farewell(&self) -> Option<Advertisement> {
        let zero = |prefix| Prefix { prefix, valid: Duration::ZERO, preferred: Duration::ZERO };
        let ended = self.ended.iter().map(|(prefix, _)| *prefix);
        let prefixes: Vec<_> = self.content.prefix.into_iter().chain(ended).map(zero).collect();
        self.last?;
        Some(Advertisement {
            router_lifetime: Duration::ZERO,
            prefixes,
            dns_lifetime: Duration::ZERO,
            ..self.head()
        })
    }

    fn advertisement(&self, now: Instant) -> Advertisement {
        let current = |prefix| Prefix { prefix, valid: VALID, preferred: PREFERRED };
        let ended = |&(prefix, until): &(Ipv6Net, Instant)| Prefix {
            prefix,
            valid: until.saturating_duration_since(now),
            preferred: Duration::ZERO,
        };
        Advertisement {
            prefixes: self
                .content
                .prefix
                .map(current)
                .into_iter()
                .chain(self.ended.iter().map(ended))
                .collect(),
            ..self.head()
        }
    }

    fn head(&self) -> Advertisement {
        let routes = self.content.routes && self.content.prefix.is_some();
        Advertisement {
            router_lifetime: if routes { ROUTER_LIFETIME } else { Duration::ZERO },
            mac: None,
            mtu: Some(self.content.mtu.into()),
            prefixes: Vec::new(),
            dns: self.content.dns.clone(),
            dns_lifetime: DNS_LIFETIME,
        }
    }

    /// Now, or as soon as the last one lies far enough back (§6.2.6).
    fn not_too_soon(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + MIN_DELAY_BETWEEN_RAS))
    }
}

// RFC 4861 §6.2.1 and §10.
const MAX_RTR_ADV_INTERVAL: Duration = Duration::from_secs(600);
const MIN_RTR_ADV_INTERVAL: Duration = Duration::from_secs(200);
const MAX_INITIAL_RTR_ADVERT_INTERVAL: Duration = Duration::from_secs(16);
const MAX_INITIAL_RTR_ADVERTISEMENTS: u32 = 3;
const MIN_DELAY_BETWEEN_RAS: Duration = Duration::from_secs(3);
const MAX_RA_DELAY_TIME: Duration = Duration::from_millis(500);
/// Three intervals.
const ROUTER_LIFETIME: Duration = Duration::from_secs(1800);
/// Three intervals (RFC 8106 §5.1).
const DNS_LIFETIME: Duration = Duration::from_secs(1800);
/// RFC 9096 §3.4: short enough that a prefix which ended unseen is forgotten within a shift.
const PREFERRED: Duration = Duration::from_secs(2700);
const VALID: Duration = Duration::from_secs(5400);
/// How soon an advertisement is tried again for which the LAN was not ready.
const RETRY: Duration = Duration::from_secs(1);
/// How many prefixes are taken back at a time.
const MAX_ENDED: usize = 4;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn content(prefix: &str) -> Content {
        Content { prefix: Some(prefix.parse().unwrap()), routes: true, dns: Vec::new(), mtu: 1280 }
    }

    fn started(seed: u64) -> (Advertiser, Instant) {
        let now = Instant::now();
        let mut advertiser = Advertiser::new(StdRng::seed_from_u64(seed));
        advertiser.set(now, content("2001:db8:1::/64"));
        (advertiser, now)
    }

    /// Lets the clock run to the next one.
    fn step(advertiser: &mut Advertiser, now: &mut Instant) -> Advertisement {
        *now = advertiser.deadline().unwrap();
        advertiser.poll(*now).unwrap()
    }

    #[test]
    fn nothing_is_said_before_there_is_something_to_say() {
        let now = Instant::now();
        let mut advertiser = Advertiser::new(StdRng::seed_from_u64(1));
        advertiser.solicited(now);
        advertiser.restart(now);
        assert_eq!(advertiser.deadline(), None);
        assert_eq!(advertiser.poll(now), None);
        assert_eq!(advertiser.farewell(), None);
    }

    #[test]
    fn the_first_three_come_soon_and_the_others_at_the_rfcs_intervals() {
        for seed in 0..20 {
            let (mut advertiser, mut now) = started(seed);
            assert_eq!(advertiser.deadline(), Some(now));
            let first = step(&mut advertiser, &mut now);
            assert_eq!(first.router_lifetime, ROUTER_LIFETIME);
            assert_eq!(first.prefixes.len(), 1);
            assert_eq!((first.prefixes[0].valid, first.prefixes[0].preferred), (VALID, PREFERRED));
            for _ in 1..3 {
                let before = now;
                step(&mut advertiser, &mut now);
                assert_eq!(now - before, MAX_INITIAL_RTR_ADVERT_INTERVAL);
            }
            let mut intervals = Vec::new();
            for _ in 0..10 {
                let before = now;
                step(&mut advertiser, &mut now);
                intervals.push(now - before);
            }
            assert!(intervals.iter().all(|it| (MIN_RTR_ADV_INTERVAL..=MAX_RTR_ADV_INTERVAL).contains(it)));
            assert!(intervals.windows(2).any(|pair| pair[0] != pair[1]), "they are jittered");
        }
    }

    #[test]
    fn solicitations_are_answered_soon_but_not_more_often_than_every_three_seconds() {
        let (mut advertiser, mut now) = started(3);
        for _ in 0..4 {
            step(&mut advertiser, &mut now);
        }
        now += Duration::from_secs(60);
        advertiser.solicited(now);
        let asked = now;
        step(&mut advertiser, &mut now);
        assert!(now - asked <= MAX_RA_DELAY_TIME);
        // Ninety phones at once.
        let answered = now;
        for _ in 0..90 {
            advertiser.solicited(now);
        }
        step(&mut advertiser, &mut now);
        let pause = now - answered;
        assert!(
            (MIN_DELAY_BETWEEN_RAS..=MIN_DELAY_BETWEEN_RAS + MAX_RA_DELAY_TIME).contains(&pause),
            "{pause:?}"
        );
        step(&mut advertiser, &mut now);
        assert!(now - answered > MIN_RTR_ADV_INTERVAL, "one answer served them all");
    }

    #[test]
    fn an_earlier_one_that_is_due_anyway_is_not_put_off() {
        let (mut advertiser, now) = started(4);
        advertiser.solicited(now);
        assert_eq!(advertiser.deadline(), Some(now));
    }

    #[test]
    fn a_prefix_that_ended_is_told_beside_the_new_one_until_it_lapses() {
        let (mut advertiser, mut now) = started(5);
        step(&mut advertiser, &mut now);
        now += Duration::from_secs(100);
        let changed = now;
        advertiser.set(now, content("2001:db8:2::/64"));
        let said = step(&mut advertiser, &mut now);
        let prefixes: Vec<_> = said.prefixes.iter().map(|it| (it.prefix.to_string(), it.preferred)).collect();
        assert_eq!(
            prefixes,
            [("2001:db8:2::/64".into(), PREFERRED), ("2001:db8:1::/64".into(), Duration::ZERO)]
        );
        assert_eq!(said.prefixes[1].valid, VALID - (now - changed));
        while now < changed + VALID {
            step(&mut advertiser, &mut now);
        }
        assert_eq!(step(&mut advertiser, &mut now).prefixes.len(), 1);
    }

    #[test]
    fn a_prefix_that_comes_back_is_no_longer_ended() {
        let (mut advertiser, mut now) = started(6);
        advertiser.set(now, content("2001:db8:2::/64"));
        advertiser.set(now, content("2001:db8:1::/64"));
        let said = step(&mut advertiser, &mut now);
        assert_eq!(said.prefixes.len(), 2);
        assert_eq!(said.prefixes[0].prefix, "2001:db8:1::/64".parse().unwrap());
        for number in 10..40 {
            advertiser.set(now, content(&format!("2001:db8:{number}::/64")));
        }
        now += MIN_DELAY_BETWEEN_RAS;
        assert_eq!(advertiser.poll(now).unwrap().prefixes.len(), 1 + MAX_ENDED);
    }

    #[test]
    fn without_a_way_out_the_prefix_stays_and_the_route_does_not() {
        let (mut advertiser, mut now) = started(7);
        step(&mut advertiser, &mut now);
        now += Duration::from_secs(100);
        advertiser.set(now, Content { routes: false, ..content("2001:db8:1::/64") });
        let said = step(&mut advertiser, &mut now);
        assert_eq!(said.router_lifetime, Duration::ZERO);
        assert_eq!(said.prefixes[0].preferred, PREFERRED);
        // The same again is no news.
        let due = advertiser.deadline();
        advertiser.set(now, Content { routes: false, ..content("2001:db8:1::/64") });
        assert_eq!(advertiser.deadline(), due);
    }

    #[test]
    fn the_last_one_takes_everything_back() {
        let (mut advertiser, mut now) = started(8);
        advertiser.set(now, Content { dns: vec![Ipv6Addr::LOCALHOST], ..content("2001:db8:1::/64") });
        step(&mut advertiser, &mut now);
        let last = advertiser.farewell().unwrap();
        assert_eq!(last.router_lifetime, Duration::ZERO);
        assert_eq!((last.prefixes[0].valid, last.prefixes[0].preferred), (Duration::ZERO, Duration::ZERO));
        assert_eq!((last.dns.len(), last.dns_lifetime), (1, Duration::ZERO));
    }
}
