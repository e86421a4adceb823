//! What the agent's task holds: transactions, calls, the registration. No I/O but the opening of media ports.

use std::{collections::HashMap, mem, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tracing::debug;

use super::{AgentConfig, AgentShared, Command, Reply, register::Registration};
use crate::{
    call::{
        Call, CallDirection, CallEvent, CallOptions, CallPhase, CallShared, EVENT_QUEUE, EndedBy, HoldStyle,
    },
    dialog::Dialog,
    digest::Challenge,
    error::UaError,
    ids::Ids,
    media::{Codec, Media, MediaControl, MediaOptions, MediaSession},
    message::{Message, reason_phrase},
    sdp::{Direction, Local, Sdp, SdpError},
    transaction::{AppTimer, Expired, Matched, Owner, Transactions},
};

/// The state of one agent.
pub(super) struct Core {
    pub(super) config: AgentConfig,
    pub(super) local: SocketAddr,
    pub(super) shared: Arc<AgentShared>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) transactions: Transactions,
    pub(super) ids: Ids,
    pub(super) calls: HashMap<u64, CallState>,
    /// By Call-ID and our tag.
    pub(super) dialogs: HashMap<(String, String), u64>,
    pub(super) registration: Registration,
    next_call: u64,
    drained: Vec<oneshot::Sender<()>>,
}

/// The state of one call.
pub(super) struct CallState {
    pub(super) shared: Arc<CallShared>,
    pub(super) events: mpsc::Sender<CallEvent>,
    pub(super) dialog: Dialog,
    pub(super) stage: Stage,
    pub(super) media: MediaOptions,
    pub(super) session: Option<MediaSession>,
    /// How we hold the other side, if we do.
    pub(super) hold: Option<HoldStyle>,
    pub(super) remote_held: bool,
    pub(super) sdp_session: u64,
    pub(super) sdp_version: u64,
    pub(super) challenge: Option<Challenge>,
    pub(super) reinvite: Option<Reinvite>,
    /// The ACK of the latest 2xx that we got, by CSeq: repeated when the 2xx is.
    pub(super) ack: Option<(u32, SocketAddr, Bytes)>,
    /// The INVITE that we answered with 2xx and whose ACK is missing: transaction and CSeq.
    pub(super) awaits_ack: Option<(String, u32)>,
    /// Hang up as soon as that ACK is here (RFC 3261 §15).
    pub(super) bye_after_ack: Option<Option<Reply>>,
}

pub(super) enum Stage {
    /// Our INVITE has no final response.
    Calling(Box<Calling>),
    /// Their INVITE has no final response.
    Ringing(Box<Ringing>),
    Up,
    /// BYE is out.
    Closing {
        reply: Option<Reply>,
        tries: u8,
    },
}

pub(super) struct Calling {
    pub(super) invite: Message,
    pub(super) to: SocketAddr,
    pub(super) tries: u8,
    pub(super) delayed_offer: bool,
    pub(super) cancel: Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// Asked for before anything came (RFC 3261 §9.1 forbids it then).
    Wanted,
    Sent,
}

pub(super) struct Ringing {
    pub(super) key: String,
    pub(super) invite: Message,
    pub(super) offer: Option<Sdp>,
    /// The answer that early media was started with.
    pub(super) answer: Option<String>,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Answer,
    Reject(u16),
}

pub(super) struct Reinvite {
    pub(super) hold: Option<HoldStyle>,
    pub(super) reply: Option<Reply>,
    pub(super) tries: u8,
    pub(super) glares: u8,
}

impl Core {
    pub(super) fn new(
        config: AgentConfig,
        local: SocketAddr,
        shared: Arc<AgentShared>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let mut ids = Ids::new();
        let limit = config.max_calls.saturating_mul(8).saturating_add(256);
        Self {
            transactions: Transactions::new(config.t1, limit, Instant::now()),
            registration: Registration::new(&mut ids),
            config,
            local,
            shared,
            commands,
            ids,
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            next_call: 0,
            drained: Vec::new(),
        }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.transactions.advance(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.transactions.next_deadline()
    }

    pub(super) fn next_transmit(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.transactions.out.pop_front()
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Register { expires, reply } => self.register(expires, Some(reply)),
            Command::Call { target, options, reply } => {
                // Nobody waits for the answer any more: then the call is not wanted either, but it is already out.
                let _ = reply.send(self.start_call(&target, *options));
            }
            Command::Cancel { call, reply } => self.cancel(call, reply),
            Command::Hangup { call, reply } => self.hangup(call, Some(reply)),
            Command::Reinvite { call, hold, reply } => self.start_reinvite(call, hold, reply),
            Command::Ring { call, early_media, reply } => {
                let _ = reply.send(self.ring(call, early_media));
            }
            Command::Answer { call, reply } => {
                let _ = reply.send(self.answer(call));
            }
            Command::Reject { call, status, reply } => {
                let _ = reply.send(self.reject(call, status));
            }
            Command::HangupAll { reply } => {
                self.drained.push(reply);
                let calls: Vec<u64> = self.calls.keys().copied().collect();
                for call in calls {
                    self.hangup(call, None);
                }
                self.tell_drained();
            }
        }
    }

