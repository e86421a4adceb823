use std::collections::BTreeSet;
use std::time::Duration;

use node::lifecycle::{Ending, Phase, Shutdown, follow_signals, run_to_end};

use crate::toy::{Platform, TcpClient, UdpClient, answer};

const LONG: Duration = Duration::from_secs(600);

/// The names of this process's threads that begin so.
fn threads(prefix: &str) -> BTreeSet<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with(prefix)).collect()
}

#[tokio::test]
async fn a_stop_leaves_no_thread_and_no_port() {
    let platform = Platform::start("stop", 3);
    let (udp, tcp) = (platform.udp(), platform.tcp());
    let mut client = TcpClient::to(tcp[0]).await;
    assert!(client.ask("ECHO x", "call", "").await.contains("0 to"));
    // A thread bears its name only from its first moment on the processor.
    tokio::time::timeout(Duration::from_secs(30), async {
        while threads("c6-stop-").len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    platform.stop().await;
    assert_eq!(threads("c6-stop-"), BTreeSet::new());
    assert_eq!(client.receive().await, None);
    std::net::UdpSocket::bind(udp[0]).unwrap();
    std::net::TcpListener::bind(tcp[1]).unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_what_is_alive_and_still_serves_it() {
    let platform = Platform::start("drain", 2);
    let client = UdpClient::to(platform.udp()[0]).await;
    assert!(client.ask("HOLD x", "call", "").await.ends_with("held"));
    let Platform { shutdown, workers, .. } = platform;
    let ending = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { run_to_end(&shutdown, vec![workers], LONG).await }
    });
    shutdown.drain();
    assert!(client.ask("ECHO x", "call", "").await.contains("0 to"));
    assert!(!ending.is_finished());
    assert!(client.ask("RELEASE x", "call", "").await.ends_with("released"));
    assert_eq!(ending.await.unwrap().unwrap(), Ending::Drained);
    assert_eq!(shutdown.phase(), Phase::Stopping);
}

#[tokio::test]
async fn a_drain_ends_at_its_limit_and_at_a_stop() {
    for by_limit in [true, false] {
        let platform = Platform::start("limit", 1);
        let client = UdpClient::to(platform.udp()[0]).await;
        assert_eq!(client.ask("HOLD x", "call", "").await, answer("held"));
        // By the next answer the worker has told that something is alive.
        client.ask("ECHO x", "call", "").await;
        let Platform { shutdown, workers, .. } = platform;
        shutdown.drain();
        if !by_limit {
            shutdown.stop();
        }
        let limit = if by_limit { Duration::ZERO } else { LONG };
        let ending = run_to_end(&shutdown, vec![workers], limit).await.unwrap();
        assert_eq!(ending, Ending::Cut { active: 1 });
    }
}

#[tokio::test]
async fn a_stop_lets_the_world_finish_what_was_asked_last() {
    let platform = Platform::start("last", 1);
    let client = UdpClient::to(platform.udp()[0]).await;
    client.send("ASK wait", "call", "").await;
    // By this answer the question has been asked.
    assert_eq!(client.ask("ECHO x", "call", "").await, answer(&format!("0 to {}", platform.udp()[0])));
    let Platform { shutdown, workers, gate } = platform;
    shutdown.stop();
    gate.add_permits(1);
    workers.join().await.unwrap();
    assert_eq!(gate.available_permits(), 0);
}

#[tokio::test]
async fn a_worker_that_dies_ends_the_platform_with_an_error() {
    let platform = Platform::start("dies", 2);
    let client = UdpClient::to(platform.udp()[0]).await;
    client.send("PANIC x", "call", "").await;
    let Platform { shutdown, workers, .. } = platform;
    let error = run_to_end(&shutdown, vec![workers], LONG).await.unwrap_err();
    assert!(error.to_string().contains("c6-dies-"), "{error}");
    assert_eq!(threads("c6-dies-"), BTreeSet::new());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_stops() {
    let shutdown = Shutdown::new();
    let signals = follow_signals(&shutdown).unwrap();
    let send = |name: &str| {
        let id = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    send("-TERM");
    shutdown.reached(Phase::Draining).await;
    assert_eq!(shutdown.phase(), Phase::Draining);
    send("-INT");
    shutdown.reached(Phase::Stopping).await;
    signals.abort();
}
