//! A call through the translator by hand: a phone behind the proxy and a gateway, each message as the test writes it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use user_agent::Message;

use super::raw::{contact_uri, in_dialog, registered, set, slow_and_steady};
use super::{Credentials, Node, Raw, Setup, until};

/// A node with one line and one trunk, whose only gateway is the test.
pub(crate) struct Legs {
    pub(crate) node: Node,
    pub(crate) line: Credentials,
    pub(crate) phone: End,
    pub(crate) gateway: End,
}

/// A party by hand: its socket, its media, and its end of the dialog once there is one.
pub(crate) struct End {
    pub(crate) raw: Raw,
    pub(crate) media: UdpSocket,
    dialog: Option<Dialog>,
    tag: String,
    cseq: u32,
}

#[derive(Clone)]
struct Dialog {
    /// A message with both tags.
    message: Message,
    caller: bool,
    target: String,
}

impl Legs {
    /// A registered phone and a gateway on a node that repeats nothing while the test runs.
    pub(crate) fn start() -> Legs {
        Legs::on(slow_and_steady())
    }

    /// The same with other settings.
    pub(crate) fn on(setup: Setup) -> Legs {
        let node = setup.start();
        let [line] = node.add_lines(["101"]);
        let phone = End::new(registered(&node, &line), "phone");
        let gateway = Raw::udp(node.trunk_side);
        let gateway = End::new(gateway, "gateway");
        node.add_number("+81355550101", &line);
        node.add_trunk("carrier", &[gateway.raw.local]);
        Legs { node, line, phone, gateway }
    }

    /// The phone calls; gives its INVITE, and the one that the gateway got.
    pub(crate) fn dial(&mut self, extra: &[(&str, &str)], body: Option<&str>) -> (Message, Message) {
        let uri = format!("sip:0312345678@{}", self.line.domain);
        let from = format!("{}@{}", self.line.extension, self.line.domain);
        let mut invite = self.phone.raw.request("INVITE", &uri, &from);
        extra.iter().for_each(|(name, value)| invite.push(name, *value));
        with_body(&mut invite, body);
        self.phone.cseq = 2;
        let sent = self.phone.raw.send_as(&self.line, &invite);
        self.phone.raw.expect(100);
        let invite = self.gateway.expect_request("INVITE");
        self.gateway.uas(&invite);
        (sent, invite)
    }

    /// The gateway calls; gives its INVITE, and the one that the phone got.
    pub(crate) fn dial_in(&mut self, extra: &[(&str, &str)], body: Option<&str>) -> (Message, Message) {
        let uri = format!("sip:+81355550101@{}", self.node.trunk_side);
        let mut invite = self.gateway.raw.request("INVITE", &uri, "+819012345678@127.0.0.1");
        extra.iter().for_each(|(name, value)| invite.push(name, *value));
        with_body(&mut invite, body);
        self.gateway.cseq = 1;
        self.gateway.raw.send(&invite);
        let received = self.phone.expect_request("INVITE");
        self.phone.uas(&received);
        (invite, received)
    }

    /// An answered call of the phone's, both ACKs done.
    pub(crate) fn call_up(&mut self, dialled: &[(&str, &str)], answered: &[(&str, &str)]) {
        let offer = self.phone.sdp("");
        let (_, invite) = self.dial(dialled, Some(&offer));
        let answer = self.gateway.sdp("");
        self.gateway.respond(&invite, 200, answered, Some(&answer));
        let ok = self.phone.expect(200);
        self.phone.uac(&ok);
        self.phone.ack(&ok, None);
        self.gateway.expect_request("ACK");
    }

    /// The phone hangs up, and the record is written.
    pub(crate) fn hang_up(&mut self) -> serde_json::Value {
        self.phone.request("BYE", &[], None);
        self.phone.expect(200);
        let bye = self.gateway.expect_request("BYE");
        self.gateway.respond(&bye, 200, &[], None);
        self.node.call_record()
    }
}

impl End {
    pub(crate) fn new(raw: Raw, tag: &str) -> End {
        let media = UdpSocket::bind((raw.local.ip(), 0)).unwrap();
        End { raw, media, dialog: None, tag: tag.to_owned(), cseq: 0 }
    }

    /// From now on this end answers as another party behind the same gateway.
    pub(crate) fn as_fork(&mut self, tag: &str, invite: &Message) {
        self.tag = tag.to_owned();
        self.uas(invite);
    }

    /// A description with this end's media, and these further lines.
    pub(crate) fn sdp(&self, more: &str) -> String {
        let port = self.media.local_addr().unwrap().port();
        self.sdp_with(&format!("m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{more}"))
    }

    /// A description with these media sections.
    pub(crate) fn sdp_with(&self, media: &str) -> String {
        let ip = self.raw.local.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        format!("v=0\r\no=peer 5 6 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{media}")
    }

    /// The next message but 100 must be a response with this status: whoever answers at once sends no 100.
    pub(crate) fn expect(&mut self, status: u16) -> Message {
        loop {
            let message = self.raw.receive();
            match message.status() {
                Some((100, _)) => {}
                found => {
                    assert_eq!(found.map(|(status, _)| status), Some(status), "{message:#?}");
                    return message;
                }
            }
        }
    }