    pub(super) fn datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        match Message::parse(datagram) {
            Ok(message) if message.method().is_some() => self.request(message, from),
            Ok(message) => self.response(&message),
            Err(error) => debug!(%from, %error, "datagram dropped"),
        }
    }

    pub(super) fn expire(&mut self) {
        for expired in self.transactions.expire() {
            match expired {
                Expired::NoResponse(Owner::Register) => self.register_timeout(),
                Expired::NoResponse(Owner::Invite(call)) => self.fail(call, 408, "Request Timeout"),
                Expired::NoResponse(Owner::Reinvite(call)) => {
                    self.reinvite_failed(call, UaError::Timeout, true)
                }
                Expired::NoResponse(Owner::Bye(call)) => self.closed(call, Err(UaError::Timeout)),
                Expired::NoResponse(Owner::Nobody) => {}
                Expired::NoAck(call) => self.no_ack(call),
                Expired::App(AppTimer::Policy(call)) => self.policy_step(call),
                Expired::App(AppTimer::RingTimeout(call)) => self.give_up_ringing(call),
                Expired::App(AppTimer::CancelGuard(call)) => self.cancel_unanswered(call),
                Expired::App(AppTimer::Reinvite(call)) => self.send_reinvite(call),
                Expired::App(AppTimer::Refresh(generation)) => self.refresh(generation),
            }
        }
    }

    fn response(&mut self, response: &Message) {
        match self.transactions.response(response) {
            Matched::Ours(Owner::Register, request) => self.register_response(&request, response),
            Matched::Ours(Owner::Invite(call), request) => self.invite_response(call, &request, response),
            Matched::Ours(Owner::Reinvite(call), request) => self.reinvite_response(call, &request, response),
            Matched::Ours(Owner::Bye(call), request) => self.bye_response(call, &request, response),
            Matched::Ours(Owner::Nobody, _) | Matched::Absorbed => {}
            Matched::Unknown => self.stray_response(response),
        }
    }

    /// Makes the entry and handle of a call.
    pub(super) fn open_call(
        &mut self,
        dialog: Dialog,
        direction: CallDirection,
        peer: String,
        options: &CallOptions,
        stage: Stage,
    ) -> (u64, Call) {
        let id = self.next_call;
        self.next_call += 1;
        let shared = Arc::new(CallShared {
            id,
            call_id: dialog.call_id.clone(),
            peer,
            direction,
            started: Instant::now(),
            phase: watch::Sender::new(CallPhase::Calling),
            set_up: Default::default(),
            rang: Default::default(),
            media: Media::new(self.ids.next_u64()),
            invite: Default::default(),
            response: Default::default(),
        });
        let (events, received) = mpsc::channel(EVENT_QUEUE);
        self.dialogs.insert((dialog.call_id.clone(), dialog.local_tag.clone()), id);
        let state = CallState {
            shared: Arc::clone(&shared),
            events,
            dialog,
            stage,
            media: options.media.clone(),
            session: None,
            hold: None,
            remote_held: false,
            sdp_session: self.ids.next_u64() >> 2,
            sdp_version: 0,
            challenge: None,
            reinvite: None,
            ack: None,
            awaits_ack: None,
            bye_after_ack: None,
        };
        self.calls.insert(id, state);
        (id, Call { shared, events: received, commands: self.commands.clone() })
    }

    pub(super) fn call_of_dialog(&self, call_id: Option<&str>, our_tag: Option<&str>) -> Option<u64> {
        self.dialogs.get(&(call_id?.to_owned(), our_tag?.to_owned())).copied()
    }

    /// Forgets a call and tells its handle how it ended.
    pub(super) fn finish(&mut self, id: u64, phase: CallPhase) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        self.dialogs.remove(&(call.dialog.call_id.clone(), call.dialog.local_tag.clone()));
        debug!(call = %call.dialog.call_id, ?phase, "call over");
        let event = match &phase {
            CallPhase::Failed { status, reason } => {
                CallEvent::Failed { status: *status, reason: reason.clone() }
            }
            _ => CallEvent::Ended { by: ended_by(&phase) },
        };
        call.tell(event);
        call.shared.phase.send_replace(phase);
        let waiting = call.reinvite.take().and_then(|reinvite| reinvite.reply);
        for reply in waiting.into_iter().chain(call.bye_after_ack.take().flatten()) {
            let _ = reply.send(Err(UaError::Ended));
        }
        self.tell_drained();
    }

    pub(super) fn fail(&mut self, id: u64, status: u16, reason: &str) {
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        self.finish(id, CallPhase::Failed { status, reason: reason.to_owned() });
    }

    fn tell_drained(&mut self) {
        if self.calls.is_empty() {
            for reply in mem::take(&mut self.drained) {
                let _ = reply.send(());
            }
        }
    }

    /// The value of Via for a new request.
    pub(super) fn via(&mut self) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", self.local, self.ids.token())
    }

    /// Our Contact with the user part of the call.
    pub(super) fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.config.user, self.local)
    }

    /// Puts Via on top and the fields that every request of ours has at the end.
    pub(super) fn complete(&mut self, request: &mut Message) {
        let via = self.via();
        request.headers.insert(0, ("Via".to_owned(), via));
        request.push("User-Agent", self.config.product);
    }

    /// The request again with credentials and a new transaction, if its challenge can be answered (RFC 3261 §22.2).
    /// `tries` counts the challenges answered: the second is answered only when it says that the nonce was stale.
    pub(super) fn with_credentials(
        &mut self,
        request: &Message,
        response: &Message,
        held: &mut Option<Challenge>,
        tries: &mut u8,
    ) -> Option<Message> {
        let credentials = self.config.credentials.clone()?;
        let mut challenge = Challenge::from_response(response)?;
        let again = held.as_ref().is_some_and(|held| held.same_nonce(&challenge));
        if again || *tries >= MAX_CHALLENGES || (*tries > 0 && !challenge.stale) {
            return None;
        }
        *tries += 1;
        let mut request = request.clone();
        let (number, method) = request.cseq().map(|(number, method)| (number, method.to_owned()))?;
        let uri = request.request_uri()?.to_owned();
        let (field, value) = challenge.answer(&credentials, &method, &uri, &self.ids.token());
        request.remove(field);
        request.push(field, value);
        request.replace("CSeq", format!("{} {method}", number.wrapping_add(1)));
        let via = self.via();
        request.replace("Via", via);
        *held = Some(challenge);
        Some(request)
    }

    /// Adds credentials for a nonce that is already known.
    pub(super) fn add_credentials(&mut self, request: &mut Message, held: &mut Option<Challenge>) {
        let (Some(challenge), Some(credentials)) = (held, &self.config.credentials) else { return };
        let method = request.method().unwrap_or_default().to_owned();
        let uri = request.request_uri().unwrap_or_default().to_owned();
        let (field, value) = challenge.answer(credentials, &method, &uri, &self.ids.token());
        request.push(field, value);
    }

    /// Opens the call's media ports if it has none yet.
    pub(super) fn open_media(&mut self, id: u64) -> Result<(), UaError> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        if call.session.is_none() && call.media.enabled {
            let media = call.shared.media.clone();
            let session = MediaSession::open_for(media, self.local.ip(), &call.media, Ids::new())?;
            call.session = Some(session);
        }
        Ok(())
    }
}

