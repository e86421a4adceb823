//! One address that is asked.

use std::time::Instant;

use crate::io::Method;

/// What is known of an address.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) role: Role,
    pub(crate) health: Health,
    /// Questions in a row without an answer.
    pub(crate) failures: u32,
    /// Times in a row that it was found mute.
    pub(crate) mute_times: u32,
    pub(crate) in_flight: bool,
    pub(crate) answered_at: Option<Instant>,
    /// Whether it has ever answered, also before the watch started.
    pub(crate) seen: bool,
    /// How it is asked: by OPTIONS when it has ever answered them, because a phone whose kernel still answers echo may be dead to SIP.
    pub(crate) prefers: Option<Method>,
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

impl Target {
    pub(crate) fn new(role: Role) -> Target {
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

    /// Takes an answer.
    pub(crate) fn answered(&mut self, now: Instant, method: Method) {
        self.health = Health::Answering;
        self.failures = 0;
        self.mute_times = 0;
        self.answered_at = Some(now);
        self.seen = true;
        if self.prefers != Some(Method::Options) {
            self.prefers = Some(method);
        }
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
