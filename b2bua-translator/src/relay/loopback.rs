//! The relay with real sockets on ::1 and 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const V6_TO_V4: StreamSpec = StreamSpec { side_a_local: V6, side_b_local: V4 };

/// A phone or gateway: two sockets that do not care for pairs.
struct Peer {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Peer {
    async fn new(address: IpAddr) -> Self {
        let bind = || UdpSocket::bind((address, 0));
        Peer { rtp: bind().await.unwrap(), rtcp: bind().await.unwrap() }
    }

    fn update(&self) -> SideUpdate {
        let rtp = self.rtp.local_addr().unwrap();
        SideUpdate {
            sources: SourcePolicy::Exact(rtp.ip()),
            rtp: Some(rtp),
            rtcp: self.rtcp.local_addr().ok(),
            sends: true,
            rtcp_mux: false,
            is_rtp: true,
            payloads: Vec::new(),
        }
    }
}

/// The next datagram and its source. The limit is only there so that a failure does not hang.
async fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 10_000];
    let received = tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await;
    let (length, source) = received.unwrap().unwrap();
    buffer.truncate(length);
    (buffer, source)
}

fn rtp(number: u16, fill: u8) -> Vec<u8> {
    let payload = [fill; 160];
    let builder =
        rtp_rs::RtpPacketBuilder::new().payload_type(8).ssrc(u32::from(fill)).sequence(number.into());
    builder.timestamp(u32::from(number) * 160).payload(&payload).build().unwrap()
}

const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

/// A range below the system's ephemeral ports that nobody uses now, and no other test of this process gets.
fn free_range(pairs: u16) -> PortRange {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = pairs * 2;
    for _ in 0..1_000 {
        let offset =
            NEXT.fetch_add(width, Ordering::Relaxed).wrapping_add((std::process::id() % 100 * 200) as u16);
        let first = 10_000 + offset % 20_000 / 2 * 2;
        let free = |port| [V4, V6].iter().all(|address| StdSocket::bind((*address, port)).is_ok());
        if (first..first + width).all(free) {
            return PortRange::new(first, first + width - 1).unwrap();
        }
    }
    panic!("no free ports");
}

fn settings(pairs: u16) -> RelaySettings {
    RelaySettings::new(vec![V4, V6], free_range(pairs))
}

/// A relayed stream between two peers that both have been announced.
async fn call(worker: &RelayWorker, spec: StreamSpec) -> (RelayHandle, Peer, Peer) {
    let handle = worker.open(&[spec]).unwrap();
    let (a, b) = (Peer::new(spec.side_a_local).await, Peer::new(spec.side_b_local).await);
    handle.update(0, Side::A, a.update()).unwrap();
    handle.update(0, Side::B, b.update()).unwrap();
    (handle, a, b)
}

#[tokio::test]
async fn bytes_pass_both_ways_in_every_pairing_of_families() {
    let worker = RelayWorker::new(settings(8));
    for (a_local, b_local) in [(V6, V4), (V4, V6), (V6, V6), (V4, V4)] {
        let spec = StreamSpec { side_a_local: a_local, side_b_local: b_local };
        let (handle, a, b) = call(&worker, spec).await;
        let (at_a, at_b) = (handle.endpoint(0, Side::A).unwrap(), handle.endpoint(0, Side::B).unwrap());
        assert_eq!((at_a.address, at_b.address), (a_local, b_local));
        assert_eq!((at_a.ports.rtp() % 2, at_a.ports.rtcp()), (0, at_a.ports.rtp() + 1));

        a.rtp.send_to(&rtp(1, 0xaa), at_a.rtp()).await.unwrap();
        assert_eq!(next(&b.rtp).await, (rtp(1, 0xaa), at_b.rtp()));
        b.rtp.send_to(&rtp(1, 0xbb), at_b.rtp()).await.unwrap();
        assert_eq!(next(&a.rtp).await, (rtp(1, 0xbb), at_a.rtp()));
        a.rtcp.send_to(&RTCP, at_a.rtcp()).await.unwrap();
        assert_eq!(next(&b.rtcp).await, (RTCP.to_vec(), at_b.rtcp()));
        b.rtcp.send_to(&RTCP, at_b.rtcp()).await.unwrap();
        assert_eq!(next(&a.rtcp).await, (RTCP.to_vec(), at_a.rtcp()));

        let figures = handle.close().unwrap();
        let sent = &figures.streams[0].a_to_b;
        assert_eq!((sent.packets, sent.bytes, sent.rtcp_packets, sent.forwarded), (1, 172, 1, 2));
        assert_eq!(sent.source, a.rtp.local_addr().ok());
        assert_eq!(figures.streams[0].b_to_a.packets, 1);
        assert_eq!(sent.dropped.total(), 0);
        // It goes into the call record as it is.
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<SessionStatistics>(&text).unwrap(), figures);
    }
}

