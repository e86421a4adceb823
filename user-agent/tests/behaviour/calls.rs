//! Set-up, refusal, cancellation, hold and both ways of ending.

use std::time::Duration;

use user_agent::{
    CallEvent, CallOptions, DirectionReport, EndedBy, HoldStyle, Incoming, MediaOptions, OptionsPolicy,
    UaError,
};

use crate::{FAMILIES, gateway, phone, phone_config, soon};

fn packets(count: u64) -> CallOptions {
    CallOptions {
        media: MediaOptions { packets: Some(count), ..MediaOptions::default() },
        ..CallOptions::default()
    }
}

#[tokio::test]
async fn a_call_with_media_both_ways_in_both_families() {
    for family in FAMILIES {
        let gateway = gateway(family);
        let phone = phone(&gateway);
        let options = CallOptions {
            headers: vec![("Privacy".to_owned(), "id".to_owned())],
            display_name: Some("Alice".to_owned()),
            ..packets(30)
        };
        let mut call = phone.call("0312345678", options).await.expect("a call");
        let mut other = soon(gateway.next_call()).await;
        soon(call.answered()).await.expect("an answer");
        assert!(call.set_up_time().is_some());
        soon(other.media().await_received(30)).await;
        other.media().stop_sending();
        let sent = other.media().report().sent;
        soon(call.media().await_received(sent)).await;
        soon(call.media().await_rtcp(1)).await;
        soon(other.media().await_rtcp(1)).await;
        soon(call.hangup()).await.expect("an answer to BYE");
        assert_eq!(soon(call.ended()).await.expect("an end"), EndedBy::Local);
        assert_eq!(soon(other.ended()).await.expect("an end"), EndedBy::Remote);

        let (ours, theirs) = (call.media().report(), other.media().report());
        assert!(DirectionReport::between(&ours, &theirs).is_intact(), "{theirs:?}");
        assert!(DirectionReport::between(&theirs, &ours).is_intact(), "{ours:?}");
        assert_eq!((theirs.received, ours.sent), (30, 30));
        assert!(ours.mos > Some(4.0));
        assert_eq!(ours.heard_from.map(|from| from.is_ipv6()), Some(family.starts_with('[')));

        let received = gateway.received();
        let invite = &received.first().expect("an INVITE").message;
        assert_eq!(received[0].dialled, "0312345678");
        assert_eq!(invite.header("Privacy"), Some("id"));
        assert!(
            invite
                .header("From")
                .is_some_and(|from| from.starts_with("\"Alice\" <sip:101@s042.example.net>;tag="))
        );
        assert_eq!(soon(call.next_event()).await, Some(CallEvent::Answered));
        assert_eq!(soon(call.next_event()).await, Some(CallEvent::Ended { by: EndedBy::Local }));
        assert_eq!(soon(call.next_event()).await, None);
        assert_eq!(soon(other.next_event()).await, Some(CallEvent::Answered));
    }
}

#[tokio::test]
async fn ringing_then_answer_and_bye_from_the_callee() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::Answer { after: Duration::from_millis(50) });
    let phone = phone(&gateway);
    let mut call = phone.call("100", CallOptions::default()).await.expect("a call");
    soon(call.answered()).await.expect("an answer");
    let other = soon(gateway.next_call()).await;
    soon(other.hangup()).await.expect("an answer to BYE");
    assert_eq!(soon(call.ended()).await.expect("an end"), EndedBy::Remote);
    let ringing = CallEvent::Ringing { status: 180, early_media: false };
    assert_eq!(soon(call.next_event()).await, Some(ringing));
    assert!(call.post_dial_delay() < call.set_up_time());
}

#[tokio::test]
async fn a_refused_call_has_its_status_and_is_acknowledged() {
    let gateway = gateway("127.0.0.1:0");
    gateway.set_incoming("9", Incoming::Status(503));
    gateway.set_default_incoming(Incoming::Busy);
    let phone = phone(&gateway);
    for (number, expected) in [("100", 486), ("900", 503)] {
        let call = phone.call(number, CallOptions::default()).await.expect("a call");
        match soon(call.answered()).await {
            Err(UaError::Rejected { status, .. }) => assert_eq!(status, expected),
            other => panic!("{other:?}"),
        }
        assert!(matches!(call.cancel().await, Err(UaError::WrongState { .. })));
    }
    assert_eq!(gateway.received().len(), 2);
}

#[tokio::test]
async fn a_ringing_call_is_cancelled() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::RingForever);
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    // At once: CANCEL has to wait for the first response.
    call.cancel().await.expect("cancelled");
    let other = soon(gateway.next_call()).await;
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 487, .. })));
    assert!(matches!(soon(other.answered()).await, Err(UaError::Rejected { status: 487, .. })));

    let timed = CallOptions { ring_timeout: Some(Duration::from_millis(30)), ..CallOptions::default() };
    let call = phone.call("100", timed).await.expect("a call");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 487, .. })));
}

#[tokio::test]
async fn early_media_flows_before_the_answer() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::Ask);
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    let asked = soon(gateway.next_incoming()).await;
    asked.early_media().await.expect("183");
    soon(call.media().await_received(5)).await;
    assert_eq!(call.set_up_time(), None);
    let other = asked.answer().await.expect("200");
    soon(call.answered()).await.expect("an answer");
    soon(other.media().await_received(5)).await;
    soon(call.hangup()).await.expect("an answer to BYE");
}

#[tokio::test]
async fn an_announcement_ends_with_its_status() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::Announce { after: Duration::from_millis(100), status: 404 });
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 404, .. })));
    assert!(call.media().report().received > 0);
}

