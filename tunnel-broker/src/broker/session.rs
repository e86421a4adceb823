//! One client's connection.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use schema::secret::Password;

use super::io::Token;
use crate::dtcp::{Challenge, Kind, LineBuffer, Proof};

/// A connection, from `Connected` until it is closed (and, when its logins failed, for a while after).
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Ipv4Addr,
    pub(super) challenge: Challenge,
    pub(super) buffer: LineBuffer,
    pub(super) state: State,
    /// When it is closed unless something is heard.
    pub(super) deadline: Instant,
    /// Lines taken before the login.
    pub(super) lines: u8,
    /// Failed logins.
    pub(super) failures: u8,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum State {
    /// Takes lines; has no tunnel.
    Open,
    /// The account is being looked up.
    LookingUp { token: Token, user: String, proof: Proof, kind: Result<Kind, String> },
    /// Authenticated; the tunnel is being raised.
    Raising { account: Arc<str>, password: Password, kind: Kind },
    /// Has its tunnel, and was told that our end is there. `reported` is when a report of its was looked at.
    Up { account: Arc<str>, password: Password, server: Ipv4Addr, reported: Option<Instant> },
    /// Failed too often: closed at the deadline. `gone` when the client has left already.
    Punished { gone: bool },
}

impl Session {
    /// The account whose tunnel this session wants or has.
    pub(super) fn account(&self) -> Option<&Arc<str>> {
        match &self.state {
            State::Raising { account, .. } | State::Up { account, .. } => Some(account),
            _ => None,
        }
    }

    /// That account, and the password that it proved to know.
    pub(super) fn credentials(&self) -> Option<(&Arc<str>, &Password)> {
        match &self.state {
            State::Raising { account, password, .. } | State::Up { account, password, .. } => {
                Some((account, password))
            }
            _ => None,
        }
    }
}
