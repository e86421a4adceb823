//! Route information preprocessing (RFC 3261 §16.4), and what it says about the sender.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::wire::header::{NameAddr, Route};
use sip_core::wire::{HeaderError, Message, Name, SipUri, Uri, UriError};

use crate::settings::Settings;
use crate::target::next_hop;

/// A request after its own hop was taken off.
#[derive(Debug)]
pub(crate) struct Path {
    /// The request without our Route values, and with a strict router's doing undone.
    pub(crate) message: Message,
    /// Whether it carries a Record-Route value that we signed for this Call-ID.
    pub(crate) signed: bool,
    /// Whether Route values of others are left.
    pub(crate) has_routes: bool,
    /// What the last of our values says about the side that it faces.
    facing: Option<Facing>,
}

#[derive(Debug, Clone, Copy)]
struct Facing {
    transport: Transport,
    /// Our address on that side, where the value names one: another than the sender reached us by, when we have several.
    local: Option<SocketAddr>,
    connection: Option<ConnectionId>,
}

impl Path {
    /// Reads the Route of a request.
    pub(crate) fn of(request: &Message, flow: &Flow, settings: &Settings) -> Result<Path, HeaderError> {
        let mut routes = request.all::<Route>().collect::<Result<Vec<_>, _>>()?;
        if routes.is_empty() && !request.request_uri_text().contains(';') {
            // The most usual case costs nothing.
            return Ok(Path { message: request.clone(), signed: false, has_routes: false, facing: None });
        }
        let call_id = request.call_id()?;
        let verify = |uri: &SipUri| settings.signer.verify(call_id, uri);
        let mut signed = false;
        let mut strict = None;
        // A strict router before us has put our own value into the Request-URI, and the target behind the last Route.
        let uri = request.request_uri().ok();
        if uri.as_ref().and_then(Uri::sip).is_some_and(|uri| verify(uri).is_some()) {
            signed = true;
            strict = routes.pop().map(|last| last.0.uri);
        }
        let mut own = 0;
        let mut facing = None;
        while let Some(uri) = routes.get(own).and_then(|route| route.uri.sip()) {
            let route = verify(uri);
            if route.is_none() && !settings.is_own(&uri.host_port, flow) {
                break;
            }
            own += 1;
            signed |= route.is_some();
            facing = route.map(|route| Facing {
                transport: uri.transport().unwrap_or(Transport::Udp),
                local: uri.socket_addr(),
                connection: route.connection,
            });
        }
        let left = routes.get(own..).unwrap_or_default();
        let message = match (&strict, own) {
            (None, 0) => request.clone(),
            (None, own) => request.edit().remove_first(Name::Route, own).finish(),
            (Some(target), _) => {
                let mut edit = request.edit();
                edit.request_uri(target).remove(Name::Route);
                left.iter().for_each(|route| {
                    edit.append(Name::Route, route);
                });
                edit.finish()
            }
        };
        // With one value only, both sides are alike and nothing more is known about the other one.
        Ok(Path { message, signed, has_routes: !left.is_empty(), facing: facing.filter(|_| own > 1) })
    }

    /// Where the request goes by its Route, or else by its Request-URI; and the message as that hop must get it: a strict router
    /// finds itself in the Request-URI (RFC 3261 §16.6, step 6). `None` when the hop cannot be reached without DNS.
    pub(crate) fn next(&self, flow: &Flow, settings: &Settings) -> Option<(Message, Flow)> {
        let route = self.message.header::<Route>().ok().flatten();
        let (message, uri) = match route {
            Some(route) if !route.uri.sip().is_some_and(SipUri::is_loose) => {
                let target = self.message.request_uri().ok()?;
                let routes = self.message.all::<Route>().skip(1).flatten().map(|route| route.0);
                let mut edit = self.message.edit();
                edit.request_uri(&route.uri).remove(Name::Route);
                for route in routes.chain([NameAddr::new(target)]) {
                    edit.append(Name::Route, route);
                }
                (edit.finish(), route.0.uri)
            }
            Some(route) => (self.message.clone(), route.0.uri),
            None => (self.message.clone(), self.message.request_uri().ok()?),
        };
        let uri = match (uri, self.facing) {
            // Many phones leave the transport out of their Contact.
            (Uri::Sip(mut uri), Some(facing)) if uri.transport().is_none() => {
                if facing.transport != Transport::Udp {
                    uri.params.set("transport", Some(facing.transport.as_str()));
                }
                Uri::Sip(uri)
            }
            (uri, _) => uri,
        };
        let next = match next_hop(&uri, flow, settings) {
            Some(next) if !is_over_websocket(&uri) => self.facing_side(next, settings),
            // A browser has no address to be reached at, and names one in `.invalid` (RFC 7118 §5.2); others name a host that we do not
            // know. Their connection leads there.
            _ => self.facing.and_then(|facing| facing.own_flow(flow, settings))?,
        };
        Some((message, next))
    }