#[tokio::test]
async fn a_delayed_offer_is_answered_in_the_ack() {
    let gateway = gateway("127.0.0.1:0");
    let phone = phone(&gateway);
    let options = CallOptions { delayed_offer: true, ..CallOptions::default() };
    let call = phone.call("100", options).await.expect("a call");
    soon(call.answered()).await.expect("an answer");
    let other = soon(gateway.next_call()).await;
    soon(call.media().await_received(5)).await;
    soon(other.media().await_received(5)).await;
    soon(other.hangup()).await.expect("an answer to BYE");
}

#[tokio::test]
async fn hold_and_resume_in_every_spelling_from_both_sides() {
    let gateway = gateway("[::1]:0");
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    soon(call.answered()).await.expect("an answer");
    let other = soon(gateway.next_call()).await;
    let (mut near, mut far) = (call, other);
    for style in [HoldStyle::SendOnly, HoldStyle::Inactive, HoldStyle::ZeroAddress] {
        for _ in 0..2 {
            soon(near.hold_as(style)).await.expect("held");
            while soon(far.next_event()).await != Some(CallEvent::Held) {}
            let quiet = far.media().report().sent;
            // A report of the holder comes a second later at the latest; with the address zero none goes back.
            soon(far.media().await_rtcp(far.media().report().rtcp_received + 1)).await;
            // One packet may have been on its way out when the hold was told.
            assert!(far.media().report().sent <= quiet + 1, "{style:?}");
            soon(near.resume()).await.expect("resumed");
            while soon(far.next_event()).await != Some(CallEvent::Resumed) {}
            soon(near.media().await_received(near.media().report().received + 2)).await;
            std::mem::swap(&mut near, &mut far);
        }
    }
    assert_eq!(near.media().report().lost, 0);
    soon(near.hangup()).await.expect("an answer to BYE");
}

#[tokio::test]
async fn no_common_codec_and_the_wrong_family_get_488() {
    use user_agent::{Codec, Gateway, GatewayConfig};
    let local = "[::1]:0".parse().expect("an address");
    let mut config = GatewayConfig::new(local, local);
    config.media.codecs = vec![Codec::Pcma];
    let gateway = Gateway::bind(config).expect("a socket");
    let phone = phone(&gateway);
    let mut options = CallOptions::default();
    options.media.codecs = vec![Codec::Pcmu];
    let call = phone.call("100", options).await.expect("a call");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 488, .. })));
}

#[tokio::test]
async fn the_gateway_calls_a_phone() {
    let gateway = gateway("[::1]:0");
    let phone = phone(&gateway);
    let aor = format!("sip:101@{}", phone.local_addr());
    // The gateway's peer is not the phone, so a second gateway calls with the phone as its peer.
    let config = user_agent::GatewayConfig::new("[::1]:0".parse().expect("an address"), phone.local_addr());
    let carrier = user_agent::Gateway::bind(config).expect("a socket");
    let options = CallOptions { caller: Some("0398765432".to_owned()), ..CallOptions::default() };
    let call = carrier.call(&aor, options).await.expect("a call");
    soon(call.answered()).await.expect("an answer");
    let other = soon(phone.next_call()).await;
    assert!(other.peer().starts_with("sip:0398765432@"), "{}", other.peer());
    soon(carrier.hangup_all()).await;
    assert_eq!(soon(other.ended()).await.expect("an end"), EndedBy::Remote);
}

#[tokio::test]
async fn too_many_calls_and_bad_targets_are_refused() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::RingForever);
    let mut config = phone_config(gateway.local_addr());
    config.max_calls = 1;
    let phone = user_agent::Phone::bind(config).expect("a socket");
    let _one = phone.call("100", CallOptions::default()).await.expect("a call");
    assert!(matches!(
        phone.call("100", CallOptions::default()).await,
        Err(UaError::TooManyCalls { limit: 1 })
    ));
    soon(phone.hangup_all()).await;
    for bad in ["", "1 2", "a@b", "sip:a\r\nb@c", "http:x"] {
        assert!(matches!(phone.call(bad, CallOptions::default()).await, Err(UaError::BadTarget { .. })));
    }
}

#[tokio::test]
async fn options_follow_the_policy() {
    let gateway = gateway("[::1]:0");
    let probe = tokio::net::UdpSocket::bind("[::1]:0").await.expect("a socket");
    let ask = |branch: &str| {
        format!(
            "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{branch}\r\nFrom: <sip:p@x>;tag=1\r\n\
             To: <sip:g@x>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            gateway.local_addr(),
            probe.local_addr().expect("an address")
        )
    };
    for (policy, status) in [(OptionsPolicy::Ok, "200"), (OptionsPolicy::Status(503), "503")] {
        gateway.set_options(policy);
        probe.send_to(ask(status).as_bytes(), gateway.local_addr()).await.expect("sent");
        let mut buffer = [0; 2000];
        let length = soon(probe.recv(&mut buffer)).await.expect("an answer");
        let answer = String::from_utf8_lossy(&buffer[..length]);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
    }
    assert_eq!(gateway.options_received(), 2);
}

#[tokio::test]
async fn a_stopped_agent_says_so() {
    let gateway = gateway("[::1]:0");
    gateway.set_default_incoming(Incoming::RingForever);
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    drop(phone);
    assert!(matches!(soon(call.answered()).await, Err(UaError::Stopped)));
    assert!(matches!(soon(call.hangup()).await, Err(UaError::Stopped)));
}
