//! Strangers, forgers and loops.

use sip_core::wire::{Message, Method, Name, Uri};

use super::harness::*;

/// Sends a request as it is and gives the status.
fn status(harness: &mut Harness, from: &str, request: &Message) -> u16 {
    harness.deliver(from, request);
    harness.take(from).status().unwrap().code()
}

#[test]
fn nothing_is_relayed_for_strangers() {
    let mut harness = Harness::new();
    for uri in ["sip:x@example.org", "sip:102@[2001:db8:1::102]:5060", "sip:x@192.0.2.1"] {
        let invite = harness.request(&Method::Invite, STRANGER, "x@example.org", uri);
        assert_eq!(status(&mut harness, STRANGER, &invite), 403, "{uri}");
    }
    // For those who have a password neither.
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:x@example.org");
    assert_eq!(status(&mut harness, A, &invite), 403);
    // A local target asks for credentials.
    for uri in ["sip:102@s1.example.net", "tel:+81312345678", "sip:+81312345678@[2001:db8::1]"] {
        let invite = harness.request(&Method::Invite, STRANGER, "x@example.org", uri);
        assert_eq!(status(&mut harness, STRANGER, &invite), 407, "{uri}");
    }
    // A route through us to elsewhere.
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let invite =
        invite.edit().append(Name::Route, "<sip:[2001:db8::1];lr>, <sip:[2001:db8:bad::9];lr>").finish();
    assert_eq!(status(&mut harness, A, &invite), 403);
    harness.expect_nothing(B);
}

#[test]
fn a_preloaded_route_to_us_is_fine() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let invite = invite.edit().append(Name::Route, "<sip:[2001:db8::1]:5060;lr>").finish();
    harness.send_as(A, "s1-101", &invite);
    assert!(!harness.expect_request(B, &Method::Invite).has(Name::Route));
}

/// A call from A to B; gives the 200 as A got it.
fn call(harness: &mut Harness) -> Message {
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 200, B));
    harness.expect(A, 200)
}

#[test]
fn a_forged_route_opens_nothing() {
    let mut harness = Harness::new();
    let ok = call(&mut harness);
    let target = "sip:victim@[2001:db8:bad::9]:5060";
    let genuine = in_dialog(&Method::Info, 5, STRANGER, &ok, true, target);
    for route in [
        "<sip:[2001:db8::1]:5060;lr>",
        "<sip:[2001:db8::1]:5060;lr;c6=00000000000000000000>",
        "<sip:[2001:db8::1]:5060;lr;c6=>",
    ] {
        let forged = genuine.edit().set(Name::Route, route).finish();
        let mut via = forged.top_via().unwrap();
        via.params.set("branch", Some(&format!("z9hG4bK{}", route.len())));
        let forged = forged.edit().set(Name::Via, via).finish();
        assert_eq!(status(&mut harness, STRANGER, &forged), 403, "{route}");
    }
    // A genuine value belongs to its call alone.
    let other = genuine.edit().set(Name::CallId, "another").finish();
    assert_eq!(status(&mut harness, STRANGER, &other), 403);
    // And needs a dialog.
    let new = in_dialog(&Method::Invite, 6, STRANGER, &ok, true, target);
    let new = new.edit().set(Name::To, "<sip:102@s1.example.net>").finish();
    assert_eq!(status(&mut harness, STRANGER, &new), 403);
    // An ACK is dropped without a word.
    let ack = in_dialog(&Method::Ack, 7, STRANGER, &ok, true, target);
    let forged = ack.edit().set(Name::Route, "<sip:[2001:db8::1]:5060;lr>").finish();
    harness.deliver(STRANGER, &forged);
    harness.expect_nothing(STRANGER);
    harness.expect_nothing("[2001:db8:bad::9]:5060");
}