    /// The next hop from the side that our value faces.
    fn facing_side(&self, mut next: Flow, settings: &Settings) -> Flow {
        if let Some(facing) = self.facing.filter(|facing| facing.transport == next.transport) {
            next.connection = facing.connection;
            if let Some(local) = facing
                .local
                .filter(|local| settings.listens_on(*local) && settings.can_send_from(*local, next.remote))
            {
                next.local = local;
            }
        }
        next
    }

    /// The Request-URI after preprocessing.
    pub(crate) fn uri(&self) -> Result<Uri, UriError> {
        self.message.request_uri()
    }
}

impl Facing {
    /// The connection to the side that the value faces, and nowhere else: its far end is not known.
    fn own_flow(&self, incoming: &Flow, settings: &Settings) -> Option<Flow> {
        let connection = self.connection?.only();
        let ours =
            || settings.listeners.iter().find(|own| own.transport == self.transport).map(|own| own.addr);
        let local = self.local.or_else(ours).unwrap_or(incoming.local);
        let nowhere = match local {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        Some(Flow { transport: self.transport, local, remote: nowhere, connection: Some(connection) })
    }
}

/// Whether the URI's transport is one that we cannot open.
fn is_over_websocket(uri: &Uri) -> bool {
    uri.sip().and_then(SipUri::required_transport).is_some_and(Transport::is_websocket)
}

#[cfg(test)]
mod tests {
    use node::listener::Listener;
    use sip_core::wire::{Builder, HostPort, Method};

    use super::*;

    fn flow(transport: Transport, connection: Option<u64>) -> Flow {
        let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::20]:5060".parse().unwrap());
        Flow { transport, local, remote, connection: connection.map(ConnectionId) }
    }

    fn bye(uri: &str, routes: &[String]) -> Message {
        let builder = Builder::request(&Method::Bye, uri).header(Name::CallId, "call-1");
        routes.iter().fold(builder, |builder, route| builder.header(Name::Route, route)).finish()
    }

    fn record(incoming: &Flow, outgoing: &Flow) -> Vec<String> {
        let host = HostPort::from(incoming.local);
        Settings::for_tests().signer.record("call-1", (incoming, &host), (outgoing, &host))
    }

    fn path(uri: &str, routes: &[String]) -> Path {
        Path::of(&bye(uri, routes), &flow(Transport::Udp, None), &Settings::for_tests()).unwrap()
    }

    fn routes(message: &Message) -> Vec<String> {
        message.all::<Route>().flatten().map(|route| route.to_string()).collect()
    }

    #[test]
    fn own_values_are_taken_off() {
        let udp = flow(Transport::Udp, None);
        let mut values = record(&udp, &udp);
        values.push("<sip:[2001:db8::99];lr>".to_owned());
        let path = path("sip:a@[2001:db8::20]", &values);
        assert!(path.signed && path.has_routes);
        assert_eq!(routes(&path.message), ["<sip:[2001:db8::99];lr>"]);
        let (_, next) = path.next(&udp, &Settings::for_tests()).unwrap();
        assert_eq!(next.remote, "[2001:db8::99]:5060".parse().unwrap());
    }

    #[test]
    fn a_forged_or_borrowed_value_proves_nothing() {
        for route in ["<sip:[2001:db8::1];lr>", "<sip:[2001:db8::1];lr;c6=0123456789abcdef0123>"] {
            let path = path("sip:a@[2001:db8::20]", &[route.to_owned()]);
            assert!(!path.signed && !path.has_routes, "{route}");
        }
        let path = path("sip:a@[2001:db8::20]", &["<sip:[2001:db8::77];lr>".to_owned()]);
        assert!(!path.signed && path.has_routes);
    }

