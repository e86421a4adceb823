//! Calls from an IPv6 phone to an IPv4 gateway, with media through the relay.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use user_agent::{CallOptions, CallPhase, DirectionReport, Gateway, GatewayConfig, Incoming, MediaOptions};

use crate::support::{Node, Sipp, Trace, gateway, have, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn every_payload_comes_back_from_sipp() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let echo = Sipp::gateway("answer.xml").args(&["-rtp_echo"]).start();
    node.add_trunk("carrier", &[echo.local]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", packets(100))).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("every packet comes back", call.media().await_received(100)).await;
    let call_id = call.call_id().to_owned();
    soon("the call ends", call.hangup()).await.unwrap();
    let report = call.media().report();
    assert_eq!(
        (report.sent, report.received, report.lost, report.corrupted, report.duplicate),
        (100, 100, 0, 0, 0)
    );
    assert_eq!(report.heard, [report.stream], "{report:?}");

    let trace = echo.succeed();
    nothing_from_inside(&trace, &[&call_id, &line.domain, &line.auth_user, "[::1]", " ::1", "IP6"]);
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"], &record["callee"], &record["ended_by"]),
        (&"outbound".into(), &"answered".into(), &"+81312345678".into(), &"caller".into()),
        "{record:#}"
    );
    let stream = &record["media"]["streams"][0];
    for way in ["a_to_b", "b_to_a"] {
        assert_eq!((&stream[way]["packets"], &stream[way]["lost"]), (&100.into(), &0.into()), "{record:#}");
        assert!(stream[way]["mos"].as_f64().unwrap() > 4.0, "{record:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_hear_every_payload_of_the_other() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let config = GatewayConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), node.trunk_side);
    let gateway = Gateway::bind(GatewayConfig { media: packets(75).media, ..config }).unwrap();
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", packets(75))).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    let other = soon("the gateway has the call", gateway.next_call()).await;
    for side in [&call, &other] {
        soon("every packet arrives", side.media().await_received(75)).await;
        soon("RTCP flows", side.media().await_rtcp(1)).await;
    }
    let (here, there) = (call.media(), other.media());
    soon("the gateway hangs up", other.hangup()).await.unwrap();
    soon("the phone is told", call.ended()).await.unwrap();
    for (from, to) in [(here, there), (there, here)] {
        let direction = DirectionReport::between(&from.report(), &to.report());
        assert!(direction.is_intact(), "{direction:?}");
    }
    assert_eq!(node.call_record()["ended_by"], "callee");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_be_on_tcp() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let echo = Sipp::gateway("answer.xml").tcp().args(&["-rtp_echo"]).start();
    node.cli(&["trunk", "add", "--name", "carrier", "--gateway", &format!("tcp:{}", echo.local)]);
    node.cli(&["route", "add", "--trunk", "carrier"]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", packets(10))).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("every packet comes back", call.media().await_received(10)).await;
    soon("the call ends", call.hangup()).await.unwrap();
    echo.succeed();
    assert_eq!(node.call_record()["result"], "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_is_heard() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    gateway.set_default_incoming(Incoming::EarlyMedia { answer_after: Duration::from_secs(1) });
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the announcement is heard", call.media().await_received(10)).await;
    assert!(matches!(call.phase(), CallPhase::Ringing { early_media: true }), "{:?}", call.phase());
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offer_may_come_with_the_answer() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let options = CallOptions { delayed_offer: true, ..CallOptions::default() };
    let call = soon("the call begins", phone.call("0312345678", options)).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    let other = soon("the gateway has the call", gateway.next_call()).await;
    soon("media flows", call.media().await_received(10)).await;
    soon("media flows", other.media().await_received(10)).await;
    soon("the call ends", call.hangup()).await.unwrap();
}

/// What a carrier must not see of the inside.
fn nothing_from_inside(trace: &Trace, inside: &[&str]) {
    for traced in trace.received("") {
        for word in inside {
            assert!(!traced.text.contains(word), "{word:?} in\n{}", traced.text);
        }
        assert_eq!(traced.message.values("Via").len(), 1, "{}", traced.text);
        for name in ["Record-Route", "Route", "Proxy-Authorization", "P-Preferred-Identity"] {
            assert_eq!(traced.message.header(name), None, "{}", traced.text);
        }
    }
    let invites = trace.received("INVITE");
    let sdp = invites.first().unwrap().body();
    for kind in ["o=", "c="] {
        let mut lines = sdp.lines().filter(|line| line.starts_with(kind)).peekable();
        assert!(lines.peek().is_some() && lines.all(|line| line.contains("IN IP4 127.0.0.1")), "{sdp}");
    }
}

/// A call that sends so many RTP packets.
fn packets(packets: u64) -> CallOptions {
    CallOptions {
        media: MediaOptions { packets: Some(packets), ..MediaOptions::default() },
        ..CallOptions::default()
    }
}
