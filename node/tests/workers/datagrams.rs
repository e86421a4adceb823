use std::collections::BTreeSet;

use sip_core::ids::{IdSource, WorkerId};
use sip_core::owner::owner;

use tokio::net::UdpSocket;

use crate::toy::{Platform, UdpClient, message};

#[tokio::test]
async fn every_message_is_answered_by_its_owner_wherever_it_arrives() {
    let platform = Platform::start("owner", 4);
    for server in platform.udp() {
        // One client has one address, so that the kernel gives all its datagrams to one worker.
        let client = UdpClient::to(server).await;
        let mut seen = BTreeSet::new();
        for i in 0..40 {
            let call_id = format!("call-{i}");
            let expected = owner(&message("ECHO x", &call_id, "hi"), 4);
            let answer = client.ask("ECHO x", &call_id, "hi").await;
            assert_eq!(answer, format!("worker {}: 2 to {server}", expected.0));
            seen.insert(expected);
        }
        assert_eq!(seen.len(), 4);
    }
    platform.stop().await;
}

#[tokio::test]
async fn our_own_identifiers_lead_to_their_worker() {
    let platform = Platform::start("own-ids", 3);
    let client = UdpClient::to(platform.udp()[0]).await;
    for worker in [2, 0, 1] {
        let call_id = IdSource::new(WorkerId(worker), [worker; 32]).call_id();
        assert!(client.ask("ECHO x", &call_id, "").await.starts_with(&format!("worker {worker}: ")));
    }
    platform.stop().await;
}

#[tokio::test]
async fn datagrams_larger_than_a_usual_path_go_and_come() {
    let platform = Platform::start("large", 2);
    for server in platform.udp() {
        let client = UdpClient::to(server).await;
        for size in [3_000, 60_000] {
            let body: String = ('a'..='z').cycle().take(size).collect();
            let answer = client.ask("BLOB x", "call", &body).await;
            assert_eq!(answer.split_once(": ").unwrap().1, body);
        }
    }
    platform.stop().await;
}

#[tokio::test]
async fn bursts_are_answered_whole() {
    let platform = Platform::start("burst", 3);
    let client = UdpClient::to(platform.udp()[0]).await;
    for round in 0..20 {
        for i in 0..50 {
            client.send("BLOB x", &format!("call-{round}-{i}"), &i.to_string()).await;
        }
        let mut answers = BTreeSet::new();
        while answers.len() < 50 {
            let answer = client.receive().await;
            answers.insert(answer.split_once(": ").unwrap().1.parse::<u32>().unwrap());
        }
    }
    platform.stop().await;
}

/// RFC 5626 §8: STUN on the SIP port tells where a phone is seen, over both families, beside SIP.
#[tokio::test]
async fn stun_is_answered_on_the_same_port() {
    let platform = Platform::start("stun", 2);
    for server in platform.udp() {
        let socket = UdpSocket::bind((server.ip(), 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], b"twelve bytes"].concat();
        let mut buffer = [0; 600];
        // Over the loopback nothing is lost but what a full socket drops, and this one is empty.
        socket.send(&request).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..2], [1, 1]);
        assert_eq!(&buffer[8..20], b"twelve bytes");
        let family = if server.is_ipv6() { 2 } else { 1 };
        assert_eq!((buffer[25], length), (family, if server.is_ipv6() { 44 } else { 32 }));
        let port = u16::from_be_bytes([buffer[26], buffer[27]]) ^ 0x2112;
        assert_eq!(port, socket.local_addr().unwrap().port());
        // An indication is a keep-alive that wants nothing back (RFC 5389 §7.3.2); the next thing heard is SIP's.
        let indication = [&[0, 0x11][..], &request[2..]].concat();
        socket.send(&indication).await.unwrap();
        socket.send(&message("BLOB x", "call", "sip")).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert!(String::from_utf8_lossy(&buffer[..length]).ends_with(": sip"));
    }
    platform.stop().await;
}
