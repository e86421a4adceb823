//! What a broker's lines mean to a client.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv6Net;

/// The greeting's challenge, as the broker wrote it: that is what is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting(pub String);

/// What a login as `network` is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The client's address as the broker sees it.
    pub client: Ipv4Addr,
    /// The tunnel server's address.
    pub server: Ipv4Addr,
    /// The site's prefix.
    pub prefix: Ipv6Net,
}

/// Why a broker says no, as a client can tell from its words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// Wrong user or wrong password.
    AuthenticationFailed,
    /// The broker does not know the command.
    InvalidCommand,
    /// The account is not for networks.
    UnsupportedType,
    /// No tunnel server has room.
    SoldOut,
    /// The broker heard nothing for too long.
    TimedOut,
    /// Another account has a tunnel from the same IPv4 address.
    AddressInUse,
    /// The account logged in elsewhere.
    TakenOver,
    /// What the account may have is not what it was.
    Changed,
    /// Too many connections or logins.
    TooBusy,
    /// Something behind the broker is away, its own words.
    Internal(String),
    /// Words of no known meaning.
    Other(String),
}

impl Greeting {
    /// Reads the first line of a session: `+OK <challenge> …`.
    ///
    /// # Errors
    /// The broker's refusal; or nothing, when this is no DTCP.
    pub fn parse(line: &[u8]) -> Result<Greeting, Option<Denial>> {
        let words = success(line)?;
        let challenge = words.split(' ').next().unwrap_or_default();
        let is_challenge = (8..=MAX_CHALLENGE).contains(&challenge.len())
            && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_challenge { Ok(Greeting(challenge.to_owned())) } else { Err(None) }
    }
}

impl Granted {
    /// Reads `+OK <client v4> <server v4> <prefix>/<len>`; the prefix may have zero-padded groups.
    ///
    /// # Errors
    /// The broker's refusal; or nothing, when the line cannot be read.
    pub fn parse(line: &[u8]) -> Result<Granted, Option<Denial>> {
        let words = success(line)?;
        let mut words = words.split(' ').filter(|word| !word.is_empty());
        let granted = (|| {
            let client = words.next()?.parse().ok()?;
            let server = words.next()?.parse().ok()?;
            let prefix: Ipv6Net = words.next()?.parse().ok()?;
            Some(Granted { client, server, prefix: prefix.trunc() })
        })();
        granted.ok_or(None)
    }
}

impl Denial {
    fn from_words(words: &str) -> Denial {
        // The order matters: old brokers put anything behind "internal error".
        let lower = words.to_ascii_lowercase();
        let has = |part: &str| lower.contains(part);
        match () {
            () if has("authentication failed") => Denial::AuthenticationFailed,
            () if has("invalid command") => Denial::InvalidCommand,
            () if has("unsupported tunnel type") => Denial::UnsupportedType,
            () if has("sold out") => Denial::SoldOut,
            () if has("timed out") => Denial::TimedOut,
            () if has("another account has a tunnel") => Denial::AddressInUse,
            () if has("took over") => Denial::TakenOver,
            () if has("account was changed") => Denial::Changed,
            () if has("too many connections") => Denial::TooBusy,
            () if has("internal error") => Denial::Internal(quotable(words)),
            () => Denial::Other(quotable(words)),
        }
    }

    /// What is wrong and what to do about it, for an installer.
    pub fn remedy(&self) -> &'static str {
        match self {
            Denial::AuthenticationFailed => {
                "check user name and password letter by letter; ask the operator to run `centrex6 account show` and, if need be, `account password`"
            }
            Denial::InvalidCommand | Denial::Other(_) => {
                "ask the operator which software the broker runs; note down the broker's words"
            }
            Denial::UnsupportedType => "ask the operator to give this account's site a prefix",
            Denial::SoldOut => "every tunnel server is full: the operator must add one or raise `capacity`",
            Denial::TimedOut => {
                "the line lost the session's packets; if this repeats, have the line measured"
            }
            Denial::AddressInUse => {
                "another box behind the same IPv4 address is logged in with another account: one IPv4 address carries one tunnel; switch the other box off or give this one a line of its own"
            }
            Denial::TakenOver => {
                "another box is logged in with this account: find it and switch it off, or ask the operator for a second account"
            }
            Denial::Changed => "nothing: the box logs in again by itself",
            Denial::TooBusy => "wait some minutes: the box tries again by itself",
            Denial::Internal(_) => {
                "the fault is at the centre: call the operator; the box tries again by itself"
            }
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::AuthenticationFailed => f.write_str("the broker does not accept user name and password"),
            Denial::InvalidCommand => f.write_str("the broker does not know the command"),
            Denial::UnsupportedType => f.write_str("the account has no prefix to hand out"),
            Denial::SoldOut => f.write_str("the tunnel servers have no room"),
            Denial::TimedOut => f.write_str("the broker heard nothing from this box for too long"),
            Denial::AddressInUse => f.write_str("another account has a tunnel from this IPv4 address"),
            Denial::TakenOver => f.write_str("another box logged in with this account"),
            Denial::Changed => f.write_str("the operator changed what the site may have"),
            Denial::TooBusy => f.write_str("the broker has too many connections"),
            Denial::Internal(words) => write!(f, "the broker has a fault: {words}"),
            Denial::Other(words) => write!(f, "the broker refuses: {words}"),
        }
    }
}

