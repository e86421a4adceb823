//! How much is taken: from one source, of one site, and in all. Shared by the workers of the role.
//!
//! Calls that are up and calls for help pass everywhere.

use std::sync::Arc;
use std::time::Instant;

use node::config::Admission;
use node::sources::{Offence, Sources};
use schema::{Line, SiteId};
use sip_core::flow::Flow;
use sip_core::overload::{Feedback, Rate, Rates};
use sip_core::wire::{Message, Method, Uri};

use crate::core::ProxyCore;
use crate::dial_plan::dialled;
use crate::refusal::Refusal;
use crate::telemetry;

/// The counts that workers share.
#[derive(Debug)]
pub struct Gate {
    /// Where requests come from.
    pub sources: Arc<Sources>,
    sites: Rates<SiteId>,
    calls: Rates<()>,
}

impl Gate {
    /// Nothing was taken yet.
    pub fn new(admission: &Admission, sources: Arc<Sources>) -> Gate {
        Gate {
            sources,
            sites: Rates::new(Rate::per_second(admission.site_calls_per_second)),
            calls: Rates::new(Rate::per_second(admission.calls_per_second)),
        }
    }
}

impl ProxyCore {
    /// Whether a request is a call to an emergency number.
    pub(crate) fn calls_for_help(&self, method: &Method, uri: &Uri) -> bool {
        *method == Method::Invite
            && dialled(uri).is_some_and(|number| self.settings.dial_plan.emergency(&number).is_some())
    }

    /// Takes one of the new requests that its source may send.
    pub(crate) fn take_of_source(&self, now: Instant, flow: &Flow) -> Result<(), Refusal> {
        let address = flow.remote.ip();
        if self.settings.is_translator(flow) || self.gate.sources.take(now, address) {
            return Ok(());
        }
        Err(self.busy("source", "Too Many Requests"))
    }

    /// Takes one of the new calls that a line's site, and all together, may make.
    pub(crate) fn take_of_site(&self, now: Instant, line: &Line) -> Result<(), Refusal> {
        if !self.gate.sites.take(now, line.site) {
            return Err(self.busy("site", "Too Many Calls Of The Site"));
        }
        self.take_call(now)
    }

    /// Takes one of the new calls that all together may make.
    pub(crate) fn take_call(&self, now: Instant) -> Result<(), Refusal> {
        match self.gate.calls.take(now, ()) {
            true => Ok(()),
            false => Err(self.busy("all", "Too Many Calls")),
        }
    }

    fn busy(&self, scope: &'static str, reason: &'static str) -> Refusal {
        telemetry::shed(scope);
        Refusal::later(reason, self.settings.limits.retry_after)
    }

    /// Notes what somebody did who may not.
    pub(crate) fn offended(&self, now: Instant, flow: &Flow, offence: Offence) {
        if self.settings.is_translator(flow) {
            return;
        }
        self.gate.sources.offend(now, flow.remote.ip(), offence);
    }

    /// Takes what a translator says of its load (RFC 7339 §5.4).
    pub(crate) fn learn_load(&mut self, now: Instant, response: &Message, from: std::net::SocketAddr) {
        let feedback = response.top_via().ok().and_then(|via| Feedback::read(&via));
        let is_asked = self.settings.translators.iter().any(|own| own.addr == from);
        if let Some(feedback) = feedback.filter(|_| is_asked) {
            self.throttles.entry(from).or_default().learn(now, feedback);
        }
    }

    /// Whether a translator wants this call, as far as it has said.
    pub(crate) fn is_wanted_by(&mut self, now: Instant, translator: std::net::SocketAddr) -> bool {
        let random = self.ids.next_u64();
        self.throttles.get(&translator).is_none_or(|throttle| throttle.admits(now, random))
    }
}
