//! Peers that cannot be reached, or do not answer.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use node::dns::testing::Zone;
use user_agent::Message;

use super::gateway::call_id;
use super::inside::OFFER;
use crate::support::raw::{ack_of_failure, registered};
use crate::support::{Certificates, Credentials, Door, Identity, Node, Raw};

/// A node whose transactions end soon, and which looks at certificates.
pub(super) struct Quick {
    pub(super) node: Node,
    certificates: Arc<Certificates>,
    caller: Credentials,
    called: Credentials,
    /// Every trunk has numbers of its own.
    trunks: u16,
    /// A name server that knows no name.
    _zone: Zone,
    /// What is silent must stay bound.
    silent: Vec<UdpSocket>,
    doors: Vec<Door>,
}

impl Quick {
    pub(super) fn start() -> Quick {
        let certificates = Arc::new(Certificates::new());
        let zone = Zone::serve("");
        let setup =
            certificates.setup().set("NODE__WORKERS", "1").set("DNS__SERVERS", &zone.addr.to_string());
        let node = setup.set("SIP__T1_MS", "50").set("SIP__T2_MS", "400").start();
        let [caller, called] = node.add_lines(["101", "102"]);
        Quick {
            node,
            certificates,
            caller,
            called,
            trunks: 0,
            _zone: zone,
            silent: Vec::new(),
            doors: Vec::new(),
        }
    }

    /// Adds a trunk; gives the number that leads there.
    fn add_trunk(&mut self, name: &str, gateways: &[String], certificate: Option<&str>) -> String {
        let mut words = vec!["trunk", "add", "--name", name, "--media-network", "127.0.0.0/8"];
        gateways.iter().for_each(|gateway| words.extend(["--gateway", gateway]));
        certificate.iter().for_each(|name| words.extend(["--certificate-name", name]));
        self.node.cli(&words);
        self.trunks += 1;
        let number = format!("4400000{:02}", self.trunks);
        self.node.cli(&["route", "add", "--trunk", name, "--prefix", &format!("+81{number}")]);
        format!("0{number}")
    }

    /// The INVITE of a call to this user part, under way.
    fn call(&self, user: &str) -> (Raw, Message) {
        let mut raw = Raw::udp(self.node.proxy);
        let from = format!("{}@{}", self.caller.extension, self.caller.domain);
        let mut invite = raw.request("INVITE", &format!("sip:{user}@{}", self.caller.domain), &from);
        invite.push("Content-Type", "application/sdp");
        invite.body = OFFER.as_bytes().to_vec();
        let sent = raw.send_as(&self.caller, &invite);
        (raw, sent)
    }

    fn fails(&self, user: &str) -> String {
        let (mut raw, sent) = self.call(user);
        let refusal = final_response(&mut raw, &sent);
        assert!(refusal.status().unwrap().0 >= 400, "{refusal:#?}");
        raw.send(&ack_of_failure(&sent, &refusal));
        call_id(&sent)
    }

    /// A place that takes datagrams and says nothing.
    fn nobody(&mut self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        self.silent.push(socket);
        address
    }
}

pub(super) fn silent(stage: &mut Quick) -> String {
    let gateway = format!("udp:{}", stage.nobody());
    let number = stage.add_trunk("silent", &[gateway], None);
    stage.fails(&number)
}

pub(super) fn tcp_refused(stage: &mut Quick) -> String {
    let number = stage.add_trunk("closed", &[format!("tcp:{}", closed())], None);
    stage.fails(&number)
}

/// A gateway that is known by a name, which nobody knows.
pub(super) fn no_name(stage: &mut Quick) -> String {
    let number = stage.add_trunk("nameless", &["gw.nowhere.example".to_owned()], None);
    stage.fails(&number)
}

/// A gateway at whose door TLS fails in this way.
pub(super) fn tls(stage: &mut Quick, how: &'static str) -> String {
    let (own, others) = (Arc::clone(&stage.certificates), Certificates::new());
    // None of them goes well.
    let door = Door::open(move |listener| match how {
        "expired" => drop(own.accept(listener, &Identity::Expired(&["gw.example.net"]))),
        "misnamed" => drop(own.accept(listener, &Identity::Named(&["other.example.net"]))),
        "untrusted" => drop(others.accept(listener, &Identity::Named(&["gw.example.net"]))),
        _ => {
            let (mut stream, _) = listener.accept().unwrap();
            drop(stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n"));
        }
    });
    let number = stage.add_trunk(how, &[format!("tls:{}", door.address)], Some("gw.example.net"));
    stage.doors.push(door);
    stage.fails(&number)
}

/// The system sends no datagram from the loopback to elsewhere.
pub(super) fn no_way(stage: &mut Quick) -> String {
    let number = stage.add_trunk("away", &["udp:240.0.0.1:5060".to_owned()], None);
    stage.fails(&number)
}

pub(super) fn all_fail(stage: &mut Quick) -> String {
    let gateways = [format!("tcp:{}", closed()), format!("udp:{}", stage.nobody())];
    let number = stage.add_trunk("both", &gateways, None);
    stage.fails(&number)
}

pub(super) fn phone_gone(stage: &mut Quick) -> String {
    drop(registered(&stage.node, &stage.called));
    stage.fails("102")
}

/// The gateway answers, and the caller does not hear it.
pub(super) fn no_ack(stage: &mut Quick) -> String {
    let mut gateway = Raw::udp(stage.node.trunk_side);
    let number = stage.add_trunk("well", &[format!("udp:{}", gateway.local)], None);
    let (_caller, sent) = stage.call(&number);
    let invite = loop {
        let request = gateway.receive();
        match request.method() {
            Some("INVITE") => break request,
            _ => gateway.respond(&request, 200, "options", &[]),
        }
    };
    let mut answer = gateway.response(&invite, 200, "gateway", &[("Content-Type", "application/sdp")]);
    answer.body =
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n".to_vec();
    gateway.send(&answer);
    call_id(&sent)
}

/// A port at which nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The final response to this very INVITE: one to the challenged one may come again.
fn final_response(raw: &mut Raw, sent: &Message) -> Message {
    loop {
        let response = raw.receive();
        if response.status().is_some_and(|(status, _)| status >= 200) && response.cseq() == sent.cseq() {
            return response;
        }
    }
}
