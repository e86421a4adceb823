//! How many new calls are taken, and from whom; what the proxies are told of it. Shared by the workers of the role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use node::config::Admission;
use node::sources::{Offence, Sources};
use schema::TrunkId;
use sip_core::flow::Flow;
use sip_core::overload::{Feedback, Rate, Rates, loss_of};

/// The counts that workers share.
#[derive(Debug)]
pub struct Gate {
    sources: Option<Arc<Sources>>,
    trunks: Rates<TrunkId>,
    calls: Rates<()>,
}

impl Gate {
    /// Nothing was taken yet.
    pub fn new(admission: &Admission, sources: Arc<Sources>) -> Gate {
        Gate {
            sources: Some(sources),
            trunks: Rates::new(Rate::per_second(admission.trunk_calls_per_second)),
            calls: Rates::new(Rate::per_second(admission.calls_per_second)),
        }
    }

    /// Whether a message from there is looked at.
    pub(crate) fn admits(&self, now: Instant, flow: &Flow) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.admits(now, flow.remote.ip()))
    }

    /// Notes a request of somebody who may send none.
    pub(crate) fn offended(&self, now: Instant, flow: &Flow) {
        if let Some(sources) = &self.sources {
            sources.offend(now, flow.remote.ip(), Offence::Stranger);
        }
    }

    /// Takes one of the new calls that a trunk, and all together, may make; else says who has made too many.
    pub(crate) fn take(&self, now: Instant, trunk: Option<TrunkId>) -> Result<(), &'static str> {
        match trunk {
            Some(trunk) if !self.trunks.take(now, trunk) => Err("too many new calls of the trunk"),
            _ if !self.calls.take(now, ()) => Err("too many new calls"),
            _ => Ok(()),
        }
    }

    /// What the proxies are told (RFC 7339): the fuller the places for calls and the more of the rate is used, the more they keep back.
    pub(crate) fn feedback(&self, now: Instant, unix_ms: i64, places: (usize, usize)) -> Feedback {
        let (taken, all) = places;
        let used = (taken as f64 / all.max(1) as f64).max(self.calls.used(now, ()));
        Feedback { loss: loss_of(used), validity: VALIDITY, sequence: unix_ms.unsigned_abs() }
    }
}

impl Default for Gate {
    /// Without limits.
    fn default() -> Gate {
        Gate {
            sources: None,
            trunks: Rates::new(Rate::per_second(0)),
            calls: Rates::new(Rate::per_second(0)),
        }
    }
}

/// How long what the proxies are told holds: by then calls have ended, and there is news.
const VALIDITY: Duration = Duration::from_secs(1);
