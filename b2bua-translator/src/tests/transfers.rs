//! Transfers by REFER and redirections by 3xx, carried out by us.

use std::time::Duration;

use schema::{Change, EndedBy, TrunkId};
use sip_core::wire::{Message, Method, Name};

use crate::question::Side;
use crate::sdp::Direction;
use crate::testing::harness::*;

const NEW_MEDIA: &str = "2001:db8:42:10::102";

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body()).into_owned()
}

fn refer(harness: &mut Harness, peer: &mut Peer, to: &str) {
    harness.ask_with(peer, Method::Refer, None, &[(Name::ReferTo, to)]);
}

/// The next NOTIFY to a peer, which says this.
fn notified(harness: &mut Harness, peer: &mut Peer, line: &str, state: &str) -> Message {
    let at = peer.address.to_string();
    let notify = harness.take_request(&at, Method::Notify);
    assert_eq!(text(&notify), format!("SIP/2.0 {line}\r\n"));
    assert_eq!(notify.text(Name::ContentType), Some("message/sipfrag;version=2.0"));
    assert!(notify.text(Name::SubscriptionState).unwrap().starts_with(state), "{notify:?}");
    harness.reply(peer, &notify, 200, None);
    notify
}

/// A carrier that may send calls elsewhere.
fn trusting() -> Harness {
    let harness = Harness::new();
    let mut carrier = (*harness.shared.directory.trunk(TrunkId(1)).unwrap()).clone();
    carrier.may_redirect = true;
    harness.shared.directory.apply(&Change::PutTrunk(carrier));
    harness
}

