//! What a call works with: the transactions, the identifiers, the questions, and who owns what.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::{Directory, Gateway};
use sip_core::core::{Output, TimerId, Token};
use sip_core::dialog::{Dialog, DialogId};
use sip_core::flow::{Flow, Transport};
use sip_core::ids::IdSource;
use sip_core::transaction::{ClientId, Layer, ServerId};
use sip_core::wire::header::{NameAddr, Reason, Via};
use sip_core::wire::{Message, Method, Name, SipUri, StatusCode};
use tracing::{debug, warn};

use crate::question::Question;
use crate::settings::{Face, Settings};
use crate::trunks::TrunkStates;
use sip_core::clock::WallClock;

/// Names a call within one worker; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallKey(pub(crate) u64);

/// Everything of a worker that is not a call.
pub(crate) struct Env {
    pub(crate) now: Instant,
    pub(crate) settings: Arc<Settings>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) trunks: Arc<TrunkStates>,
    pub(crate) clock: WallClock,
    pub(crate) layer: Layer,
    pub(crate) ids: IdSource,
    pub(crate) out: VecDeque<Output<Question>>,
    questions: HashMap<Token, Asked>,
    next_token: u64,
    servers: HashMap<ServerId, CallKey>,
    clients: HashMap<ClientId, Client>,
    dialogs: HashMap<LocalEnd, CallKey>,
    /// How many of the client transactions are nobody's.
    abandoned: usize,
}

/// A question under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The call that asked.
    pub(crate) call: CallKey,
    /// Whether the answer may bring a media session, which somebody must close.
    pub(crate) opens: bool,
}

/// Our end of a dialog, early ones and all forks alike: Call-ID and our tag.
pub(crate) type LocalEnd = (String, String);

/// A client transaction of ours.
struct Client {
    owner: Owner,
    /// The INVITE, so that any 2xx to it can be ended properly.
    invite: Option<Message>,
    /// ACKs for 2xx that nobody wanted, by the tag of their sender: each may be asked for again.
    reaped: Vec<(String, Message, Flow)>,
}

/// Whose a client transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A call's.
    Call(CallKey),
    /// The keep-alive's.
    KeepAlive(Gateway),
    /// Nobody's any more: a 2xx to it is acknowledged and ended with BYE.
    Nobody,
}

/// The timers of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// No provisional response from a gateway.
    Connect = 0,
    /// Rings too long.
    Ring = 1,
    /// Lasts too long.
    Limit = 2,
    /// Something that a leg waits for: a retransmission, a refresh, the end of a pause.
    Legs = 3,
    /// The world takes too long to answer at the end of the call.
    Closing = 4,
}

impl Alarm {
    const ALL: [Alarm; 5] = [Alarm::Connect, Alarm::Ring, Alarm::Limit, Alarm::Legs, Alarm::Closing];
}

impl Env {
    pub(crate) fn new(
        now: Instant,
        clock: WallClock,
        settings: Arc<Settings>,
        directory: Arc<Directory>,
        trunks: Arc<TrunkStates>,
        ids: IdSource,
    ) -> Env {
        Env {
            now,
            layer: Layer::new(settings.transaction.clone()),
            settings,
            directory,
            trunks,
            clock,
            ids,
            out: VecDeque::new(),
            questions: HashMap::new(),
            next_token: 0,
            servers: HashMap::new(),
            clients: HashMap::new(),
            dialogs: HashMap::new(),
            abandoned: 0,
        }
    }

