//! Transfers that a party asks for by REFER (RFC 3515, RFC 5589). We carry them out ourselves: the other party, or its gateway, need
//! not know how, and is only offered other media.
//!
//! The new leg takes the place of the one that asked, on the same side and with the same ports. Until it is answered the old one stays;
//! should that hang up meanwhile, the other party waits for the answer alone.

use schema::Trunk;
use sip_core::dialog::Dialog;
use sip_core::flow::Flow;
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::header::{
    CSeq, Event, Header, MaxForwards, Reason, ReferTo, Replaces, SubscriptionState,
};
use sip_core::wire::{Host, Message, Method, Name, StatusCode, Uri};
use tracing::{debug, info};

use super::state::{Call, State};
use crate::body::Body;
use crate::bridge::Context;
use crate::cause::Cause;
use crate::env::{Alarm, Env, Owner, contact};
use crate::identity::{Identity, InsideCaller, OutsideCaller, Party, digits_of};
use crate::leg::{Leg, Peering, supported, with_sdp};
use crate::question::Side;
use crate::required::unacceptable;
use crate::sdp::{shares_codec, without_direction};
use crate::trunks::Candidate;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Who asked for it.
    side: Side,
    /// The leg that shall take its place.
    leg: Leg,
    /// Its INVITE.
    client: ClientId,
    request: Message,
    /// What the NOTIFYs are about; `None` where none are wanted (RFC 4488).
    event: Option<Event>,
    /// What was last said in one.
    told: StatusCode,
}

/// Where a REFER sends us.
struct Wanted {
    uri: Uri,
    replaces: Option<Replaces>,
}

/// How the new leg gets there.
struct Way {
    uri: String,
    identity: Identity,
    flow: Flow,
    /// The line whose rights count.
    referrer: Option<String>,
}

impl Call {
    /// Takes a REFER in the answered call.
    pub(super) fn refer(&mut self, env: &mut Env, side: Side, server: ServerId, request: &Message) {
        let State::Up(bridge) = &mut self.state else {
            return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        };
        if let Some((status, headers)) = unacceptable(request) {
            return env.refuse(server, status, &headers);
        }
        let wanted = match Wanted::of(request) {
            Ok(wanted) => wanted,
            Err(status) => return env.refuse(server, status, &[]),
        };
        if self.transfer.is_some() {
            return env.refuse(server, StatusCode::REQUEST_PENDING, &[]);
        }
        let other =
            bridge.talk.described(side.other()).filter(|_| bridge.is_at_rest()).map(without_direction);
        let Some(offer) = other else {
            let soon = env.soon();
            return env.refuse(server, StatusCode::SERVER_INTERNAL_ERROR, &[soon]);
        };
        let (peering, face, known) = {
            let leg = bridge.leg(side);
            (leg.peering, leg.face, leg.flow)
        };
        let Some(way) = self.way(env, side, peering, &wanted, known) else {
            debug!(call = %self.id, ?side, "a transfer is refused");
            return env.refuse(server, StatusCode::FORBIDDEN, &[]);
        };
        let call_id = env.ids.call_id();
        let mut leg = Leg::new(env, self.key, side, peering, face, way.flow, call_id);
        self.ends.push(leg.end());
        if let Some(draft) = &mut self.draft {
            draft.call_ids.push(leg.call_id.clone());
        }
        let offer = self.media.translate(&offer, side, &mut leg.origin);
        leg.said = Some(offer);
        let invite = compose(env, &leg, request, &way, wanted.replaces.as_ref());
        let Some(client) = env.request(Owner::Call(self.key), invite.clone(), leg.flow) else {
            return env.refuse(server, StatusCode::SERVICE_UNAVAILABLE, &[]);
        };
        info!(call = %self.id, ?side, sip_call_id = %leg.call_id, "transferring");
        let silent = request.text(REFER_SUB).is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let event = (!silent).then(|| self.event_of(request));
        let State::Up(bridge) = &mut self.state else { return };
        bridge.freeze(true);
        let mut accepted = bridge.leg(side).response(request, StatusCode::ACCEPTED, &[], None, None);
        if silent {
            accepted = accepted.edit().append(REFER_SUB, "false").finish();
        }
        env.layer.respond(env.now, server, accepted);
        self.referred = true;
        self.transfer =
            Some(Transfer { side, leg, client, request: invite, event, told: StatusCode::TRYING });
        self.notify(env, StatusCode::TRYING);
        env.alarm_in(self.key, Alarm::Ring, env.settings.ring_limit);
    }

