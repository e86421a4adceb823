//! What a client says.

use std::fmt;

use super::{Proof, Report};

/// One line of a client.
#[derive(Debug, Clone)]
pub enum Request {
    /// `tunnel`: authenticate, and raise a tunnel. `None` when the words cannot be a login: their number is wrong, or one is not
    /// what it should be. That is answered like a wrong password.
    Tunnel(Option<Login>),
    /// `ping`: keep the session.
    Ping,
    /// `help`.
    Help,
    /// `quit`: end the session.
    Quit,
    /// `centre`: tell where the centre's services are. An addition of ours.
    Centre,
    /// `report`: how full the site's neighbour table is. An addition of ours.
    Report(Report),
    /// Something else.
    Unknown,
}

/// The words of a `tunnel` line.
#[derive(Debug, Clone)]
pub struct Login {
    /// Who says so.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
    /// What is asked for; an unknown kind is kept to be quoted.
    pub kind: Result<Kind, String>,
}

/// What a tunnel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tunnelonly`: the client knows its addresses already.
    TunnelOnly,
    /// `host`: the client is told the addresses of the tunnel link.
    Host,
    /// `network`, also called `tunnelroute`: the client is told its prefix.
    Network,
}

impl Request {
    /// Reads one line, without its end.
    pub fn parse(line: &[u8]) -> Request {
        let mut words = line.split(|&byte| byte == b' ');
        let verb = words.next().unwrap_or_default();
        if verb.eq_ignore_ascii_case(b"tunnel") {
            let login = match (words.next(), words.next(), words.next(), words.next()) {
                (Some(user), Some(hash), Some(kind), None) => Login::parse(user, hash, kind),
                _ => None,
            };
            Request::Tunnel(login)
        } else if verb.eq_ignore_ascii_case(b"ping") {
            Request::Ping
        } else if verb.eq_ignore_ascii_case(b"help") {
            Request::Help
        } else if verb.eq_ignore_ascii_case(b"quit") {
            Request::Quit
        } else if verb.eq_ignore_ascii_case(b"centre") {
            Request::Centre
        } else if verb.eq_ignore_ascii_case(b"report") {
            Report::parse(words).map_or(Request::Unknown, Request::Report)
        } else {
            Request::Unknown
        }
    }
}

impl Login {
    fn parse(user: &[u8], hash: &[u8], kind: &[u8]) -> Option<Login> {
        let proof = Proof::parse(hash)?;
        if user.is_empty() || user.len() > MAX_USER_BYTES || !user.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let user = std::str::from_utf8(user).ok()?.to_owned();
        Some(Login { user, proof, kind: Kind::parse(kind).ok_or_else(|| quotable(kind)) })
    }
}

impl Kind {
    /// Reads the word of a client.
    pub fn parse(word: &[u8]) -> Option<Kind> {
        let known: [(&[u8], Kind); 4] = [
            (b"tunnelonly", Kind::TunnelOnly),
            (b"host", Kind::Host),
            (b"network", Kind::Network),
            (b"tunnelroute", Kind::Network),
        ];
        known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::TunnelOnly => "tunnelonly",
            Kind::Host => "host",
            Kind::Network => "network",
        })
    }
}

/// A client's word, fit to be sent back or logged.
fn quotable(word: &[u8]) -> String {
    word.iter()
        .take(MAX_QUOTED_BYTES)
        .map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' })
        .collect()
}

/// The longest user name that is looked up.
const MAX_USER_BYTES: usize = 64;

/// How much of an unknown type is quoted.
const MAX_QUOTED_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "8f427154dc34a055275dcf47bca12b62";

    fn login(line: &str) -> Option<Login> {
        match Request::parse(line.as_bytes()) {
            Request::Tunnel(login) => login,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_captured_line_is_read() {
        let login = login("tunnel testuser 8f427154dc34a055275dcf47bca12b62 network").unwrap();
        assert_eq!(login.user, "testuser");
        assert_eq!(login.proof.to_hex(), HASH.to_uppercase());
        assert_eq!(login.kind, Ok(Kind::Network));
    }

    #[test]
    fn verbs_are_read_in_any_case() {
        for verb in ["tunnel", "TUNNEL", "Tunnel"] {
            assert!(login(&format!("{verb} u {HASH} host")).is_some());
        }
        assert!(matches!(Request::parse(b"pInG"), Request::Ping));
        assert!(matches!(Request::parse(b"HELP"), Request::Help));
        assert!(matches!(Request::parse(b"Quit now"), Request::Quit));
        assert!(matches!(Request::parse(b"Centre"), Request::Centre));
        assert!(matches!(
            Request::parse(b"REPORT neighbours=7"),
            Request::Report(Report { neighbours: 7, capacity: 0 })
        ));
        assert!(matches!(Request::parse(b"report"), Request::Unknown));
        for line in ["", " ping", "pingx", "ping\t", "\u{0}"] {
            assert!(matches!(Request::parse(line.as_bytes()), Request::Unknown), "{line:?}");
        }
    }

    #[test]
    fn every_type_is_known_and_others_are_quoted_safely() {
        let kind = |word: &str| login(&format!("tunnel u {HASH} {word}")).unwrap().kind;
        assert_eq!(kind("tunnelonly"), Ok(Kind::TunnelOnly));
        assert_eq!(kind("host"), Ok(Kind::Host));
        assert_eq!(kind("network"), Ok(Kind::Network));
        assert_eq!(kind("tunnelroute"), Ok(Kind::Network));
        assert_eq!(kind("l2tp"), Err("l2tp".into()));
        assert_eq!(kind("a\u{1b}[2Jb"), Err("a?[2Jb".into()));
        assert_eq!(kind(&"x".repeat(90)), Err("x".repeat(32)));
    }

    #[test]
    fn a_line_with_other_words_is_no_login() {
        let long = "u".repeat(65);
        for line in [
            "tunnel".to_owned(),
            "tunnel ".to_owned(),
            "tunnel u".to_owned(),
            format!("tunnel u {HASH}"),
            format!("tunnel u {HASH} host "),
            format!("tunnel u {HASH} host more"),
            format!("tunnel  u {HASH} host"),
            format!("tunnel u  {HASH} host"),
            "tunnel u abc host".to_owned(),
            format!("tunnel {long} {HASH} host"),
            format!("tunnel ü {HASH} host"),
        ] {
            assert!(login(&line).is_none(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&line);
            let _ = Request::parse(&[b"tunnel ", &line[..]].concat());
        }
    }
}
