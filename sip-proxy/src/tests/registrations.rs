//! Subscriptions of a line to its own registrations.

use sip_core::core::Input;
use sip_core::wire::{Message, Method, Name};

use super::harness::*;
use crate::fixture;

const URI: &str = "sip:101@s1.example.net";

fn subscribe(harness: &mut Harness, expires: u32) -> Message {
    let request = harness.request(&Method::Subscribe, A, "101@s1.example.net", URI);
    request.edit().append(Name::Event, "reg").append(Name::Expires, expires).finish()
}

/// A SUBSCRIBE of line 101 with its credentials; gives the 200 and the NOTIFY, which it has answered.
fn subscribed(harness: &mut Harness, expires: u32) -> (Message, Message) {
    let request = subscribe(harness, expires);
    let request = harness.answer_challenge(A, &request, "s1-101", fixture::PASSWORD);
    harness.deliver(A, &request);
    let ok = harness.expect(A, 200);
    (ok, notified(harness))
}

fn notified(harness: &mut Harness) -> Message {
    let notify = harness.expect_request(A, &Method::Notify);
    harness.deliver(A, &answer(&notify, 200, A));
    // It may have been sent again meanwhile.
    harness.forget();
    notify
}

fn body(notify: &Message) -> String {
    String::from_utf8(notify.body().to_vec()).unwrap()
}

/// RFC 3680 §4.6: who may know is told what the line's registrations are.
/// RFC 3680 §4.7: and what becomes of them.
#[test]
fn a_line_is_told() {
    let mut harness = Harness::new();
    let (ok, first) = subscribed(&mut harness, 600);
    assert_eq!(ok.text(Name::Expires), Some("600"));
    assert_eq!(first.text(Name::ContentType), Some("application/reginfo+xml"));
    assert!(
        body(&first).contains("version=\"0\"") && body(&first).contains("aor=\"sip:101@s1.example.net\"")
    );
    assert_eq!(body(&first).matches("event=\"registered\"").count(), 1);
    harness.wait(30.0);
    harness.expect_nothing(A);
    harness.bind(1, "sip:101@[2001:db8:1::111]:5060", 1000, A);
    harness.wait(10.0);
    let second = body(&notified(&mut harness));
    assert!(second.contains("version=\"1\"") && second.contains("event=\"registered\""), "{second}");
    assert_eq!(second.matches("<contact").count(), 2);
    harness.locations.remove_line(schema::LineId(1));
    harness.wait(10.0);
    let third = body(&notified(&mut harness));
    assert_eq!(third.matches("event=\"unregistered\"").count(), 2, "{third}");
    harness.wait(600.0);
    let last = harness.expect_request(A, &Method::Notify);
    assert_eq!(last.text(Name::SubscriptionState), Some("terminated;reason=timeout"));
}

/// RFC 6665 §4.2.1.3: who subscribes is authenticated, and a line may know of itself only.
#[test]
fn nobody_else_is_told() {
    let mut harness = Harness::new();
    let request = subscribe(&mut harness, 600);
    let foreign = harness.answer_challenge(A, &request, "s1-102", fixture::PASSWORD);
    harness.deliver(A, &foreign);
    harness.expect(A, 403);
    let request = subscribe(&mut harness, 600);
    let wrong = harness.answer_challenge(A, &request, "s1-101", "wrong");
    harness.deliver(A, &wrong);
    harness.expect(A, 403);
    let request = subscribe(&mut harness, 5);
    let brief = harness.answer_challenge(A, &request, "s1-101", fixture::PASSWORD);
    harness.deliver(A, &brief);
    assert_eq!(harness.expect(A, 423).text(Name::MinExpires), Some("60"));
    harness.expect_nothing(A);
}

/// RFC 6665 §4.2.1.4: a SUBSCRIBE in the dialog refreshes the subscription, and one with Expires 0 ends it.
/// RFC 6665 §4.4.1: a SUBSCRIBE in a dialog that is no more is answered with 481.
#[test]
fn refreshed_and_ended() {
    let mut harness = Harness::new();
    let (ok, notify) = subscribed(&mut harness, 600);
    let target = ok.text(Name::Contact).unwrap().trim_matches(['<', '>']).to_owned();
    let again = |cseq, expires: u32| {
        let request = in_dialog(&Method::Subscribe, cseq, A, &ok, true, &target);
        request.edit().append(Name::Event, "reg").append(Name::Expires, expires).finish()
    };
    harness.deliver(A, &again(3, 900));
    assert_eq!(harness.expect(A, 200).text(Name::Expires), Some("900"));
    let second = notified(&mut harness);
    assert_eq!(second.text(Name::SubscriptionState), Some("active;expires=900"));
    assert!(second.cseq().unwrap().number > notify.cseq().unwrap().number);
    harness.deliver(A, &again(4, 0));
    harness.expect(A, 200);
    assert_eq!(notified(&mut harness).text(Name::SubscriptionState), Some("terminated;reason=timeout"));
    harness.deliver(A, &again(5, 900));
    harness.expect(A, 481);
}

/// RFC 6665 §4.2.2: a subscriber that does not answer loses its subscription.
/// RFC 6665 §4.4.2: a node that goes down ends its subscriptions with deactivated.
#[test]
fn one_side_goes() {
    let mut harness = Harness::new();
    let request = subscribe(&mut harness, 600);
    let request = harness.answer_challenge(A, &request, "s1-101", fixture::PASSWORD);
    harness.deliver(A, &request);
    harness.expect(A, 200);
    assert_eq!(harness.core.subscriptions.notifier.len(), 1);
    harness.wait(40.0);
    assert_eq!(harness.core.subscriptions.notifier.len(), 0);
    harness.forget();
    subscribed(&mut harness, 600);
    harness.input(Input::Drain);
    let last = notified(&mut harness);
    assert_eq!(last.text(Name::SubscriptionState), Some("terminated;reason=deactivated"));
    assert_eq!(harness.core.subscriptions.notifier.len(), 0);
}
