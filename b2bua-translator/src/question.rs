//! What the translator asks of the world.

use std::net::IpAddr;
use std::sync::Arc;

use node::dns::{DnsError, Located};
use schema::CallRecord;
use sip_core::locate::Wanted;

use crate::relay::SideUpdate;

/// One of the two parties of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

/// One value for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sides<T> {
    /// The caller's.
    pub caller: T,
    /// The called party's.
    pub callee: T,
}

impl<T> Sides<T> {
    /// A side's value.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// A side's value, to change it.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}

/// A question; each is answered once.
#[derive(Debug)]
pub enum Question {
    /// Port pairs on both sides for a call's media. Answered by [`Answer::Opened`] or [`Answer::NotOpened`].
    OpenMedia {
        /// The call's id, for logs.
        call: Arc<str>,
        /// How many pairs on each side.
        streams: usize,
        /// Our address toward the caller.
        caller: IpAddr,
        /// Our address toward the called party.
        callee: IpAddr,
    },
    /// Port pairs for further streams of a session. Answered by [`Answer::Opened`] with all of them, or by
    /// [`Answer::NotOpened`].
    GrowMedia {
        /// Which session.
        media: MediaId,
        /// How many pairs more on each side.
        streams: usize,
    },
    /// Where a side's media goes and comes from, as its last SDP says. Answered by [`Answer::Updated`].
    UpdateMedia {
        /// Which session.
        media: MediaId,
        /// Whose SDP it was.
        side: Side,
        /// One entry a stream of the session, in order.
        streams: Vec<SideUpdate>,
    },
    /// Asks to be told, once, when media has been silent for too long. Answered by [`Answer::Silent`], or by
    /// [`Answer::WatchEnded`] when the session closes first.
    WatchMedia {
        /// Which session.
        media: MediaId,
    },
    /// The session ends. Answered by [`Answer::Closed`].
    CloseMedia {
        /// Which session.
        media: MediaId,
    },
    /// The call is over: write its record. Answered by [`Answer::Saved`].
    SaveRecord(Box<CallRecord>),
    /// Where a gateway is that is known by name. Answered by [`Answer::Located`].
    Locate(Wanted),
}

/// The reply to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// The session is there.
    Opened {
        /// Its name from now on.
        media: MediaId,
        /// The ports, one entry a stream.
        streams: Vec<StreamPorts>,
    },
    /// There is no session.
    NotOpened {
        /// Why, in words.
        reason: String,
    },
    /// Done.
    Updated,
    /// A side that should send is silent.
    Silent(Side),
    /// The session closed before anything was silent.
    WatchEnded,
    /// The session is closed; its statistics as the call record holds them.
    Closed(serde_json::Value),
    /// The record is on its way to the store, or cannot be written.
    Saved(Result<(), String>),
    /// The places to try, or why there are none.
    Located(Result<Located, DnsError>),
}

/// Names a media session of this worker's relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// The ports of one stream toward both sides.
pub type StreamPorts = Sides<PortPair>;

/// The ports of RTP and RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPair {
    /// RTP's.
    pub rtp: u16,
    /// RTCP's.
    pub rtcp: u16,
}
