//! A relay between phone and gateway that drops what it is told to: signalling must survive.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::UdpSocket, sync::oneshot};
use user_agent::{CallOptions, EndedBy, Gateway, GatewayConfig, Incoming, Phone, UaError};

use crate::{phone_config, soon};

/// Two sockets, one for each side; the phone's proxy is the near one, the gateway's peer the far one.
struct Relay {
    near: SocketAddr,
    dropped: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

impl Relay {
    /// Drops the first datagram of every kind (method or status with CSeq method) in either direction.
    async fn start(far_side: SocketAddr) -> Self {
        let near = UdpSocket::bind("[::1]:0").await.expect("a socket");
        let far = UdpSocket::bind("[::1]:0").await.expect("a socket");
        let near_addr = near.local_addr().expect("an address");
        let far_addr = far.local_addr().expect("an address");
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&dropped);
        let (_stop, mut stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let (mut one, mut two) = ([0; 4000], [0; 4000]);
            let mut phone = None;
            let mut seen = HashSet::new();
            loop {
                let (bytes, to, socket) = tokio::select! {
                    _ = &mut stopped => return,
                    got = near.recv_from(&mut one) => {
                        let (length, from) = got.expect("received");
                        phone = Some(from);
                        (&one[..length], far_side, &far)
                    }
                    got = far.recv_from(&mut two) => {
                        let (length, _) = got.expect("received");
                        (&two[..length], phone.expect("the phone spoke first"), &near)
                    }
                };
                // Like a record-routing proxy: requests in the dialog come through here too.
                let text = String::from_utf8_lossy(bytes).into_owned();
                let kind = kind_of(&text);
                if seen.insert(kind.clone()) {
                    log.lock().expect("not poisoned").push(kind);
                    continue;
                }
                let text = record_route(&text, near_addr, far_addr);
                socket.send_to(text.as_bytes(), to).await.expect("sent");
            }
        });
        Self { near: near_addr, dropped, _stop }
    }
}

fn kind_of(text: &str) -> String {
    let first: Vec<&str> = text.split(' ').take(2).collect();
    let cseq = text.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or_default();
    match first[..] {
        ["SIP/2.0", status] => format!("{status} {cseq}"),
        _ => cseq.to_owned(),
    }
}

/// The callee sees the far socket as the route back, the caller sees the near one.
fn record_route(text: &str, near: SocketAddr, far: SocketAddr) -> String {
    if text.starts_with("INVITE") && !text.contains("\r\nRoute:") {
        return text.replacen(
            "\r\nMax-Forwards",
            &format!("\r\nRecord-Route: <sip:{far};lr>\r\nMax-Forwards"),
            1,
        );
    }
    if text.starts_with("SIP/2.0") {
        return text.replace(&format!("<sip:{far};lr>"), &format!("<sip:{near};lr>"));
    }
    text.to_owned()
}

fn gateway(incoming: Incoming) -> Gateway {
    let local = "[::1]:0".parse().expect("an address");
    let mut config = GatewayConfig::new(local, local);
    (config.t1, config.default) = (T1, incoming);
    Gateway::bind(config).expect("a socket")
}

fn phone(relay: &Relay) -> Phone {
    let mut config = phone_config(relay.near);
    config.t1 = T1;
    Phone::bind(config).expect("a socket")
}

const T1: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_whole_call_although_every_first_datagram_is_lost() {
    for from_caller in [true, false] {
        let gateway = gateway(Incoming::Answer { after: Duration::ZERO });
        let relay = Relay::start(gateway.local_addr()).await;
        let phone = phone(&relay);
        let call = phone.call("100", CallOptions::default()).await.expect("a call");
        soon(call.answered()).await.expect("an answer");
        let other = soon(gateway.next_call()).await;
        soon(call.media().await_received(3)).await;
        // Hold needs the ACK to have come at last.
        soon(other.hold()).await.expect("held");
        soon(call.resume()).await.expect("taken back");
        if from_caller {
            soon(call.hangup()).await.expect("an answer to BYE");
        } else {
            soon(other.hangup()).await.expect("an answer to BYE");
        }
        let (by_us, by_them) = (soon(call.ended()).await, soon(other.ended()).await);
        let (by_us, by_them) = (by_us.expect("an end"), by_them.expect("an end"));
        let expected =
            if from_caller { (EndedBy::Local, EndedBy::Remote) } else { (EndedBy::Remote, EndedBy::Local) };
        assert_eq!((by_us, by_them), expected);
        let dropped = relay.dropped.lock().expect("not poisoned").clone();
        for kind in ["1 INVITE", "200 1 INVITE", "1 ACK"] {
            assert!(dropped.iter().any(|seen| seen == kind), "{kind} in {dropped:?}");
        }
        assert_eq!(gateway.received().len(), 1);
    }
}

#[tokio::test]
async fn busy_and_cancel_although_every_first_datagram_is_lost() {
    let gateway = gateway(Incoming::Busy);
    let relay = Relay::start(gateway.local_addr()).await;
    let phone = phone(&relay);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 486, .. })));
    gateway.set_default_incoming(Incoming::RingForever);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    call.cancel().await.expect("cancelled");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 487, .. })));
}

#[tokio::test]
async fn a_dead_callee_is_a_time_out() {
    let gateway = gateway(Incoming::Silent);
    let mut config = phone_config(gateway.local_addr());
    config.t1 = Duration::from_millis(5);
    let phone = Phone::bind(config).expect("a socket");
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 408, .. })));
}
