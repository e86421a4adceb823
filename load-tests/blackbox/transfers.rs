//! Transfers by REFER through the translator, which carries them out, and redirections by a trunk.

use user_agent::Message;

use crate::support::legs::{End, body_of, media_of};
use crate::support::raw::{aor, registered, slow_and_steady};
use crate::support::{Legs, Raw};

/// The next message to an end but 100.
fn next(end: &mut End) -> Message {
    loop {
        let message = end.raw.receive();
        if message.status().is_none_or(|(status, _)| status != 100) {
            return message;
        }
    }
}

/// NOTIFYs are answered until one says the end; gives what they said. A BYE that overtakes the last one is answered, too.
fn until_told(end: &mut End, accepted: &str) -> Vec<String> {
    let (mut told, mut done, mut taken) = (Vec::new(), false, false);
    while !done || !taken {
        let message = next(end);
        match message.status() {
            Some((status, _)) => {
                assert_eq!(status.to_string(), accepted, "{message:#?}");
                taken = true;
            }
            None => {
                end.respond(&message, 200, &[], None);
                if message.method() == Some("NOTIFY") {
                    assert!(message.header("Event").unwrap().starts_with("refer"));
                    told.push(body_of(&message).trim_end().to_owned());
                    done |= message.header("Subscription-State").unwrap().starts_with("terminated");
                }
            }
        }
    }
    told
}

/// RFC 3515 §2.4.4: a phone's blind transfer is carried out by us and told by NOTIFY, whatever the gateway knows of REFER.
/// RFC 3261 §14: the gateway is only offered other media.
#[test]
fn a_phone_transfers_to_another_phone() {
    let mut legs = Legs::start();
    let other = legs.node.add_line(&legs.line.domain, "102");
    let mut third = End::new(registered(&legs.node, &other), "third");
    let (invite, _) = legs.call_up(&[], &[("Allow", "INVITE, ACK, BYE, CANCEL")]);
    legs.phone.catch_up();
    let target = format!("<{}>", aor(&other));
    legs.phone.request("REFER", &[("Refer-To", &target)], None);
    let new = third.expect_request("INVITE");
    assert!(new.header("From").unwrap().contains("312345678"), "the other party calls: {new:#?}");
    third.uas(&new);
    third.respond(&new, 180, &[], None);
    let answer = third.sdp("");
    third.respond(&new, 200, &[], Some(&answer));
    third.expect_request("ACK");
    let again = legs.gateway.expect_request("INVITE");
    assert!(again.tag("To").is_some(), "it is in the gateway's dialog");
    let mine = legs.gateway.sdp("");
    legs.gateway.respond(&again, 200, &[], Some(&mine));
    legs.gateway.expect_request("ACK");
    let told = until_told(&mut legs.phone, "202");
    assert_eq!(told.first().map(String::as_str), Some("SIP/2.0 100 Trying"));
    assert!(told.contains(&"SIP/2.0 200 OK".to_owned()), "{told:?}");
    // Speech flows between the gateway and the new phone.
    legs.gateway.is_heard_by(media_of(&invite), &third);
    third.is_heard_by(media_of(&new), &legs.gateway);
    third.request("BYE", &[], None);
    third.expect(200);
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    assert_eq!(legs.node.call_record()["result"], "answered");
}

