//! The little that a phone must read in URIs, name-addr values and their parameters; IPv6 literals are the normal case.

use std::net::{IpAddr, SocketAddr};

/// The URI and the parameters (without the first `;`) of a From, To, Contact, Route or similar value (RFC 3261 §20.10).
pub(crate) fn name_addr(value: &str) -> (&str, &str) {
    let open = find_outside_quotes(value, '<');
    if let Some((_, rest)) = open.and_then(|open| value.split_at_checked(open)) {
        let (uri, after) = rest.get(1..).unwrap_or_default().split_once('>').unwrap_or((rest, ""));
        return (uri.trim(), after.trim_start().strip_prefix(';').unwrap_or_default());
    }
    // Without brackets the parameters belong to the header (§20).
    let (uri, params) = value.split_once(';').unwrap_or((value, ""));
    (uri.trim(), params)
}

/// A parameter of `a=1;b;c="x"`; a flag has the value "".
pub(crate) fn param<'a>(params: &'a str, name: &str) -> Option<&'a str> {
    split_outside_quotes(params, ';').find_map(|param| {
        let (key, value) = param.split_once('=').unwrap_or((param, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A header parameter of a name-addr value.
pub(crate) fn header_param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    param(name_addr(value).1, name)
}

/// The items of a comma-separated list; commas in quotes and in `<>` do not count.
pub(crate) fn split_list(value: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let mut quoted = Quoted::default();
    value
        .split(move |letter: char| {
            let inside = quoted.step(letter);
            match letter {
                '<' if !inside => depth += 1,
                '>' if !inside => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ',' && !inside && depth == 0
        })
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// The user part: of `sip:101@host` it is `101`, of `tel:+81-3;phone-context=x` it is `+81-3`.
pub(crate) fn user(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("tel") {
        return rest.split(';').next();
    }
    let (user, _) = rest.rsplit_once('@')?;
    user.split([':', ';']).next()
}

/// The host (an IPv6 literal without brackets) and port of a SIP URI or `host:port`.
pub(crate) fn host_port(uri: &str) -> (&str, Option<u16>) {
    let rest = strip_scheme(uri);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let end = rest.find([';', '?', '>']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default().trim();
    if let Some(literal) = host.strip_prefix('[') {
        let (literal, after) = literal.split_once(']').unwrap_or((literal, ""));
        return (literal, after.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match host.split_once(':') {
        Some((host, port)) => (host.trim(), port.trim().parse().ok()),
        None => (host, None),
    }
}

/// The address of a URI whose host is a literal; the default port is 5060.
pub(crate) fn socket_addr(uri: &str) -> Option<SocketAddr> {
    let (host, port) = host_port(uri);
    let ip: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(ip, port.unwrap_or(5060)))
}

/// Whether a URI has this parameter, as `;lr`.
pub(crate) fn uri_param<'a>(uri: &'a str, name: &str) -> Option<&'a str> {
    let rest = strip_scheme(uri);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let params = host.split_once(';')?.1;
    param(params.split('?').next().unwrap_or_default(), name)
}

fn strip_scheme(uri: &str) -> &str {
    let scheme = ["sip:", "sips:"]
        .iter()
        .find(|scheme| uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    scheme.and_then(|scheme| uri.get(scheme.len()..)).unwrap_or(uri)
}

pub(crate) fn split_outside_quotes(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = Quoted::default();
    value.split(move |letter: char| !quoted.step(letter) && letter == separator)
}

fn find_outside_quotes(value: &str, wanted: char) -> Option<usize> {
    let mut quoted = Quoted::default();
    value.find(|letter: char| !quoted.step(letter) && letter == wanted)
}

/// Follows quoted strings with their backslash escapes (RFC 3261 §25.1).
#[derive(Default)]
struct Quoted {
    inside: bool,
    escaped: bool,
}

impl Quoted {
    /// Whether this letter is part of a quoted string.
    fn step(&mut self, letter: char) -> bool {
        if self.escaped {
            self.escaped = false;
            return true;
        }
        match letter {
            '\\' if self.inside => self.escaped = true,
            '"' => {
                self.inside = !self.inside;
                return true;
            }
            _ => {}
        }
        self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_literals_have_their_port() {
        let addr = |uri| socket_addr(uri).map(|addr| addr.to_string());
        assert_eq!(addr("sip:101@[2001:db8::1]:5070;lr").as_deref(), Some("[2001:db8::1]:5070"));
        assert_eq!(addr("sip:[2001:db8::1];lr").as_deref(), Some("[2001:db8::1]:5060"));
        assert_eq!(addr("sip:10.0.0.1:5070").as_deref(), Some("10.0.0.1:5070"));
        assert_eq!(addr("sip:example.net").as_deref(), None);
        assert_eq!(host_port("[::1]:7"), ("::1", Some(7)));
        assert_eq!(host_port("sip:[::1"), ("::1", None));
    }

    #[test]
    fn name_addr_and_lists() {
        let value = r#""A <\"x\">, B" <sip:a@b;lr>;tag=1;q=0.5, <sip:c@d>"#;
        let items: Vec<_> = split_list(value).collect();
        assert_eq!(items.len(), 2);
        assert_eq!(name_addr(items[0]), ("sip:a@b;lr", "tag=1;q=0.5"));
        assert_eq!(header_param(items[0], "TAG"), Some("1"));
        assert_eq!(uri_param("sip:a@b;lr", "lr"), Some(""));
        assert_eq!(name_addr("sip:a@b;tag=2"), ("sip:a@b", "tag=2"));
        assert_eq!(name_addr("<sip:a"), ("<sip:a", ""));
    }

    #[test]
    fn users() {
        assert_eq!(user("sip:101:pw@h"), Some("101"));
        assert_eq!(user("tel:+81;x=y"), Some("+81"));
        assert_eq!(user("sip:h"), None);
    }
}