    /// Takes a response to the new leg's INVITE; false when it is to another request.
    pub(super) fn transfer_response(
        &mut self,
        env: &mut Env,
        client: ClientId,
        response: &Message,
        flow: Flow,
    ) -> bool {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.client == client) else {
            return false;
        };
        let Some(status) = response.status() else { return true };
        if status.is_provisional() {
            if status != transfer.told {
                self.notify(env, status);
            }
            return true;
        }
        if status.is_success() {
            self.transferred(env, response, flow);
        } else {
            self.not_transferred(env, status);
        }
        true
    }

    /// The new leg's INVITE got no response; false when it was another request.
    pub(super) fn transfer_failed(&mut self, env: &mut Env, client: ClientId) -> bool {
        let is_it = self.transfer.as_ref().is_some_and(|transfer| transfer.client == client);
        if is_it {
            self.not_transferred(env, StatusCode::REQUEST_TIMEOUT);
        }
        is_it
    }

    /// The new leg rings too long.
    pub(super) fn transfer_too_long(&mut self, env: &mut Env) {
        if let Some(transfer) = &self.transfer {
            env.abandon(transfer.client, &[]);
            self.not_transferred(env, StatusCode::TEMPORARILY_UNAVAILABLE);
        }
    }

    /// The call ends before the new leg is answered.
    pub(super) fn drop_transfer(&mut self, env: &mut Env, reasons: &[Reason]) {
        if let Some(transfer) = self.transfer.take() {
            env.abandon(transfer.client, reasons);
        }
    }

    /// Whether the leg of a side may go while the call stays: its party has asked to be replaced.
    pub(super) fn may_leave(&self, side: Side) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.side == side)
    }

    fn transferred(&mut self, env: &mut Env, response: &Message, flow: Flow) {
        let Some(transfer) = &mut self.transfer else { return };
        let side = transfer.side;
        let Ok(dialog) = Dialog::uac(&transfer.request, response, flow) else {
            return self.not_transferred(env, StatusCode::BAD_GATEWAY);
        };
        let leg = &mut transfer.leg;
        leg.dialog = Some(dialog);
        leg.peer.learn(response);
        leg.session.agreed(env.now, response, &env.settings.session);
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or(1);
        leg.ack(env, cseq, None);
        let State::Up(bridge) = &mut self.state else { return };
        let offered = bridge.talk.described(side.other());
        let answer = Body::of(response).sdp().filter(|answer| {
            offered.is_some_and(|offered| shares_codec(&self.media.allowed(offered), answer))
        });
        let Some(answer) = answer else {
            let mut leg = leg.clone();
            leg.hang_up(env, &[Reason::sip(488, "No common codec")]);
            self.ending.push(leg);
            return self.not_transferred(env, StatusCode::NOT_ACCEPTABLE_HERE);
        };
        info!(call = %self.id, ?side, "transferred");
        self.notify(env, StatusCode::OK);
        let Some(transfer) = self.transfer.take() else { return };
        env.set_alarm(self.key, Alarm::Ring, None);
        let State::Up(bridge) = &mut self.state else { return };
        let mut cx = Context { env, media: &mut self.media, id: &self.id };
        let step = bridge.replace(&mut cx, side, transfer.leg, answer);
        self.step(env, step);
    }

    fn not_transferred(&mut self, env: &mut Env, status: StatusCode) {
        self.notify(env, status);
        env.set_alarm(self.key, Alarm::Ring, None);
        let (Some(transfer), State::Up(bridge)) = (self.transfer.take(), &mut self.state) else { return };
        info!(call = %self.id, %status, "the transfer failed");
        bridge.freeze(false);
        if !bridge.leg(transfer.side).is_alive() {
            let reason = Reason::sip(status.code(), status.reason());
            self.end(env, Cause::ours("the transfer failed, and who asked for it had hung up", reason));
        }
    }

    /// Tells who asked how far it is (RFC 3515 §2.4.4). Nobody waits for the response: whoever does not want to know says so.
    fn notify(&mut self, env: &mut Env, status: StatusCode) {
        let (Some(transfer), State::Up(bridge)) = (&mut self.transfer, &mut self.state) else { return };
        transfer.told = status;
        let leg = bridge.leg(transfer.side);
        let Some(event) = transfer.event.as_ref().filter(|_| leg.is_alive()) else { return };
        let mut state = SubscriptionState::new(if status.is_final() { "terminated" } else { "active" });
        match status.is_final() {
            true => state.params.set("reason", Some("noresource")),
            false => state.params.set("expires", Some(&env.settings.ring_limit.as_secs().to_string())),
        }
        let (face, call) = (leg.face, leg.call);
        let Some((builder, flow)) = leg.request(env, &Method::Notify) else { return };
        let line = format!("SIP/2.0 {} {}\r\n", status.code(), status.reason());
        let notify = builder
            .header(Name::Contact, contact(face, flow.transport))
            .header(Name::Event, event)
            .header(Name::SubscriptionState, state)
            .body(SIPFRAG, line.into())
            .finish();
        env.request(Owner::Call(call), notify, flow);
    }

    /// The first subscription of a dialog needs no number (RFC 3515 §2.4.6).
    fn event_of(&self, request: &Message) -> Event {
        let mut event = Event::new("refer");
        if let Some(CSeq { number, .. }) = request.cseq().ok().filter(|_| self.referred) {
            event.params.set("id", Some(&number.to_string()));
        }
        event
    }

    /// The way of the new leg; `None` where whoever asks has no right to send calls elsewhere.
    ///
    /// A phone's goes to the proxy, which obeys the rights of its line. A trunk's goes back to the trunk's own gateway, where its operator
    /// lets it.
    fn way(&self, env: &Env, side: Side, peering: Peering, wanted: &Wanted, known: Flow) -> Option<Way> {
        let line = self.draft.as_ref().and_then(|draft| draft.line);
        let face = if peering == Peering::Inside {
            env.settings.inside
        } else {
            env.settings.outside(known.remote.ip())?
        };
        match peering {
            Peering::Inside => {
                let line = env.directory.line(line?)?;
                let site = env.directory.site(line.site)?;
                let other = match &self.party {
                    Party::Inside(_) => OutsideCaller::known(&self.number).toward_proxy(face),
                    Party::Outside(caller) => caller.toward_proxy(face),
                };
                let mut uri = wanted.uri.for_request_line();
                if let Uri::Sip(sip) = &mut uri
                    && !matches!(sip.host_port.host, Host::Name(_))
                {
                    // A phone's own address, as an attended transfer names it: the proxy knows where its line is now.
                    sip.host_port.host = Host::Name(site.domain.clone());
                    sip.host_port.port = None;
                }
                let referrer = Some(format!("<sip:{}@{}>", line.extension, site.domain));
                Some(Way { uri: uri.to_string(), identity: other, flow: known, referrer })
            }
            Peering::Trunk => {
                let trunk =
                    env.directory.trunk(self.draft.as_ref()?.trunk?).filter(|trunk| trunk.may_redirect)?;
                let caller = match (&self.party, side) {
                    (Party::Inside(caller), _) => caller.clone(),
                    (Party::Outside(_), _) => InsideCaller::known(line, &self.number),
                };
                let flow = gateway_of(env, &trunk, known)?;
                let number = digits_of(&wanted.uri)?;
                let uri = format!("sip:{number}@{};user=phone", flow.remote);
                Some(Way { uri, identity: caller.toward_trunk(&trunk, face), flow, referrer: None })
            }
        }
    }
}

