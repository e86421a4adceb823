//! What a broker says.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv6Net;

use super::{Centre, Challenge};
use crate::lease::{Link, Outer};

/// One line of a broker. `Display` writes it without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The first line of a session.
    Greeting(Challenge),
    /// The tunnel stands (`tunnelonly`).
    Tunnel(Outer),
    /// The tunnel stands; these are the link's addresses (`host`).
    Host(Outer, Link),
    /// The tunnel stands; this is the site's prefix (`network`).
    Network(Outer, Ipv6Net),
    /// To `ping`.
    Pong,
    /// To `help`.
    Help,
    /// To `quit`.
    Bye,
    /// To `centre`.
    Centre(Centre),
    /// To `report`.
    Noted,
    /// Something is wrong.
    Refused(Refusal),
}

/// Why a broker says no.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Wrong user, wrong password or wrong number of words: the three are not told apart.
    AuthenticationFailed,
    /// No such command.
    InvalidCommand,
    /// The type is unknown, or not for this account.
    UnsupportedType(String),
    /// No tunnel server has room.
    SoldOut,
    /// Nothing was heard for too long.
    TimedOut,
    /// Another account's tunnel ends at this address; protocol 41 could not tell the two apart.
    AddressInUse(Ipv4Addr),
    /// The account logged in again elsewhere.
    TakenOver,
    /// What the account may have is not what it was: the client shall fetch it.
    Changed,
    /// This session has raised its tunnel already.
    SecondTunnel,
    /// Too many connections, from this source or in all, or too many logins at once.
    TooBusy,
    /// The accounts cannot be looked up.
    AccountsAway,
    /// The tunnel server does not answer, or refuses.
    ServerAway,
}

impl Reply {
    /// The line as it is sent.
    pub fn to_line(&self) -> Vec<u8> {
        format!("{self}\r\n").into_bytes()
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Refused(refusal)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Greeting(challenge) => write!(f, "+OK {challenge} Centrex6 tunnel broker"),
            Reply::Tunnel(outer) => write!(f, "+OK {} {}", outer.client, outer.server),
            Reply::Host(outer, link) => {
                write!(f, "+OK {} {} {} {}", outer.client, outer.server, link.client, link.server)
            }
            Reply::Network(outer, prefix) => {
                write!(f, "+OK {} {} {}", outer.client, outer.server, Padded(*prefix))
            }
            Reply::Pong => f.write_str("+OK pong"),
            Reply::Help => f.write_str("+OK valid commands are: TUNNEL PING QUIT"),
            Reply::Bye => f.write_str("+OK bye"),
            Reply::Centre(centre) => write!(f, "+OK {centre}"),
            Reply::Noted => f.write_str("+OK noted"),
            Reply::Refused(refusal) => write!(f, "-ERR {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::AuthenticationFailed => f.write_str("authentication failed."),
            Refusal::InvalidCommand => f.write_str("invalid command"),
            Refusal::UnsupportedType(kind) => write!(f, "unsupported tunnel type {kind}"),
            Refusal::SoldOut => f.write_str("tunnel interface sold out"),
            Refusal::TimedOut => f.write_str("connection timed out, disconnecting"),
            Refusal::AddressInUse(address) => {
                write!(f, "internal error: another account has a tunnel from {address}")
            }
            Refusal::TakenOver => f.write_str("internal error: a newer session of this account took over"),
            Refusal::Changed => f.write_str("internal error: the account was changed, log in again"),
            Refusal::SecondTunnel => f.write_str("internal error: this session has its tunnel already"),
            Refusal::TooBusy => f.write_str("internal error: too many connections, try again later"),
            Refusal::AccountsAway => {
                f.write_str("internal error: accounts cannot be looked up, try again later")
            }
            Refusal::ServerAway => {
                f.write_str("internal error: tunnel server does not answer, try again later")
            }
        }
    }
}

/// A prefix as the old brokers write it: groups of four digits, as many as the length covers.
struct Padded(Ipv6Net);

impl fmt::Display for Padded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.prefix_len();
        let count = usize::from(len.div_ceil(16));
        for (index, group) in self.0.trunc().addr().segments().into_iter().take(count).enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(f, "{colon}{group:04x}")?;
        }
        let rest = if count < 8 { "::" } else { "" };
        write!(f, "{rest}/{len}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_read_as_the_old_ones() {
        let outer =
            Outer { client: Ipv4Addr::new(210, 143, 144, 163), server: Ipv4Addr::new(43, 244, 255, 37) };
        let link = Link { client: "2001:db8::2".parse().unwrap(), server: "2001:db8::1".parse().unwrap() };
        let network = |prefix: &str| Reply::Network(outer, prefix.parse().unwrap());
        let challenge = Challenge::new(*b"0123456789abcdef");
        for (reply, line) in [
            (Reply::Greeting(challenge), "+OK 30313233343536373839616263646566 Centrex6 tunnel broker"),
            (Reply::Tunnel(outer), "+OK 210.143.144.163 43.244.255.37"),
            (Reply::Host(outer, link), "+OK 210.143.144.163 43.244.255.37 2001:db8::2 2001:db8::1"),
            (network("2001:3e0:1fe::/48"), "+OK 210.143.144.163 43.244.255.37 2001:03e0:01fe::/48"),
            (network("2001:3e0::/52"), "+OK 210.143.144.163 43.244.255.37 2001:03e0:0000:0000::/52"),
            (
                network("2001:db8::1/128"),
                "+OK 210.143.144.163 43.244.255.37 2001:0db8:0000:0000:0000:0000:0000:0001/128",
            ),
            (Reply::Pong, "+OK pong"),
            (Reply::Help, "+OK valid commands are: TUNNEL PING QUIT"),
            (Reply::Bye, "+OK bye"),
            (Reply::Noted, "+OK noted"),
            (
                Reply::Centre(Centre { sip: "[2001:db8::5]:5060".parse().ok(), dns: vec![] }),
                "+OK sip=[2001:db8::5]:5060",
            ),
            (Reply::Centre(Centre::default()), "+OK "),
            (Refusal::AuthenticationFailed.into(), "-ERR authentication failed."),
            (Refusal::InvalidCommand.into(), "-ERR invalid command"),
            (Refusal::UnsupportedType("X".into()).into(), "-ERR unsupported tunnel type X"),
            (Refusal::SoldOut.into(), "-ERR tunnel interface sold out"),
            (Refusal::TimedOut.into(), "-ERR connection timed out, disconnecting"),
        ] {
            assert_eq!(reply.to_string(), line);
            assert_eq!(reply.to_line(), format!("{line}\r\n").into_bytes());
        }
    }

    #[test]
    fn every_other_reason_is_an_internal_error_to_an_old_client() {
        for refusal in [
            Refusal::AddressInUse(Ipv4Addr::LOCALHOST),
            Refusal::TakenOver,
            Refusal::Changed,
            Refusal::SecondTunnel,
            Refusal::TooBusy,
            Refusal::AccountsAway,
            Refusal::ServerAway,
        ] {
            assert!(Reply::from(refusal).to_string().starts_with("-ERR internal error: "));
        }
    }

    #[test]
    fn a_padded_prefix_is_the_same_prefix() {
        for prefix in
            ["::/0", "2001:db8::/32", "2001:db8:1:2::/64", "2001:db8:1:2:3:4:5::/112", "2001:db8:1::/49"]
        {
            let prefix: Ipv6Net = prefix.parse().unwrap();
            assert_eq!(Padded(prefix).to_string().parse::<Ipv6Net>().unwrap(), prefix);
        }
    }
}