/// RFC 3515 §2.4.4: whoever asks for a transfer is told of its progress.
/// RFC 5589 §6: the new party takes the place of the one that asked, which is then hung up.
#[test]
fn a_phone_transfers_to_another_line() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    // It holds the gateway first, as phones do.
    let hold = sdp_with(PHONE_MEDIA, "m=audio 11000 RTP/AVP 0 8\r\na=sendonly\r\n");
    harness.ask(&mut proxy, Method::Invite, Some(("application/sdp", hold)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(
        &mut gateway,
        &out,
        200,
        Some(sdp_with(GATEWAY_MEDIA, "m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n")),
    );
    let ok = harness.take_status(PROXY, 200);
    harness.ack(&proxy, &ok, None);
    harness.forget_sent();

    refer(&mut harness, &mut proxy, "<sip:102@s042.example.net>");
    let invite = harness.take_request(PROXY, Method::Invite);
    assert_eq!(invite.request_uri_text(), "sip:102@s042.example.net");
    assert_eq!(invite.text(Name::ReferredBy), Some("<sip:101@s042.example.net>"));
    assert!(invite.text(Name::From).unwrap().contains("+81901234567"), "the other party calls");
    assert_eq!(described(&invite).direction(0), Direction::SendRecv, "hold was for the one that asked");
    assert!(invite.to_tag().is_none());
    harness.take_status(PROXY, 202);
    let first = notified(&mut harness, &mut proxy, "100 Trying", "active");
    assert_eq!(first.text(Name::Event), Some("refer"));
    let mut phone = harness.proxy();
    harness.reply(&mut phone, &invite, 180, None);
    notified(&mut harness, &mut proxy, "180 Ringing", "active");
    harness.reply(&mut phone, &invite, 200, Some(sdp(NEW_MEDIA, 12_000)));
    harness.take_request(PROXY, Method::Ack);
    notified(&mut harness, &mut proxy, "200 OK", "terminated");
    let bye = harness.take_request(PROXY, Method::Bye);
    assert_eq!(bye.call_id().unwrap(), first.call_id().unwrap());
    harness.reply(&mut proxy, &bye, 200, None);

    // The other party is taken back from hold.
    let again = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(described(&again).direction(0), Direction::SendRecv);
    harness.reply(&mut gateway, &again, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    harness.take_request(GATEWAY_1, Method::Ack);
    let update = &harness.last_update(Side::Caller)[0];
    assert_eq!(update.rtp.unwrap().to_string(), format!("[{NEW_MEDIA}]:12000"));
    // And the new party can do what any party can.
    harness.ask(&mut phone, Method::Info, None);
    let info = harness.take_request(GATEWAY_1, Method::Info);
    harness.reply(&mut gateway, &info, 200, None);
    harness.hang_up(&mut phone, &mut gateway);
    assert_eq!(harness.record().call_ids.len(), 3);
}

/// RFC 3515 §2.4.5: a transfer that fails is told with its status, and the call goes on.
/// RFC 3515 §2.4.6: later subscriptions of a dialog are told apart by their number.
#[test]
fn a_failed_transfer_leaves_the_call() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    refer(&mut harness, &mut proxy, "<sip:102@s042.example.net>");
    let invite = harness.take_request(PROXY, Method::Invite);
    notified(&mut harness, &mut proxy, "100 Trying", "active");
    // Meanwhile neither another transfer nor an offer is taken.
    refer(&mut harness, &mut proxy, "<sip:102@s042.example.net>");
    harness.take_status(PROXY, 491);
    harness.ask(&mut gateway, Method::Invite, Some(("application/sdp", sdp(GATEWAY_MEDIA, 4_010))));
    harness.take_status(GATEWAY_1, 491);
    let mut phone = harness.proxy();
    harness.reply(&mut phone, &invite, 486, None);
    notified(&mut harness, &mut proxy, "486 Busy Here", "terminated");
    refer(&mut harness, &mut proxy, "<tel:+81355550000>");
    let invite = harness.take_request(PROXY, Method::Invite);
    assert_eq!(invite.request_uri_text(), "tel:+81355550000");
    let notify = notified(&mut harness, &mut proxy, "100 Trying", "active");
    assert!(notify.text(Name::Event).unwrap().starts_with("refer;id="));
    // Nobody answers it.
    harness.reply(&mut phone, &invite, 180, None);
    harness.pass(Duration::from_secs(181));
    let cancel = harness.take_request(PROXY, Method::Cancel);
    harness.reply(&mut phone, &cancel, 200, None);
    harness.reply(&mut phone, &invite, 487, None);
    harness.forget_sent();
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 5589 §6.1: a phone may hang up as soon as its transfer is accepted; the other party waits for the answer.
#[test]
fn who_asked_hangs_up_at_once() {
    for answered in [true, false] {
        let mut harness = Harness::new();
        let (mut proxy, mut gateway) = harness.call_up();
        refer(&mut harness, &mut proxy, "<sip:102@s042.example.net>");
        let invite = harness.take_request(PROXY, Method::Invite);
        harness.take_status(PROXY, 202);
        notified(&mut harness, &mut proxy, "100 Trying", "active");
        harness.ask(&mut proxy, Method::Bye, None);
        harness.take_status(PROXY, 200);
        assert!(harness.nothing_for(GATEWAY_1), "the other party stays");
        let mut phone = harness.proxy();
        if answered {
            harness.reply(&mut phone, &invite, 200, Some(sdp(NEW_MEDIA, 12_000)));
            let again = harness.take_request(GATEWAY_1, Method::Invite);
            harness.reply(&mut gateway, &again, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
            harness.hang_up(&mut phone, &mut gateway);
        } else {
            harness.reply(&mut phone, &invite, 480, None);
            let bye = harness.take_request(GATEWAY_1, Method::Bye);
            harness.reply(&mut gateway, &bye, 200, None);
            harness.assert_over();
            assert_eq!(harness.record().ended_by, Some(EndedBy::Platform));
        }
    }
}

/// RFC 3515 §2.4.4: the other party hangs up meanwhile: the new leg is cancelled.
#[test]
fn the_other_party_hangs_up_meanwhile() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    refer(&mut harness, &mut proxy, "<sip:102@s042.example.net>");
    let invite = harness.take_request(PROXY, Method::Invite);
    let mut phone = harness.proxy();
    harness.reply(&mut phone, &invite, 180, None);
    harness.ask(&mut gateway, Method::Bye, None);
    let cancel = harness.take_request(PROXY, Method::Cancel);
    harness.reply(&mut phone, &cancel, 200, None);
    harness.reply(&mut phone, &invite, 487, None);
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
}

/// RFC 3891 §3: an attended transfer goes on as an INVITE with Replaces, whatever address the phone has.
#[test]
fn an_attended_transfer_names_the_dialog() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let to = "<sip:102@[2001:db8:42:10::102]:5066?Replaces=c1%40phone%3Bto-tag%3Dt1%3Bfrom-tag%3Df1>";
    refer(&mut harness, &mut proxy, to);
    let invite = harness.take_request(PROXY, Method::Invite);
    assert_eq!(invite.request_uri_text(), "sip:102@s042.example.net");
    assert_eq!(invite.text(Name::Replaces), Some("c1@phone;to-tag=t1;from-tag=f1"));
    assert_eq!(invite.text(Name::Require), Some("replaces"));
    let mut phone = harness.proxy();
    harness.reply(&mut phone, &invite, 200, Some(sdp(NEW_MEDIA, 12_000)));
    let again = harness.take_request(GATEWAY_1, Method::Invite);
    // The other party's refusal of the offer changes nothing: it was asked for what it knows already.
    harness.reply(&mut gateway, &again, 488, None);
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.hang_up(&mut phone, &mut gateway);
}

/// RFC 3515 §2.4.2: what cannot be carried out is refused.
#[test]
fn what_is_no_transfer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    for (to, status) in [("<http://example.net>", 416), ("<sip:a@b?Replaces=x>", 400)] {
        refer(&mut harness, &mut proxy, to);
        harness.take_status(PROXY, status);
    }
    harness.ask(&mut proxy, Method::Refer, None);
    harness.take_status(PROXY, 400);
    // A trunk may not send us anywhere unless its operator lets it.
    refer(&mut harness, &mut gateway, "<sip:0355550000@192.0.2.1>");
    harness.take_status(GATEWAY_1, 403);
    harness.hang_up(&mut proxy, &mut gateway);
}

