use tokio::io::AsyncWriteExt;

use crate::toy::{Platform, TcpClient, UdpClient, message};

/// Pseudo-random bytes, the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test]
async fn a_flood_of_garbage_is_harmless() {
    let platform = Platform::start("garbage", 2);
    for server in platform.udp() {
        let client = UdpClient::to(server).await;
        for seed in 0..2_000 {
            let length = usize::try_from(seed).unwrap() % 1_400;
            client.socket.send(&noise(seed, length)).await.unwrap();
        }
        for odd in [
            &b""[..],
            b"\r\n\r\n",
            b"\0\0\0\0",
            b"SIP/2.0",
            b"INVITE sip:a SIP/2.0\r\nCall-ID",
            b"A b C\r\nVia:;=,\"\r\n\r\n",
        ] {
            client.socket.send(odd).await.unwrap();
        }
        assert!(client.ask("BLOB x", "call", "alive").await.ends_with("alive"));
    }
    platform.stop().await;
}

#[tokio::test]
async fn streams_that_cannot_be_framed_are_closed() {
    let platform = Platform::start_with("unframed", 2, |config| config.max_message_bytes = 2_000);
    let server = platform.tcp()[0];
    let endless =
        b"OPTIONS sip:a SIP/2.0\r\nSubject: ".iter().copied().chain(std::iter::repeat_n(b'x', 10_000));
    let unframed = [
        b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n".to_vec(),
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 9999999999\r\n\r\n".to_vec(),
        endless.collect(),
    ];
    for bytes in unframed {
        let mut client = TcpClient::to(server).await;
        // The other end may close before everything is sent.
        let _ = client.stream.write_all(&bytes).await;
        assert_eq!(client.receive().await, None);
    }
    assert!(TcpClient::to(server).await.ask("BLOB x", "call", "alive").await.ends_with("alive"));
    platform.stop().await;
}

#[tokio::test]
async fn messages_over_the_limit_are_dropped() {
    let platform = Platform::start_with("oversize", 1, |config| config.max_message_bytes = 2_000);
    let client = UdpClient::to(platform.udp()[0]).await;
    client.socket.send(&message("BLOB x", "call", &"x".repeat(2_000))).await.unwrap();
    assert!(client.ask("BLOB x", "call", "small").await.ends_with("small"));
    platform.stop().await;
}
