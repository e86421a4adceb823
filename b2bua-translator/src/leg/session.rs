//! The session timer of one leg (RFC 4028): who refreshes, when, and when the session counts as dead.

use std::time::{Duration, Instant};

use sip_core::wire::header::{MinSe, Refresher, SessionExpires};
use sip_core::wire::{Builder, Message, Name};

use super::peer::{requires, supports};
use crate::settings::SessionPolicy;

/// What is agreed with a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SessionTimer {
    terms: Option<Terms>,
    /// The shortest interval that the peer, or somebody on the way, takes (RFC 4028 §7.4).
    least: u32,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Seconds.
    interval: u32,
    /// Whether we refresh.
    ours: bool,
    refresh_at: Option<Instant>,
    expires_at: Instant,
}

/// What a 2xx of ours says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    interval: u32,
    /// Whether the sender of the request refreshes.
    by_sender: bool,
}

/// An interval is shorter than we take: 422.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSmall;

/// What the timer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Refresh,
    /// Nobody refreshed in time.
    Expired,
}

impl Agreement {
    /// What to answer to an INVITE or UPDATE (RFC 4028 §9); `None` for no timer.
    pub(crate) fn with(request: &Message, policy: &SessionPolicy) -> Result<Option<Agreement>, TooSmall> {
        let knows = supports(request, "timer") || requires(request, "timer");
        let asked = request.header::<SessionExpires>().ok().flatten();
        let least = request.header::<MinSe>().ok().flatten().map_or(0, |min| min.seconds);
        let interval = match &asked {
            // Only who knows the timer can be told 422; a server may lower what is asked for, and never raise it.
            Some(asked) if asked.seconds < policy.min => {
                if knows {
                    return Err(TooSmall);
                }
                asked.seconds
            }
            Some(asked) => asked.seconds.min(policy.interval.unwrap_or(u32::MAX).max(policy.min).max(least)),
            None => match policy.interval {
                Some(own) => own.max(least),
                None => return Ok(None),
            },
        };
        // RFC 4028 §9, table 2.
        let by_sender = knows && asked.and_then(|asked| asked.refresher()) != Some(Refresher::Uas);
        Ok(Some(Agreement { interval, by_sender }))
    }

    /// Writes it into the 2xx.
    pub(crate) fn write(&self, builder: Builder) -> Builder {
        let refresher = if self.by_sender { Refresher::Uac } else { Refresher::Uas };
        let builder =
            builder.header(Name::SessionExpires, SessionExpires::new(self.interval, Some(refresher)));
        if self.by_sender { builder.header(Name::Require, "timer") } else { builder }
    }
}

impl SessionTimer {
    /// Starts anew with what our 2xx said.
    pub(crate) fn answered(&mut self, now: Instant, agreement: Option<Agreement>) {
        self.terms = agreement.map(|agreed| Terms::new(now, agreed.interval, !agreed.by_sender));
    }

    /// Starts anew with what a 2xx to our INVITE or UPDATE says (RFC 4028 §7.2). A peer that does not know the timer is asked
    /// by us alone whether it lives.
    pub(crate) fn agreed(&mut self, now: Instant, response: &Message, policy: &SessionPolicy) {
        self.terms = match response.header::<SessionExpires>().ok().flatten() {
            Some(said) => {
                let ours = said.refresher() != Some(Refresher::Uas);
                Some(Terms::new(now, said.seconds.max(LEAST), ours))
            }
            None => policy.interval.map(|own| Terms::new(now, own.max(self.least), true)),
        };
    }

    /// Takes a 422: the interval must be at least this (RFC 4028 §7.4). False when it says nothing new.
    pub(crate) fn refused(&mut self, response: &Message) -> bool {
        let Some(min) = response.header::<MinSe>().ok().flatten() else { return false };
        let more = min.seconds > self.least;
        self.least = self.least.max(min.seconds);
        more
    }

