//! The subscriptions of one core.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::one::{Clock, Ending, State};
use crate::dialog::{Dialog, DialogError, DialogId};
use crate::flow::Flow;
use crate::wire::header::{Event, Expires, NameAddr, SubscriptionState, Via};
use crate::wire::{Builder, HeaderError, Message, Method, Name, StatusCode, Uri};

/// Bounds of a notifier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shortest subscription that is taken; shorter ones get 423 (RFC 6665 §4.2.1.1).
    pub min_expires: Duration,
    /// What is granted to a SUBSCRIBE that names none.
    pub default_expires: Duration,
    /// The longest subscription that is granted.
    pub max_expires: Duration,
    /// Between two NOTIFYs that nobody asked for.
    pub interval: Duration,
    /// Subscriptions at a time; further ones get 503.
    pub max_subscriptions: usize,
    /// Subscriptions to one resource at a time.
    pub max_per_resource: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            min_expires: Duration::from_secs(60),
            // RFC 3680 §4.4.
            default_expires: Duration::from_secs(3761),
            max_expires: Duration::from_secs(86_400),
            interval: Duration::from_secs(5),
            max_subscriptions: 10_000,
            max_per_resource: 8,
        }
    }
}

/// Names a subscription. Never used again after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// All subscriptions of one core. `R` is what is subscribed to; it must tell resources apart.
#[derive(Debug)]
pub struct Notifier<R> {
    settings: Settings,
    entries: HashMap<u64, Entry<R>>,
    by_dialog: HashMap<DialogId, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Entry<R> {
    resource: R,
    event: Event,
    dialog: Dialog,
    contact: NameAddr,
    clock: Clock,
    armed: Option<Instant>,
}

/// A SUBSCRIBE that was taken: what to answer. A NOTIFY is due.
#[derive(Debug)]
pub struct Accepted {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The 200.
    pub response: Message,
}

/// Why a SUBSCRIBE was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A header is missing or makes no sense: 400.
    Malformed(HeaderError),
    /// It asks for less than the shortest: 423 with this Min-Expires, in seconds.
    TooBrief(u64),
    /// There are as many as there may be: 503.
    TooMany,
    /// It is sent in a dialog that we do not have: 481.
    Unknown,
    /// It is older than one that came before: 500 (RFC 3261 §12.2.2).
    OutOfOrder,
    /// It names another event than its dialog's: 489.
    OtherEvent,
}

/// A NOTIFY that is due.
#[derive(Debug)]
pub struct Due<R> {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// What it is about.
    pub resource: R,
    /// How it stands.
    pub state: State,
}

impl<R: Clone + PartialEq> Notifier<R> {
    /// No subscriptions yet.
    pub fn new(settings: Settings) -> Notifier<R> {
        Notifier {
            settings,
            entries: HashMap::new(),
            by_dialog: HashMap::new(),
            deadlines: BTreeSet::new(),
            last: 0,
        }
    }

    /// Takes a SUBSCRIBE outside any dialog, to `resource`. `tag` is our To tag, `contact` what the subscriber shall send refreshes to.
    ///
    /// A SUBSCRIBE with Expires 0 asks for the state once: it is answered, notified and over (RFC 6665 §4.4.3).
    pub fn subscribe(
        &mut self,
        now: Instant,
        request: &Message,
        resource: R,
        flow: Flow,
        (tag, contact): (&str, NameAddr),
    ) -> Result<Accepted, Refused> {
        let event = request.required::<Event>()?;
        let expires = self.granted(request)?;
        let of_resource = self.entries.values().filter(|entry| entry.resource == resource).count();
        if self.entries.len() >= self.settings.max_subscriptions
            || of_resource >= self.settings.max_per_resource
        {
            return Err(Refused::TooMany);
        }
        let mut dialog = Dialog::uas(request, tag, flow)?;
        if self.by_dialog.contains_key(dialog.id()) {
            return Err(Refused::Unknown);
        }
        let response = answer(request, Some(tag), expires, &contact);
        dialog.confirm(&response)?;
        self.last += 1;
        let id = self.last;
        self.by_dialog.insert(dialog.id().clone(), id);
        let mut clock = Clock::new(now, expires, self.settings.interval);
        if expires.is_zero() {
            clock.end(now, Ending::Timeout);
        }
        self.entries.insert(id, Entry { resource, event, dialog, contact, clock, armed: None });
        self.rearm(id);
        Ok(Accepted { subscription: SubscriptionId(id), response })
    }

