//! What every test needs: a node of the real binary, and sipp.

mod node;
mod sipp;

pub use node::{Credentials, Node, Setup};
pub use sipp::{Running, Sipp};

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// A UDP port that was free a moment ago, for programs that cannot take port 0 and say what they got.
pub fn free_port(ip: IpAddr) -> u16 {
    UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether a program is there. When it is not, the test says so and is skipped; under CI=true it fails.
pub fn have(program: &str) -> bool {
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
        eprintln!("SKIPPED: {program} is missing: ./test installs it as root");
    }
    found
}