    /// Writes what an INVITE or UPDATE of ours says (RFC 4028 §7.1, §7.4, §8.1).
    pub(crate) fn write(&self, builder: Builder, policy: &SessionPolicy) -> Builder {
        let least = self.least.max(policy.min);
        let header = match self.terms {
            Some(terms) => {
                let refresher = if terms.ours { Refresher::Uac } else { Refresher::Uas };
                Some(SessionExpires::new(terms.interval.max(self.least), Some(refresher)))
            }
            None => policy.interval.map(|own| SessionExpires::new(own.max(self.least), None)),
        };
        match header {
            Some(header) => builder
                .header(Name::SessionExpires, header)
                // RFC 4028 §5: 90 is what everybody takes for granted.
                .header_if(Name::MinSe, (least != DEFAULT_MIN).then(|| MinSe::new(least))),
            None => builder,
        }
    }

    /// No more refreshes, and no end.
    pub(crate) fn stop(&mut self) {
        self.terms = None;
    }

    /// A refresh did not succeed: it is tried again soon. Nothing else moves, so that the session still ends in time.
    pub(crate) fn refresh_later(&mut self, now: Instant, after: Duration) {
        if let Some(terms) = &mut self.terms {
            terms.refresh_at = Some(now + after);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let terms = self.terms?;
        Some(terms.refresh_at.map_or(terms.expires_at, |at| at.min(terms.expires_at)))
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        match &mut self.terms {
            Some(terms) if terms.expires_at <= now => {
                self.terms = None;
                Due::Expired
            }
            Some(terms) if terms.refresh_at.is_some_and(|at| at <= now) => {
                terms.refresh_at = None;
                Due::Refresh
            }
            _ => Due::Nothing,
        }
    }
}

impl Terms {
    fn new(now: Instant, interval: u32, ours: bool) -> Terms {
        let span = Duration::from_secs(interval.into());
        // RFC 4028 §10: the end comes a little before the interval is over.
        let spare = (span / 3).min(Duration::from_secs(32));
        // RFC 4028 §7.2: half of the interval.
        let refresh_at = ours.then(|| now + span / 2);
        Terms { interval, ours, refresh_at, expires_at: now + span - spare }
    }
}

/// RFC 4028 §5.
const DEFAULT_MIN: u32 = 90;
/// No peer makes us refresh more often than twice in so many seconds, whatever it says.
const LEAST: u32 = 4;

#[cfg(test)]
mod tests {
    use sip_core::wire::{Method, StatusCode};

    use super::*;

    fn policy(interval: Option<u32>, min: u32) -> SessionPolicy {
        SessionPolicy { interval, min }
    }

