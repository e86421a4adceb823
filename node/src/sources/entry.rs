//! What is known of one source.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use sip_core::overload::{Bucket, Rate};

use super::SourceSettings;

/// Whom requests are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// One address.
    Address(IpAddr),
    /// The /64 that begins with this address: who has one address in it has them all.
    Network(Ipv6Addr),
}

impl Source {
    /// The network that an address is in, where it is an IPv6 one.
    pub fn network_of(address: IpAddr) -> Option<Source> {
        let IpAddr::V6(address) = address else { return None };
        Some(Source::Network(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Address(address) => write!(f, "{address}"),
            Source::Network(network) => write!(f, "{network}/64"),
        }
    }
}

/// What a scanner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// An unknown user or a wrong password.
    Credentials,
    /// Something for somebody else, whom we do not serve.
    Relay,
    /// A request to the translator, which takes none from strangers.
    Stranger,
    /// OPTIONS, from who is not registered.
    Probe,
    /// A request without credentials where some are needed. Every phone sends them, and then one with credentials, which makes them good.
    Unauthenticated,
}

impl Offence {
    /// How much it weighs; one point is forgotten each second.
    pub fn points(self) -> u32 {
        match self {
            Offence::Credentials | Offence::Relay | Offence::Stranger => 10,
            Offence::Probe => 2,
            Offence::Unauthenticated => 1,
        }
    }

    /// For a metric's label and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Offence::Credentials => "credentials",
            Offence::Relay => "relay",
            Offence::Stranger => "stranger",
            Offence::Probe => "probe",
            Offence::Unauthenticated => "unauthenticated",
        }
    }
}

/// How a source is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As anybody.
    Watched,
    /// One request a second is looked at.
    Slowed,
    /// Nothing is looked at.
    Dropped,
}

impl Standing {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Watched => "watched",
            Standing::Slowed => "slowed",
            Standing::Dropped => "dropped",
        }
    }
}

/// A source as an operator sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// Who.
    pub source: Source,
    /// How it is treated.
    pub standing: Standing,
    /// What it has collected.
    pub points: u32,
    /// Offences in all, and the last one.
    pub offences: u64,
    /// The last offence.
    pub last: Option<Offence>,
    /// How long ago that was.
    pub idle: Duration,
    /// Messages of it that were not looked at.
    pub dropped: u64,
    /// New requests of it that were answered with 503.
    pub limited: u64,
    /// For how long it stays dropped.
    pub left: Option<Duration>,
}

/// One source's account.
#[derive(Debug)]
pub(super) struct Entry {
    points: f64,
    at: Instant,
    offences: u64,
    last: Option<(Offence, Instant)>,
    dropped: u64,
    pub(super) limited: u64,
    dropped_until: Option<Instant>,
    requests: Bucket,
    slow: Bucket,
}

impl Entry {
    pub(super) fn new(now: Instant, settings: &SourceSettings) -> Entry {
        Entry {
            points: 0.0,
            at: now,
            offences: 0,
            last: None,
            dropped: 0,
            limited: 0,
            dropped_until: None,
            requests: Bucket::new(now, settings.rate),
            slow: Bucket::new(now, SLOW),
        }
    }

    /// One new request.
    pub(super) fn take(&mut self, now: Instant, settings: &SourceSettings) -> bool {
        self.requests.take(now, settings.rate)
    }

    /// Adds to its account. `scale` is how many single sources it stands for.
    pub(super) fn offend(&mut self, now: Instant, offence: Offence, scale: u32, settings: &SourceSettings) {
        self.offences += 1;
        self.last = Some((offence, now));
        self.add(now, offence.points(), scale, settings);
    }

    /// One message of it is not looked at. Who hammers on while it is slowed is dropped.
    pub(super) fn ignored(&mut self, now: Instant, scale: u32, settings: &SourceSettings) -> Standing {
        self.dropped += 1;
        if self.standing(now, scale, settings) == Standing::Slowed {
            self.add(now, 1, scale, settings);
        }
        self.standing(now, scale, settings)
    }

    fn add(&mut self, now: Instant, points: u32, scale: u32, settings: &SourceSettings) {
        self.forget(now);
        self.points += f64::from(points);
        let limit = settings.drop_after.saturating_mul(scale);
        if limit > 0 && self.points >= f64::from(limit) {
            self.dropped_until = Some(now + settings.drop_for);
            // When it comes back it is slowed at first.
            self.points = f64::from(settings.slow_after.saturating_mul(scale).min(limit))
                + (settings.drop_for + SLOWED_FOR).as_secs_f64() * FORGOTTEN_A_SECOND;
        }
    }

    pub(super) fn standing(&mut self, now: Instant, scale: u32, settings: &SourceSettings) -> Standing {
        self.forget(now);
        let limit = settings.slow_after.saturating_mul(scale);
        match self.dropped_until {
            Some(until) if now < until => Standing::Dropped,
            _ if limit > 0 && self.points >= f64::from(limit) => Standing::Slowed,
            _ => Standing::Watched,
        }
    }

    /// One message of who is slowed.
    pub(super) fn take_slowly(&mut self, now: Instant) -> bool {
        self.slow.take(now, SLOW)
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_blank(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.points <= 0.0 && self.dropped_until.is_none_or(|until| until <= now)
    }

    pub(super) fn points(&self) -> f64 {
        self.points
    }

    pub(super) fn view(
        &mut self,
        source: Source,
        now: Instant,
        scale: u32,
        settings: &SourceSettings,
    ) -> View {
        let standing = self.standing(now, scale, settings);
        View {
            source,
            standing,
            points: self.points as u32,
            offences: self.offences,
            last: self.last.map(|(offence, _)| offence),
            idle: self.last.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at)),
            dropped: self.dropped,
            limited: self.limited,
            left: self
                .dropped_until
                .map(|until| until.saturating_duration_since(now))
                .filter(|left| !left.is_zero()),
        }
    }

    fn forget(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.points = (self.points - passed * FORGOTTEN_A_SECOND).max(0.0);
        self.at = self.at.max(now);
    }
}

/// How long a source that was dropped is slowed, when it does no more.
const SLOWED_FOR: Duration = Duration::from_secs(60);
/// Points.
const FORGOTTEN_A_SECOND: f64 = 1.0;
/// What is left to a source that is slowed.
const SLOW: Rate = Rate { per_second: 1, burst: 1 };
