//! A registrar of a few lines that challenges REGISTER and INVITE, with a digest of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};
use tokio::{net::UdpSocket, sync::oneshot};

/// What it has seen, in order, and what it does.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) seen: Vec<String>,
    /// Algorithms offered, in order.
    pub(crate) algorithms: Vec<&'static str>,
    /// Number of the nonce that is good; older ones are stale.
    pub(crate) nonce: u32,
    /// Refuse registrations shorter than this with 423.
    pub(crate) least: u32,
    /// Answer this many requests with 401 `stale=true` although the nonce is new.
    pub(crate) stale: u32,
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) script: Arc<Mutex<Script>>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub(crate) async fn start(local: &str, script: Script) -> Self {
        let socket = UdpSocket::bind(local).await.expect("a socket");
        let addr = socket.local_addr().expect("an address");
        let script = Arc::new(Mutex::new(script));
        let (_stop, mut stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            let mut buffer = [0; 4000];
            loop {
                tokio::select! {
                    _ = &mut stopped => return,
                    got = socket.recv_from(&mut buffer) => {
                        let Ok((length, from)) = got else { continue };
                        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        let answer = answer(&text, &mut shared.lock().expect("not poisoned"));
                        if let Some(answer) = answer {
                            socket.send_to(answer.as_bytes(), from).await.expect("sent");
                        }
                    }
                }
            }
        });
        Self { addr, script, _stop }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.script.lock().expect("not poisoned").seen.clone()
    }
}

pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(crate) fn param(value: &str, name: &str) -> Option<String> {
    let at = value.find(&format!("{name}="))? + name.len() + 1;
    let rest = &value[at..];
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().map(str::to_owned),
        None => rest.split([',', ';']).next().map(|value| value.trim().to_owned()),
    }
}

fn answer(text: &str, script: &mut Script) -> Option<String> {
    let method = text.split(' ').next()?.to_owned();
    script.seen.push(text.to_owned());
    if method == "ACK" {
        return None;
    }
    let (status, challenge, authorization) = match method.as_str() {
        "REGISTER" => ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
        _ => ("407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"),
    };
    let copied: String = ["Via", "From", "Call-ID", "CSeq"]
        .iter()
        .filter_map(|name| Some(format!("{name}: {}\r\n", field(text, name)?)))
        .collect();
    let head = |line: &str| {
        format!("SIP/2.0 {line}\r\n{copied}To: {};tag=reg\r\n", field(text, "To").unwrap_or_default())
    };
    let verdict = field(text, authorization).map(|given| check(given, &method, script));
    let stale = match verdict {
        Some(Verdict::Good) if script.stale == 0 => {
            let asked: u32 = field(text, "Expires").unwrap_or("0").parse().unwrap_or(0);
            if method != "REGISTER" {
                return Some(format!("{}Content-Length: 0\r\n\r\n", head("486 Busy Here")));
            }
            if asked > 0 && asked < script.least {
                let least = script.least;
                return Some(format!(
                    "{}Min-Expires: {least}\r\nContent-Length: 0\r\n\r\n",
                    head("423 Interval Too Brief")
                ));
            }
            let contact = field(text, "Contact").unwrap_or_default();
            let uri = contact.split(";expires").next().unwrap_or_default();
            // Another phone's binding first, and less time than was asked for.
            let granted = asked / 2;
            return Some(format!(
                "{}Contact: <sip:101@[2001:db8::7]:5060>;expires=7, {uri};expires={granted}\r\nContent-Length: 0\r\n\r\n",
                head("200 OK")
            ));
        }
        Some(Verdict::Bad) => return Some(format!("{}Content-Length: 0\r\n\r\n", head("403 Forbidden"))),
        Some(Verdict::Good | Verdict::Stale) => {
            script.stale = script.stale.saturating_sub(1);
            script.nonce += 1;
            true
        }
        None => false,
    };
    let mut response = head(status);
    for algorithm in &script.algorithms {
        let stale = if stale { ", stale=true" } else { "" };
        response.push_str(&format!(
            "{challenge}: Digest realm=\"centrex6\", nonce=\"n{}\", qop=\"auth\", algorithm={algorithm}, opaque=\"o,\\\"x\"{stale}\r\n",
            script.nonce
        ));
    }
    Some(format!("{response}Content-Length: 0\r\n\r\n"))
}

enum Verdict {
    Good,
    Bad,
    Stale,
}

fn check(given: &str, method: &str, script: &Script) -> Verdict {
    let get = |name: &str| param(given, name).unwrap_or_default();
    let algorithm = get("algorithm");
    if !script.algorithms.contains(&algorithm.as_str()) {
        return Verdict::Bad;
    }
    let hash = |text: String| -> String {
        let digest = match algorithm.as_str() {
            "SHA-512-256" => Sha512_256::digest(text).to_vec(),
            "SHA-256" => Sha256::digest(text).to_vec(),
            _ => Md5::digest(text).to_vec(),
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let ha1 = hash("101:centrex6:secret".to_owned());
    // `uri` is looked for with the comma before it, so that no other name that ends so is found.
    let uri = param(given, " uri").unwrap_or_default();
    let ha2 = hash(format!("{method}:{uri}"));
    let expected = hash(format!("{ha1}:{}:{}:{}:auth:{ha2}", get("nonce"), get("nc"), get("cnonce")));
    if expected != get("response") {
        Verdict::Bad
    } else if get(" nonce") != format!("n{}", script.nonce) {
        Verdict::Stale
    } else {
        Verdict::Good
    }
}
