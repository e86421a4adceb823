//! SIP by hand: one socket, messages as the test writes them, and what comes back.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use user_agent::{Message, answer_challenge};

use super::{Credentials, Node, PATIENCE, Setup};

/// A socket that speaks SIP to one server. Waiting fails the test after a while, with everything that did come.
pub(crate) struct Raw {
    link: Link,
    pub(crate) local: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Who sends, in a Via: the socket's address, or for a page what stands in its place.
    host: String,
    waiting: VecDeque<Message>,
}

enum Link {
    Udp(UdpSocket),
    Stream { stream: Box<dyn Stream>, transport: &'static str, read: Vec<u8>, ended: bool },
}

/// A connection, whatever protects it.
pub(crate) trait Stream: Read + Write + Send {
    /// The connection under it.
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Raw {
    /// A UDP socket on the loopback of the server's family.
    pub(crate) fn udp(server: SocketAddr) -> Raw {
        Raw::udp_at((server.ip(), 0).into(), server)
    }

    /// A UDP socket on this address.
    pub(crate) fn udp_at(local: SocketAddr, server: SocketAddr) -> Raw {
        let socket = UdpSocket::bind(local).unwrap();
        let local = socket.local_addr().unwrap();
        Raw { link: Link::Udp(socket), local, server, host: local.to_string(), waiting: VecDeque::new() }
    }

    /// A TCP connection.
    pub(crate) fn tcp(server: SocketAddr) -> Raw {
        Raw::over(Box::new(TcpStream::connect(server).unwrap()), "TCP")
    }

    /// A connection that somebody made; `transport` as a Via names it.
    pub(crate) fn over(stream: Box<dyn Stream>, transport: &'static str) -> Raw {
        let (local, server) = (stream.tcp().local_addr().unwrap(), stream.tcp().peer_addr().unwrap());
        let link = Link::Stream { stream, transport, read: Vec::new(), ended: false };
        let host = match transport {
            "WS" | "WSS" => format!("{}.invalid", unique()),
            _ => local.to_string(),
        };
        Raw { link, local, server, host, waiting: VecDeque::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => {
                socket.send_to(bytes, self.server).unwrap();
            }
            // The other side may have closed half-way: what it says tells.
            Link::Stream { stream, .. } => drop(stream.write_all(bytes).and_then(|()| stream.flush())),
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &Message) {
        self.send_bytes(&message.to_bytes());
    }

    /// A request outside any dialog from this socket, with a branch, a tag and a Call-ID of its own, a Contact at the socket and no
    /// body. `from` is a user and a domain.
    pub(crate) fn request(&self, method: &str, uri: &str, from: &str) -> Message {
        let id = unique();
        let user = from.split('@').next().unwrap_or_default();
        let mut request = Message::request(method, uri);
        request.push("Via", format!("SIP/2.0/{} {};branch=z9hG4bK{id};rport", self.transport(), self.host));
        request.push("Max-Forwards", "70");
        request.push("From", format!("<sip:{from}>;tag=f{id}"));
        request.push("To", format!("<{uri}>"));
        request.push("Call-ID", format!("call{id}"));
        request.push("CSeq", format!("1 {method}"));
        request.push("Contact", format!("<sip:{user}@{}>", self.contact()));
        request
    }

    /// Host and parameters of this socket in a Contact.
    pub(crate) fn contact(&self) -> String {
        match self.transport() {
            "UDP" => self.host.clone(),
            // RFC 7118 §5.2: no URI says `wss`.
            "WSS" => format!("{};transport=ws", self.host),
            other => format!("{};transport={}", self.host, other.to_ascii_lowercase()),
        }
    }

    /// Host and parameters in the Contact of a response or of a request in a dialog, where many phones leave the transport out.
    fn short_contact(&self) -> String {
        if self.transport().starts_with("WS") { self.contact() } else { self.host.clone() }
    }

    /// Sends a request, answers the challenge to it, and gives the request as it was sent last.
    pub(crate) fn send_as(&mut self, line: &Credentials, request: &Message) -> Message {
        self.send(request);
        let challenge = self.receive();
        let (status, _) = challenge.status().unwrap();
        assert!(matches!(status, 401 | 407), "{challenge:?}");
        let method = request.method().unwrap().to_owned();
        if method == "INVITE" {
            self.send(&ack_of_failure(request, &challenge));
        }
        let uri = request.request_uri().unwrap().to_owned();
        let (name, value) =
            answer_challenge(&challenge, &line.auth_user, &line.password, &method, &uri).unwrap();
        let mut again = next_in_call(request, &method);
        again.push(name, value);
        self.send(&again);
        again
    }

    /// Registers a line with this Contact value (parameters and all) and further header lines; gives the 200.
    pub(crate) fn register(&mut self, line: &Credentials, contact: &str, extra: &[(&str, &str)]) -> Message {
        let aor = format!("{}@{}", line.extension, line.domain);
        let mut request = self.request("REGISTER", &format!("sip:{}", line.domain), &aor);
        set(&mut request, "To", &format!("<sip:{aor}>"));
        set(&mut request, "Contact", contact);
        extra.iter().for_each(|(name, value)| request.push(name, *value));
        self.send_as(line, &request);
        self.expect(200)
    }

    /// An INVITE of a line to this URI, which has got its 100.
    pub(crate) fn invite(&mut self, line: &Credentials, uri: &str, extra: &[(&str, &str)]) -> Message {
        let mut invite = self.request("INVITE", uri, &format!("{}@{}", line.extension, line.domain));
        extra.iter().for_each(|(name, value)| invite.push(name, *value));
        let sent = self.send_as(line, &invite);
        self.expect(100);
        sent
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Message {
        self.next().unwrap_or_else(|| panic!("the connection ended"))
    }

    /// The next message must be a response with this status.
    pub(crate) fn expect(&mut self, status: u16) -> Message {
        let message = self.receive();
        assert_eq!(message.status().map(|(status, _)| status), Some(status), "{message:#?}");
        message
    }

    /// The next message must be a request of this method.
    pub(crate) fn expect_request(&mut self, method: &str) -> Message {
        let message = self.receive();
        assert_eq!(message.method(), Some(method), "{message:#?}");
        message
    }

    /// Answers a request with this socket's Contact and the Record-Route of the request.
    pub(crate) fn respond(&mut self, request: &Message, status: u16, tag: &str, extra: &[(&str, &str)]) {
        let response = self.response(request, status, tag, extra);
        self.send(&response);
    }

    /// The response that [`respond`](Raw::respond) sends.
    pub(crate) fn response(
        &self,
        request: &Message,
        status: u16,
        tag: &str,
        extra: &[(&str, &str)],
    ) -> Message {
        let mut response = Message::response_to(request, status, tag);
        for route in request.headers("Record-Route") {
            response.push("Record-Route", route);
        }
        response.push("Contact", format!("<sip:phone@{}>", self.short_contact()));
        extra.iter().for_each(|(name, value)| response.push(name, *value));
        response
    }

    /// Whatever the server had to say to what was sent before: it takes messages of one socket in turn when it has one worker, so that
    /// an answer to an OPTIONS comes last. `None` when the connection ended first.
    pub(crate) fn settle(&mut self) -> Option<Vec<Message>> {
        let mut options = self.request("OPTIONS", &format!("sip:{}", self.server), "settle@example.invalid");
        options.remove("Contact");
        let id = options.header("Call-ID").unwrap().to_owned();
        self.send(&options);
        let mut before = Vec::new();
        loop {
            let message = self.next()?;
            if message.header("Call-ID") == Some(&id) {
                assert_eq!(message.status().map(|(status, _)| status), Some(200), "{message:#?}");
                return Some(before);
            }
            before.push(message);
        }
    }

    /// Nothing more came, and nothing was on its way.
    pub(crate) fn expect_nothing(&mut self) {
        let before = self.settle();
        assert!(before.as_ref().is_some_and(Vec::is_empty), "{before:#?}");
    }

    /// Everything until the connection ends.
    pub(crate) fn until_end(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        if let Link::Stream { stream, .. } = &mut self.link {
            let _ = stream.tcp().shutdown(std::net::Shutdown::Write);
        }
    }

    pub(crate) fn transport(&self) -> &'static str {
        match self.link {
            Link::Udp(_) => "UDP",
            Link::Stream { transport, .. } => transport,
        }
    }

    /// The next message, `None` at a connection's end.
    fn next(&mut self) -> Option<Message> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came from {}", self.server);
            match &mut self.link {
                Link::Udp(socket) => {
                    let mut buffer = [0; 65_535];
                    socket.set_read_timeout(Some(left)).unwrap();
                    match socket.recv(&mut buffer) {
                        Ok(length) => self.waiting.extend(Message::parse(&buffer[..length]).ok()),
                        Err(error) if is_late(&error) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Link::Stream { stream, read, ended, .. } => {
                    while let Some(length) = whole(read) {
                        self.waiting.extend(Message::parse(&read[..length]).ok());
                        read.drain(..length);
                    }
                    if !self.waiting.is_empty() {
                        continue;
                    }
                    if *ended {
                        return None;
                    }
                    let mut buffer = [0; 16_384];
                    stream.tcp().set_read_timeout(Some(left)).unwrap();
                    match stream.read(&mut buffer) {
                        Ok(0) => *ended = true,
                        Ok(length) => read.extend_from_slice(&buffer[..length]),
                        Err(error) if is_late(&error) => {}
                        // A reset is an end, too.
                        Err(_) => *ended = true,
                    }
                }
            }
        }
    }
}

impl Node {
    /// An address on which the role `registrar_proxy` listens, by transport and family.
    pub(crate) fn proxy_address(&self, transport: &str, ipv6: bool) -> SocketAddr {
        let status = self.status();
        let listeners = status["listeners"]["registrar_proxy"].as_array().unwrap();
        let addresses =
            listeners.iter().filter_map(|text| text.as_str()?.strip_prefix(transport)?.strip_prefix(':'));
        addresses.map(|text| text.parse::<SocketAddr>().unwrap()).find(|addr| addr.is_ipv6() == ipv6).unwrap()
    }
}

/// Sets the only field of a name.
pub(crate) fn set(message: &mut Message, name: &str, value: &str) {
    message.remove(name);
    message.push(name, value);
}

/// A request again in the same call: another branch, the next CSeq.
pub(crate) fn next_in_call(request: &Message, method: &str) -> Message {
    let mut again = request.clone();
    let via = request.header("Via").unwrap();
    let old = via.split("branch=").nth(1).unwrap().split(';').next().unwrap();
    let via = via.replace(old, &format!("z9hG4bK{}", unique()));
    // Those below it are of others, and stay.
    if let Some((_, top)) = again.headers.iter_mut().find(|(name, _)| name == "Via") {
        *top = via;
    }
    let (number, _) = request.cseq().unwrap();
    set(&mut again, "CSeq", &format!("{} {method}", number + 1));
    again
}

/// The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3).
pub(crate) fn ack_of_failure(invite: &Message, response: &Message) -> Message {
    follow_up(invite, "ACK", response.header("To").unwrap())
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(crate) fn cancel_of(invite: &Message) -> Message {
    follow_up(invite, "CANCEL", invite.header("To").unwrap())
}

/// A request in the dialog that a response made. `caller` is whether its sender sent the INVITE.
pub(crate) fn in_dialog(
    from: &Raw,
    method: &str,
    cseq: u32,
    response: &Message,
    caller: bool,
    target: &str,
) -> Message {
    let mut request = Message::request(method, target);
    request
        .push("Via", format!("SIP/2.0/{} {};branch=z9hG4bK{};rport", from.transport(), from.host, unique()));
    let mut routes = response.values("Record-Route");
    if caller {
        routes.reverse();
    }
    routes.into_iter().for_each(|route| request.push("Route", route));
    request.push("Max-Forwards", "70");
    let (local, remote) = if caller { ("From", "To") } else { ("To", "From") };
    request.push("From", response.header(local).unwrap());
    request.push("To", response.header(remote).unwrap());
    request.push("Call-ID", response.header("Call-ID").unwrap());
    request.push("CSeq", format!("{cseq} {method}"));
    request.push("Contact", format!("<sip:phone@{}>", from.short_contact()));
    request
}

/// The URI of a Contact.
pub(crate) fn contact_uri(message: &Message) -> String {
    let contact = message.header("Contact").unwrap();
    contact.split('<').nth(1).unwrap().split('>').next().unwrap().to_owned()
}

/// A loopback address of IPv4 that no other test uses: every process and test has a network of its own in 127.0.0.0/8.
pub(crate) fn own_ipv4() -> IpAddr {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = u64::from(std::process::id()) * 16 + NEXT.fetch_add(1, Ordering::Relaxed) % 16;
    let bytes = (number % 0x3f_0000).to_be_bytes();
    IpAddr::from([127, 64 + bytes[5], bytes[6], bytes[7].clamp(1, 254)])
}

fn follow_up(invite: &Message, method: &str, to: &str) -> Message {
    let mut request = Message::request(method, invite.request_uri().unwrap());
    request.push("Via", invite.header("Via").unwrap());
    for route in invite.headers("Route") {
        request.push("Route", route);
    }
    request.push("Max-Forwards", "70");
    request.push("From", invite.header("From").unwrap());
    request.push("To", to);
    request.push("Call-ID", invite.header("Call-ID").unwrap());
    request.push("CSeq", format!("{} {method}", invite.cseq().unwrap().0));
    request
}

/// How long the first message of a stream is, when it is whole.
fn whole(read: &mut Vec<u8>) -> Option<usize> {
    while read.starts_with(b"\r\n") {
        read.drain(..2);
    }
    let head = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length: usize = text.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
    (read.len() >= head + length).then_some(head + length)
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}x{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A node whose every word is in order: one worker takes messages in turn, and nothing is sent a second time while a test runs.
pub(crate) fn slow_and_steady() -> Setup {
    Setup::new().set("NODE__WORKERS", "1").set("SIP__T1_MS", "4000").set("SIP__T2_MS", "4000")
}

/// A phone by hand that is registered at a UDP port of its own.
pub(crate) fn registered(node: &Node, line: &Credentials) -> Raw {
    registered_as(node, line, "")
}

/// The same with further parameters of its Contact.
pub(crate) fn registered_as(node: &Node, line: &Credentials, params: &str) -> Raw {
    let mut phone = Raw::udp(node.proxy);
    phone.register(line, &format!("<sip:{}@{}>{params}", line.extension, phone.local), &[]);
    phone
}

/// The URI of a line at its site.
pub(crate) fn aor(line: &Credentials) -> String {
    format!("sip:{}@{}", line.extension, line.domain)
}
