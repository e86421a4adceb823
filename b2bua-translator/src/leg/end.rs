//! Our end of one dialog: what we send in it, what we owe in it, and how it ends.

use std::time::Instant;

use bytes::Bytes;
use sip_core::dialog::{Dialog, DialogId};
use sip_core::flow::Flow;
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::header::{MaxForwards, NameAddr, RAck, Reason};
use sip_core::wire::{Builder, Message, Method, Name, StatusCode};

use super::accept::{self, Accept, Owed, Unacked};
use super::peer::{Peer, Reliability};
use super::reliable::{self, Acknowledged, Heard, Reliable};
use super::session::{self, Agreement, SessionTimer};
use crate::body::SDP_TYPE;
use crate::env::{CallKey, Env, LocalEnd, Owner, contact};
use crate::failure;
use crate::question::Side;
use crate::sdp::OriginCounter;
use crate::settings::Face;

/// One leg.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) call: CallKey,
    pub(crate) side: Side,
    pub(crate) peering: Peering,
    pub(crate) face: Face,
    /// Where the peer was last seen, for a dialog whose next hop is no usable address.
    pub(crate) flow: Flow,
    pub(crate) call_id: String,
    pub(crate) tag: String,
    /// Early, then confirmed.
    pub(crate) dialog: Option<Dialog>,
    pub(crate) origin: OriginCounter,
    pub(crate) peer: Peer,
    pub(crate) session: SessionTimer,
    /// The body that stands on this leg, as we wrote it.
    pub(crate) said: Option<Bytes>,
    /// The peer's first INVITE, until it has its final response.
    invite: Option<Offered>,
    reliable: Reliable,
    heard: Heard,
    accept: Accept,
    /// The last ACK that we sent, with its CSeq: a 2xx that comes again asks for it.
    last_ack: Option<(u32, Message)>,
    hang_up: HangUp,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peering {
    /// A proxy of ours, with a phone behind it.
    Inside,
    /// A trunk's gateway.
    Trunk,
}

/// An INVITE that has no final response yet.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    pub(crate) reliability: Reliability,
    /// What a 2xx says of the session timer.
    pub(crate) agreement: Option<Agreement>,
}

/// How far the end of a leg is.
#[derive(Debug, Clone)]
enum HangUp {
    /// The leg lives.
    No,
    /// BYE waits for the ACK of our 2xx (RFC 3261 §15).
    Waits(Vec<Reason>),
    /// BYE is under way.
    Sent(ClientId),
    /// The leg is over.
    Done,
}

/// What a leg's timers have come to, beside what it does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// No ACK came for our 2xx.
    NoAck,
    /// No PRACK came: the INVITE is to be refused with 5xx (RFC 3262 §3).
    NoPrack,
    /// It is time to refresh the session.
    Refresh,
    /// Nobody refreshed the session.
    Expired,
}

impl Leg {
    /// A leg without a dialog yet.
    pub(crate) fn new(
        env: &mut Env,
        call: CallKey,
        side: Side,
        peering: Peering,
        face: Face,
        flow: Flow,
        call_id: String,
    ) -> Leg {
        let tag = env.ids.tag();
        let origin = OriginCounter::new(env.ids.next_u64());
        env.own_dialog((call_id.clone(), tag.clone()), call);
        Leg {
            call,
            side,
            peering,
            face,
            flow,
            call_id,
            tag,
            dialog: None,
            origin,
            peer: Peer::default(),
            session: SessionTimer::default(),
            said: None,
            invite: None,
            reliable: Reliable::new(env.ids.next_u64()),
            heard: Heard::default(),
            accept: Accept::None,
            last_ack: None,
            hang_up: HangUp::No,
        }
    }

    /// Makes it the server's end for an INVITE: an early dialog.
    pub(crate) fn take_invite(&mut self, invite: Offered) -> Result<(), sip_core::dialog::DialogError> {
        self.dialog = Some(Dialog::uas(&invite.request, &self.tag, self.flow)?);
        self.peer.learn(&invite.request);
        self.invite = Some(invite);
        Ok(())
    }