/// RFC 4488 §4: whoever wants no NOTIFY gets none.
/// RFC 5589 §6: a gateway transfers as a phone does; we call the new number over the same gateway.
#[test]
fn a_gateway_transfers() {
    let mut harness = trusting();
    let (mut proxy, mut gateway) = harness.call_up();
    let headers = [(Name::ReferTo, "<sip:0355550000@192.0.2.99>"), (Name::Other("Refer-Sub"), "false")];
    harness.ask_with(&mut gateway, Method::Refer, None, &headers);
    let invite = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(invite.request_uri_text(), format!("sip:0355550000@{GATEWAY_1};user=phone"));
    assert!(invite.text(Name::From).unwrap().contains("+81312340101"), "the phone calls");
    assert_eq!(harness.take_status(GATEWAY_1, 202).text(Name::Other("Refer-Sub")), Some("false"));
    let mut other = harness.gateway(GATEWAY_1);
    harness.reply(&mut other, &invite, 200, Some(sdp("192.0.2.78", 5_000)));
    let bye = loop {
        let request = harness.take(GATEWAY_1);
        assert!(!request.is(&Method::Notify));
        if request.is(&Method::Bye) {
            break request;
        }
    };
    harness.reply(&mut gateway, &bye, 200, None);
    let again = harness.take_request(PROXY, Method::Invite);
    harness.reply(&mut proxy, &again, 200, Some(sdp(PHONE_MEDIA, 11_000)));
    harness.hang_up(&mut proxy, &mut other);
}

/// RFC 3261 §8.1.3.4: a redirection by the trunk is followed where its operator lets it: numbers alone, the best first, each once.
#[test]
fn a_trunk_redirects() {
    let mut harness = trusting();
    let (mut proxy, mut gateway) = (harness.proxy(), harness.gateway(GATEWAY_1));
    let invite = harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let contacts =
        "<sip:0311110000@203.0.113.1>;q=0.2, <sip:boss@203.0.113.1>, <sip:0322220000@203.0.113.1>;q=0.9";
    harness.reply_with(&mut gateway, &out, 302, None, &[(Name::Contact, contacts)]);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.request_uri_text(), format!("sip:0322220000@{GATEWAY_1};user=phone"));
    // The same again is no news; the next one is tried.
    let mut second = harness.gateway(GATEWAY_1);
    harness.reply_with(
        &mut second,
        &out,
        302,
        None,
        &[(Name::Contact, "<sip:0322220000@h>, <sip:0333330000@h>")],
    );
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.request_uri_text(), format!("sip:0333330000@{GATEWAY_1};user=phone"));
    let mut third = harness.gateway(GATEWAY_1);
    harness.reply(&mut third, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut third);
}

/// RFC 3261 §16.7: a redirection that is not followed is no concern of the caller.
#[test]
fn redirections_end() {
    // By a trunk that may not.
    let mut harness = Harness::new();
    let (proxy, mut gateway) = (harness.proxy(), harness.gateway(GATEWAY_1));
    harness.dial(&proxy, "110", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply_with(&mut gateway, &out, 302, None, &[(Name::Contact, "<sip:0322220000@h>")]);
    harness.take_status(PROXY, 502);
    // By one that never ends.
    let mut harness = trusting();
    let proxy = harness.proxy();
    harness.dial(&proxy, "110", Some(sdp(PHONE_MEDIA, 11_000)));
    let mut asked = 0;
    while let Some(message) = harness.try_take(GATEWAY_1) {
        if message.is(&Method::Invite) {
            asked += 1;
            let mut gateway = harness.gateway(GATEWAY_1);
            let contact = format!("<sip:03{asked:08}@h>");
            harness.reply_with(&mut gateway, &message, 302, None, &[(Name::Contact, &contact)]);
        }
    }
    assert_eq!(asked, 6, "the first number and five more");
    harness.take_status(PROXY, 502);
}
