//! Who is asked when, and how many packets a second that may be.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV6;
use std::time::{Duration, Instant};

use schema::SiteId;

/// Somebody who is asked: an address as one site knows it.
pub(crate) type Who = (SiteId, SocketAddrV6);

/// Whom to ask first when there are more to ask than packets to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A verdict hangs on it.
    Urgent,
    /// In turn.
    Routine,
}

/// Everybody's next time. One time each: a later call moves it.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    urgent: BTreeSet<(Instant, Who)>,
    routine: BTreeSet<(Instant, Who)>,
    times: HashMap<Who, (Instant, Urgency)>,
    /// Counts those taken, so that routine is never starved.
    taken: u64,
}

impl Schedule {
    pub(crate) fn set(&mut self, who: Who, at: Instant, urgency: Urgency) {
        self.cancel(who);
        self.times.insert(who, (at, urgency));
        self.lane(urgency).insert((at, who));
    }

    /// As [`set`](Schedule::set), unless an earlier time is set.
    pub(crate) fn hasten(&mut self, who: Who, at: Instant, urgency: Urgency) {
        let later = self.times.get(&who).is_none_or(|(old, old_urgency)| *old > at || *old_urgency > urgency);
        if later {
            let at = self.times.get(&who).map_or(at, |(old, _)| at.min(*old));
            self.set(who, at, urgency);
        }
    }

    pub(crate) fn cancel(&mut self, who: Who) {
        if let Some((at, urgency)) = self.times.remove(&who) {
            self.lane(urgency).remove(&(at, who));
        }
    }

    /// Takes the next who is due: the urgent first, but one in four is routine.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Who> {
        let due =
            |lane: &BTreeSet<(Instant, Who)>| lane.first().filter(|(at, _)| *at <= now).map(|(_, who)| *who);
        let (urgent, routine) = (due(&self.urgent), due(&self.routine));
        let who = if self.taken % 4 == 3 { routine.or(urgent) } else { urgent.or(routine) }?;
        self.taken = self.taken.wrapping_add(1);
        self.cancel(who);
        Some(who)
    }

    /// The next time at which somebody is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = |lane: &BTreeSet<(Instant, Who)>| lane.first().map(|(at, _)| *at);
        [first(&self.urgent), first(&self.routine)].into_iter().flatten().min()
    }

    fn lane(&mut self, urgency: Urgency) -> &mut BTreeSet<(Instant, Who)> {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Routine => &mut self.routine,
        }
    }
}

/// A token bucket: so many packets a second, and a tenth of a second's at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Bucket {
        let per_second = f64::from(per_second.max(1));
        // A probe is two packets at most, so two must fit.
        let burst = (per_second / 10.0).max(2.0);
        Bucket { per_second, burst, tokens: burst, filled_at: None }
    }

    /// Whether a probe may go.
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        let since = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst);
        self.filled_at = Some(now);
        self.tokens >= PROBE
    }

    pub(crate) fn take(&mut self, packets: u32) {
        self.tokens -= f64::from(packets);
    }

    /// How long until a probe may go.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs_f64(((PROBE - self.tokens) / self.per_second).max(0.0)) + Duration::from_millis(1)
    }
}

/// The packets of a probe by both methods.
const PROBE: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn who(port: u16) -> Who {
        (SiteId(1), SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0))
    }

    #[test]
    fn each_has_one_time_and_the_urgent_go_first() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        schedule.set(who(1), later(1), Urgency::Routine);
        schedule.set(who(2), later(2), Urgency::Urgent);
        schedule.set(who(1), later(3), Urgency::Routine);
        assert_eq!(schedule.next(), Some(later(2)));
        assert_eq!(schedule.take(later(1)), None);
        assert_eq!(schedule.take(later(3)), Some(who(2)));
        assert_eq!(schedule.take(later(3)), Some(who(1)));
        assert_eq!((schedule.take(later(9)), schedule.next()), (None, None));
        schedule.set(who(1), later(10), Urgency::Routine);
        schedule.hasten(who(1), later(20), Urgency::Routine);
        assert_eq!(schedule.next(), Some(later(10)));
        schedule.hasten(who(1), later(20), Urgency::Urgent);
        assert_eq!(schedule.next(), Some(later(10)), "more urgent, and no later");
        schedule.hasten(who(1), later(5), Urgency::Urgent);
        assert_eq!(schedule.next(), Some(later(5)));
    }

    #[test]
    fn routine_is_not_starved() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        for port in 1..=8 {
            schedule.set(who(port), now, Urgency::Urgent);
        }
        schedule.set(who(99), now, Urgency::Routine);
        let order: Vec<u16> =
            std::iter::from_fn(|| schedule.take(now)).map(|(_, address)| address.port()).collect();
        assert_eq!(order.iter().position(|port| *port == 99), Some(3), "{order:?}");
    }

    #[test]
    fn the_bucket_keeps_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100);
        let mut sent = 0;
        for ms in 0..10_000 {
            while bucket.has_room(start + Duration::from_millis(ms)) {
                bucket.take(2);
                sent += 2;
            }
        }
        assert!((990..=1010).contains(&sent), "{sent}");
    }
}
