//! What every test needs: nodes of the real binary, sipp, simulated phones, a network that loses packets.

mod baresip;
mod kamailio;
pub(crate) mod legs;
mod lossy;
mod node;
mod phone;
pub(crate) mod raw;
mod sipp;
mod tls;
mod websocket;

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) use baresip::Persona;
pub(crate) use kamailio::Kamailio;
pub(crate) use legs::Legs;
pub(crate) use lossy::{Loss, LossyRelay};
pub(crate) use node::{Credentials, Node, Setup};
pub(crate) use phone::{gateway, phone, register, unregistered};
pub(crate) use raw::Raw;
pub(crate) use sipp::{Running, Sipp, Trace};
pub(crate) use tls::{Certificates, Door, Identity};

/// Whether a program is there. When it is not, the test says so and is skipped; under CI=true it fails.
pub(crate) fn have(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("-v")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{program} is missing: ./test installs it as root"
        );
        // Past the test harness, which shows what a passing test prints to nobody.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is missing: ./test installs it as root");
    }
    found
}

/// Waits for something that must happen, and fails when it does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {} s: {what}", PATIENCE.as_secs()),
    }
}

/// Asks again and again until there is an answer, and fails when there is none in time.
pub(crate) fn until<T>(what: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {} s: {}", PATIENCE.as_secs(), what());
        // There is nothing to be told by: the other side is a process of its own.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