    /// Another early dialog of the same INVITE at the server: a tag of its own (RFC 3261 §12.1.1 lets each response choose one).
    pub(crate) fn twin(&self, env: &mut Env) -> Leg {
        let mut twin = self.clone();
        twin.tag = env.ids.tag();
        twin.origin = OriginCounter::new(env.ids.next_u64());
        twin.reliable = Reliable::new(env.ids.next_u64());
        twin.dialog =
            self.invite.as_ref().and_then(|invite| Dialog::uas(&invite.request, &twin.tag, self.flow).ok());
        env.own_dialog(twin.end(), self.call);
        twin
    }

    /// Our end, for the table.
    pub(crate) fn end(&self) -> LocalEnd {
        (self.call_id.clone(), self.tag.clone())
    }

    /// Whether a request of the peer is sent in this leg's dialog.
    pub(crate) fn owns(&self, request: &Message) -> bool {
        self.dialog.as_ref().is_some_and(|dialog| dialog.owns(request))
    }

    /// Whether a response of the peer belongs to this leg's dialog.
    pub(crate) fn is_of(&self, response: &Message) -> bool {
        let id = DialogId::of_response(response);
        self.dialog.as_ref().is_some_and(|dialog| id.as_ref() == Some(dialog.id()))
    }

    /// Whether the dialog is confirmed and neither side has hung up.
    pub(crate) fn is_up(&self) -> bool {
        self.is_alive() && self.dialog.as_ref().is_some_and(Dialog::is_confirmed)
    }

