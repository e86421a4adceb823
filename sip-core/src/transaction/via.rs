//! Where responses go (RFC 3261 §18.2, RFC 3581).

use std::net::SocketAddr;

use crate::flow::Flow;
use crate::wire::header::Via;

/// The ways back to the sender of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayBack {
    /// Where responses go as long as nothing breaks.
    pub(super) flow: Flow,
    /// Where they go when the request's connection is gone: the source's address and the Via's port (RFC 3261 §18.2.2).
    pub(super) fallback: SocketAddr,
}

impl WayBack {
    /// `maddr` is ignored: nobody here asked for multicast, and it would let a request aim its response at a third party.
    pub(super) fn new(via: &Via, flow: Flow) -> WayBack {
        let port = via.sent_by.port.unwrap_or(flow.transport.default_port());
        let fallback = SocketAddr::new(flow.remote.ip(), port);
        let symmetric = flow.transport.is_reliable() || via.wants_rport();
        let remote = if symmetric { flow.remote } else { fallback };
        WayBack { flow: Flow { remote, ..flow }, fallback }
    }

    /// The connection is gone: the shell shall open another one.
    pub(super) fn without_connection(self) -> WayBack {
        WayBack { flow: Flow { remote: self.fallback, connection: None, ..self.flow }, ..self }
    }
}

/// The Via with `received` and `rport` filled in, or `None` where nothing needs noting.
///
/// `received` is written where sent-by is a name or another address (RFC 3261 §18.2.1), and always with `rport` (RFC 3581 §4).
pub(super) fn note_source(via: &Via, flow: &Flow) -> Option<Via> {
    let source = flow.remote;
    let same_host = via.sent_by.host.ip() == Some(source.ip());
    if same_host && !via.wants_rport() && !via.params.has("received") {
        return None;
    }
    let mut noted = via.clone();
    // Written anew in any case: what the sender claims about itself counts for nothing.
    noted.params.set("received", Some(&source.ip().to_string()));
    if via.wants_rport() {
        noted.params.set("rport", Some(&source.port().to_string()));
    }
    Some(noted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ConnectionId, Transport};
    use crate::wire::Header;

    fn flow(transport: Transport, connection: Option<u64>) -> Flow {
        Flow {
            transport,
            local: "[2001:db8::1]:5060".parse().unwrap(),
            remote: "[2001:db8::9]:40000".parse().unwrap(),
            connection: connection.map(ConnectionId),
        }
    }

    fn via(text: &str) -> Via {
        Via::parse(text).unwrap()
    }

    fn noted(text: &str) -> Option<String> {
        note_source(&via(text), &flow(Transport::Udp, None)).map(|via| via.to_string())
    }

    #[test]
    fn notes_what_differs() {
        assert_eq!(noted("SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bK1"), None);
        assert_eq!(
            noted("SIP/2.0/UDP phone.example:5060;branch=z9hG4bK1").unwrap(),
            "SIP/2.0/UDP phone.example:5060;branch=z9hG4bK1;received=2001:db8::9"
        );
        assert_eq!(
            noted("SIP/2.0/UDP [2001:db8::9];rport;branch=z9hG4bK1").unwrap(),
            "SIP/2.0/UDP [2001:db8::9];rport=40000;branch=z9hG4bK1;received=2001:db8::9"
        );
        assert_eq!(
            noted("SIP/2.0/UDP [2001:db8::9];received=192.0.2.66;branch=z9hG4bK1").unwrap(),
            "SIP/2.0/UDP [2001:db8::9];received=2001:db8::9;branch=z9hG4bK1"
        );
    }

    #[test]
    fn udp_answers_to_the_vias_port_unless_rport() {
        let way = |text| WayBack::new(&via(text), flow(Transport::Udp, None)).flow.remote.to_string();
        assert_eq!(way("SIP/2.0/UDP h:5070;branch=z9hG4bK1"), "[2001:db8::9]:5070");
        assert_eq!(way("SIP/2.0/UDP h;branch=z9hG4bK1"), "[2001:db8::9]:5060");
        assert_eq!(way("SIP/2.0/UDP h:5070;maddr=192.0.2.66;branch=z9hG4bK1"), "[2001:db8::9]:5070");
        assert_eq!(way("SIP/2.0/UDP h:5070;rport;branch=z9hG4bK1"), "[2001:db8::9]:40000");
    }

    #[test]
    fn a_stream_is_answered_on_its_connection_while_it_lasts() {
        let way = WayBack::new(&via("SIP/2.0/TLS h;branch=z9hG4bK1"), flow(Transport::Tls, Some(4)));
        assert_eq!(way.flow, flow(Transport::Tls, Some(4)));
        let way = way.without_connection();
        assert_eq!((way.flow.connection, way.flow.remote.port()), (None, 5061));
    }
}