#[test]
fn an_identity_cannot_be_smuggled_in_later() {
    let mut harness = Harness::new();
    let ok = call(&mut harness);
    let update = in_dialog(&Method::Update, 5, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060");
    let update = update.edit().append(Name::PAssertedIdentity, "<sip:president@example.net>").finish();
    harness.deliver(A, &update);
    let received = harness.expect_request(B, &Method::Update);
    assert!(!received.has(Name::PAssertedIdentity));
    let response = answer(&received, 200, B).edit().append(Name::PAssertedIdentity, "<sip:x@y>").finish();
    harness.deliver(B, &response);
    assert!(!harness.expect(A, 200).has(Name::PAssertedIdentity));
}

/// RFC 3261 §16.4: what a strict router before us has done to the Request-URI is undone.
#[test]
fn a_strict_routers_request_is_put_right() {
    let mut harness = Harness::new();
    let ok = call(&mut harness);
    let target = "sip:phone@[2001:db8:1::102]:5060";
    let bye = in_dialog(&Method::Bye, 5, A, &ok, true, target);
    let own = bye.text(Name::Route).unwrap().trim_matches(['<', '>']).to_owned();
    let strict = bye
        .edit()
        .request_uri(own.parse::<Uri>().unwrap())
        .set(Name::Route, format_args!("<{target}>"))
        .finish();
    harness.deliver(A, &strict);
    let received = harness.expect_request(B, &Method::Bye);
    assert_eq!(received.request_uri_text(), target);
    assert!(!received.has(Name::Route));
}

/// RFC 3261 §16.3: a request without hops left is answered with 483, and OPTIONS as if they were for us.
#[test]
fn hops_are_counted() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let last = invite.edit().set(Name::MaxForwards, 0).finish();
    harness.send_as(A, "s1-101", &last);
    harness.expect(A, 483);
    let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:102@s1.example.net");
    let options = options.edit().set(Name::MaxForwards, 0).finish();
    assert_eq!(status(&mut harness, STRANGER, &options), 200);
    let ok = call(&mut harness);
    let bye = in_dialog(&Method::Bye, 5, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060");
    harness.deliver(A, &bye.edit().set(Name::MaxForwards, 0).finish());
    harness.expect(A, 483);
}

/// RFC 5393 §4.2: a request that comes back to be routed alike is answered with 482; a spiral goes on.
#[test]
fn a_loop_ends_and_a_spiral_does_not() {
    let mut harness = Harness::new();
    // The number's line points back at the number, by way of the translator.
    let number = "sip:+81355550201@[2001:db8::1]:5060";
    harness.locations.remove_line(schema::LineId(4));
    harness.bind(4, number, 1000, TRANSLATOR_1);
    let invite = harness.request(&Method::Invite, TRANSLATOR_2, "x@x.invalid", number);
    harness.deliver(TRANSLATOR_2, &invite);
    harness.expect(TRANSLATOR_2, 100);
    let received = harness.expect_request(TRANSLATOR_1, &Method::Invite);
    let via = |branch| format!("SIP/2.0/UDP {TRANSLATOR_1};branch=z9hG4bK{branch}");
    let looped = received.edit().prepend(Name::Via, via("loop")).finish();
    assert_eq!(status(&mut harness, TRANSLATOR_1, &looped), 482);
    // The same call with another target is a spiral, as when a phone forwards it.
    harness.bind(4, "sip:201@[2001:db8:2::201]:5060", 1000, C);
    let elsewhere = "sip:+81355550201@centrex6.example".parse::<Uri>().unwrap();
    let spiral = received.edit().request_uri(elsewhere).prepend(Name::Via, via("spiral")).finish();
    assert_eq!(status(&mut harness, TRANSLATOR_1, &spiral), 100);
    harness.expect_request(C, &Method::Invite);
}

/// RFC 3261 §11.2: OPTIONS is answered with what we can do.
/// RFC 3261 §8.2.1: a method that we do not take is answered with 405 and Allow, one that we do not know with 501.
/// RFC 3261 §16.3: a scheme that we do not serve is answered with 416, and a Proxy-Require that we do not support with 420.
#[test]
fn what_is_for_ourselves() {
    let mut harness = Harness::new();
    let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:[2001:db8::1]:5060");
    harness.deliver(STRANGER, &options);
    let ok = harness.expect(STRANGER, 200);
    assert!(ok.has(Name::Allow) && ok.has(Name::Supported) && ok.has(Name::Accept) && ok.has(Name::Server));
    for (method, expected) in
        [(Method::Invite, 405), (Method::Message, 405), (Method::Other("FOO".into()), 501)]
    {
        let request = harness.request(&method, STRANGER, "x@y", "sip:centrex6.example");
        assert_eq!(status(&mut harness, STRANGER, &request), expected);
    }
    let request = harness.request(&Method::Invite, STRANGER, "x@y", "sips:102@s1.example.net");
    assert_eq!(status(&mut harness, STRANGER, &request), 416);
    let request = harness.request(&Method::Invite, STRANGER, "x@y", "sip:102@s1.example.net");
    let request = request.edit().append(Name::ProxyRequire, "foo").finish();
    harness.deliver(STRANGER, &request);
    assert_eq!(harness.expect(STRANGER, 420).text(Name::Unsupported), Some("foo"));
}

#[test]
fn a_wrong_password() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    harness.deliver(A, &invite);
    let challenge = harness.expect(A, 407);
    harness.deliver(A, &ack_of_failure(&invite, &challenge));
    let wrong = harness.authorize(&invite, &challenge, "s1-101", "guess");
    assert_eq!(status(&mut harness, A, &wrong), 403);
    harness.expect_nothing(B);
    assert_eq!(harness.core.contexts.len(), 0);
}
