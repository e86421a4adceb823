//! A core that does what messages tell it, and clients that tell it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::config::Sip;
use node::lifecycle::Shutdown;
use node::listener::Listener;
use node::worker::{WorkerContext, Workers, WorkersConfig};
use node::world::{Reply, World};
use sip_core::core::{Core, Input, Output, TimerId, Token, Transmit, TransmitId};
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::ids::WorkerId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Messages are `COMMAND argument SIP/2.0` with a Call-ID and a body; each answer names the worker that gave it.
pub(crate) struct Toy {
    worker: WorkerId,
    local: Vec<Listener>,
    outputs: VecDeque<Output<String>>,
    /// Who waits for a timer, an answer or a failure, by its number.
    waiting: HashMap<u64, Flow>,
    next: u64,
    held: usize,
    draining: bool,
    closed: Vec<ConnectionId>,
    identified: HashMap<ConnectionId, String>,
}

impl Toy {
    pub(crate) fn new(context: &WorkerContext) -> Self {
        Toy {
            worker: context.worker,
            local: context.local.clone(),
            outputs: VecDeque::new(),
            waiting: HashMap::new(),
            next: 1,
            held: 0,
            draining: false,
            closed: vec![],
            identified: HashMap::new(),
        }
    }

    fn reply(&mut self, flow: Flow, text: impl AsRef<str>) {
        let body = format!("worker {}: {}", self.worker.0, text.as_ref());
        let bytes = format!("SIP/2.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.send(TransmitId::NONE, flow, Bytes::from(bytes));
    }

    fn send(&mut self, id: TransmitId, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Transmit(Transmit { id, flow, bytes }));
    }

    fn remember(&mut self, flow: Flow) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, flow);
        self.next
    }

    fn obey(&mut self, now: Instant, flow: Flow, bytes: &Bytes) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut words = text.split(' ');
        let (command, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        match command {
            "ECHO" => self.reply(flow, format!("{} to {}", body.len(), flow.local)),
            "BLOB" => self.reply(flow, body),
            "HOLD" => {
                self.held += 1;
                self.reply(flow, "held");
            }
            "RELEASE" => {
                self.held -= 1;
                self.reply(flow, "released");
            }
            "ASK" => {
                let token = Token(self.remember(flow));
                self.outputs.push_back(Output::Ask(token, argument.to_owned()));
            }
            "TIMER" => {
                // Armed far away, moved near; its neighbour armed near and disarmed.
                let id = self.remember(flow);
                let near = now + Duration::from_millis(argument.parse().unwrap());
                self.outputs.push_back(Output::SetTimer(TimerId(0), Some(near)));
                self.outputs.push_back(Output::SetTimer(TimerId(id), Some(now + Duration::from_secs(3600))));
                self.outputs.push_back(Output::SetTimer(TimerId(id), Some(near)));
                self.outputs.push_back(Output::SetTimer(TimerId(0), None));
            }
            // Sends the body to another place over a stream.
            "RELAY" | "RELAYS" => {
                let id = TransmitId(self.remember(flow));
                let local = self.local[0].addr;
                let remote = argument.parse().unwrap();
                let transport = if command == "RELAY" { Transport::Tcp } else { Transport::Tls };
                let onward = Flow { transport, local, remote, connection: None };
                self.send(id, onward, Bytes::from(body.to_owned()));
                self.reply(flow, "sent");
            }
            "CLOSED" => self.reply(flow, self.closed.len().to_string()),
            "WHO" => {
                let names = flow.connection.and_then(|connection| self.identified.get(&connection)).cloned();
                self.reply(flow, names.unwrap_or_default());
            }
            "PANIC" => panic!("as told"),
            _ => {}
        }
    }

    fn tell(&mut self, id: u64, what: impl AsRef<str>) {
        if let Some(flow) = self.waiting.remove(&id) {
            self.reply(flow, what);
        }
    }
}

impl Core for Toy {
    type Question = String;
    type Answer = String;

    fn handle_input(&mut self, now: Instant, input: Input<String>) {
        assert!(self.outputs.is_empty(), "the law: every output before the next input");
        match input {
            Input::Received { flow, bytes } => self.obey(now, flow, &bytes),
            Input::TransmitFailed(id) => self.tell(id.0, "failed"),
            Input::Identified { connection, names } => {
                self.identified.insert(connection, names.join(","));
            }
            Input::ConnectionClosed(id) => self.closed.push(id),
            Input::Timer(id) => self.tell(id.0, "expired"),
            Input::Answer(token, answer) => self.tell(token.0, answer),
            Input::Drain | Input::Stop => self.draining = true,
        }
    }

