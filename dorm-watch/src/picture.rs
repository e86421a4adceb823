//! What there is to watch: sites, their tunnels, their phones, and where each line was seen.
//!
//! A picture is the whole, taken from memory now and then; the watch finds out what changed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

use dorm_provisioning::identity::Cause;
use ipnet::Ipv6Net;
use schema::{LineId, Mac, SiteId};

use schema::Alarm;

/// Everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// Each site once.
    pub sites: Vec<SitePicture>,
    /// The alarms that the store holds open.
    pub open: Vec<Alarm>,
    /// The alarms that are cleared and kept.
    pub cleared: Vec<ClearedAlarm>,
}

/// An alarm of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearedAlarm {
    /// Which.
    pub id: schema::AlarmId,
    /// Since when it is past, in milliseconds since 1970.
    pub cleared_at: i64,
}

/// A site.
#[derive(Debug, Clone, PartialEq)]
pub struct SitePicture {
    /// The row's number.
    pub id: SiteId,
    /// What is dialled for it; the subject of its alarms.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// Its prefix; without one, nothing is known beforehand but what registered.
    pub prefix: Option<Ipv6Net>,
    /// Its tunnel, when it has an account.
    pub tunnel: Option<TunnelPicture>,
    /// The IAD's own address on the LAN.
    pub iad: Option<Ipv6Addr>,
    /// The entries of its router's neighbour table, as declared or known of the model.
    pub table: Option<u32>,
    /// The phones.
    pub phones: Vec<PhonePicture>,
    /// The lines, and where they were seen.
    pub lines: Vec<LinePicture>,
}

/// What the broker last saw of a site's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPicture {
    /// The account's name.
    pub account: String,
    /// The lease; nothing when the account has never logged in.
    pub lease: Option<LeasePicture>,
}

/// A lease, live or past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePicture {
    /// Whether the tunnel is live.
    pub up: bool,
    /// The IAD's IPv4 address, present or last.
    pub client: Option<Ipv4Addr>,
    /// The tunnel server's.
    pub server: Option<Ipv4Addr>,
    /// Since when it is as it is, in milliseconds since 1970.
    pub changed_at: i64,
    /// How many sessions were taken over by a newer one, ever.
    pub takeovers: i64,
    /// The IAD's IPv4 address before this one.
    pub previous_client: Option<Ipv4Addr>,
    /// What the IAD reported of its neighbour table.
    pub report: Option<Report>,
}

/// An IAD's word on its neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Entries in use.
    pub entries: u32,
    /// Entries that there are; nothing when the IAD does not know.
    pub capacity: Option<u32>,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// A phone: a device, or a line without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhonePicture {
    /// For people: its extension, or its MAC when it has no line.
    pub name: String,
    /// The line that it registers.
    pub line: Option<LineId>,
    /// Where it is asked: the address learned from its registration, else the predicted one, with its SIP port. Nothing when neither is known.
    pub address: Option<SocketAddrV6>,
    /// Until when its line is registered, in seconds since 1970.
    pub registered_until: Option<i64>,
    /// Whether it registered over UDP, so that it takes OPTIONS for sure. Another one's silence counts only when it has answered before.
    pub takes_udp: bool,
}

/// A line and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePicture {
    /// The row's number.
    pub id: LineId,
    /// Its authentication user name; the subject of its alarms.
    pub user: String,
    /// What is dialled inside the site.
    pub extension: String,
    /// Whether it may be anywhere.
    pub anywhere: bool,
    /// The devices that should register it.
    pub devices: Vec<DevicePicture>,
    /// Where its live bindings come from, without those behind an edge proxy.
    pub bindings: Vec<Place>,
    /// Where its credential was last used and refused.
    pub sighting: Option<Place>,
    /// A device whose address is known beforehand sends from another one.
    pub mismatch: Option<Mismatch>,
}

/// A phone's hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePicture {
    /// Its MAC.
    pub mac: Mac,
    /// Whether it makes its address from the MAC.
    pub from_mac: bool,
}

/// A learned address that is not the predicted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected.
    pub predicted: Ipv6Addr,
    /// What was seen.
    pub learned: std::net::IpAddr,
    /// What it looks like.
    pub cause: Cause,
}

/// Somewhere a line was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where from, with the port that takes SIP.
    pub address: SocketAddrV6,
    /// For a sighting when it was, in milliseconds since 1970; for a binding until when it holds, in seconds.
    pub time: i64,
}
