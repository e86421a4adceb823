//! One leg of a call: our end of a dialog, the bodies we sent on it, and the answers that wait for their ACK.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_core::dialog::Dialog;
use sip_core::flow::Flow;
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::header::{MaxForwards, NameAddr, Reason, Via};
use sip_core::wire::{Builder, Message, Method, Name, StatusCode};

use crate::env::{Alarm, CallKey, Env, LocalEnd, Owner, contact};
use crate::media::SDP_TYPE;
use crate::question::Side;
use crate::sdp::OriginCounter;
use crate::settings::Face;

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) call: CallKey,
    pub(crate) side: Side,
    pub(crate) face: Face,
    /// Where the peer was last seen, for a dialog whose next hop is no usable address.
    pub(crate) flow: Flow,
    pub(crate) call_id: String,
    pub(crate) tag: String,
    /// The latest early dialog, then the confirmed one.
    pub(crate) dialog: Option<Dialog>,
    pub(crate) origin: OriginCounter,
    /// A 2xx that we sent and that has no ACK yet.
    unacked: Option<Unacked>,
    /// The last ACK that we sent, with its CSeq: a 2xx that comes again asks for it.
    last_ack: Option<(u32, Message)>,
    hang_up: HangUp,
}

/// A 2xx to INVITE on its way (RFC 3261 §13.3.1.4).
#[derive(Debug)]
struct Unacked {
    server: ServerId,
    response: Message,
    cseq: u32,
    interval: Duration,
    gives_up_at: Instant,
}

/// How far the end of a leg is.
#[derive(Debug)]
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

/// What a retransmission timer did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retransmission {
    /// There was nothing to send.
    None,
    /// The 2xx went out again.
    Sent,
    /// No ACK came in 64*T1.
    GaveUp,
}

impl Leg {
    /// A leg without a dialog yet.
    pub(crate) fn new(
        env: &mut Env,
        call: CallKey,
        side: Side,
        face: Face,
        flow: Flow,
        call_id: String,
    ) -> Leg {
        let tag = env.ids.tag();
        let origin = OriginCounter::new(env.ids.next_u64());
        env.own_dialog((call_id.clone(), tag.clone()), call, side);
        Leg {
            call,
            side,
            face,
            flow,
            call_id,
            tag,
            dialog: None,
            origin,
            unacked: None,
            last_ack: None,
            hang_up: HangUp::No,
        }
    }

    /// Our end, for the table.
    pub(crate) fn end(&self) -> LocalEnd {
        (self.call_id.clone(), self.tag.clone())
    }

