//! Our Record-Route: what brings a dialog's later requests back to us, and proves that we once admitted the dialog.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::wire::{HostPort, SipUri};
use subtle::ConstantTimeEq;

/// Signs Record-Route URIs with a key that all nodes share.
///
/// The parameter `c6` holds a code over the Call-ID. Who has not seen the dialog's INVITE cannot make it, so a request
/// that carries it needs no new authentication, and nobody else can use us as a relay (RFC 3261 §26.3.2.2 leaves the means to us).
#[derive(Clone)]
pub struct RouteSigner {
    key: [u8; 32],
}

/// What one of our own Route values says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnRoute {
    /// The stream that leads to the side which the value faces, when there was one (RFC 5626 §5.3 in spirit).
    pub(crate) connection: Option<ConnectionId>,
}

impl RouteSigner {
    /// A signer; `key` is a secret that all nodes share.
    pub fn new(key: [u8; 32]) -> Self {
        RouteSigner { key }
    }

    /// The values to put before all other Record-Routes of a forwarded request, topmost first.
    ///
    /// Two when the request leaves another way than it came, so that each side finds a hop that it can reach (RFC 5658 §3), and
    /// when a side has a stream, which only its own value can name.
    pub(crate) fn record(
        &self,
        call_id: &str,
        incoming: (&Flow, &HostPort),
        outgoing: (&Flow, &HostPort),
    ) -> Vec<String> {
        let way = |flow: &Flow| (flow.transport, flow.connection);
        let is_double =
            way(incoming.0) != way(outgoing.0) || incoming.0.connection.is_some() || incoming.1 != outgoing.1;
        let sides = if is_double { vec![outgoing, incoming] } else { vec![outgoing] };
        sides.into_iter().map(|(flow, host)| self.value(call_id, flow, host)).collect()
    }

    /// Whether a Route value or Request-URI is one that we wrote for this call, and what it says.
    pub(crate) fn verify(&self, call_id: &str, uri: &SipUri) -> Option<OwnRoute> {
        let value = uri.params.value(PARAMETER)?;
        let (code, connection) = match value.split_once('-') {
            Some((code, connection)) => (code, Some(ConnectionId(u64::from_str_radix(connection, 16).ok()?))),
            None => (value, None),
        };
        let expected = self.code(call_id, connection);
        let genuine: bool = expected.as_bytes().ct_eq(code.to_ascii_lowercase().as_bytes()).into();
        genuine.then_some(OwnRoute { connection })
    }

    /// A Route value that leads over one flow of a node of ours (RFC 5626 §5.2: a flow token, signed).
    pub(crate) fn flow_route(&self, flow: &Flow) -> String {
        let mut uri = SipUri::of_address(flow.local, flow.transport);
        uri.params.set("lr", None);
        let text = flow_bytes(flow);
        let mut token = String::with_capacity(2 * (text.len() + CODE_BYTES));
        for byte in text.iter().chain(&self.mac(b"centrex6 flow\0", &text)) {
            token.push_str(&format!("{byte:02x}"));
        }
        uri.params.set(FLOW, Some(&token));
        format!("<{uri}>")
    }

    /// The flow that a Route value of ours names.
    pub(crate) fn flow_of(&self, uri: &SipUri) -> Option<Flow> {
        let digits = uri.params.value(FLOW).filter(|digits| digits.is_ascii() && digits.len() <= 512)?;
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
            .collect::<Option<_>>()?;
        let (text, code) = bytes.split_at_checked(bytes.len().checked_sub(CODE_BYTES)?)?;
        let genuine: bool = self.mac(b"centrex6 flow\0", text).as_slice().ct_eq(code).into();
        let text = std::str::from_utf8(text).ok().filter(|_| genuine)?;
        let mut words = text.split(' ');
        let transport = words.next()?.parse().ok()?;
        let (local, remote) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let connection =
            words.next().and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(ConnectionId);
        Some(Flow { transport, local, remote, connection })
    }

    fn value(&self, call_id: &str, flow: &Flow, host: &HostPort) -> String {
        let mut code = self.code(call_id, flow.connection);
        if let Some(connection) = flow.connection {
            code.push_str(&format!("-{:x}", connection.0));
        }
        let mut uri = SipUri::new(None, host.clone());
        if flow.transport != Transport::Udp {
            uri.params.set("transport", Some(&flow.transport.as_str().to_ascii_lowercase()));
        }
        uri.params.set("lr", None);
        uri.params.set(PARAMETER, Some(&code));
        format!("<{uri}>")
    }