    /// The next two messages but 100 must be responses with these statuses, in either order.
    pub(crate) fn expect_both(&mut self, statuses: [u16; 2]) -> [Message; 2] {
        let mut next = || {
            loop {
                let message = self.raw.receive();
                let status = message.status().map(|(status, _)| status);
                if status != Some(100) {
                    return (status, message);
                }
            }
        };
        let [first, second] = [next(), next()];
        let wanted = statuses.map(Some);
        if [first.0, second.0] == wanted {
            return [first.1, second.1];
        }
        assert_eq!([second.0, first.0], wanted, "{:#?} {:#?}", first.1, second.1);
        [second.1, first.1]
    }

    /// The next message but 100 must be a request of this method.
    pub(crate) fn expect_request(&mut self, method: &str) -> Message {
        loop {
            let message = self.raw.receive();
            if message.status().is_none_or(|(status, _)| status != 100) {
                assert_eq!(message.method(), Some(method), "{message:#?}");
                return message;
            }
        }
    }

    /// Notes the dialog that an INVITE and this end's tag make.
    pub(crate) fn uas(&mut self, invite: &Message) {
        self.dialog = Some(Dialog {
            message: Message::response_to(invite, 200, &self.tag).with_routes(invite),
            caller: false,
            target: contact_uri(invite),
        });
    }

    /// Notes the dialog that a response makes.
    pub(crate) fn uac(&mut self, response: &Message) {
        self.dialog = Some(Dialog { message: response.clone(), caller: true, target: contact_uri(response) });
    }

    /// Sends a request in the dialog.
    pub(crate) fn request(&mut self, method: &str, extra: &[(&str, &str)], body: Option<&str>) -> Message {
        self.cseq += 1;
        let dialog = self.dialog.as_ref().unwrap();
        let mut request =
            in_dialog(&self.raw, method, self.cseq, &dialog.message, dialog.caller, &dialog.target);
        extra.iter().for_each(|(name, value)| request.push(name, *value));
        with_body(&mut request, body);
        self.raw.send(&request);
        request
    }

    /// Sends the ACK of a 2xx.
    pub(crate) fn ack(&mut self, response: &Message, body: Option<&str>) {
        let dialog = self.dialog.as_ref().unwrap();
        let number = response.cseq().unwrap().0;
        let mut ack = in_dialog(&self.raw, "ACK", number, &dialog.message, dialog.caller, &dialog.target);
        with_body(&mut ack, body);
        self.raw.send(&ack);
    }

    /// Answers a request.
    pub(crate) fn respond(
        &mut self,
        request: &Message,
        status: u16,
        extra: &[(&str, &str)],
        body: Option<&str>,
    ) -> Message {
        let mut response = self.raw.response(request, status, &self.tag.clone(), extra);
        with_body(&mut response, body);
        self.raw.send(&response);
        response
    }

    /// Sends one RTP packet (PCMU) to where a description wants it, until it arrives at the other end.
    pub(crate) fn is_heard_by(&self, to: SocketAddr, other: &End) {
        self.passes(to, other, &rtp(0, b"speech"));
    }

    /// Sends a datagram until it arrives at the other end, byte for byte.
    pub(crate) fn passes(&self, to: SocketAddr, other: &End, datagram: &[u8]) {
        other.media.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut buffer = [0; 2_048];
        // The relay is told a moment after the peers are.
        until(
            || format!("media passes from {} by {to}", self.media.local_addr().unwrap()),
            || {
                self.media.send_to(datagram, to).unwrap();
                let heard = other.media.recv(&mut buffer).ok()?;
                (buffer.get(..heard)? == datagram).then_some(())
            },
        );
    }
}

/// What of a message's description is wanted: where the packets of its first section go.
pub(crate) fn media_of(message: &Message) -> SocketAddr {
    let sdp = String::from_utf8_lossy(&message.body).into_owned();
    let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap_or_default().to_owned();
    let connection = sdp.lines().find(|line| line.starts_with("c=")).unwrap_or_default();
    let media = sdp.lines().find(|line| line.starts_with("m=")).unwrap_or_default();
    let ip = word(connection, 2).parse().unwrap_or_else(|_| Ipv4Addr::UNSPECIFIED.into());
    SocketAddr::new(ip, word(media, 1).parse().unwrap_or_default())
}

/// A description as text.
pub(crate) fn body_of(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// An RTP packet of this payload type.
pub(crate) fn rtp(payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend_from_slice(payload);
    packet
}

fn with_body(message: &mut Message, body: Option<&str>) {
    if let Some(body) = body {
        if message.header("Content-Type").is_none() {
            set(message, "Content-Type", "application/sdp");
        }
        message.body = body.as_bytes().to_vec();
    }
}

trait WithRoutes {
    fn with_routes(self, invite: &Message) -> Self;
}

impl WithRoutes for Message {
    fn with_routes(mut self, invite: &Message) -> Message {
        for route in invite.headers("Record-Route") {
            self.push("Record-Route", route);
        }
        self
    }
}
