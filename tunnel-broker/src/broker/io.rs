//! What goes into the broker and what comes out.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Account;
use crate::dtcp::Report;
use crate::lease::{Grant, Outer, TunnelId};

/// Names a client's connection. The shell never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Names a tunnel server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u32);

/// Ties an answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Names a timer of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimerId {
    /// A session's silence, or the delay before it is closed.
    Session(ConnectionId),
    /// The end of the time in which a site may claim a tunnel found on a server.
    Adoption(Arc<str>),
    /// The end of a tunnel server's grace.
    Server(ServerId),
}

/// What can happen to the broker.
#[derive(Debug)]
pub enum Input {
    /// A client connected.
    Connected {
        /// Its name from now on.
        connection: ConnectionId,
        /// The client's address: the far end of its tunnel.
        peer: Ipv4Addr,
    },
    /// A client sent bytes.
    Received {
        /// Which client.
        connection: ConnectionId,
        /// What it sent.
        bytes: Bytes,
    },
    /// A client's connection ended, in whatever way.
    Closed(ConnectionId),
    /// A timer expired.
    Timer(TimerId),
    /// The answer to a question.
    Answer(Token, Answer),
    /// A tunnel server is there, or there again.
    ServerUp {
        /// What it is.
        server: ServerInfo,
        /// The tunnels that it holds now, asked for after every question to it has been answered.
        held: Vec<HeldTunnel>,
    },
    /// A tunnel server does not answer. The shell says so, too, after it answered [`TunnelFailure::Unreachable`] for it.
    ServerDown(ServerId),
    /// An account was barred or removed, or has another password: its session ends, and its tunnel with it.
    Revoked(Arc<str>),
    /// What an account may have has changed: its session ends, and its tunnel with it, and the client is told to log in again.
    Changed(Arc<str>),
}

/// A tunnel that the broker has raised, or found on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub account: Arc<str>,
    /// Its name.
    pub tunnel: TunnelId,
    /// The server that holds it.
    pub server: ServerId,
    /// Its ends.
    pub outer: Outer,
    /// What it carries.
    pub grant: Grant,
    /// Whether a session has it; else it is on its way up or down, or waits for its site after a restart of the broker.
    pub has_session: bool,
}

/// A tunnel server as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its name.
    pub id: ServerId,
    /// Where it stands.
    pub region: Arc<str>,
    /// Its end of every tunnel.
    pub address: Ipv4Addr,
    /// How many tunnels it takes.
    pub capacity: usize,
}

/// A tunnel that a server holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTunnel {
    /// Its name.
    pub tunnel: TunnelId,
    /// Whose it is.
    pub account: Arc<str>,
    /// The site's address.
    pub client: Ipv4Addr,
    /// What it carries.
    pub grant: Grant,
}

/// What the broker wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes to a client.
    Send(ConnectionId, Bytes),
    /// Close a client's connection once everything is sent. No `Closed` is expected for it, and one does no harm.
    Close(ConnectionId),
    /// Arm (or move, when already armed) the timer, or disarm it with `None`.
    SetTimer(TimerId, Option<Instant>),
    /// Ask the world.
    Ask(Token, Question),
    /// Something to log, count or watch.
    Event(Event),
}

/// What the broker asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Who has this user name? Answered with [`Answer::Account`].
    LookUp {
        /// The name as the client gave it.
        user: String,
    },
    /// Raise a tunnel. Answered with [`Answer::Tunnel`], like the other two.
    Add {
        /// Which server.
        server: ServerId,
        /// The tunnel's name.
        tunnel: TunnelId,
        /// Whose it is: the server tells it back in [`HeldTunnel`].
        account: Arc<str>,
        /// Its ends.
        outer: Outer,
        /// What it carries.
        grant: Grant,
    },
    /// Give a tunnel's far end another address.
    Move {
        /// Which server.
        server: ServerId,
        /// Which tunnel.
        tunnel: TunnelId,
        /// Its ends from now on.
        outer: Outer,
    },
    /// Take a tunnel down. That it is gone already is a success.
    Remove {
        /// Which server.
        server: ServerId,
        /// Which tunnel.
        tunnel: TunnelId,
    },
}

/// What the world replies.
#[derive(Debug)]
pub enum Answer {
    /// The account with that user name, `None` when there is none or it is barred.
    Account(Result<Option<Arc<Account>>, LookupFailed>),
    /// What became of the tunnel.
    Tunnel(Result<(), TunnelFailure>),
}

/// The accounts cannot be looked up now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("accounts cannot be looked up")]
pub struct LookupFailed;

/// Why a tunnel server did not do as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TunnelFailure {
    /// It has no room; nothing changed.
    #[error("the tunnel server is full")]
    Full,
    /// It holds no such tunnel.
    #[error("the tunnel server holds no such tunnel")]
    Unknown,
    /// It will not have this tunnel, because it clashes with another; nothing changed.
    #[error("the tunnel clashes with another")]
    Clash,
    /// No answer: the tunnel may stand or not.
    #[error("the tunnel server does not answer")]
    Unreachable,
}

/// What happened, for logs, metrics and alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session has its tunnel.
    LoggedIn {
        /// Whose.
        account: Arc<str>,
        /// The site's end and ours.
        outer: Outer,
        /// On which server.
        server: ServerId,
    },
    /// A session with a tunnel, or on the way to one, ended.
    LoggedOut {
        /// Whose.
        account: Arc<str>,
        /// Where it came from.
        peer: Ipv4Addr,
    },
    /// A newer session took an account's place. Often: the line was renumbered. Again and again: two boxes share an account.
    TakenOver {
        /// Whose.
        account: Arc<str>,
        /// Where the older session came from.
        from: Ipv4Addr,
        /// Where the newer one came from.
        to: Ipv4Addr,
    },
    /// A site told how full its neighbour table is. At most one of a session in 10 s.
    Reported {
        /// Whose site.
        account: Arc<str>,
        /// What it told.
        report: Report,
    },
    /// A login failed.
    AuthenticationFailed {
        /// From where.
        peer: Ipv4Addr,
        /// The user name that was tried; `None` when the line was no login.
        user: Option<String>,
    },
    /// A login was refused because another account has a tunnel to the same address.
    AddressConflict {
        /// Who was refused.
        account: Arc<str>,
        /// Who holds the address.
        holder: Arc<str>,
        /// The address.
        address: Ipv4Addr,
    },
    /// No server had room.
    SoldOut {
        /// Who was refused.
        account: Arc<str>,
    },
    /// A tunnel server could not do what it was told.
    ServerFailed {
        /// Which server.
        server: ServerId,
        /// Why.
        failure: TunnelFailure,
    },
    /// A tunnel found on a server at the start was not claimed in time and is taken down.
    Unclaimed {
        /// Whose it was.
        account: Arc<str>,
    },
}