    fn request(headers: &[(Name, &str)]) -> Message {
        let builder = Builder::request(&Method::Invite, "sip:a@192.0.2.1");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    fn ok(headers: &[(Name, &str)]) -> Message {
        let builder = Builder::response(StatusCode::OK, None);
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    /// RFC 4028 §9: who refreshes is decided by the server, within what the client says and can.
    #[test]
    fn the_server_decides() {
        let own = policy(Some(1_800), 90);
        let agreed =
            |headers: &[(Name, &str)], policy: &SessionPolicy| Agreement::with(&request(headers), policy);
        let terms = |interval, by_sender| Ok(Some(Agreement { interval, by_sender }));
        assert_eq!(agreed(&[], &own), terms(1_800, false), "a peer that knows no timer is refreshed by us");
        assert_eq!(agreed(&[], &policy(None, 90)), Ok(None));
        let (timer, expires) = ((Name::Supported, "timer"), Name::SessionExpires);
        assert_eq!(agreed(&[timer], &own), terms(1_800, true));
        assert_eq!(agreed(&[timer, (expires, "600")], &own), terms(600, true));
        assert_eq!(agreed(&[timer, (expires, "600;refresher=uas")], &own), terms(600, false));
        assert_eq!(agreed(&[timer, (expires, "9000;refresher=uac")], &own), terms(1_800, true));
        assert_eq!(agreed(&[timer, (expires, "9000"), (Name::MinSe, "3600")], &own), terms(3_600, true));
        assert_eq!(agreed(&[timer, (Name::MinSe, "3600")], &own), terms(3_600, true));
        assert_eq!(agreed(&[timer, (expires, "600")], &policy(None, 90)), terms(600, true));
        // 422 is only for who knows what it means.
        assert_eq!(agreed(&[timer, (expires, "60")], &own), Err(TooSmall));
        assert_eq!(agreed(&[(expires, "60")], &own), terms(60, false));
        let written =
            Agreement { interval: 600, by_sender: true }.write(Builder::response(StatusCode::OK, None));
        let written = written.finish();
        assert_eq!(written.text(expires), Some("600;refresher=uac"));
        assert_eq!(written.text(Name::Require), Some("timer"));
    }

    /// RFC 4028 §7.2, §10: the refresher refreshes after half of the interval; the session ends a third of it, 32 s at most,
    /// before the interval is over.
    #[test]
    fn refresh_and_end() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let mut timer = SessionTimer::default();
        timer.agreed(now, &ok(&[(Name::SessionExpires, "1800;refresher=uac")]), &policy(Some(1_800), 90));
        assert_eq!(timer.deadline(), Some(now + seconds(900)));
        assert_eq!(timer.due(now + seconds(899)), Due::Nothing);
        assert_eq!(timer.due(now + seconds(900)), Due::Refresh);
        assert_eq!(timer.deadline(), Some(now + seconds(1_768)));
        timer.refresh_later(now, seconds(910));
        assert_eq!(timer.due(now + seconds(910)), Due::Refresh);
        assert_eq!(timer.due(now + seconds(1_768)), Due::Expired);
        assert_eq!(timer.deadline(), None);

        timer.agreed(now, &ok(&[(Name::SessionExpires, "60;refresher=uas")]), &policy(Some(1_800), 90));
        assert_eq!(timer.deadline(), Some(now + seconds(40)), "the peer refreshes, we wait");
        assert_eq!(timer.due(now + seconds(40)), Due::Expired);
        timer.answered(now, Some(Agreement { interval: 120, by_sender: false }));
        assert_eq!(timer.deadline(), Some(now + seconds(60)), "we said that we refresh");
        timer.answered(now, None);
        assert_eq!(timer.deadline(), None);
        // A peer that does not know the timer: we refresh, when we care.
        timer.agreed(now, &ok(&[]), &policy(Some(1_800), 90));
        assert_eq!(timer.due(now + seconds(900)), Due::Refresh);
        timer.agreed(now, &ok(&[]), &policy(None, 90));
        assert_eq!(timer.deadline(), None);
    }

    /// RFC 4028 §7.4: a refresh says who refreshes, seen from its sender; after 422 the interval is at least Min-SE.
    #[test]
    fn what_requests_say() {
        let now = Instant::now();
        let own = policy(Some(1_800), 90);
        let written = |timer: &SessionTimer, policy: &SessionPolicy| {
            let message = timer.write(Builder::request(&Method::Update, "sip:a@192.0.2.1"), policy).finish();
            let text = |name| message.text(name).map(str::to_owned);
            (text(Name::SessionExpires), text(Name::MinSe))
        };
        let some = |text: &str| Some(text.to_owned());
        let mut timer = SessionTimer::default();
        assert_eq!(written(&timer, &own), (some("1800"), None));
        assert_eq!(written(&timer, &policy(None, 90)), (None, None));
        assert_eq!(written(&timer, &policy(Some(600), 120)), (some("600"), some("120")));
        assert!(timer.refused(&ok(&[(Name::MinSe, "3600")])));
        assert!(!timer.refused(&ok(&[(Name::MinSe, "3600")])) && !timer.refused(&ok(&[])));
        assert_eq!(written(&timer, &own), (some("3600"), some("3600")));
        timer.agreed(now, &ok(&[(Name::SessionExpires, "3600;refresher=uas")]), &own);
        assert_eq!(written(&timer, &own).0, some("3600;refresher=uas"), "the peer refreshes");
        timer.answered(now, Some(Agreement { interval: 4_000, by_sender: false }));
        assert_eq!(written(&timer, &own).0, some("4000;refresher=uac"));
    }
}
