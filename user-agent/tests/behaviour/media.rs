//! A relay that changes one byte of one RTP packet on its way.

use tokio::net::UdpSocket;
use user_agent::{DirectionReport, MediaOptions, MediaSession};

use crate::soon;

#[tokio::test]
async fn one_byte_changed_on_the_way_is_reported() {
    let ip = "::1".parse().expect("an address");
    let options = MediaOptions { packets: Some(20), ..MediaOptions::default() };
    let sender = MediaSession::open(ip, &options).expect("ports");
    let receiver = MediaSession::open(ip, &options).expect("ports");
    let relay = UdpSocket::bind("[::1]:0").await.expect("a socket");
    sender.connect(relay.local_addr().expect("an address"), true);
    let mut buffer = [0; 400];
    for number in 0..20 {
        let length = soon(relay.recv(&mut buffer)).await.expect("a packet");
        if number == 11 {
            buffer[12 + 77] ^= 0x40;
        }
        relay.send_to(&buffer[..length], receiver.local_addr()).await.expect("sent");
    }
    soon(receiver.media().await_received(20)).await;
    let report = DirectionReport::between(&sender.media().report(), &receiver.media().report());
    assert_eq!((report.received, report.lost, report.corrupted), (20, 0, 1));
    assert!(!report.is_intact());
}