    /// Whether the dialog is confirmed and neither side has hung up.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.hang_up, HangUp::No) && self.dialog.as_ref().is_some_and(Dialog::is_confirmed)
    }

    /// Whether nothing of the leg is under way any more.
    pub(crate) fn is_over(&self) -> bool {
        self.unacked.is_none() && matches!(self.hang_up, HangUp::No | HangUp::Done)
    }

    /// Begins the first INVITE of the leg.
    pub(crate) fn invite(&self, via: Via, uri: &str, from: NameAddr, hops: u32) -> Builder {
        Builder::request(&Method::Invite, uri)
            .header(Name::Via, via)
            .header(Name::MaxForwards, MaxForwards(hops))
            .header(Name::From, from.with_tag(Some(&self.tag)))
            .header(Name::To, format_args!("<{uri}>"))
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, "1 INVITE")
            .header(Name::Contact, contact(self.face, self.flow.transport))
            .header(Name::Allow, ALLOW)
    }

    /// Writes a response to an INVITE or UPDATE of the peer.
    pub(crate) fn response(
        &self,
        request: &Message,
        status: StatusCode,
        reasons: &[Reason],
        sdp: Option<Bytes>,
    ) -> Message {
        let mut builder = Builder::response_to(request, status, None, Some(&self.tag));
        let creates = status != StatusCode::TRYING && (status.is_provisional() || status.is_success());
        if creates {
            builder = builder
                .copy(request, Name::RecordRoute)
                .header(Name::Contact, contact(self.face, self.flow.transport))
                .header(Name::Allow, ALLOW);
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
        let builder = dialog.request(method, via, contact.as_ref());
        Some((if target { builder.header(Name::Allow, ALLOW) } else { builder }, flow))
    }

    /// Sends a 2xx to an INVITE, and again until its ACK comes.
    pub(crate) fn answer(&mut self, env: &mut Env, server: ServerId, response: Message) {
        env.layer.respond(env.now, server, response.clone());
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let t1 = env.settings.transaction.t1;
        self.unacked = Some(Unacked { server, response, cseq, interval: t1, gives_up_at: env.now + t1 * 64 });
        env.alarm_in(self.call, Alarm::answer(self.side), t1);
    }

    /// The time to send the 2xx again has come.
    pub(crate) fn answer_again(&mut self, env: &mut Env) -> Retransmission {
        let alarm = Alarm::answer(self.side);
        let Some(unacked) = &mut self.unacked else { return Retransmission::None };
        if env.now >= unacked.gives_up_at {
            self.unacked = None;
            return Retransmission::GaveUp;
        }
        env.layer.respond(env.now, unacked.server, unacked.response.clone());
        unacked.interval = (unacked.interval * 2).min(env.settings.transaction.t2);
        let next = (env.now + unacked.interval).min(unacked.gives_up_at);
        env.set_alarm(self.call, alarm, Some(next));
        Retransmission::Sent
    }

    /// Takes the ACK of our 2xx; false when none was awaited.
    pub(crate) fn acked(&mut self, env: &mut Env, ack: &Message) -> bool {
        let number = ack.cseq().map(|cseq| cseq.number).ok();
        if self.unacked.as_ref().is_none_or(|unacked| Some(unacked.cseq) != number) {
            return false;
        }
        self.unacked = None;
        env.set_alarm(self.call, Alarm::answer(self.side), None);
        true
    }

    /// Acknowledges a 2xx to our INVITE with this CSeq.
    pub(crate) fn ack(&mut self, env: &mut Env, cseq: u32, sdp: Option<Bytes>) {
        let Some(dialog) = &self.dialog else { return };
        let flow = env.way(dialog, self.flow);
        let ack = with_sdp(dialog.ack(env.via(&flow, self.face), cseq), sdp).finish();
        env.layer.send(&ack, flow);
        self.last_ack = Some((cseq, ack));
    }

    /// Acknowledges a 2xx that came again, or one whose INVITE nobody waits for any more. False when it is another fork's.
    pub(crate) fn ack_again(&mut self, env: &mut Env, response: &Message) -> bool {
        let Some(dialog) = &self.dialog else { return false };
        if dialog.id().remote_tag != response.to_tag().unwrap_or_default() {
            return false;
        }
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        match &self.last_ack {
            Some((number, ack)) if *number == cseq => {
                let flow = env.way(dialog, self.flow);
                env.layer.send(ack, flow);
            }
            _ => self.ack(env, cseq, None),
        }
        true
    }

    /// Ends the leg with BYE: now, or as soon as our 2xx is acknowledged.
    pub(crate) fn hang_up(&mut self, env: &mut Env, reasons: &[Reason]) {
        if !matches!(self.hang_up, HangUp::No | HangUp::Waits(_)) {
            return;
        }
        if self.unacked.is_some() {
            self.hang_up = HangUp::Waits(reasons.to_vec());
            return;
        }
        self.hang_up = HangUp::Done;
        let Some((mut builder, flow)) = self.request(env, &Method::Bye) else { return };
        for reason in reasons {
            builder = builder.header(Name::Reason, reason);
        }
        if let Some(client) = env.request(Owner::Call(self.call, self.side), builder.finish(), flow) {
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
    pub(crate) fn over(&mut self, env: &mut Env) {
        self.hang_up = HangUp::Done;
        self.unacked = None;
        env.set_alarm(self.call, Alarm::answer(self.side), None);
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

/// What we take (RFC 3261 §20.5).
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, MESSAGE";