    fn code(&self, call_id: &str, connection: Option<ConnectionId>) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(b"centrex6 record-route\0");
        mac.update(call_id.as_bytes());
        mac.update(b"\0");
        if let Some(connection) = connection {
            mac.update(&connection.0.to_be_bytes());
        }
        let code = mac.finalize().into_bytes();
        code.iter().take(CODE_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl RouteSigner {
    fn mac(&self, purpose: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(purpose);
        mac.update(text);
        mac.finalize().into_bytes().iter().take(CODE_BYTES).copied().collect()
    }
}

fn flow_bytes(flow: &Flow) -> Vec<u8> {
    let text = format!("{} {} {}", flow.transport, flow.local, flow.remote);
    let text = flow.connection.map_or(text.clone(), |connection| format!("{text} {:x}", connection.0));
    text.into_bytes()
}

impl fmt::Debug for RouteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteSigner(…)")
    }
}

/// The URI parameter that marks our own Record-Route.
const PARAMETER: &str = "c6";
/// The URI parameter that names a flow.
const FLOW: &str = "c6f";
/// 80 bits: guessing goes over the network, one guess a message.
const CODE_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use sip_core::wire::header::NameAddr;

    use super::*;

    fn signer() -> RouteSigner {
        RouteSigner::new([9; 32])
    }

    fn flow(transport: Transport, connection: Option<u64>) -> (Flow, HostPort) {
        let local = "[2001:db8::1]:5060".parse().unwrap();
        let remote = "[2001:db8::10]:5060".parse().unwrap();
        let connection = connection.map(ConnectionId);
        (Flow { transport, local, remote, connection }, HostPort::from(local))
    }

    fn record(incoming: &(Flow, HostPort), outgoing: &(Flow, HostPort)) -> Vec<SipUri> {
        signer()
            .record("call-1", (&incoming.0, &incoming.1), (&outgoing.0, &outgoing.1))
            .iter()
            .map(|value| NameAddr::parse(value).unwrap().uri.sip().unwrap().clone())
            .collect()
    }

    #[test]
    fn one_value_when_both_sides_are_alike() {
        let udp = flow(Transport::Udp, None);
        let values = record(&udp, &udp);
        let [value] = values.as_slice() else { panic!("{values:?}") };
        assert!(value.is_loose());
        assert_eq!(signer().verify("call-1", value), Some(OwnRoute { connection: None }));
        assert_eq!(signer().verify("call-2", value), None);
        assert_eq!(RouteSigner::new([8; 32]).verify("call-1", value), None);
    }

    /// RFC 5658 §3: where the sides differ there are two Record-Routes, one for each.
    #[test]
    fn two_values_when_the_sides_differ() {
        let values = record(&flow(Transport::Tcp, Some(0xab)), &flow(Transport::Udp, None));
        let [outgoing, incoming] = values.as_slice() else { panic!("{values:?}") };
        assert_eq!(outgoing.transport(), None);
        assert_eq!(incoming.transport(), Some(Transport::Tcp));
        let connection = Some(ConnectionId(0xab));
        assert_eq!(signer().verify("call-1", incoming), Some(OwnRoute { connection }));
        assert_eq!(record(&flow(Transport::Tcp, Some(1)), &flow(Transport::Tcp, Some(1))).len(), 2);
    }

    /// RFC 5626 §5.2: nobody but us can make or change a flow token.
    #[test]
    fn a_flow_token_cannot_be_forged() {
        let (mut flow, _) = flow(Transport::Tcp, Some(0xab));
        flow.connection = flow.connection.map(ConnectionId::only);
        let route = NameAddr::parse(&signer().flow_route(&flow)).unwrap();
        let uri = route.uri.sip().unwrap();
        assert!(uri.is_loose() && uri.transport() == Some(Transport::Tcp));
        assert_eq!(signer().flow_of(uri), Some(flow));
        assert_eq!(RouteSigner::new([8; 32]).flow_of(uri), None);
        let token = uri.params.value(FLOW).unwrap();
        for at in 0..token.len() {
            let digit = if &token[at..=at] == "0" { "1" } else { "0" };
            let mut forged = uri.clone();
            forged.params.set(FLOW, Some(&format!("{}{digit}{}", &token[..at], &token[at + 1..])));
            assert_eq!(signer().flow_of(&forged), None, "{at}");
        }
        for nonsense in ["", "0", "zz", "00", &"00".repeat(300)] {
            let mut forged = uri.clone();
            forged.params.set(FLOW, Some(nonsense));
            assert_eq!(signer().flow_of(&forged), None);
        }
    }

    #[test]
    fn a_changed_connection_is_refused() {
        let mut values = record(&flow(Transport::Tcp, Some(0xab)), &flow(Transport::Udp, None));
        let uri = values.last_mut().unwrap();
        let forged = uri.params.value(PARAMETER).unwrap().replace("-ab", "-ac");
        uri.params.set(PARAMETER, Some(&forged));
        assert_eq!(signer().verify("call-1", uri), None);
        for nonsense in ["", "-", "zz", "00-zz", "00"] {
            uri.params.set(PARAMETER, Some(nonsense));
            assert_eq!(signer().verify("call-1", uri), None, "{nonsense}");
        }
        uri.params.set(PARAMETER, None);
        assert_eq!(signer().verify("call-1", uri), None);
    }
}