/// What stands behind `+OK `.
///
/// # Errors
/// The broker's refusal behind `-ERR `; or nothing, when the line is neither.
pub(crate) fn success(line: &[u8]) -> Result<&str, Option<Denial>> {
    let line = std::str::from_utf8(line).map_err(|_| None)?;
    match (line.strip_prefix("+OK"), line.strip_prefix("-ERR")) {
        (Some(words), _) => Ok(words.trim_start()),
        (None, Some(words)) => Err(Some(Denial::from_words(words.trim()))),
        (None, None) => Err(None),
    }
}

fn quotable(words: &str) -> String {
    words.chars().take(MAX_QUOTED).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// The longest challenge that is hashed, bytes; the known brokers send 32.
const MAX_CHALLENGE: usize = 128;
/// How much of a broker's words is quoted.
const MAX_QUOTED: usize = 120;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Refusal;
    use super::*;

    #[test]
    fn real_greetings_are_read() {
        for line in [
            "+OK 0B1517C87D516A5FA65BED722D51A04F KAME tunnel server",
            "+OK 0B1517C87D516A5FA65BED722D51A04F FBDC TunnelBroker (version 0.2) Ready. <870363>:4096",
            "+OK 0B1517C87D516A5FA65BED722D51A04F",
        ] {
            let greeting = Greeting::parse(line.as_bytes()).unwrap();
            assert_eq!(greeting, Greeting("0B1517C87D516A5FA65BED722D51A04F".into()), "{line}");
        }
        for line in ["SSH-2.0-OpenSSH_9.6", "+OK", "+OK ready.", "220 mail ESMTP", ""] {
            assert_eq!(Greeting::parse(line.as_bytes()), Err(None), "{line}");
        }
        let busy = format!("-ERR {}", Refusal::TooBusy);
        assert_eq!(Greeting::parse(busy.as_bytes()), Err(Some(Denial::TooBusy)));
    }

    #[test]
    fn the_captured_reply_is_read() {
        let granted = Granted::parse(b"+OK 210.143.144.163 43.244.255.37 2001:03e0:01fe::/48").unwrap();
        assert_eq!(granted.client, Ipv4Addr::new(210, 143, 144, 163));
        assert_eq!(granted.server, Ipv4Addr::new(43, 244, 255, 37));
        assert_eq!(granted.prefix, "2001:3e0:1fe::/48".parse().unwrap());
        for line in ["+OK", "+OK 1.2.3.4", "+OK 1.2.3.4 5.6.7.8", "+OK 1.2.3.4 5.6.7.8 2001::/129", "hello"] {
            assert_eq!(Granted::parse(line.as_bytes()), Err(None), "{line}");
        }
    }

    #[test]
    fn each_refusal_of_our_broker_is_understood() {
        let denial =
            |refusal: Refusal| Granted::parse(format!("-ERR {refusal}").as_bytes()).unwrap_err().unwrap();
        assert_eq!(denial(Refusal::AuthenticationFailed), Denial::AuthenticationFailed);
        assert_eq!(denial(Refusal::InvalidCommand), Denial::InvalidCommand);
        assert_eq!(denial(Refusal::UnsupportedType("network".into())), Denial::UnsupportedType);
        assert_eq!(denial(Refusal::SoldOut), Denial::SoldOut);
        assert_eq!(denial(Refusal::TimedOut), Denial::TimedOut);
        assert_eq!(denial(Refusal::AddressInUse(Ipv4Addr::LOCALHOST)), Denial::AddressInUse);
        assert_eq!(denial(Refusal::TakenOver), Denial::TakenOver);
        assert_eq!(denial(Refusal::Changed), Denial::Changed);
        assert_eq!(denial(Refusal::TooBusy), Denial::TooBusy);
        assert!(matches!(denial(Refusal::AccountsAway), Denial::Internal(_)));
        assert!(matches!(denial(Refusal::ServerAway), Denial::Internal(_)));
    }

    #[test]
    fn words_of_a_stranger_are_quoted_safely() {
        let denial = Granted::parse(format!("-ERR a\u{1b}[2J{}", "x".repeat(500)).as_bytes());
        let Err(Some(Denial::Other(words))) = denial else { unreachable!("{denial:?}") };
        assert!(words.starts_with("a?[2J") && words.len() == MAX_QUOTED);
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            for line in [line.clone(), [b"+OK ", &line[..]].concat(), [b"-ERR ", &line[..]].concat()] {
                let _ = (Greeting::parse(&line), Granted::parse(&line), success(&line).is_ok());
            }
        }
    }
}