    #[test]
    fn a_strict_router_before_us_is_undone() {
        let udp = flow(Transport::Udp, None);
        let own = record(&udp, &udp).remove(0);
        let own = own.trim_matches(['<', '>']);
        let path = path(own, &["<sip:[2001:db8::99];lr>".to_owned(), "<sip:a@[2001:db8::20]>".to_owned()]);
        assert!(path.signed);
        assert_eq!(path.message.request_uri_text(), "sip:a@[2001:db8::20]");
        assert_eq!(routes(&path.message), ["<sip:[2001:db8::99];lr>"]);
    }

    #[test]
    fn a_strict_router_after_us_gets_its_due() {
        let udp = flow(Transport::Udp, None);
        let mut values = record(&udp, &udp);
        values.extend(["<sip:[2001:db8::99]>".to_owned(), "<sip:[2001:db8::98];lr>".to_owned()]);
        let (message, next) =
            path("sip:a@[2001:db8::20]", &values).next(&udp, &Settings::for_tests()).unwrap();
        assert_eq!(message.request_uri_text(), "sip:[2001:db8::99]");
        assert_eq!(routes(&message), ["<sip:[2001:db8::98];lr>", "<sip:a@[2001:db8::20]>"]);
        assert_eq!(next.remote, "[2001:db8::99]:5060".parse().unwrap());
    }

    #[test]
    fn the_other_sides_address_is_used_again() {
        // The callee is a translator on this machine, which sees us by the loopback.
        let phone = flow(Transport::Udp, None);
        let mut settings = Settings::for_tests();
        settings.listeners = vec![Listener::udp("[::]:5060".parse().unwrap())];
        let loopback = settings.outgoing(Transport::Udp, "[::1]:5070".parse().unwrap(), &phone).unwrap();
        assert_eq!(loopback.local, "[::1]:5060".parse().unwrap());
        let hosts = [HostPort::from(phone.local), HostPort::from(loopback.local)];
        let values = settings.signer.record("call-1", (&phone, &hosts[0]), (&loopback, &hosts[1]));
        let from_translator = Flow { remote: "[::1]:5070".parse().unwrap(), ..loopback };
        let path = Path::of(&bye("sip:a@[2001:db8::20]", &values), &from_translator, &settings).unwrap();
        let (_, next) = path.next(&from_translator, &settings).unwrap();
        assert_eq!((next.local, next.remote), (phone.local, "[2001:db8::20]:5060".parse().unwrap()));
    }

    #[test]
    fn the_other_sides_stream_is_found_again() {
        let (udp, tcp) = (flow(Transport::Udp, None), flow(Transport::Tcp, Some(5)));
        // The caller came over TCP; a request from the callee meets the value that faces it first.
        let values = record(&tcp, &udp);
        let (_, next) =
            path("sip:a@[2001:db8::20]:40000", &values).next(&udp, &Settings::for_tests()).unwrap();
        assert_eq!((next.transport, next.connection), (Transport::Tcp, Some(ConnectionId(5))));
    }

    /// RFC 7118 §5.2: a browser's Contact leads nowhere; requests to it go over its connection.
    #[test]
    fn a_browser_is_reached_over_its_connection() {
        let udp = flow(Transport::Udp, None);
        let settings = Settings::for_tests();
        for (transport, uri) in [
            (Transport::Ws, "sip:a@df7jal23ls0d.invalid;transport=ws"),
            // Under TLS, too, `transport=ws` is what the URI says.
            (Transport::Wss, "sip:a@df7jal23ls0d.invalid;transport=ws"),
            (Transport::Wss, "sips:a@[2001:db8::20]:40000;transport=ws"),
            (Transport::Tcp, "sip:a@phone.local;transport=tcp"),
        ] {
            let values = record(&flow(transport, Some(5)), &udp);
            let (_, next) = path(uri, &values).next(&udp, &settings).unwrap();
            assert_eq!((next.transport, next.connection), (transport, Some(ConnectionId(5).only())), "{uri}");
            assert_eq!((next.local, next.remote.port()), (flow(transport, None).local, 0), "{uri}");
            // Without a connection there is no way.
            assert!(path(uri, &record(&udp, &udp)).next(&udp, &settings).is_none(), "{uri}");
        }
    }
}
