//! Via (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Header, invalid};
use crate::flow::Transport;
use crate::wire::{HeaderError, HostPort, Name, Params, lex};

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The transport's word as written: unknown ones are legal in a Via that is not ours.
    pub transport: String,
    /// Who sent it, as it says itself.
    pub sent_by: HostPort,
    /// `branch`, `received`, `rport` and others.
    pub params: Params,
}

impl Via {
    /// A Via of our own, asking for the response to come back where the request came from (RFC 3581 §3).
    pub fn new(transport: Transport, sent_by: SocketAddr, branch: &str) -> Via {
        let params = Params::default().with("branch", Some(branch)).with("rport", None);
        Via { transport: transport.as_str().to_owned(), sent_by: sent_by.into(), params }
    }

    /// The branch, when there is one.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// The transport, when it is one that we know.
    pub fn transport(&self) -> Option<Transport> {
        self.transport.parse().ok()
    }

    /// The source address that a server noted.
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?;
        text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// The source port that a server noted (RFC 3581 §4).
    pub fn rport(&self) -> Option<u16> {
        let digits = self.params.value("rport")?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    }

    /// Reads a Via of any protocol version: a request of another version is refused (RFC 3261 §21.5.7), and its Via tells where to.
    pub fn parse_any_version(value: &str) -> Result<Via, HeaderError> {
        parse(value, |_| true)
    }

    /// Whether the client asked for symmetric response routing.
    pub fn wants_rport(&self) -> bool {
        self.params.has("rport")
    }
}

impl Header for Via {
    const NAME: Name = Name::Via;
    const LIST: bool = true;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        parse(value, |version| version == "2.0")
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}{}", self.transport, self.sent_by, self.params)
    }
}

/// One value, of a version that `is_spoken`.
fn parse(value: &str, is_spoken: impl Fn(&str) -> bool) -> Result<Via, HeaderError> {
    let (head, params) = match value.split_once(';') {
        Some((head, params)) => (head, Params::parse(params)),
        None => (value, Params::default()),
    };
    // "SIP / 2.0 / UDP first.example.com : 4000" is legal (RFC 3261 §25.1: SLASH and COLON take white space).
    let mut pieces = head.splitn(3, '/');
    let (protocol, version, rest) = (pieces.next(), pieces.next(), pieces.next());
    let (Some(protocol), Some(version), Some(rest)) = (protocol, version, rest) else {
        return Err(invalid::<Via>("the protocol is not SIP/2.0/transport"));
    };
    if !lex::trim(protocol).eq_ignore_ascii_case("SIP") || !is_spoken(lex::trim(version)) {
        return Err(invalid::<Via>("the protocol is not SIP/2.0"));
    }
    let rest = lex::trim(rest);
    let (transport, sent_by) =
        rest.split_once(|c: char| c.is_ascii_whitespace()).ok_or(invalid::<Via>("there is no sent-by"))?;
    if transport.is_empty() || !transport.bytes().all(lex::is_token) {
        return Err(invalid::<Via>("the transport is not a token"));
    }
    let sent_by =
        HostPort::parse(lex::trim(sent_by)).map_err(|source| HeaderError::Uri { name: Name::Via, source })?;
    Ok(Via { transport: transport.to_owned(), sent_by, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_odd_spacing_and_ipv6() {
        let via = Via::parse("SIP / 2.0 / UDP first.example.com : 4000 ;ttl=16 ;branch=z9hG4bKa7c6").unwrap();
        assert_eq!((via.sent_by.port, via.branch()), (Some(4000), Some("z9hG4bKa7c6")));
        let text = "SIP/2.0/TCP [2001:db8::9]:5070;branch=z9hG4bK1;rport;received=2001:db8::9";
        let via = Via::parse(text).unwrap();
        assert!(via.wants_rport() && via.rport().is_none());
        assert_eq!(via.received(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(via.to_string(), text);
    }
}
