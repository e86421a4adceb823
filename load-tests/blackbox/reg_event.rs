//! Subscriptions of a phone to the registrations of its line.

use user_agent::Message;

use crate::support::raw::{aor, in_dialog, registered, set, slow_and_steady};
use crate::support::{Credentials, Raw};

/// A SUBSCRIBE of the line itself; gives the 200 and the NOTIFY, in either order.
fn subscribe(phone: &mut Raw, line: &Credentials, to: &str, expires: &str) -> (Message, Message) {
    let mut request = phone.request("SUBSCRIBE", to, &format!("{}@{}", line.extension, line.domain));
    request.push("Event", "reg");
    request.push("Expires", expires);
    phone.send_as(line, &request);
    accepted(phone)
}

/// The 200 to a SUBSCRIBE and the NOTIFY after it, which is answered.
fn accepted(phone: &mut Raw) -> (Message, Message) {
    let ok = phone.expect(200);
    (ok, notified(phone))
}

fn notified(phone: &mut Raw) -> Message {
    let notify = phone.expect_request("NOTIFY");
    phone.respond(&notify, 200, "", &[]);
    notify
}

fn body(notify: &Message) -> String {
    assert_eq!(notify.header("Content-Type"), Some("application/reginfo+xml"), "{notify:#?}");
    String::from_utf8(notify.body.clone()).unwrap()
}

/// RFC 3680 §4.7: a phone is told of the registrations of its line, and of what becomes of them.
/// RFC 6665 §4.2.1.4: a SUBSCRIBE with Expires 0 ends the subscription.
/// RFC 6665 §4.2.1.3: nobody else is told.
#[test]
fn a_phone_watches_its_line() {
    let node = slow_and_steady().start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut phone = registered(&node, &line);
    let (ok, first) = subscribe(&mut phone, &line, &aor(&line), "600");
    assert_eq!((ok.header("Expires"), first.header("Event")), (Some("600"), Some("reg")));
    assert_eq!(body(&first).matches("event=\"registered\"").count(), 1, "{}", body(&first));
    // Another phone of the line comes.
    let second = registered(&node, &line);
    let news = body(&notified(&mut phone));
    assert!(news.contains(&format!("<uri>sip:101@{}</uri>", second.local)), "{news}");
    // Over another transport, and of another line: no.
    let mut stranger = Raw::tcp(node.proxy_tcp);
    let mut request = stranger.request("SUBSCRIBE", &aor(&line), "102@s01.example.net");
    request.push("Event", "reg");
    stranger.send_as(&other, &request);
    stranger.expect(403);
    let target = crate::support::raw::contact_uri(&ok);
    let mut end = in_dialog(&phone, "SUBSCRIBE", 5, &ok, true, &target);
    end.push("Event", "reg");
    end.push("Expires", "0");
    phone.send(&end);
    let (_, last) = accepted(&mut phone);
    assert_eq!(last.header("Subscription-State"), Some("terminated;reason=timeout"));
}

/// RFC 6665 §4.4.2: a node that is stopped ends its subscriptions with deactivated.
/// RFC 6665 §4.4.1: what it no longer knows after the restart is answered with 481, and the phone subscribes anew.
#[test]
fn a_node_is_restarted() {
    let mut node = slow_and_steady().start();
    let [line] = node.add_lines(["101"]);
    let mut phone = registered(&node, &line);
    let (ok, _) = subscribe(&mut phone, &line, &aor(&line), "600");
    node.restart();
    let last = notified(&mut phone);
    assert_eq!(last.header("Subscription-State"), Some("terminated;reason=deactivated"));
    let target = crate::support::raw::contact_uri(&ok);
    let mut refresh = in_dialog(&phone, "SUBSCRIBE", 5, &ok, true, &target);
    refresh.push("Event", "reg");
    phone.send(&refresh);
    phone.expect(481);
    subscribe(&mut phone, &line, &aor(&line), "600");
    // Its event is none that we know, so that the request is the callee's: the phone itself.
    let mut presence = phone.request("SUBSCRIBE", &aor(&line), "101@s01.example.net");
    set(&mut presence, "Event", "presence");
    let sent = phone.send_as(&line, &presence);
    let received = phone.expect_request("SUBSCRIBE");
    assert_eq!(received.header("Call-ID"), sent.header("Call-ID"));
}