/// RFC 3891 §3: a phone's attended transfer reaches the other phone as an INVITE with Replaces.
/// RFC 3515 §2.4.5: one that fails is told with its status, and the call goes on.
#[test]
fn an_attended_transfer_that_fails() {
    let mut legs = Legs::start();
    let other = legs.node.add_line(&legs.line.domain, "102");
    let mut third = End::new(registered(&legs.node, &other), "third");
    legs.call_up(&[], &[]);
    legs.phone.catch_up();
    let target = format!("<{}?Replaces=c%40h%3Bto-tag%3Dt%3Bfrom-tag%3Df>", aor(&other));
    legs.phone.request("REFER", &[("Refer-To", &target)], None);
    let new = third.expect_request("INVITE");
    assert_eq!(new.header("Replaces"), Some("c@h;to-tag=t;from-tag=f"));
    third.respond(&new, 481, &[], None);
    third.expect_request("ACK");
    let told = until_told(&mut legs.phone, "202");
    assert!(told.last().unwrap().starts_with("SIP/2.0 481"), "{told:?}");
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3515 §2.4.4: a transfer leads outside, too, by way of the proxy and with the rights of the phone's line: what it may not call it
/// cannot transfer to either.
#[test]
fn a_transfer_obeys_the_rights_of_the_line() {
    let mut legs = Legs::start();
    legs.call_up(&[], &[]);
    legs.phone.catch_up();
    legs.phone.request("REFER", &[("Refer-To", "<sip:01012125550123@platform.invalid>")], None);
    let told = until_told(&mut legs.phone, "202");
    assert!(told.last().unwrap().starts_with("SIP/2.0 4"), "a stranger's domain: {told:?}");
    for (number, status) in [("01012125550123", "403"), ("0355550000", "486")] {
        let target = format!("<sip:{number}@{}>", legs.line.domain);
        legs.phone.request("REFER", &[("Refer-To", &target)], None);
        if status == "486" {
            let mut outside =
                End::new(std::mem::replace(&mut legs.gateway.raw, Raw::udp(legs.node.trunk_side)), "outside");
            let new = outside.expect_request("INVITE");
            assert!(String::from_utf8_lossy(&new.to_bytes()).contains("355550000@"), "{new:#?}");
            outside.respond(&new, 486, &[], None);
            outside.expect_request("ACK");
            legs.gateway.raw = outside.raw;
        }
        let told = until_told(&mut legs.phone, "202");
        assert!(told.last().unwrap().starts_with(&format!("SIP/2.0 {status}")), "{told:?}");
    }
    legs.phone.request("BYE", &[], None);
    legs.phone.expect(200);
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    // The call outside that was transferred to has a record of its own.
    let results: Vec<_> = legs.node.call_records(2).iter().map(|record| record["result"].clone()).collect();
    assert!(results.contains(&"answered".into()) && results.contains(&"busy".into()), "{results:?}");
}

/// RFC 5589 §6: a gateway transfers a phone to another number of its own, where the trunk may.
#[test]
fn a_gateway_transfers() {
    for may in [true, false] {
        let mut legs = Legs::with_trunk(slow_and_steady(), if may { &["--may-redirect"] } else { &[] });
        legs.call_up(&[], &[]);
        legs.phone.catch_up();
        legs.gateway.request(
            "REFER",
            &[("Refer-To", "<sip:0355550000@127.0.0.1>"), ("Refer-Sub", "false")],
            None,
        );
        if !may {
            legs.gateway.expect(403);
            assert_eq!(legs.hang_up()["result"], "answered");
            continue;
        }
        // All at one socket: the answer, the new INVITE and, at the end, the BYE of the old leg.
        let mut new = None;
        for _ in 0..2 {
            let message = next(&mut legs.gateway);
            match message.status() {
                Some((status, _)) => assert_eq!(status, 202),
                None => new = Some(message),
            }
        }
        let new = new.unwrap();
        assert!(new.to_bytes().starts_with(b"INVITE sip:0355550000@"), "{new:#?}");
        let answer = legs.gateway.sdp("");
        legs.gateway.as_fork("other", &new);
        legs.gateway.respond(&new, 200, &[], Some(&answer));
        for wanted in ["ACK", "BYE"] {
            let request = next(&mut legs.gateway);
            assert_eq!(request.method(), Some(wanted), "{request:#?}");
            if wanted == "BYE" {
                legs.gateway.respond(&request, 200, &[], None);
            }
        }
        let again = legs.phone.expect_request("INVITE");
        let mine = legs.phone.sdp("");
        legs.phone.respond(&again, 200, &[], Some(&mine));
        legs.phone.expect_request("ACK");
        legs.phone.is_heard_by(media_of(&again), &legs.gateway);
        assert_eq!(legs.hang_up()["result"], "answered");
    }
}

/// RFC 3261 §8.1.3.4: a trunk's redirection is followed where the trunk may; else the call fails with 502.
#[test]
fn a_trunk_redirects() {
    for may in [true, false] {
        let mut legs = Legs::with_trunk(slow_and_steady(), if may { &["--may-redirect"] } else { &[] });
        let offer = legs.phone.sdp("");
        let (_, invite) = legs.dial(&[], Some(&offer));
        let moved = [("Contact", "<sip:0355550000@192.0.2.1>")];
        legs.gateway.respond(&invite, 302, &moved, None);
        legs.gateway.expect_request("ACK");
        if !may {
            legs.phone.expect(502);
            continue;
        }
        let again = legs.gateway.expect_request("INVITE");
        assert!(again.to_bytes().starts_with(b"INVITE sip:0355550000@127.0.0.1"), "{again:#?}");
        legs.gateway.uas(&again);
        let answer = legs.gateway.sdp("");
        legs.gateway.respond(&again, 200, &[], Some(&answer));
        let ok = legs.phone.expect(200);
        legs.phone.uac(&ok);
        legs.phone.ack(&ok, None);
        legs.gateway.expect_request("ACK");
        legs.phone.is_heard_by(media_of(&ok), &legs.gateway);
        assert_eq!(legs.hang_up()["result"], "answered");
    }
}