#[tokio::test]
async fn strangers_are_dropped_and_the_latch_holds_until_the_next_answer() {
    let worker = RelayWorker::new(settings(2));
    let (handle, a, b) = call(&worker, V6_TO_V4).await;
    let (at_a, at_b) =
        (handle.endpoint(0, Side::A).unwrap().rtp(), handle.endpoint(0, Side::B).unwrap().rtp());

    // Not of the networks of the trunk.
    let elsewhere = SourcePolicy::Networks(vec!["198.51.100.0/24".parse().unwrap()]);
    handle.update(0, Side::B, SideUpdate { sources: elsewhere, ..b.update() }).unwrap();
    b.rtp.send_to(&rtp(1, 0xbb), at_b).await.unwrap();
    a.rtp.send_to(&rtp(1, 0xaa), at_a).await.unwrap();
    assert_eq!(next(&b.rtp).await.0, rtp(1, 0xaa));

    // Of the right address, and fixed by the first packet.
    let network = SourcePolicy::Networks(vec!["127.0.0.0/8".parse().unwrap()]);
    let trunk = SideUpdate { sources: network, ..b.update() };
    handle.update(0, Side::B, trunk.clone()).unwrap();
    b.rtp.send_to(&rtp(2, 0xbb), at_b).await.unwrap();
    assert_eq!(next(&a.rtp).await.0, rtp(2, 0xbb));
    let thief = Peer::new(V4).await;
    thief.rtp.send_to(&rtp(3, 0xcc), at_b).await.unwrap();
    b.rtp.send_to(&rtp(4, 0xbb), at_b).await.unwrap();
    assert_eq!(next(&a.rtp).await.0, rtp(4, 0xbb));

    // A new answer: the gateway moves, and is learned again.
    handle.update(0, Side::B, trunk).unwrap();
    let moved = Peer::new(V4).await;
    moved.rtp.send_to(&rtp(5, 0xdd), at_b).await.unwrap();
    assert_eq!(next(&a.rtp).await.0, rtp(5, 0xdd));
    a.rtp.send_to(&rtp(2, 0xaa), at_a).await.unwrap();
    assert_eq!(next(&moved.rtp).await.0, rtp(2, 0xaa));
    b.rtp.send_to(&rtp(6, 0xbb), at_b).await.unwrap();
    moved.rtp.send_to(&rtp(6, 0xdd), at_b).await.unwrap();
    assert_eq!(next(&a.rtp).await.0, rtp(6, 0xdd));

    let figures = handle.close().unwrap();
    let dropped = figures.streams[0].b_to_a.dropped;
    assert_eq!((dropped.stranger, dropped.other_source, dropped.total()), (1, 2, 3));
}

#[tokio::test]
async fn what_overtakes_its_answer_is_judged_when_the_answer_comes() {
    let worker = RelayWorker::new(settings(8));
    let handle = worker.open(&[V6_TO_V4]).unwrap();
    let (a, b, stranger) =
        (Peer::new(V6).await, Peer::new(V4).await, Peer::new("127.0.0.2".parse().unwrap()).await);
    handle.update(0, Side::A, a.update()).unwrap();
    let port = (V4, handle.endpoint(0, Side::B).unwrap().ports.rtp());
    stranger.rtp.send_to(&rtp(1, 0xee), port).await.unwrap();
    b.rtp.send_to(&rtp(1, 0xbb), port).await.unwrap();
    b.rtp.send_to(&rtp(2, 0xbb), port).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(handle.statistics().unwrap().streams[0].b_to_a.dropped.total(), 0);
    handle.update(0, Side::B, b.update()).unwrap();
    assert_eq!(next(&a.rtp).await.0, rtp(1, 0xbb));
    assert_eq!(next(&a.rtp).await.0, rtp(2, 0xbb));
    let statistics = handle.close().unwrap();
    assert_eq!(
        (statistics.streams[0].b_to_a.forwarded, statistics.streams[0].b_to_a.dropped.stranger),
        (2, 1)
    );
}

#[tokio::test]
async fn a_shared_port_and_a_pair_understand_each_other() {
    let worker = RelayWorker::new(settings(2));
    let (handle, a, b) = call(&worker, V6_TO_V4).await;
    let (at_a, at_b) = (handle.endpoint(0, Side::A).unwrap(), handle.endpoint(0, Side::B).unwrap());
    handle.update(0, Side::A, SideUpdate { rtcp_mux: true, ..a.update() }).unwrap();
    a.rtp.send_to(&RTCP, at_a.rtp()).await.unwrap();
    assert_eq!(next(&b.rtcp).await, (RTCP.to_vec(), at_b.rtcp()));
    b.rtcp.send_to(&RTCP, at_b.rtcp()).await.unwrap();
    assert_eq!(next(&a.rtp).await, (RTCP.to_vec(), at_a.rtp()));
    assert_eq!(handle.close().unwrap().streams[0].a_to_b.rtcp_packets, 1);
}