    /// Asks the world on behalf of a call.
    pub(crate) fn ask(&mut self, call: CallKey, question: Question) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let opens = matches!(question, Question::OpenMedia { .. });
        self.questions.insert(token, Asked { call, opens });
        self.out.push_back(Output::Ask(token, question));
    }

    /// Who asked; each question is answered once.
    pub(crate) fn take_question(&mut self, token: Token) -> Option<Asked> {
        self.questions.remove(&token)
    }

    /// Arms, moves or disarms a timer of a call.
    pub(crate) fn set_alarm(&mut self, call: CallKey, alarm: Alarm, at: Option<Instant>) {
        self.out.push_back(Output::SetTimer(TimerId((call.0 << ALARM_BITS) | alarm as u64), at));
    }

    /// Arms a timer of a call.
    pub(crate) fn alarm_in(&mut self, call: CallKey, alarm: Alarm, after: Duration) {
        self.set_alarm(call, alarm, Some(self.now + after));
    }

    /// A Via of ours for a new request.
    pub(crate) fn via(&mut self, flow: &Flow, face: Face) -> Via {
        Via::new(flow.transport, face.at(flow.transport), &self.ids.branch())
    }

    /// Sends a request. `None` when the transaction table is full.
    pub(crate) fn request(&mut self, owner: Owner, request: Message, flow: Flow) -> Option<ClientId> {
        let invite = request.is(&Method::Invite).then(|| request.clone());
        match self.layer.request(self.now, request, flow) {
            Ok(client) => {
                self.abandoned += usize::from(owner == Owner::Nobody);
                self.clients.insert(client, Client { owner, invite, reaped: Vec::new() });
                Some(client)
            }
            Err(overflow) => {
                warn!(%overflow, "a request cannot be sent");
                None
            }
        }
    }

    /// Whose a client transaction is.
    pub(crate) fn owner_of(&self, client: ClientId) -> Option<Owner> {
        self.clients.get(&client).map(|client| client.owner)
    }

    /// Gives an INVITE up: it is cancelled, and should a 2xx come nevertheless, that is ended.
    pub(crate) fn abandon(&mut self, client: ClientId, reasons: &[Reason]) {
        if let Some(entry) = self.clients.get_mut(&client)
            && std::mem::replace(&mut entry.owner, Owner::Nobody) != Owner::Nobody
        {
            self.abandoned += 1;
        }
        self.layer.cancel(self.now, client, reasons.first());
    }

    /// Requests that are nobody's any more and not over yet.
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Acknowledges and ends what a 2xx that nobody wants has begun (RFC 3261 §13.2.2.4).
    pub(crate) fn reap(&mut self, client: ClientId, response: &Message, flow: Flow) {
        let tag = response.to_tag().unwrap_or_default();
        let Some(entry) = self.clients.get(&client) else { return };
        if let Some((_, ack, flow)) = entry.reaped.iter().find(|(known, ..)| *known == tag) {
            self.layer.send(ack, *flow);
            return;
        }
        let Some(invite) = entry.invite.as_ref().filter(|_| entry.reaped.len() < MAX_FORKS) else { return };
        let (Ok(mut dialog), Ok(cseq)) = (Dialog::uac(invite, response, flow), response.cseq()) else {
            return;
        };
        debug!(client = ?client, "ending an answer that came too late");
        let flow = self.way(&dialog, flow);
        let local = flow.local;
        let via = |env: &mut Env| Via::new(flow.transport, local, &env.ids.branch());
        let ack = dialog.ack(via(self), cseq.number).finish();
        self.layer.send(&ack, flow);
        let bye = dialog.request(&Method::Bye, via(self), None).finish();
        self.request(Owner::Nobody, bye, flow);
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.reaped.push((tag, ack, flow));
        }
    }

    pub(crate) fn client_ended(&mut self, client: ClientId) {
        let gone = self.clients.remove(&client);
        if gone.is_some_and(|client| client.owner == Owner::Nobody) {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
    }

    /// Notes that a call owns a server transaction.
    pub(crate) fn own_server(&mut self, server: ServerId, call: CallKey) {
        self.servers.insert(server, call);
    }

    pub(crate) fn call_of_server(&self, server: ServerId) -> Option<CallKey> {
        self.servers.get(&server).copied()
    }

    pub(crate) fn server_ended(&mut self, server: ServerId) {
        self.servers.remove(&server);
    }

    /// Notes that a call owns our end of a dialog.
    pub(crate) fn own_dialog(&mut self, end: LocalEnd, call: CallKey) {
        self.dialogs.insert(end, call);
    }

    /// The call that a request inside a dialog belongs to.
    pub(crate) fn call_of_dialog(&self, request: &Message) -> Option<CallKey> {
        let id = DialogId::of_request(request)?;
        self.dialogs.get(&(id.call_id, id.local_tag)).copied()
    }

    /// Forgets a call that is over.
    pub(crate) fn forget(&mut self, call: CallKey, ends: impl IntoIterator<Item = LocalEnd>) {
        for end in ends {
            self.dialogs.remove(&end);
        }
        for alarm in Alarm::ALL {
            self.set_alarm(call, alarm, None);
        }
    }

    /// Refuses a request outside any call, or one that changes nothing in its call.
    pub(crate) fn refuse(&mut self, server: ServerId, status: StatusCode, headers: &[(Name, String)]) {
        self.layer.respond_simple(self.now, server, status, headers);
    }

    /// A Retry-After of some seconds, so that not all come back at once (RFC 3261 §14.2).
    pub(crate) fn soon(&mut self) -> (Name, String) {
        (Name::RetryAfter, (self.ids.next_u64() % 10 + 1).to_string())
    }

    /// Notes that a gateway gave no answer. Nothing is noted of proxies, nor where nobody would ask whether it lives again.
    pub(crate) fn gateway_failed(&self, gateway: Gateway) {
        if self.is_watched(gateway) {
            self.trunks.failed(gateway, self.settings.keep_alive.failures);
        }
    }

    /// Notes that a gateway answered.
    pub(crate) fn gateway_answered(&self, gateway: Gateway) {
        if self.is_watched(gateway) {
            self.trunks.answered(gateway);
        }
    }

    fn is_watched(&self, gateway: Gateway) -> bool {
        !self.settings.keep_alive.every.is_zero() && !self.settings.proxies.contains(&gateway.address)
    }

    /// Where the next request of a dialog goes: the address in its route set or target when it is one of our family, else
    /// back where the dialog came from. A host name is not looked up: any of the peer's nodes takes the request by its
    /// Route. On the inside only the configured proxies are spoken to.
    pub(crate) fn way(&self, dialog: &Dialog, known: Flow) -> Flow {
        let uri = dialog.next_hop().sip();
        let Some(address) = uri.and_then(|uri| uri.socket_addr()) else { return known };
        let transport = uri.and_then(|uri| uri.transport()).unwrap_or(Transport::Udp);
        let usable = address.is_ipv4() == known.local.is_ipv4()
            && !address.ip().is_unspecified()
            && !address.ip().is_multicast()
            && matches!(transport, Transport::Udp | Transport::Tcp);
        let proxies = &self.settings.proxies;
        let inside = proxies.contains(&known.remote) && !proxies.contains(&address);
        // What began under TLS stays there, whatever a Contact leaves out.
        if known.transport.is_secure()
            || !usable
            || inside
            || (address == known.remote && transport == known.transport)
        {
            return known;
        }
        Flow { transport, remote: address, local: known.local, connection: None }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.questions.is_empty() && self.dialogs.is_empty()
    }
}

/// What a timer of ours means.
pub(crate) fn alarm_of(timer: TimerId) -> Option<(CallKey, Alarm)> {
    let kind = timer.0 & ((1 << ALARM_BITS) - 1);
    let alarm = Alarm::ALL.into_iter().find(|alarm| *alarm as u64 == kind)?;
    Some((CallKey(timer.0 >> ALARM_BITS), alarm))
}

/// Our Contact on a face.
pub(crate) fn contact(face: Face, transport: Transport) -> NameAddr {
    NameAddr::new(SipUri::of_address(face.at(transport), transport))
}

/// The low bits of a timer that tell a call's timers apart; its own timers have the top bit clear (61 bits of calls last).
const ALARM_BITS: u32 = 3;
/// Unwanted forks of one INVITE that are ended properly.
const MAX_FORKS: usize = 16;
