use std::time::{Duration, Instant};

use crate::toy::{Platform, UdpClient, answer};

#[tokio::test]
async fn questions_are_answered_by_the_world() {
    let platform = Platform::start("ask", 1);
    let client = UdpClient::to(platform.udp()[0]).await;
    assert_eq!(client.ask("ASK where", "call", "").await, answer("WHERE"));
    platform.stop().await;
}

#[tokio::test]
async fn timers_are_armed_moved_and_disarmed() {
    let platform = Platform::start("timer", 1);
    let client = UdpClient::to(platform.udp()[0]).await;
    let start = Instant::now();
    assert_eq!(client.ask("TIMER 30", "call", "").await, answer("expired"));
    assert!(start.elapsed() >= Duration::from_millis(30), "a timer must not expire early");
    // Had the disarmed one expired as well, its answer would stand before this one.
    assert_eq!(client.ask("TIMER 0", "call", "").await, answer("expired"));
    platform.stop().await;
}