impl Wanted {
    /// RFC 3515 §2.4.2: exactly one Refer-To. Of the headers that its URI may hold only Replaces is obeyed.
    fn of(request: &Message) -> Result<Wanted, StatusCode> {
        if request.raws(Name::ReferTo).count() != 1 {
            return Err(StatusCode::BAD_REQUEST);
        }
        let refer_to = request.header::<ReferTo>().ok().flatten().ok_or(StatusCode::BAD_REQUEST)?;
        let uri = refer_to.0.uri;
        let Uri::Sip(sip) = &uri else {
            return match uri {
                Uri::Tel(_) => Ok(Wanted { uri, replaces: None }),
                _ => Err(StatusCode::UNSUPPORTED_URI_SCHEME),
            };
        };
        if sip.params.value("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return Err(StatusCode::NOT_ACCEPTABLE_HERE);
        }
        let replaces = sip.headers.as_deref().and_then(|headers| {
            headers.split('&').find_map(|header| {
                let (name, value) = header.split_once('=')?;
                name.eq_ignore_ascii_case("Replaces").then(|| unescaped(value))
            })
        });
        let replaces = match replaces {
            Some(value) => Some(Replaces::parse(&value).map_err(|_| StatusCode::BAD_REQUEST)?),
            None => None,
        };
        Ok(Wanted { uri, replaces })
    }
}

