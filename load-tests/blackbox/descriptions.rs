//! Session descriptions of all kinds on their way through the translator: fax, hold, several sections, what is stripped, what is refused.

use crate::support::Legs;
use crate::support::legs::{body_of, media_of, rtp};
use crate::support::raw::{ack_of_failure, slow_and_steady};

/// One side asks with a description, and the other answers it; gives what the other saw, and what the asking side got.
fn exchange(legs: &mut Legs, phone_asks: bool, offer: &str, answer: &str) -> (String, String) {
    let (asks, answers) = match phone_asks {
        true => (&mut legs.phone, &mut legs.gateway),
        false => (&mut legs.gateway, &mut legs.phone),
    };
    asks.request("INVITE", &[], Some(offer));
    let seen = answers.expect_request("INVITE");
    answers.respond(&seen, 200, &[], Some(answer));
    let ok = asks.expect(200);
    asks.ack(&ok, None);
    answers.expect_request("ACK");
    asks.catch_up();
    (body_of(&seen), body_of(&ok))
}

/// RFC 3264 §8.3.1: a re-INVITE turns speech into fax, and its datagrams (UDPTL) pass byte for byte in both directions.
#[test]
fn fax_by_t38() {
    let mut legs = Legs::start();
    legs.call_up(&[], &[]);
    legs.phone.catch_up();
    let fax = |end: &crate::support::legs::End| {
        let port = end.media.local_addr().unwrap().port();
        end.sdp_with(&format!(
            "m=image {port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
        ))
    };
    let (offer, answer) = (fax(&legs.gateway), fax(&legs.phone));
    legs.gateway.request("INVITE", &[], Some(&offer));
    let seen = legs.phone.expect_request("INVITE");
    assert!(body_of(&seen).contains(" udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"));
    legs.phone.respond(&seen, 200, &[], Some(&answer));
    let ok = legs.gateway.expect(200);
    legs.gateway.ack(&ok, None);
    legs.phone.expect_request("ACK");
    // UDPTL: a sequence number, then T.38; no RTP.
    legs.gateway.passes(media_of(&ok), &legs.phone, &[0, 1, 3, 0xc0, 1, 0x80, 0, 0]);
    legs.phone.passes(media_of(&seen), &legs.gateway, &[0, 7, 2, 0, 1]);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3264 §8.4: hold by attributes passes as it is.
/// RFC 6157 §5.1: hold by an address that is none, of either family, becomes hold by an attribute in the other.
#[test]
fn hold_in_every_spelling_from_both_sides() {
    let mut legs = Legs::start();
    legs.call_up(&[], &[]);
    for phone_asks in [true, false] {
        let asks = if phone_asks { &legs.phone } else { &legs.gateway };
        let answers = if phone_asks { &legs.gateway } else { &legs.phone };
        let nowhere = if phone_asks { "IN IP6 ::" } else { "IN IP4 0.0.0.0" };
        let ours = format!("IN {} {}", if phone_asks { "IP6" } else { "IP4" }, asks.raw.local.ip());
        let port = asks.media.local_addr().unwrap().port();
        let speech = |more: &str| format!("m=audio {port} RTP/AVP 0\r\n{more}");
        let session_level = asks.sdp_with(&speech("")).replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
        let spellings = [
            (asks.sdp_with(&speech("a=sendonly\r\n")), "sendonly"),
            (session_level, "sendonly"),
            (asks.sdp_with(&speech("a=inactive\r\n")), "inactive"),
            (asks.sdp_with(&speech("")).replace(&format!("c={ours}"), &format!("c={nowhere}")), "sendonly"),
            (asks.sdp_with(&speech(&format!("c={nowhere}\r\n"))), "sendonly"),
            (asks.sdp_with(&speech(&format!("c={nowhere}\r\na=sendrecv\r\n"))), "sendonly"),
            (asks.sdp_with(&speech(&format!("c={nowhere}\r\na=inactive\r\n"))), "inactive"),
        ];
        let resumed = asks.sdp_with(&speech(""));
        let answer = |direction: &str| answers.sdp(&format!("a={direction}\r\n"));
        let (held, stopped, back) = (answer("recvonly"), answer("inactive"), answer("sendrecv"));
        for (offer, wanted) in spellings {
            let answer = if wanted == "sendonly" { &held } else { &stopped };
            let (seen, ok) = exchange(&mut legs, phone_asks, &offer, answer);
            assert!(seen.contains(&format!("a={wanted}\r\n")), "{offer}\nbecame\n{seen}");
            assert!(!seen.contains("0.0.0.0") && !seen.contains("IP6 ::\r\n"), "{seen}");
            assert!(ok.contains(if wanted == "sendonly" { "a=recvonly" } else { "a=inactive" }), "{ok}");
            let (seen, _) = exchange(&mut legs, phone_asks, &resumed, &back);
            assert!(!seen.contains("a=sendonly") && !seen.contains("a=inactive"), "{seen}");
        }
    }
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3264 §6: each section is answered in its place, and port 0 refuses one.
/// RFC 5761 §5.1.1: `a=rtcp-mux` is between the ends; RTCP then passes on the RTP port.
/// RFC 3605 §2.1: `a=rtcp` names our port.
/// RFC 4585 §4.2: `a=rtcp-fb` passes.
#[test]
fn several_sections_and_what_rtcp_needs() {
    let mut legs = Legs::start();
    let port = legs.phone.media.local_addr().unwrap().port();
    let offer = legs.phone.sdp_with(&format!(
        "m=audio {port} RTP/AVP 0\r\na=rtcp-mux\r\na=rtcp:{port} IN IP6 ::1\r\n\
         m=video 40002 RTP/AVPF 96\r\na=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack pli\r\n\
         m=message 40004 TCP/MSRP *\r\na=path:msrp://[::1]:40004/s;tcp\r\n"
    ));
    let (_, invite) = legs.dial(&[], Some(&offer));
    let seen = body_of(&invite);
    assert!(seen.contains("a=rtcp-mux\r\n") && seen.contains("a=rtcp-fb:96 nack pli\r\n"), "{seen}");
    assert!(seen.contains("m=message 0 TCP/MSRP") && !seen.contains("m=video 0 "), "{seen}");
    assert!(!seen.contains(&format!("rtcp:{port}")) && seen.contains("IN IP4 127.0.0.1\r\n"), "{seen}");
    let port = legs.gateway.media.local_addr().unwrap().port();
    let answer = legs.gateway.sdp_with(&format!(
        "m=audio {port} RTP/AVP 0\r\na=rtcp-mux\r\nm=video 0 RTP/AVPF 96\r\nm=message 0 TCP/MSRP *\r\n"
    ));
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    let answered = body_of(&ok);
    assert!(answered.contains("m=video 0 RTP/AVPF 96\r\n") && answered.contains("a=rtcp-mux"), "{answered}");
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    legs.gateway.is_heard_by(media_of(&invite), &legs.phone);
    // A receiver report on the port of RTP.
    let report = [&[0x81, 201, 0, 7, 1, 2, 3, 4][..], &[0; 24]].concat();
    legs.gateway.passes(media_of(&invite), &legs.phone, &report);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 8839 §4.2.5: who strips ICE leaves a description without it.
/// RFC 6947 §4: where `c=` names the other family, the alternative of the leg's own family is used.
#[test]
fn ice_and_alternatives_stay_on_their_leg() {
    let mut legs = Legs::start();
    let port = legs.phone.media.local_addr().unwrap().port();
    let offer = legs.phone.sdp_with(&format!(
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n\
         a=altc:1 IP6 ::1 {port}\r\na=altc:2 IP4 192.0.2.1 9\r\n\
         a=candidate:1 1 UDP 2130706431 ::1 {port} typ host\r\na=end-of-candidates\r\n"
    ));
    let (_, invite) = legs.dial(&[], Some(&offer));
    let seen = body_of(&invite);
    for gone in ["ice-", "candidate", "altc", "192.0.2.1", "::1"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let answer = legs.gateway.sdp("a=candidate:1 1 UDP 1 127.0.0.1 9 typ host\r\n");
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    assert!(!body_of(&ok).contains("candidate"));
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    legs.gateway.is_heard_by(media_of(&invite), &legs.phone);
    legs.phone.is_heard_by(media_of(&ok), &legs.gateway);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3312 §11: a phone that requires preconditions gets 420, and one whose offer demands them gets 580.
#[test]
fn preconditions() {
    let mut legs = Legs::start();
    let uri = format!("sip:0312345678@{}", legs.line.domain);
    let from = format!("{}@{}", legs.line.extension, legs.line.domain);
    let demands = "a=curr:qos e2e none\r\na=des:qos mandatory e2e sendrecv\r\n";
    for (require, lines, status) in [(Some("precondition"), "", 420), (None, demands, 580)] {
        let mut invite = legs.phone.raw.request("INVITE", &uri, &from);
        invite.push("Content-Type", "application/sdp");
        if let Some(tag) = require {
            invite.push("Require", tag);
        }
        invite.body = legs.phone.sdp(lines).into_bytes();
        let sent = legs.phone.raw.send_as(&legs.line, &invite);
        let refused = legs.phone.expect(status);
        assert_eq!(refused.header("Unsupported"), require);
        legs.phone.raw.send(&ack_of_failure(&sent, &refused));
    }
    legs.gateway.raw.expect_nothing();
}

/// RFC 5621 §3.1: a description within several parts is used, and goes on alone.
/// RFC 8866 §5: text of any character set passes byte for byte.
#[test]
fn several_parts_and_other_character_sets() {
    let mut legs = Legs::start();
    let offer = legs.phone.sdp("");
    let body = format!(
        "--x1\r\nContent-Type: application/sdp\r\n\r\n{offer}\r\n--x1\r\nContent-Type: application/pidf+xml\r\n\
         Content-Disposition: render;handling=optional\r\n\r\n<presence/>\r\n--x1--\r\n"
    );
    let (_, invite) = legs.dial(&[("Content-Type", "multipart/mixed;boundary=x1")], Some(&body));
    assert_eq!(invite.header("Content-Type"), Some("application/sdp"));
    assert!(body_of(&invite).starts_with("v=0\r\n") && !body_of(&invite).contains("presence"));
    let mut answer =
        legs.gateway.raw.response(&invite, 200, "gateway", &[("Content-Type", "application/sdp")]);
    answer.body = [legs.gateway.sdp("").as_bytes(), b"i=caf\xe9 \xa4\xcf\r\n"].concat();
    legs.gateway.raw.send(&answer);
    let ok = legs.phone.expect(200);
    assert!(ok.body.ends_with(b"i=caf\xe9 \xa4\xcf\r\n"), "{}", body_of(&ok));
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    legs.phone.is_heard_by(media_of(&ok), &legs.gateway);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3264 §5.1: a trunk with a list of codecs is offered those and tones, and offers no others to phones.
#[test]
fn codecs_by_trunk() {
    let mut legs = Legs::with_trunk(slow_and_steady(), &["--codec", "PCMA", "--codec", "g722"]);
    let media = "m=audio 40000 RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
    let (_, invite) = legs.dial(&[], Some(&legs.phone.sdp_with(media)));
    let seen = body_of(&invite);
    assert!(seen.contains(" RTP/AVP 8 9 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101"), "{seen}");
    legs.gateway.respond(&invite, 486, &[], None);
    legs.gateway.expect_request("ACK");
    legs.phone.expect(486);

    let uri = format!("sip:+81355550101@{}", legs.node.trunk_side);
    let mut invite = legs.gateway.raw.request("INVITE", &uri, "+819012345678@127.0.0.1");
    invite.push("Content-Type", "application/sdp");
    invite.body = legs
        .gateway
        .sdp_with("m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")
        .into_bytes();
    legs.gateway.raw.send(&invite);
    let refused = legs.gateway.expect(488);
    legs.gateway.raw.send(&ack_of_failure(&invite, &refused));

    // The list can be changed while calls go on.
    legs.node.cli(&["trunk", "set", "carrier", "--any-codec"]);
    let (_, received) = legs.dial_in(&[], Some(&legs.gateway.sdp("")));
    assert!(body_of(&received).contains(" RTP/AVP 0 101\r\n"), "{}", body_of(&received));
}

/// RFC 6086 §4: INFO passes in both directions with its body.
/// RFC 4733 §2: tones are RTP as any other, and pass byte for byte.
#[test]
fn tones_by_info_and_by_rtp() {
    let mut legs = Legs::start();
    let (invite, ok) = legs.call_up(&[], &[]);
    let kind = [("Content-Type", "application/dtmf-relay")];
    let press = "Signal=5\r\nDuration=160\r\n";
    for phone_asks in [true, false] {
        let (asks, answers) = match phone_asks {
            true => (&mut legs.phone, &mut legs.gateway),
            false => (&mut legs.gateway, &mut legs.phone),
        };
        asks.request("INFO", &kind, Some(press));
        let info = answers.expect_request("INFO");
        assert_eq!((info.header("Content-Type"), body_of(&info).as_str()), (Some(kind[0].1), press));
        answers.respond(&info, 200, &[], None);
        asks.expect(200);
    }
    let digit = rtp(101, &[5, 0x8a, 3, 0xc0]);
    legs.gateway.passes(media_of(&invite), &legs.phone, &digit);
    legs.phone.passes(media_of(&ok), &legs.gateway, &digit);
    assert_eq!(legs.hang_up()["result"], "answered");
}
