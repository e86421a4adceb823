use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::toy::{Platform, TcpClient, UdpClient, answer, message};

#[tokio::test]
async fn messages_of_one_connection_reach_their_owners_and_answers_come_back_over_it() {
    let platform = Platform::start("stream", 4);
    for server in platform.tcp() {
        let mut client = TcpClient::to(server).await;
        // All at once: cut anywhere by the stream, answered by every worker in any order.
        let all: Vec<u8> =
            (0..40).flat_map(|i| message("BLOB x", &format!("call-{i}"), &i.to_string())).collect();
        client.send(&all).await;
        let mut workers = std::collections::BTreeSet::new();
        let mut bodies = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let answer = client.receive().await.unwrap();
            let (worker, body) = answer.split_once(": ").unwrap();
            workers.insert(worker.to_owned());
            bodies.insert(body.parse::<u32>().unwrap());
        }
        assert_eq!(workers.len(), 4);
        assert_eq!(bodies.len(), 40);
    }
    platform.stop().await;
}

#[tokio::test]
async fn a_keep_alive_is_answered() {
    let platform = Platform::start("ping", 1);
    let mut client = TcpClient::to(platform.tcp()[0]).await;
    client.send(b"\r\n\r\n").await;
    let mut pong = [0; 2];
    client.stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    assert_eq!(client.ask("BLOB x", "call", "still here").await, answer("still here"));
    platform.stop().await;
}

#[tokio::test]
async fn a_connection_is_opened_on_demand_and_used_again() {
    let platform = Platform::start("demand", 1);
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let relay = format!("RELAY {}", listener.local_addr().unwrap());
    let client = UdpClient::to(platform.udp()[0]).await;
    for _ in 0..2 {
        assert_eq!(client.ask(&relay, "call", "onward").await, answer("sent"));
    }
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut both = [0; 12];
    stream.read_exact(&mut both).await.unwrap();
    assert_eq!(&both, b"onwardonward");
    // Its end is told to the core, and the next message opens another one.
    drop(stream);
    while client.ask("CLOSED x", "call", "").await != answer("1") {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask(&relay, "call", "again!").await, answer("sent"));
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut both[..6]).await.unwrap();
    assert_eq!(&both[..6], b"again!");
    platform.stop().await;
}

#[tokio::test]
async fn every_worker_reaches_a_client_over_the_one_connection_that_it_opened() {
    let platform = Platform::start("reach", 4);
    let mut phone = TcpClient::to(platform.tcp()[0]).await;
    assert!(phone.ask("BLOB x", "call", "hello").await.ends_with("hello"));
    let relay = format!("RELAY {}", phone.stream.local_addr().unwrap());
    let client = UdpClient::to(platform.udp()[0]).await;
    let mut workers = std::collections::BTreeSet::new();
    for i in 0..20 {
        let call_id = format!("call-{i}");
        let sent =
            client.ask(&relay, &call_id, &String::from_utf8_lossy(&message("X", &call_id, "ring"))).await;
        workers.insert(sent);
        assert!(phone.receive().await.unwrap().ends_with("ring"));
    }
    assert_eq!(workers.len(), 4);
    platform.stop().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_told() {
    let platform = Platform::start("refused", 1);
    // A port that was just free; nobody listens on it.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = UdpClient::to(platform.udp()[1]).await;
    assert_eq!(client.ask(&format!("RELAY {gone}"), "call", "lost").await, answer("sent"));
    assert_eq!(client.receive().await, answer("failed"));
    platform.stop().await;
}

#[tokio::test]
async fn every_worker_hears_of_a_closed_connection() {
    let platform = Platform::start("closed", 3);
    let client = TcpClient::to(platform.tcp()[0]).await;
    drop(client);
    let client = UdpClient::to(platform.udp()[0]).await;
    for i in 0..30 {
        let call_id = format!("call-{i}");
        while !client.ask("CLOSED x", &call_id, "").await.ends_with(": 1") {
            tokio::task::yield_now().await;
        }
    }
    platform.stop().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let platform = Platform::start_with("idle", 1, |config| config.stream.idle = Duration::from_millis(50));
    let mut client = TcpClient::to(platform.tcp()[0]).await;
    assert_eq!(client.ask("BLOB x", "call", "hi").await, answer("hi"));
    assert_eq!(client.receive().await, None);
    platform.stop().await;
}

#[tokio::test]
async fn connections_of_one_source_are_bounded() {
    let platform = Platform::start_with("bounded", 2, |config| config.stream.max_connections_per_source = 2);
    let server = platform.tcp()[1];
    let (mut first, mut second) = (TcpClient::to(server).await, TcpClient::to(server).await);
    for client in [&mut first, &mut second] {
        assert!(client.ask("BLOB x", "call", "hi").await.ends_with("hi"));
    }
    assert_eq!(TcpClient::to(server).await.receive().await, None);
    // Another source has its own share, and a freed place is taken again.
    assert!(TcpClient::to(platform.tcp()[0]).await.ask("BLOB x", "call", "hi").await.ends_with("hi"));
    drop(first);
    loop {
        let mut client = TcpClient::to(server).await;
        client.send(&message("BLOB x", "call", "in")).await;
        if client.receive().await.is_some_and(|answer| answer.ends_with("in")) {
            break;
        }
    }
    platform.stop().await;
}

/// RFC 4475 §3.1.2.3: who sends a length that is none over a stream is told so, and the connection ends.
/// RFC 3261 §18.3: a message on a stream has a Content-Length.
#[tokio::test]
async fn the_sender_of_what_cannot_be_framed_is_told() {
    let platform = Platform::start("told", 1);
    for length in ["", "Content-Length: -999\r\n", "l: 1\r\nl: 2\r\n"] {
        let mut client = TcpClient::to(platform.tcp()[0]).await;
        let head = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP [::1]:9;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
                    To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n";
        client.send(format!("{head}{length}\r\nand more").as_bytes()).await;
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("SIP/2.0 400 ") && answer.contains("\r\nCall-ID: x\r\n"),
            "{length}: {answer}"
        );
        assert_eq!(answer.matches("SIP/2.0 400 ").count(), 1);
    }
    platform.stop().await;
}