    /// Whether a request is sent in the dialog of one of the subscriptions.
    pub fn owns(&self, request: &Message) -> bool {
        self.find(request).is_some()
    }

    /// Takes a SUBSCRIBE in a dialog: it refreshes or ends the subscription (RFC 6665 §4.2.1.4).
    pub fn refresh(&mut self, now: Instant, request: &Message) -> Result<Accepted, Refused> {
        let id = self.find(request).ok_or(Refused::Unknown)?;
        let event = request.required::<Event>()?;
        let expires = self.granted(request)?;
        let entry = self.entries.get_mut(&id).ok_or(Refused::Unknown)?;
        if entry.clock.ending.is_some() {
            return Err(Refused::Unknown);
        }
        if (&event.package, event.id()) != (&entry.event.package, entry.event.id()) {
            return Err(Refused::OtherEvent);
        }
        entry.dialog.receive(request)?;
        entry.dialog.refresh_target(request)?;
        entry.clock.refresh(now, expires);
        let response = answer(request, None, expires, &entry.contact);
        self.rearm(id);
        Ok(Accepted { subscription: SubscriptionId(id), response })
    }

    /// What some are subscribed to has changed.
    pub fn changed(&mut self, now: Instant, subscription: SubscriptionId) {
        self.with(subscription, |entry| entry.clock.changed(now));
    }

    /// Ends a subscription; its last NOTIFY is due.
    pub fn end(&mut self, now: Instant, subscription: SubscriptionId, ending: Ending) {
        self.with(subscription, |entry| entry.clock.end(now, ending));
    }

    /// Ends all of them.
    pub fn end_all(&mut self, now: Instant, ending: Ending) {
        let all: Vec<u64> = self.entries.keys().copied().collect();
        all.into_iter().for_each(|id| self.end(now, SubscriptionId(id), ending));
    }

