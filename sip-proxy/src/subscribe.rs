//! Subscriptions to the registrations of a line (RFC 3680), with the notifier of RFC 6665.
//!
//! Bindings change in the memory that all workers share, by REGISTERs at any of them and by other nodes: while there are subscriptions,
//! every worker looks now and then whether what it told is still so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use registrar::Kind as AskAs;
use registrar::reg_event::{MEDIA_TYPE, PACKAGE, Told};
use schema::LineId;
use sip_core::flow::Flow;
use sip_core::subscription::{Accepted, Due, Ending, Notifier, Refused, State, SubscriptionId};
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::header::{Event, NameAddr, Via};
use sip_core::wire::{Message, Method, Name, Params, SipUri, StatusCode, Uri};

use crate::core::{NOTIFIER, ProxyCore};
use crate::refusal::Refusal;
use crate::resolve::{Caller, Destination, Domain, resolve};
use crate::target::next_hop;

/// The subscriptions of one worker.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(crate) notifier: Notifier<LineId>,
    told: HashMap<SubscriptionId, Told>,
    /// NOTIFYs that await their answers.
    notifies: HashMap<ClientId, SubscriptionId>,
    look_at: Option<Instant>,
    pub(crate) armed: Option<Instant>,
}

impl Subscriptions {
    pub(crate) fn new(settings: sip_core::subscription::Settings) -> Subscriptions {
        Subscriptions {
            notifier: Notifier::new(settings),
            told: HashMap::new(),
            notifies: HashMap::new(),
            look_at: None,
            armed: None,
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let look_at = self.look_at.filter(|_| !self.notifier.is_empty());
        [look_at, self.notifier.next_deadline()].into_iter().flatten().min()
    }
}

/// Whether a SUBSCRIBE is for us: about registrations, of which we alone know.
pub(crate) fn is_about_registrations(request: &Message) -> bool {
    request.is(&Method::Subscribe)
        && request.header::<Event>().is_ok_and(|event| event.is_some_and(|event| event.package == PACKAGE))
}

impl ProxyCore {
    /// Takes a SUBSCRIBE to a line's registrations from who may know of them: the line itself.
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        (uri, domain): (&Uri, &Domain),
    ) -> Result<(), Refusal> {
        let line = self.authenticate(now, request, flow, AskAs::Server)?;
        let named = resolve(&Caller::Line(line.clone()), domain, uri, &self.directory, &self.settings)?;
        if !matches!(&named, Destination::Line(named) if named.id == line.id) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Not Your Registrations"));
        }
        let (tag, contact) = (self.ids.tag(), self.own_contact(flow));
        let taken = self.subscriptions.notifier.subscribe(now, request, line.id, *flow, (&tag, contact));
        let Accepted { subscription, response } = taken.map_err(refusal)?;
        self.subscriptions.told.insert(subscription, Told::default());
        self.subscriptions.look_at.get_or_insert(now + LOOK_AGAIN);
        self.respond(now, server, response);
        self.notify(now);
        Ok(())
    }

    /// Takes a SUBSCRIBE in the dialog of a subscription of ours.
    pub(crate) fn resubscribe(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
    ) -> Result<(), Refusal> {
        if !request.is(&Method::Subscribe) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "").with(Name::Allow, "SUBSCRIBE"));
        }
        let taken = self.subscriptions.notifier.refresh(now, request).map_err(refusal)?;
        self.respond(now, server, taken.response);
        self.notify(now);
        Ok(())
    }

    /// Looks whether something is due.
    pub(crate) fn tick_subscriptions(&mut self, now: Instant) {
        self.subscriptions.armed = None;
        if self.subscriptions.look_at.is_some_and(|at| at <= now) {
            self.subscriptions.look_at = (!self.subscriptions.notifier.is_empty()).then(|| now + LOOK_AGAIN);
            let unix_now = self.clock.unix(now);
            let (locations, told) = (&self.locations, &self.subscriptions.told);
            let changed = self.subscriptions.notifier.iter().filter(|(id, line)| {
                told.get(id).is_some_and(|told| told.differs(&locations.lookup(**line, unix_now)))
            });
            let changed: Vec<SubscriptionId> = changed.map(|(id, _)| id).collect();
            changed.into_iter().for_each(|id| self.subscriptions.notifier.changed(now, id));
        }
        self.notify(now);
    }

    /// The answer to a NOTIFY of ours. `false` for a response to something else.
    pub(crate) fn notify_answered(&mut self, now: Instant, client: ClientId, response: &Message) -> bool {
        let Some(&subscription) = self.subscriptions.notifies.get(&client) else { return false };
        if response.status().is_some_and(StatusCode::is_final) {
            self.subscriptions.notifies.remove(&client);
            self.subscriptions.notifier.answered(now, subscription, response);
            self.forget_ended();
            self.notify(now);
        }
        true
    }

    /// No answer to a NOTIFY of ours came. `false` when it is about something else.
    pub(crate) fn notify_failed(&mut self, client: ClientId) -> bool {
        let Some(subscription) = self.subscriptions.notifies.remove(&client) else { return false };
        self.subscriptions.notifier.gone(subscription);
        self.forget_ended();
        true
    }

    /// Sends every NOTIFY that is due.
    pub(crate) fn notify(&mut self, now: Instant) {
        for Due { subscription, resource, state } in self.subscriptions.notifier.due(now) {
            if !self.send_notify(now, subscription, resource, state) {
                self.subscriptions.notifier.gone(subscription);
            }
        }
        self.forget_ended();
    }

    fn send_notify(
        &mut self,
        now: Instant,
        subscription: SubscriptionId,
        line: LineId,
        state: State,
    ) -> bool {
        let unix_now = self.clock.unix(now);
        let Some(told) = self.subscriptions.told.get_mut(&subscription) else { return false };
        let aor = self.directory.line(line).and_then(|line| self.registrar.aor(&line));
        // A line that is no more has no registrations; the subscriber is told so and sent away.
        let body = aor.map(|aor| {
            let bindings = self.locations.lookup(line, unix_now);
            told.document(line, &aor, &bindings, &self.settings.registrar.gruu, unix_now)
        });
        let state = match body {
            Some(_) => state,
            None => State::Terminated(Ending::NoResource),
        };
        // By its route set, and else the way that the SUBSCRIBE came: the phone may be behind a stream.
        let Some(origin) = self.subscriptions.notifier.flow(subscription) else { return false };
        let route = self.subscriptions.notifier.route(subscription);
        let flow = route.and_then(|route| next_hop(route, &origin, &self.settings)).unwrap_or(origin);
        let branch = self.ids.branch();
        let params = Params::default().with("branch", Some(&branch)).with("rport", None);
        let sent_by = self.settings.name_on(&flow);
        let via = Via { transport: flow.transport.as_str().to_owned(), sent_by, params };
        let body = body.map(|text| (MEDIA_TYPE, Bytes::from(text)));
        let Some(notify) = self.subscriptions.notifier.notify(subscription, state, via, body) else {
            return false;
        };
        match self.layer.request(now, notify, flow) {
            Ok(client) => {
                self.subscriptions.notifies.insert(client, subscription);
                true
            }
            Err(overflow) => {
                tracing::warn!(%overflow, "a NOTIFY could not be sent");
                false
            }
        }
    }

    fn forget_ended(&mut self) {
        if self.subscriptions.told.len() > self.subscriptions.notifier.len() {
            let notifier = &self.subscriptions.notifier;
            self.subscriptions.told.retain(|id, _| notifier.has(*id));
        }
    }

    pub(crate) fn rearm_subscriptions(&mut self) {
        let at = self.subscriptions.deadline();
        if at != self.subscriptions.armed {
            self.subscriptions.armed = at;
            self.set_timer(NOTIFIER, at);
        }
    }

    /// Where a subscriber reaches us for what follows.
    fn own_contact(&self, flow: &Flow) -> NameAddr {
        let mut uri = SipUri::of_address(flow.local, flow.transport);
        uri.host_port = self.settings.name_on(flow);
        NameAddr::new(uri)
    }
}

fn refusal(refused: Refused) -> Refusal {
    let status = refused.status();
    match refused {
        Refused::TooBrief(seconds) => Refusal::new(status, "").with(Name::MinExpires, seconds),
        Refused::TooMany => Refusal::later("Too Many Subscriptions", 30),
        Refused::OutOfOrder => Refusal::new(status, "CSeq is out of order"),
        Refused::OtherEvent => Refusal::new(status, "").with(Name::AllowEvents, PACKAGE),
        Refused::Malformed(error) => error.into(),
        Refused::Unknown => Refusal::new(status, ""),
    }
}

/// How often bindings are compared with what was told: changes are told no faster anyway (RFC 3680 §4.10).
const LOOK_AGAIN: Duration = Duration::from_secs(5);