impl CallState {
    pub(super) fn tell(&self, event: CallEvent) {
        if self.events.try_send(event).is_err() {
            debug!("nobody reads this call's events");
        }
    }

    /// Our side of the media for a new description.
    pub(super) fn local_media(&mut self, local: SocketAddr, hold: Option<HoldStyle>) -> Local {
        let port = self.session.as_ref().map_or(DISCARD, |session| session.local_addr().port());
        self.sdp_version += 1;
        Local {
            addr: SocketAddr::new(local.ip(), port),
            codecs: self.media.codecs.clone(),
            direction: direction(hold),
            zero_address: hold == Some(HoldStyle::ZeroAddress),
            session: self.sdp_session,
            version: self.sdp_version,
        }
    }

    /// Takes what the other side said of its media.
    pub(super) fn connect_media(&mut self, remote: &Sdp, codec: Codec) {
        let wants_media = remote.wants_media();
        if wants_media == self.remote_held && matches!(self.stage, Stage::Up) && self.hold.is_none() {
            self.remote_held = !wants_media;
            self.tell(if wants_media { CallEvent::Resumed } else { CallEvent::Held });
        }
        if let Some(session) = &self.session {
            session.set(MediaControl {
                remote: Some(remote.rtp),
                remote_rtcp: (!remote.rtp.ip().is_unspecified()).then_some(remote.rtcp),
                send: wants_media && direction(self.hold).sends(),
                codec,
            });
        }
    }

    /// Reads an answer to our offer and connects the media.
    pub(super) fn take_answer(&mut self, sdp: &[u8], local: SocketAddr) -> Result<(), SdpError> {
        let remote = Sdp::parse(sdp)?;
        let ours = Local {
            addr: local,
            codecs: self.media.codecs.clone(),
            direction: direction(self.hold),
            zero_address: false,
            session: 0,
            version: 0,
        };
        let codec = remote.choose(&ours)?;
        self.connect_media(&remote, codec);
        Ok(())
    }

    pub(super) fn set_phase(&self, phase: CallPhase) {
        self.shared.phase.send_replace(phase);
    }
}

fn direction(hold: Option<HoldStyle>) -> Direction {
    match hold {
        None | Some(HoldStyle::ZeroAddress) => Direction::SendRecv,
        Some(HoldStyle::SendOnly) => Direction::SendOnly,
        Some(HoldStyle::Inactive) => Direction::Inactive,
    }
}

fn ended_by(phase: &CallPhase) -> EndedBy {
    match phase {
        CallPhase::Ended { by } => *by,
        _ => EndedBy::Network,
    }
}

const MAX_CHALLENGES: u8 = 3;
/// The port that SDP names when no media flows (RFC 863).
const DISCARD: u16 = 9;