fn compose(env: &mut Env, leg: &Leg, refer: &Message, way: &Way, replaces: Option<&Replaces>) -> Message {
    let hops = refer.header::<MaxForwards>().ok().flatten().map_or(70, |hops| hops.0.min(70));
    let mut builder = leg
        .first_invite(env, &way.uri, way.identity.from.clone(), hops.saturating_sub(1), 1)
        .header(Name::Supported, supported(leg.peering))
        .header_if(Name::PAssertedIdentity, way.identity.asserted.as_ref())
        .header_if(Name::ReferredBy, way.referrer.as_ref());
    if way.identity.private {
        builder = builder.header(Name::Privacy, "id");
    }
    if let Some(replaces) = replaces {
        builder = builder.header(Name::Replaces, replaces).header(Name::Require, "replaces");
    }
    with_sdp(builder, leg.said.clone()).finish()
}

/// The trunk's gateway that the call is with, or its first one where the call came from somewhere else.
fn gateway_of(env: &Env, trunk: &Trunk, known: Flow) -> Option<Flow> {
    let gateways = env.trunks.gateways_of(trunk);
    let known = gateways.iter().find(|(gateway, _)| gateway.address == known.remote);
    let (gateway, host) = known.or(gateways.first())?.clone();
    let face = env.settings.outside(gateway.address.ip())?;
    Some(Candidate { trunk: None, gateway, host, face, number: None }.flow())
}

/// A header in a URI, with its escapes undone (RFC 3261 §19.1.1).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The result of a request, as a NOTIFY holds it (RFC 3420).
const SIPFRAG: &str = "message/sipfrag;version=2.0";
/// Whether the sender of a REFER wants NOTIFYs (RFC 4488 §4).
const REFER_SUB: Name = Name::Other("Refer-Sub");

#[cfg(test)]
mod tests {
    use sip_core::wire::Builder;

    use super::*;

    fn refer(values: &[&str]) -> Message {
        let builder = Builder::request(&Method::Refer, "sip:a@192.0.2.1");
        values.iter().fold(builder, |builder, value| builder.header(Name::ReferTo, value)).finish()
    }

    /// RFC 3515 §2.4.2: a REFER with no Refer-To, or with several, gets 400.
    #[test]
    fn one_refer_to() {
        let status = |values: &[&str]| Wanted::of(&refer(values)).err().map(|status| status.code());
        assert_eq!(status(&[]), Some(400));
        assert_eq!(status(&["sip:a@b", "sip:c@d"]), Some(400));
        assert_eq!(status(&["<http://example.net>"]), Some(416));
        assert_eq!(status(&["<sip:a@b;method=SUBSCRIBE>"]), Some(488));
        assert_eq!(status(&["<sip:a@b?Replaces=x>"]), Some(400));
        assert_eq!(status(&["<tel:+81312345678>"]), None);
        let attended =
            "<sip:102@s042.example.net?Route=%3Csip:evil%3E&Replaces=c%40h%3Bto-tag%3Dt%3Bfrom-tag%3Df>";
        let wanted = Wanted::of(&refer(&[attended])).unwrap();
        let replaces = wanted.replaces.unwrap();
        assert_eq!(
            (replaces.call_id.as_str(), replaces.to_tag.as_str(), replaces.from_tag.as_str()),
            ("c@h", "t", "f")
        );
        assert_eq!(wanted.uri.for_request_line().to_string(), "sip:102@s042.example.net");
    }
}