    fn poll_output(&mut self) -> Option<Output<String>> {
        self.outputs.pop_front()
    }

    fn active(&self) -> usize {
        self.held
    }
}

/// Answers each question by its capitals, after a turn of its own; `wait` when `gate` has a permit.
pub(crate) struct Capitals {
    pub(crate) gate: Arc<Semaphore>,
}

impl World<String, String> for Capitals {
    fn ask(&self, token: Token, question: String, reply: Reply<String>) {
        assert_eq!(token, reply.token());
        let gate = Arc::clone(&self.gate);
        tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            if question == "wait" {
                gate.acquire().await.unwrap().forget();
            }
            reply.send(question.to_uppercase());
        });
    }
}

/// A running toy platform.
pub(crate) struct Platform {
    pub(crate) shutdown: Shutdown,
    pub(crate) workers: Workers,
    /// Lets the world answer `wait`.
    pub(crate) gate: Arc<Semaphore>,
}

impl Platform {
    pub(crate) fn start(role: &str, workers: usize) -> Self {
        Platform::start_with(role, workers, |_| {})
    }

    pub(crate) fn start_with(role: &str, workers: usize, change: impl FnOnce(&mut WorkersConfig)) -> Self {
        let any = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let listen = vec![
            Listener::udp(any("::1")),
            Listener::udp(any("127.0.0.1")),
            Listener::tcp(any("::1")),
            Listener::tcp(any("127.0.0.1")),
        ];
        let mut config = WorkersConfig { workers, ..WorkersConfig::new(role, listen, &Sip::default()) };
        change(&mut config);
        let shutdown = Shutdown::new();
        let gate = Arc::new(Semaphore::new(0));
        let world = Arc::clone(&gate);
        let factory =
            move |context: WorkerContext| (Toy::new(&context), Capitals { gate: Arc::clone(&world) });
        let workers = Workers::spawn(config, &shutdown, factory).unwrap();
        Platform { shutdown, workers, gate }
    }

    /// The addresses over UDP, IPv6 first.
    pub(crate) fn udp(&self) -> [SocketAddr; 2] {
        self.addresses(Transport::Udp)
    }

    /// The addresses over TCP, IPv6 first.
    pub(crate) fn tcp(&self) -> [SocketAddr; 2] {
        self.addresses(Transport::Tcp)
    }

    pub(crate) async fn stop(self) {
        self.workers.join().await.unwrap();
    }

    fn addresses(&self, transport: Transport) -> [SocketAddr; 2] {
        let mut of = self.workers.local().iter().filter(|listener| listener.transport == transport);
        [of.next().unwrap().addr, of.next().unwrap().addr]
    }
}

/// A message for the toy.
pub(crate) fn message(command: &str, call_id: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{command} SIP/2.0\r\nCall-ID: {call_id}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// What a toy with one worker answers.
pub(crate) fn answer(text: &str) -> String {
    format!("worker 0: {text}")
}

/// A client over UDP.
pub(crate) struct UdpClient {
    pub(crate) socket: UdpSocket,
}

impl UdpClient {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        UdpClient { socket }
    }

    pub(crate) async fn send(&self, command: &str, call_id: &str, body: &str) {
        self.socket.send(&message(command, call_id, body)).await.unwrap();
    }

    pub(crate) async fn receive(&self) -> String {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).await.unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) async fn ask(&self, command: &str, call_id: &str, body: &str) -> String {
        self.send(command, call_id, body).await;
        self.receive().await
    }
}

/// A client over TCP, or what runs over it.
pub(crate) struct TcpClient<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl TcpClient {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        TcpClient::over(TcpStream::connect(server).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TcpClient<S> {
    pub(crate) fn over(stream: S) -> Self {
        TcpClient { stream, buffer: vec![] }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The body of the next message, `None` at the stream's end.
    pub(crate) async fn receive(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.buffer).into_owned();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length = head.rsplit_once(' ').unwrap().1.parse().unwrap();
                if let Some(body) = rest.get(..length) {
                    self.buffer.drain(..head.len() + 4 + length);
                    return Some(body.to_owned());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn ask(&mut self, command: &str, call_id: &str, body: &str) -> String {
        self.send(&message(command, call_id, body)).await;
        self.receive().await.unwrap()
    }
}
