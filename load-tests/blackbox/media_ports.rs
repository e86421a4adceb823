//! The relay's ports are used up, or somebody else has them.

use std::net::UdpSocket;

use user_agent::{Call, CallOptions, Phone, UaError};

use crate::support::{Setup, gateway, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn without_free_ports_a_call_gets_503_until_one_ends() {
    let range = free_range(4);
    let node = Setup::new()
        .set("TRANSLATOR__MEDIA_PORTS", &format!("{range}-{}", range + 3))
        .set("TRANSLATOR__MEDIA_REST_S", "1")
        .set("NODE__WORKERS", "1")
        .start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    // A call takes a pair of each family; there are two of each.
    let (one, two) = (call(&phone).await.unwrap(), call(&phone).await.unwrap());
    for _ in 0..2 {
        let refused = call(&phone).await;
        assert!(matches!(refused, Err(UaError::Rejected { status: 503, .. })), "{refused:?}");
    }
    node.await_log(&["ERROR", "no free media ports on ::1"]);
    assert_eq!(gateway.received().len(), 2);
    soon("the running call goes on", one.media().await_received(20)).await;

    soon("a call ends", one.hangup()).await.unwrap();
    let again = async {
        loop {
            // The freed ports rest first.
            if let Ok(call) = call(&phone).await {
                return call;
            }
        }
    };
    let three = soon("its ports can be used again", again).await;
    soon("media flows", three.media().await_received(10)).await;
    assert_eq!(three.media().report().heard.len(), 1);
    soon("the call ends", three.hangup()).await.unwrap();
    soon("the call ends", two.hangup()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_others_hold_are_passed_over() {
    let range = free_range(16);
    // Another program has an RTP port of the one family, and an RTCP port of the other.
    let _six = UdpSocket::bind(("::1", range)).unwrap();
    let _four = UdpSocket::bind(("127.0.0.1", range + 3)).unwrap();
    let node = Setup::new()
        .set("TRANSLATOR__MEDIA_PORTS", &format!("{range}-{}", range + 15))
        .set("NODE__WORKERS", "1")
        .start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    for _ in 0..2 {
        let call = call(&phone).await.unwrap();
        soon("media flows", call.media().await_received(10)).await;
        soon("the call ends", call.hangup()).await.unwrap();
    }
}

async fn call(phone: &Phone) -> Result<Call, UaError> {
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await?;
    soon("the call is answered", call.answered()).await.map(|()| call)
}

/// The first of so many ports, all free a moment ago on both families, of which nobody gets one by asking the system for
/// any port.
fn free_range(ports: u16) -> u16 {
    let free =
        |port: u16| UdpSocket::bind(("::1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let start = std::process::id() as u16 % 100;
    let candidates = (0..100).map(|step| 30_000 + (start + step) % 100 * 20);
    let mut found = candidates.filter(|first| (*first..first + ports).all(free));
    // Tests of this process take different ones.
    let skip = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    found.nth(skip).unwrap()
}

static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
