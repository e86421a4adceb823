//! rtpengine as a peer of the relay, in user space, controlled over its NG protocol: bencoded dictionaries in UDP.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use load_tests::ports;
use load_tests::process::Process;
use tempfile::TempDir;

/// A running rtpengine. Dropping it ends the process.
pub(super) struct Rtpengine {
    child: Child,
    folder: TempDir,
    control: UdpSocket,
    sent: u32,
}

impl Rtpengine {
    /// Whether it is installed.
    pub(super) fn is_installed() -> bool {
        let mut command = Command::new(PROGRAM);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts it with room for this many calls, and waits until it answers.
    pub(super) fn start(calls: usize, threads: u16) -> anyhow::Result<Rtpengine> {
        let folder = tempfile::Builder::new().prefix("centrex6-rtpengine-").tempdir()?;
        let count = u16::try_from(calls * 4 + 64).context("too many calls for the ports")?;
        let first = ports::free_range(count)?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_udp(Ipv4Addr::LOCALHOST.into())?));
        let log = File::create(folder.path().join(LOG))?;
        let child = Command::new(PROGRAM)
            // Table -1: no kernel module. Neither the system's configuration nor its files are touched.
            .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=4"])
            .args(["--interface=phones/::1", "--interface=trunks/127.0.0.1"])
            .arg(format!("--listen-ng={listen}"))
            .arg(format!("--port-min={first}"))
            .arg(format!("--port-max={}", first + count - 1))
            .arg(format!("--num-threads={threads}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start rtpengine")?;
        let control = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        control.connect(listen)?;
        control.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut rtpengine = Rtpengine { child, folder, control, sent: 0 };
        let deadline = Instant::now() + PATIENCE;
        while rtpengine.ask(&[("command", "ping")]).is_err() {
            if let Some(status) = rtpengine.child.try_wait()? {
                anyhow::bail!("rtpengine ended with {status}:\n{}", rtpengine.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "rtpengine does not answer:\n{}", rtpengine.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(rtpengine)
    }

    /// Makes a call between two sockets; gives where the IPv6 side and the IPv4 side shall send.
    pub(super) fn call(
        &mut self,
        name: &str,
        phone: SocketAddr,
        trunk: SocketAddr,
    ) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let common = [("ICE", "remove"), ("call-id", name), ("from-tag", "phone")];
        let (offer, answer) = (sdp(phone), sdp(trunk));
        let mut command = vec![("command", "offer"), ("sdp", &offer), ("address family", "IP4")];
        command.extend(common);
        let for_trunk = self.ask_between(&command, ["phones", "trunks"])?;
        let mut command = vec![("command", "answer"), ("sdp", &answer), ("to-tag", "trunk")];
        command.extend([("address family", "IP6")]);
        command.extend(common);
        let for_phone = self.ask_between(&command, ["trunks", "phones"])?;
        Ok((media(&for_phone)?, media(&for_trunk)?))
    }

    pub(super) fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    fn ask(&mut self, command: &[(&str, &str)]) -> anyhow::Result<String> {
        let entries = command.iter().map(|(key, value)| (*key, text(value)));
        self.exchange(entries.collect())
    }

    fn ask_between(&mut self, command: &[(&str, &str)], direction: [&str; 2]) -> anyhow::Result<String> {
        let mut entries: Vec<_> = command.iter().map(|(key, value)| (*key, text(value))).collect();
        entries.push(("direction", format!("l{}{}e", text(direction[0]), text(direction[1]))));
        let answer = self.exchange(entries)?;
        anyhow::ensure!(answer.contains("6:result2:ok"), "rtpengine refused: {answer}\n{}", self.log());
        Ok(answer)
    }

    fn exchange(&mut self, mut entries: Vec<(&str, String)>) -> anyhow::Result<String> {
        entries.sort_by_key(|(key, _)| *key);
        let dictionary: String = entries.iter().map(|(key, value)| format!("{}{value}", text(key))).collect();
        self.sent += 1;
        let cookie = format!("{} ", self.sent);
        self.control.send(format!("{cookie}d{dictionary}e").as_bytes())?;
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.control.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            // An answer to an earlier question may come late.
            if let Some(answer) = answer.strip_prefix(&cookie) {
                return Ok(answer.to_owned());
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bencoded string.
fn text(value: &str) -> String {
    format!("{}:{value}", value.len())
}

fn sdp(local: SocketAddr) -> String {
    let (ip, port) = (local.ip(), local.port());
    let family = if ip.is_ipv6() { 6 } else { 4 };
    format!(
        "v=0\r\no=- 1 1 IN IP{family} {ip}\r\ns=-\r\nc=IN IP{family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
    )
}

/// The media address of the SDP in an answer.
fn media(answer: &str) -> anyhow::Result<SocketAddr> {
    let line = |start: &str| answer.split("\r\n").find_map(|line| line.strip_prefix(start));
    let ip = line("c=IN IP4 ").or_else(|| line("c=IN IP6 ")).context("rtpengine's SDP has no c= line")?;
    let port =
        line("m=audio ").and_then(|rest| rest.split(' ').next()).context("rtpengine's SDP has no m= line")?;
    Ok(SocketAddr::new(ip.trim().parse::<IpAddr>()?, port.parse()?))
}

const PROGRAM: &str = "rtpengine";
const LOG: &str = "log";
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_address_is_read_from_an_answer() {
        let answer = "d3:sdp9:v=0\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 30002 RTP/AVP 0\r\n6:result2:oke";
        assert_eq!(media(answer).unwrap(), "[::1]:30002".parse().unwrap());
        assert!(media("d6:result2:oke").is_err());
    }
}
