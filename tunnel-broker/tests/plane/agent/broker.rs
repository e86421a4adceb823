//! A broker of a few lines. It hands out what the test says and tells the test what it hears.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use schema::secret::Password;
use socket2::SockRef;
use tunnel_broker::dtcp::Challenge;

use crate::namespace::Namespace;
use crate::world::{PATIENCE, SERVER};

/// The account that every test uses.
pub(crate) const USER: &str = "dorm-1";
pub(crate) const PASSWORD: &str = "correct horse";

/// What a login is answered with.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) prefix: String,
    /// What the client is said to be seen as; its own address unless set.
    pub(crate) seen_as: Option<Ipv4Addr>,
    pub(crate) centre: String,
}

/// What the broker heard: from whom, and the line.
pub(crate) type Heard = (Ipv4Addr, String);

pub(crate) struct Broker {
    script: Arc<Mutex<Script>>,
    sessions: Arc<Mutex<Vec<TcpStream>>>,
    listener: TcpListener,
    lines: Receiver<Heard>,
}

impl Broker {
    /// Listens on every address of a namespace, on DTCP's port; inside TLS when a configuration is given.
    pub(crate) fn start(namespace: &Namespace, script: Script, tls: Option<Arc<ServerConfig>>) -> Broker {
        let listener = namespace.run(|| TcpListener::bind((SERVER, tunnel_broker::dtcp::PORT)).unwrap());
        let script = Arc::new(Mutex::new(script));
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let (told, lines) = mpsc::channel();
        let broker = Broker {
            script: Arc::clone(&script),
            sessions: Arc::clone(&sessions),
            listener: listener.try_clone().unwrap(),
            lines,
        };
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                sessions.lock().unwrap().push(stream.try_clone().unwrap());
                let (script, told, tls) = (Arc::clone(&script), told.clone(), tls.clone());
                thread::spawn(move || match tls {
                    Some(config) => {
                        let peer = peer(&stream);
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), peer, &script, &told);
                    }
                    None => {
                        let peer = peer(&stream);
                        serve(stream, peer, &script, &told);
                    }
                });
            }
        });
        broker
    }

    /// Hands out something else from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Breaks every session off.
    pub(crate) fn break_off(&self) {
        for session in self.sessions.lock().unwrap().drain(..) {
            let _ = session.shutdown(Shutdown::Both);
        }
    }

    /// Waits for a line that begins so.
    pub(crate) fn wait_for(&self, beginning: &str) -> Heard {
        loop {
            let heard = self.lines.recv_timeout(PATIENCE);
            let heard = heard.unwrap_or_else(|_| panic!("no line {beginning:?} in time"));
            if heard.1.starts_with(beginning) {
                return heard;
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        self.break_off();
    }
}

fn peer(stream: &TcpStream) -> Ipv4Addr {
    match stream.peer_addr().unwrap().ip() {
        std::net::IpAddr::V4(address) => address,
        other => unreachable!("{other}"),
    }
}

/// One session. It ends at an error: whether that is right, the test sees by the lines.
fn serve(stream: impl Read + Write, peer: Ipv4Addr, script: &Mutex<Script>, told: &Sender<Heard>) {
    let challenge = Challenge::new(*b"0123456789abcdef");
    let proof = challenge.proof(USER, &Password::new(PASSWORD)).to_hex();
    let login = format!("tunnel {USER} {proof} network");
    let mut stream = BufReader::new(stream);
    let _ = stream.get_mut().write_all(format!("+OK {challenge} a broker of a few lines\r\n").as_bytes());
    let mut line = String::new();
    while matches!(stream.read_line(&mut line), Ok(1..)) {
        let heard = line.trim_end().to_owned();
        line.clear();
        let Script { prefix, seen_as, centre } = script.lock().unwrap().clone();
        let answer = match heard.split(' ').next() {
            Some("tunnel") if heard == login => {
                format!("+OK {} {SERVER} {prefix}", seen_as.unwrap_or(peer))
            }
            Some("tunnel") => "-ERR authentication failed.".to_owned(),
            Some("ping") => "+OK pong".to_owned(),
            Some("centre") => format!("+OK {centre}"),
            Some("report") => "+OK noted".to_owned(),
            Some("quit") => "+OK bye".to_owned(),
            _ => "-ERR invalid command".to_owned(),
        };
        let _ = stream.get_mut().write_all(format!("{answer}\r\n").as_bytes());
        if told.send((peer, heard)).is_err() {
            return;
        }
    }
}
