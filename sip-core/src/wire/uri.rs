//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966).

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{HostPort, Params, UriError};
use crate::flow::Transport;

/// A URI; schemes that we do not know are kept as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// `tel:`.
    Tel(TelUri),
    /// Any other scheme, the whole URI as written.
    Other(String),
}

/// A `sip:` or `sips:` URI.
#[derive(Debug, Clone)]
pub struct SipUri {
    /// Whether the scheme is `sips`.
    pub secure: bool,
    /// The user part as written, escapes included.
    pub user: Option<String>,
    /// The password, which nobody should use (RFC 3261 §19.1.1).
    pub password: Option<String>,
    /// Host and port.
    pub host_port: HostPort,
    /// URI parameters.
    pub params: Params,
    /// What follows `?`, as written.
    pub headers: Option<String>,
}

/// A `tel:` URI (RFC 3966).
#[derive(Debug, Clone)]
pub struct TelUri {
    /// The number as written, visual separators included.
    pub number: String,
    /// Parameters such as `phone-context`.
    pub params: Params,
}

impl Uri {
    /// The SIP URI, when it is one.
    pub fn sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// The user part of a SIP URI or the number of a tel URI, escapes undone, visual separators kept.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        match self {
            Uri::Sip(uri) => uri.user(),
            Uri::Tel(uri) => Some(Cow::Borrowed(&uri.number)),
            Uri::Other(_) => None,
        }
    }

    /// The same without what a Request-URI may not hold (RFC 3261 §19.1.1, table 1). What a Contact says in headers is not obeyed: a
    /// phone could put a Route of its own choice into requests of others.
    pub fn for_request_line(&self) -> Uri {
        let mut uri = self.clone();
        if let Uri::Sip(sip) = &mut uri {
            sip.headers = None;
            sip.params.remove("method");
        }
        uri
    }
}

impl SipUri {
    /// `sip:user@host`.
    pub fn new(user: Option<&str>, host_port: HostPort) -> SipUri {
        SipUri {
            secure: false,
            user: user.filter(|user| !user.is_empty()).map(escape_user),
            password: None,
            host_port,
            params: Params::default(),
            headers: None,
        }
    }

    /// `sip:address`, with a transport parameter where it is not UDP.
    pub fn of_address(address: SocketAddr, transport: Transport) -> SipUri {
        let mut uri = SipUri::new(None, address.into());
        if transport != Transport::Udp {
            uri.params.set("transport", Some(&transport.as_str().to_ascii_lowercase()));
        }
        uri
    }

    /// The user part with its escapes undone.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        self.user.as_deref().map(unescape)
    }

    /// The `transport` parameter, when it names one that we know.
    pub fn transport(&self) -> Option<Transport> {
        self.params.value("transport")?.parse().ok()
    }

    /// The transport that its scheme and its `transport` parameter ask for together: under TLS where the scheme is `sips`
    /// (RFC 3261 §26.2.2). `None` when neither says anything.
    pub fn required_transport(&self) -> Option<Transport> {
        match (self.secure, self.transport()) {
            (true, Some(Transport::Ws | Transport::Wss)) => Some(Transport::Wss),
            (true, _) => Some(Transport::Tls),
            (false, transport) => transport,
        }
    }

    /// Whether the `lr` parameter marks a loose router (RFC 3261 §19.1.1).
    pub fn is_loose(&self) -> bool {
        self.params.has("lr")
    }

    /// Where to send without DNS: the host's address with its port or the transport's default. `None` when the host is a name.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let secure = self.secure || self.transport().is_some_and(Transport::is_secure);
        self.host_port.socket_addr(if secure { 5061 } else { 5060 })
    }
}

/// RFC 3261 §19.1.4: user and password exactly (escapes undone), host without regard to case, parameters that both have
/// equal, and user, ttl, method, maddr and transport present in both or in none.
impl PartialEq for SipUri {
    fn eq(&self, other: &Self) -> bool {
        // Of a parameter that is there twice the first counts, on both sides.
        let same_params = self.params.iter().all(|(name, _)| match other.params.has(name) {
            true => match (self.params.value(name), other.params.value(name)) {
                (Some(one), Some(two)) => one.eq_ignore_ascii_case(two),
                (one, two) => one == two,
            },
            false => !MUST_MATCH.iter().any(|must| must.eq_ignore_ascii_case(name)),
        }) && MUST_MATCH.iter().all(|must| self.params.has(must) == other.params.has(must));
        self.secure == other.secure
            && self.user() == other.user()
            && self.password == other.password
            && self.host_port == other.host_port
            && self.headers == other.headers
            && same_params
    }
}

impl Eq for SipUri {}

impl TelUri {
    /// The number without visual separators, with its `+` (RFC 3966 §5.1.1).
    pub fn digits(&self) -> String {
        self.number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect()
    }
}

impl PartialEq for TelUri {
    fn eq(&self, other: &Self) -> bool {
        self.digits().eq_ignore_ascii_case(&other.digits())
            && self.params.value("phone-context") == other.params.value("phone-context")
    }
}