#[tokio::test]
async fn rubbish_passes_without_fixing_the_source() {
    let worker = RelayWorker::new(settings(2));
    let (handle, a, b) = call(&worker, V6_TO_V4).await;
    let at_a = handle.endpoint(0, Side::A).unwrap().rtp();
    let other = Peer::new(V6).await;
    let stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42tests".to_vec();
    for datagram in [&stun[..], &[0x80, 0, 1], &[0x80]] {
        other.rtp.send_to(datagram, at_a).await.unwrap();
        assert_eq!(next(&b.rtp).await.0, datagram);
    }
    other.rtp.send_to(&[], at_a).await.unwrap();
    other.rtp.send_to(&[0x80; 9_500], at_a).await.unwrap();
    a.rtp.send_to(&rtp(1, 0xaa), at_a).await.unwrap();
    assert_eq!(next(&b.rtp).await.0, rtp(1, 0xaa));
    other.rtp.send_to(&stun, at_a).await.unwrap();
    a.rtp.send_to(&rtp(2, 0xaa), at_a).await.unwrap();
    assert_eq!(next(&b.rtp).await.0, rtp(2, 0xaa));
    let figures = handle.close().unwrap().streams.remove(0).a_to_b;
    assert_eq!((figures.packets, figures.other_packets), (2, 3));
    assert_eq!((figures.dropped.empty, figures.dropped.oversize, figures.dropped.other_source), (1, 1, 1));
}

#[tokio::test]
async fn fax_is_relayed_as_it_comes() {
    let worker = RelayWorker::new(settings(2));
    let (handle, a, b) = call(&worker, V6_TO_V4).await;
    for (side, peer) in [(Side::A, &a), (Side::B, &b)] {
        handle.update(0, side, SideUpdate { is_rtp: false, ..peer.update() }).unwrap();
    }
    let at_a = handle.endpoint(0, Side::A).unwrap().rtp();
    a.rtp.send_to(b"\x00\x05udptl", at_a).await.unwrap();
    assert_eq!(next(&b.rtp).await.0, b"\x00\x05udptl");
    let figures = handle.close().unwrap().streams.remove(0).a_to_b;
    assert_eq!((figures.packets, figures.mos, figures.source), (1, None, a.rtp.local_addr().ok()));
}

#[tokio::test]
async fn ports_run_out_rest_and_come_back() {
    let mut settings = settings(2);
    settings.rest = Duration::from_secs(3_600);
    let worker = RelayWorker::new(settings.clone());
    let first = worker.open(&[V6_TO_V4]).unwrap();
    let second = worker.open(&[V6_TO_V4]).unwrap();
    assert!(second.id() > first.id());
    assert!(matches!(worker.open(&[V6_TO_V4]), Err(RelayError::PortsExhausted { address }) if address == V6));
    assert!(matches!(first.add_stream(V6_TO_V4), Err(RelayError::PortsExhausted { .. })));
    let ports = first.endpoint(0, Side::A).unwrap();
    assert!(first.close().is_some());
    assert!(first.close().is_none());
    assert!(matches!(first.update(0, Side::A, Peer::new(V6).await.update()), Err(RelayError::Closed)));
    assert!((first.statistics().is_none(), first.endpoints().is_empty()) == (true, true));
    assert!(matches!(worker.open(&[V6_TO_V4]), Err(RelayError::PortsExhausted { .. })), "they rest");
    // The sockets are closed at once.
    drop(StdSocket::bind(ports.rtp()).unwrap());
    drop(second);

    settings.rest = Duration::ZERO;
    let worker = RelayWorker::new(settings);
    // Too much at once: nothing of it stays taken.
    assert!(matches!(worker.open(&[V6_TO_V4; 3]), Err(RelayError::PortsExhausted { .. })));
    assert_eq!((worker.free_ports(V4), worker.free_ports(V6)), (2, 2));
    let handle = worker.open(&[V6_TO_V4; 2]).unwrap();
    assert_eq!(worker.free_ports(V4), 0);
    // Dropped without a word, as when a call is lost: the ports come back.
    drop(handle);
    assert_eq!((worker.free_ports(V4), worker.free_ports(V6)), (2, 2));
}