    /// Whether there is a dialog, early or confirmed, and neither side has hung up.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.hang_up, HangUp::No) && self.dialog.is_some()
    }

    /// Whether nothing of the leg is under way any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.accept, Accept::None) && matches!(self.hang_up, HangUp::No | HangUp::Done)
    }

    /// The peer's first INVITE, while it has no final response.
    pub(crate) fn invite(&self) -> Option<&Offered> {
        self.invite.as_ref()
    }

    /// What we take on this leg (RFC 3261 §20.5): transfers are asked for by phones.
    pub(crate) fn allow(&self) -> &'static str {
        allow(self.peering)
    }

    /// Begins the first INVITE of the leg.
    pub(crate) fn first_invite(
        &self,
        env: &mut Env,
        uri: &str,
        from: NameAddr,
        hops: u32,
        cseq: u32,
    ) -> Builder {
        let via = env.via(&self.flow, self.face);
        let builder = Builder::request(&Method::Invite, uri)
            .header(Name::Via, via)
            .header(Name::MaxForwards, MaxForwards(hops))
            .header(Name::From, from.with_tag(Some(&self.tag)))
            .header(Name::To, format_args!("<{uri}>"))
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format_args!("{cseq} INVITE"))
            .header(Name::Contact, contact(self.face, self.flow.transport))
            .header(Name::Allow, self.allow());
        self.session.write(builder, &env.settings.session)
    }

    /// Writes a response to an INVITE, UPDATE or PRACK of the peer.
    pub(crate) fn response(
        &self,
        request: &Message,
        status: StatusCode,
        reasons: &[Reason],
        sdp: Option<Bytes>,
        agreement: Option<Agreement>,
    ) -> Message {
        let mut builder = Builder::response_to(request, status, None, Some(&self.tag));
        let creates = status != StatusCode::TRYING && (status.is_provisional() || status.is_success());
        if creates && !request.is(&Method::Prack) {
            builder = builder
                .copy(request, Name::RecordRoute)
                .header(Name::Contact, contact(self.face, self.flow.transport))
                .header(Name::Allow, self.allow());
            if status.is_success() {
                builder = builder.header(Name::Supported, supported(self.peering));
            }
        }
        if let Some(agreement) = agreement.filter(|_| status.is_success()) {
            builder = agreement.write(builder);
        }
        for reason in reasons {
            builder = builder.header(Name::Reason, reason);
        }
        with_sdp(builder, sdp).finish()
    }

    /// Begins a request in the dialog; `None` when there is none. Gives also where to send it.
    pub(crate) fn request(&mut self, env: &mut Env, method: &Method) -> Option<(Builder, Flow)> {
        let dialog = self.dialog.as_mut()?;
        let flow = env.way(dialog, self.flow);
        let via = env.via(&flow, self.face);
        let target = matches!(method, Method::Invite | Method::Update);
        let contact = target.then(|| contact(self.face, flow.transport));
        let mut builder = dialog.request(method, via, contact.as_ref());
        // In an early dialog the INVITE itself is about to say what is agreed.
        let confirmed = dialog.is_confirmed();
        if target {
            builder =
                builder.header(Name::Allow, self.allow()).header(Name::Supported, supported(self.peering));
        }
        if target && confirmed {
            builder = self.session.write(builder, &env.settings.session);
        }
        Some((builder, flow))
    }

    /// Sends a provisional response to the peer's first INVITE, which may be told apart from others by its number.
    pub(crate) fn progress(&mut self, env: &mut Env, response: Message, reliably: bool) {
        let Some(server) = self.invite.as_ref().map(|invite| invite.server) else { return };
        let response = if reliably {
            self.reliable.send(env.now, env.settings.transaction.t1, response)
        } else {
            Some(response)
        };
        if let Some(response) = response {
            env.layer.respond(env.now, server, response);
        }
    }

    /// Takes a PRACK; `None` when it is for nothing that is under way.
    pub(crate) fn acknowledged(&mut self, env: &mut Env, rack: &RAck) -> Option<Acknowledged> {
        let mut acknowledged = self.reliable.acknowledge(env.now, env.settings.transaction.t1, rack)?;
        if let (Some(next), Some(invite)) = (acknowledged.next.take(), &self.invite) {
            env.layer.respond(env.now, invite.server, next);
        }
        Some(acknowledged)
    }

    /// Whether a description that we sent reliably has no PRACK yet.
    pub(crate) fn awaits_prack(&self) -> bool {
        self.reliable.holds_answer()
    }

    /// Whether a reliable provisional response of the peer is the next one (RFC 3262 §4).
    pub(crate) fn is_next(&mut self, rack: &RAck) -> bool {
        self.heard.is_next(rack.rseq)
    }

    /// Sends a 2xx to an INVITE as soon as it may be sent, and again until its ACK comes.
    pub(crate) fn accept(&mut self, env: &mut Env, server: ServerId, response: Message) {
        if self.reliable.holds_answer() {
            self.accept = Accept::Held(Owed { server, response });
        } else {
            self.send_accept(env, server, response);
        }
    }

    /// Sends a 2xx that was held, when nothing stands before it any more.
    pub(crate) fn release(&mut self, env: &mut Env) {
        if self.reliable.holds_answer() {
            return;
        }
        match std::mem::take(&mut self.accept) {
            Accept::Held(owed) => self.send_accept(env, owed.server, owed.response),
            other => self.accept = other,
        }
    }

    fn send_accept(&mut self, env: &mut Env, server: ServerId, response: Message) {
        self.reliable.stop();
        env.layer.respond(env.now, server, response.clone());
        if let Some(dialog) = &mut self.dialog {
            // Our own 2xx: it cannot be malformed.
            let _ = dialog.confirm(&response);
        }
        self.invite = None;
        self.accept = Accept::Sent(Unacked::new(env.now, env.settings.transaction.t1, server, response));
    }

    /// Takes the ACK of our 2xx; false when none was awaited.
    pub(crate) fn acked(&mut self, ack: &Message) -> bool {
        let number = ack.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let awaited = matches!(&self.accept, Accept::Sent(unacked) if unacked.is_for(number));
        if awaited {
            self.accept = Accept::None;
        }
        awaited
    }

    /// Acknowledges a 2xx to our INVITE with this CSeq.
    pub(crate) fn ack(&mut self, env: &mut Env, cseq: u32, sdp: Option<Bytes>) {
        let Some(dialog) = &self.dialog else { return };
        let flow = env.way(dialog, self.flow);
        let ack = with_sdp(dialog.ack(env.via(&flow, self.face), cseq), sdp).finish();
        env.layer.send(&ack, flow);
        self.last_ack = Some((cseq, ack));
    }

    /// Acknowledges a 2xx that came again, or one whose INVITE nobody waits for any more.
    pub(crate) fn ack_again(&mut self, env: &mut Env, response: &Message) {
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        match (&self.last_ack, &self.dialog) {
            (Some((number, ack)), Some(dialog)) if *number == cseq => {
                let flow = env.way(dialog, self.flow);
                env.layer.send(ack, flow);
            }
            _ => self.ack(env, cseq, None),
        }
    }

    /// When something is to be done next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let accept = match &self.accept {
            Accept::Sent(unacked) => Some(unacked.deadline()),
            Accept::None | Accept::Held(_) => None,
        };
        let session = self.session.deadline().filter(|_| self.is_alive());
        [accept, self.reliable.deadline(), session].into_iter().flatten().min()
    }

    /// Does what is due now; gives what only the call can do.
    pub(crate) fn due(&mut self, env: &mut Env) -> Option<Due> {
        if let Accept::Sent(unacked) = &mut self.accept {
            match unacked.due(env.now, env.settings.transaction.t2) {
                accept::Due::Again => {
                    env.layer.respond(env.now, unacked.server, unacked.response.clone());
                }
                accept::Due::GaveUp => {
                    self.accept = Accept::None;
                    // RFC 3261 §13.3.1.4: the session is not there, and BYE says so.
                    self.hang_up_if_waiting(env);
                    return Some(Due::NoAck);
                }
                accept::Due::Nothing => {}
            }
        }
        match self.reliable.due(env.now) {
            reliable::Due::Again(response) => {
                if let Some(invite) = &self.invite {
                    env.layer.respond(env.now, invite.server, response);
                }
            }
            reliable::Due::GaveUp => return Some(Due::NoPrack),
            reliable::Due::Nothing => {}
        }
        match self.session.due(env.now) {
            _ if !self.is_up() => None,
            session::Due::Refresh => Some(Due::Refresh),
            session::Due::Expired => Some(Due::Expired),
            session::Due::Nothing => None,
        }
    }

    /// Refuses the peer's first INVITE, and is over.
    fn refuse(&mut self, env: &mut Env, status: StatusCode, reasons: &[Reason]) {
        if let Some(invite) = self.invite.take() {
            let response = self.response(&invite.request, status, reasons, None, None);
            env.layer.respond(env.now, invite.server, response);
        }
        self.over();
    }

    /// Ends the leg: with BYE, now or as soon as our 2xx is acknowledged; an INVITE that was not answered is refused.
    pub(crate) fn hang_up(&mut self, env: &mut Env, reasons: &[Reason]) {
        if !matches!(self.hang_up, HangUp::No | HangUp::Waits(_)) {
            return;
        }
        self.session.stop();
        match &self.accept {
            Accept::Sent(_) => {
                self.hang_up = HangUp::Waits(reasons.to_vec());
                return;
            }
            Accept::Held(_) => {
                let status = failure::status_in(reasons).unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE);
                return self.refuse(env, status, reasons);
            }
            Accept::None => {}
        }
        self.hang_up = HangUp::Done;
        let Some((mut builder, flow)) = self.request(env, &Method::Bye) else { return };
        for reason in reasons {
            builder = builder.header(Name::Reason, reason);
        }
        if let Some(client) = env.request(Owner::Call(self.call), builder.finish(), flow) {
            self.hang_up = HangUp::Sent(client);
        }
    }

    /// Sends the BYE that waited for an ACK.
    pub(crate) fn hang_up_if_waiting(&mut self, env: &mut Env) {
        if let HangUp::Waits(reasons) = &mut self.hang_up {
            let reasons = std::mem::take(reasons);
            self.hang_up(env, &reasons);
        }
    }

    /// The peer has hung up, or its leg never came to be: nothing more is sent.
    pub(crate) fn over(&mut self) {
        self.hang_up = HangUp::Done;
        self.accept = Accept::None;
        self.invite = None;
        self.reliable.stop();
        self.session.stop();
    }

    /// Takes the end of a transaction; true when it was the BYE's.
    pub(crate) fn bye_ended(&mut self, client: ClientId) -> bool {
        let ended = matches!(self.hang_up, HangUp::Sent(own) if own == client);
        if ended {
            self.hang_up = HangUp::Done;
        }
        ended
    }
}

/// Adds a session description.
pub(crate) fn with_sdp(builder: Builder, sdp: Option<Bytes>) -> Builder {
    match sdp {
        Some(sdp) => builder.body(SDP_TYPE, sdp),
        None => builder,
    }
}

/// The methods that we take of a peer (RFC 3261 §20.5).
pub(crate) fn allow(peering: Peering) -> &'static str {
    match peering {
        Peering::Inside => "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, REFER",
        Peering::Trunk => "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, REFER",
    }
}

/// The extensions that we know (RFC 3261 §20.37), in messages that may not be answered reliably.
pub(crate) fn supported(peering: Peering) -> &'static str {
    match peering {
        Peering::Inside | Peering::Trunk => "timer",
    }
}