impl Eq for TelUri {}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().any(|byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f)) {
            return Err(UriError::Character);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let valid_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !valid_scheme {
            return Err(UriError::Scheme);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            parse_sip(false, rest).map(Uri::Sip)
        } else if scheme.eq_ignore_ascii_case("sips") {
            parse_sip(true, rest).map(Uri::Sip)
        } else if scheme.eq_ignore_ascii_case("tel") {
            parse_tel(rest).map(Uri::Tel)
        } else {
            Ok(Uri::Other(text.to_owned()))
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Uri::Sip(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(uri) => write!(f, "tel:{}{}", uri.number, uri.params),
            Uri::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        write!(f, "{}{}", self.host_port, self.params)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

/// Parameters that must be in both URIs or in none for the two to be equal (RFC 3261 §19.1.4).
const MUST_MATCH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

fn parse_sip(secure: bool, rest: &str) -> Result<SipUri, UriError> {
    // The user part may hold ';' and '?', so the '@' is looked for first (RFC 3261 §25.1: user-unreserved).
    let (user_info, rest) = match rest.rsplit_once('@') {
        Some((user_info, rest)) => (Some(user_info), rest),
        None => (None, rest),
    };
    let (user, password) =
        match user_info.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
            Some((user, password)) if is_user(user) && password.is_none_or(is_password) => {
                (Some(user.to_owned()), password.map(str::to_owned))
            }
            Some(_) => return Err(UriError::User),
            None => (None, None),
        };
    let (rest, headers) = match rest.split_once('?') {
        Some((rest, headers)) => (rest, Some(headers.to_owned())),
        None => (rest, None),
    };
    let (host_port, params) = match rest.split_once(';') {
        Some((host_port, params)) => (host_port, Params::parse(params)),
        None => (rest, Params::default()),
    };
    Ok(SipUri { secure, user, password, host_port: HostPort::parse(host_port)?, params, headers })
}

fn parse_tel(rest: &str) -> Result<TelUri, UriError> {
    let (number, params) = match rest.split_once(';') {
        Some((number, params)) => (number, Params::parse(params)),
        None => (rest, Params::default()),
    };
    let digits = number.strip_prefix('+').unwrap_or(number);
    let valid = digits.bytes().all(|b| b.is_ascii_hexdigit() || b"*#-.()".contains(&b))
        && digits.bytes().any(|b| b.is_ascii_hexdigit() || b"*#".contains(&b));
    if !valid {
        return Err(UriError::Number);
    }
    Ok(TelUri { number: number.to_owned(), params })
}

/// Unreserved, escaped and user-unreserved characters (RFC 3261 §25.1); `#` is tolerated because phones dial it.
fn is_user(user: &str) -> bool {
    !user.is_empty() && user.bytes().all(is_user_byte)
}

fn is_password(password: &str) -> bool {
    password.bytes().all(|byte| is_user_byte(byte) || byte == b':')
}

fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%#".contains(&byte)
}

fn escape_user(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    for byte in user.bytes() {
        if is_user_byte(byte) && !matches!(byte, b'%' | b'#') {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        match (escape, tail.get(2..)) {
            (Some(byte), Some(after)) => {
                plain.push(byte);
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn writes_back_what_it_read() {
        for text in [
            "sip:101@s042.example.net",
            "sips:alice:secret@[2001:db8::10]:5061;transport=tcp;lr",
            "sip:[2001:db8::1]",
            "sip:+358-555-1234567;postd=pp22@foo.com;user=phone",
            "sip:a%40b@example.com?Subject=hi&Priority=urgent",
            "tel:+81-3-1234-5678",
            "tel:110;phone-context=+81",
            "urn:service:sos",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn sips_asks_for_tls() {
        let asked = |text: &str| uri(text).sip().unwrap().required_transport();
        assert_eq!(asked("sip:a@b"), None);
        assert_eq!(asked("sip:a@b;transport=tcp"), Some(Transport::Tcp));
        assert_eq!(asked("sip:a@b;transport=TLS"), Some(Transport::Tls));
        for secure in ["sips:a@b", "sips:a@b;transport=tcp"] {
            assert_eq!(asked(secure), Some(Transport::Tls), "{secure}");
        }
        assert_eq!(asked("sips:a@b.invalid;transport=ws"), Some(Transport::Wss));
    }

    #[test]
    fn compares_as_rfc_3261_19_1_4() {
        assert_eq!(uri("sip:%61lice@atlanta.com;transport=TCP"), uri("sip:alice@AtLanTa.CoM;Transport=tcp"));
        assert_eq!(uri("sip:carol@chicago.com"), uri("sip:carol@chicago.com;newparam=5"));
        assert_ne!(uri("SIP:ALICE@AtLanTa.CoM;Transport=udp"), uri("sip:alice@AtLanTa.CoM;Transport=UDP"));
        assert_ne!(uri("sip:bob@biloxi.com"), uri("sip:bob@biloxi.com:5060"));
        assert_ne!(uri("sip:bob@biloxi.com"), uri("sip:bob@biloxi.com;transport=udp"));
        assert_eq!(uri("sip:[2001:db8:0::1]"), uri("sip:[2001:DB8::1]"));
    }

    #[test]
    fn is_equal_to_itself() {
        let twice = uri("sip:a@b;x=1;x=2");
        assert_eq!(twice, twice.clone());
    }

    #[test]
    fn refuses_nonsense() {
        for text in [
            "",
            "sip:",
            "sip:@host",
            "sip:us er@host",
            "sip:bob@",
            "sip:bob@2001:db8::1",
            "tel:",
            "tel:abc-xyz",
            "1sip:a@b",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text}");
        }
    }
}