#[tokio::test]
async fn ports_of_other_processes_are_passed_over() {
    let settings = settings(2);
    let taken = settings.ports.pairs().next().unwrap();
    let holder = StdSocket::bind((V4, taken.rtcp())).unwrap();
    let worker = RelayWorker::new(settings.clone());
    let handle = worker.open(&[V6_TO_V4]).unwrap();
    assert_ne!(handle.endpoint(0, Side::B).unwrap().ports, taken);
    drop((handle, worker));

    let worker = RelayWorker::new(RelaySettings { ports: free_range(1), ..settings });
    let spare = worker.open(&[StreamSpec { side_a_local: V6, side_b_local: V6 }]);
    assert!(matches!(spare, Err(RelayError::PortsExhausted { .. })));
    let unknown = StreamSpec { side_a_local: "2001:db8::1".parse().unwrap(), side_b_local: V4 };
    assert!(matches!(worker.open(&[unknown]), Err(RelayError::UnknownAddress { .. })));
    let foreign: IpAddr = "2001:db8::1".parse().unwrap();
    let worker = RelayWorker::new(RelaySettings::new(vec![foreign], free_range(1)));
    let nowhere = StreamSpec { side_a_local: foreign, side_b_local: foreign };
    assert!(matches!(worker.open(&[nowhere]), Err(RelayError::Bind { addr, .. }) if addr.ip() == foreign));
    assert_eq!(worker.free_ports(foreign), 1);
    drop(holder);
}

#[tokio::test]
async fn a_stream_is_added_and_relayed() {
    let worker = RelayWorker::new(settings(4));
    let (handle, ..) = call(&worker, V6_TO_V4).await;
    assert_eq!(handle.add_stream(V6_TO_V4).unwrap(), 1);
    let (a, b) = (Peer::new(V6).await, Peer::new(V4).await);
    handle.update(1, Side::A, a.update()).unwrap();
    handle.update(1, Side::B, b.update()).unwrap();
    assert!(matches!(handle.update(2, Side::A, a.update()), Err(RelayError::NoSuchStream { stream: 2 })));
    a.rtp.send_to(&rtp(1, 0xaa), handle.endpoint(1, Side::A).unwrap().rtp()).await.unwrap();
    assert_eq!(next(&b.rtp).await.0, rtp(1, 0xaa));
    let figures = handle.close().unwrap();
    assert_eq!((figures.streams.len(), figures.streams[1].a_to_b.packets), (2, 1));
}

#[tokio::test]
async fn silence_is_told_of_the_side_that_should_send() {
    let worker = RelayWorker::new(RelaySettings { silence: Some(Duration::from_millis(50)), ..settings(2) });
    let (handle, a, b) = call(&worker, V6_TO_V4).await;
    // A is held: its silence means nothing. B has stopped.
    handle.update(0, Side::A, SideUpdate { sends: false, ..a.update() }).unwrap();
    let silence = handle.silent().await.unwrap();
    assert_eq!(silence.side, Side::B);
    assert!(silence.lasted >= Duration::from_millis(50));
    assert_eq!(handle.silent().await, Some(silence), "it stays told");
    // B goes on hold, A resumes and says nothing.
    handle.update(0, Side::B, SideUpdate { sends: false, ..b.update() }).unwrap();
    handle.update(0, Side::A, a.update()).unwrap();
    assert_eq!(handle.silent().await.unwrap().side, Side::A);

    // Nobody is bound to send: only the end wakes who waits.
    handle.update(0, Side::A, SideUpdate { sends: false, ..a.update() }).unwrap();
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.silent().await }
    });
    tokio::task::yield_now().await;
    handle.close().unwrap();
    assert_eq!(waiting.await.unwrap(), None);
    assert_eq!(handle.silent().await, None);
}

#[tokio::test]
async fn an_update_is_read_from_sdp() {
    let body = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 18 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n";
    let sdp = crate::sdp::Sdp::parse(body).unwrap();
    let update = SideUpdate::from_media(&sdp.media_at(0).unwrap(), None, false);
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(update.sources, SourcePolicy::Exact(address));
    assert_eq!((update.rtp, update.rtcp), (Some((address, 4000).into()), Some((address, 4001).into())));
    assert!(update.sends && update.is_rtp);
    assert_eq!(update.payloads[0].speech, Some(Impairment::of_codec("G729")));
    assert_eq!(update.payloads[1].speech, None);

    for nowhere in ["::", "ff0e::1"] {
        let connection = format!("c=IN IP6 {nowhere}");
        let held = crate::sdp::Sdp::parse(body.replace("c=IN IP6 2001:db8::1", &connection)).unwrap();
        let update = SideUpdate::from_media(&held.media_at(0).unwrap(), None, true);
        assert_eq!((update.sources, update.rtp, update.rtcp), (SourcePolicy::Nobody, None, None));
    }
}