    /// The NOTIFYs that are due; each must be sent with [`notify`](Notifier::notify) or given up with [`gone`](Notifier::gone).
    pub fn due(&mut self, now: Instant) -> Vec<Due<R>> {
        let mut due = Vec::new();
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.armed = None;
            if entry.clock.tick(now) {
                let state = match entry.clock.ending {
                    Some(ending) => State::Terminated(ending),
                    None => State::Active(entry.clock.expires_at.saturating_duration_since(now)),
                };
                // Out of the clock's hands until it is sent.
                entry.clock.sent(now);
                due.push(Due { subscription: SubscriptionId(id), resource: entry.resource.clone(), state });
            }
            self.rearm(id);
        }
        due
    }

    /// Writes the NOTIFY of a subscription that was [`due`](Notifier::due).
    pub fn notify(
        &mut self,
        subscription: SubscriptionId,
        state: State,
        via: Via,
        body: Option<(&str, bytes::Bytes)>,
    ) -> Option<Message> {
        let entry = self.entries.get_mut(&subscription.0)?;
        if let State::Terminated(ending) = state {
            entry.clock.ending.get_or_insert(ending);
        }
        let mut said = SubscriptionState::new(match state {
            State::Active(_) => "active",
            State::Terminated(_) => "terminated",
        });
        match state {
            State::Active(left) => said.params.set("expires", Some(&left.as_secs().to_string())),
            State::Terminated(ending) => said.params.set("reason", Some(ending.as_str())),
        }
        let contact = entry.contact.clone();
        let builder = entry.dialog.request(&Method::Notify, via, Some(&contact));
        let builder = builder.header(Name::Event, &entry.event).header(Name::SubscriptionState, said);
        Some(match body {
            Some((kind, body)) => builder.body(kind, body).finish(),
            None => builder.finish(),
        })
    }

    /// Where a subscription's SUBSCRIBE came in.
    pub fn flow(&self, subscription: SubscriptionId) -> Option<Flow> {
        self.entries.get(&subscription.0).map(|entry| entry.dialog.flow())
    }

    /// Whether it is alive.
    pub fn has(&self, subscription: SubscriptionId) -> bool {
        self.entries.contains_key(&subscription.0)
    }

    /// Where a subscription's requests go by its route set: the first route, when there is any.
    pub fn route(&self, subscription: SubscriptionId) -> Option<&Uri> {
        let dialog = &self.entries.get(&subscription.0)?.dialog;
        (!dialog.routes().is_empty()).then(|| dialog.next_hop())
    }

    /// A NOTIFY got its final answer. One that is no success ends the subscription (RFC 6665 §4.2.2), unless it says when to come back.
    pub fn answered(&mut self, now: Instant, subscription: SubscriptionId, response: &Message) {
        let success = response.status().is_some_and(|status| status.is_success());
        if !success && !response.has(Name::RetryAfter) {
            return self.gone(subscription);
        }
        let lives = self.entries.get_mut(&subscription.0).is_some_and(|entry| entry.clock.answered(now));
        if lives { self.rearm(subscription.0) } else { self.gone(subscription) }
    }

    /// Forgets a subscription without a word: its NOTIFY found nobody.
    pub fn gone(&mut self, subscription: SubscriptionId) {
        if let Some(entry) = self.entries.remove(&subscription.0) {
            self.by_dialog.remove(entry.dialog.id());
            if let Some(at) = entry.armed {
                self.deadlines.remove(&(at, subscription.0));
            }
        }
    }

    /// Every subscription and what it is about.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionId, &R)> {
        self.entries.iter().map(|(id, entry)| (SubscriptionId(*id), &entry.resource))
    }

    /// When [`due`](Notifier::due) wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, request: &Message) -> Option<u64> {
        self.by_dialog.get(&DialogId::of_request(request)?).copied()
    }

    fn granted(&self, request: &Message) -> Result<Duration, Refused> {
        // RFC 3261 §20.19: a malformed Expires counts as the default.
        let asked = request.header::<Expires>().ok().flatten();
        let asked = asked.map_or(self.settings.default_expires, |asked| Duration::from_secs(asked.0.into()));
        if !asked.is_zero() && asked < self.settings.min_expires {
            return Err(Refused::TooBrief(self.settings.min_expires.as_secs()));
        }
        Ok(asked.min(self.settings.max_expires))
    }

    fn with(&mut self, subscription: SubscriptionId, verb: impl FnOnce(&mut Entry<R>)) {
        if let Some(entry) = self.entries.get_mut(&subscription.0) {
            verb(entry);
            self.rearm(subscription.0);
        }
    }

    fn rearm(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let deadline = entry.clock.deadline();
        if entry.armed != deadline {
            if let Some(at) = entry.armed {
                self.deadlines.remove(&(at, id));
            }
            entry.armed = deadline;
            self.deadlines.extend(deadline.map(|at| (at, id)));
        }
    }
}

impl Refused {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refused::Malformed(_) => StatusCode::BAD_REQUEST,
            Refused::TooBrief(_) => StatusCode::INTERVAL_TOO_BRIEF,
            Refused::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Unknown => StatusCode::CALL_DOES_NOT_EXIST,
            Refused::OutOfOrder => StatusCode::SERVER_INTERNAL_ERROR,
            Refused::OtherEvent => StatusCode::BAD_EVENT,
        }
    }
}

impl From<HeaderError> for Refused {
    fn from(error: HeaderError) -> Self {
        Refused::Malformed(error)
    }
}

impl From<DialogError> for Refused {
    fn from(error: DialogError) -> Self {
        match error {
            DialogError::Header(error) => Refused::Malformed(error),
            DialogError::OutOfOrder { .. } => Refused::OutOfOrder,
            _ => Refused::Unknown,
        }
    }
}

/// RFC 6665 §4.2.1.1: a 200 with what was granted, and the way back to us.
fn answer(request: &Message, tag: Option<&str>, expires: Duration, contact: &NameAddr) -> Message {
    Builder::response_to(request, StatusCode::OK, None, tag)
        .copy(request, Name::RecordRoute)
        .header(Name::Contact, contact)
        .header(Name::Expires, expires.as_secs())
        .finish()
}

#[cfg(test)]
#[path = "notifier_tests.rs"]
mod tests;
