//! How a site is, for people and programs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use dorm_provisioning::neighbours::ENTRIES_A_PHONE;
use schema::{Alarm, AlarmId, AlarmKind, SiteId};
use serde::Serialize;

use crate::site::{Site, SiteState};
use crate::target::{Health, Target};

/// How a site is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteStatus {
    /// The row's number.
    pub id: SiteId,
    /// What is dialled for it.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// In a word.
    pub state: SiteState,
    /// Since when, in milliseconds since 1970; not before the watch started.
    pub since: i64,
    /// Its tunnel, when it has an account.
    pub tunnel: Option<TunnelStatus>,
    /// Its IAD, when it has a prefix.
    pub iad: Option<IadStatus>,
    /// Its phones.
    pub phones: PhonesStatus,
    /// The neighbour table of its router.
    pub neighbours: NeighboursStatus,
    /// Its open alarms.
    pub alarms: Vec<OpenAlarm>,
}

/// What the broker last saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunnelStatus {
    /// The account.
    pub account: String,
    /// Whether it is live; nothing when the account never logged in.
    pub up: Option<bool>,
    /// The IAD's IPv4 address, present or last.
    pub client: Option<Ipv4Addr>,
    /// The tunnel server's.
    pub server: Option<Ipv4Addr>,
    /// Since when, in milliseconds since 1970.
    pub since: Option<i64>,
}

/// What the IAD says to echo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IadStatus {
    /// Where it is asked.
    pub address: Ipv6Addr,
    /// `answering`, `silent`, `unknown`; `not_asked` when this node cannot send echo requests.
    pub state: &'static str,
    /// How long ago it answered last, in seconds.
    pub answered_seconds_ago: Option<u64>,
}

/// The phones, counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhonesStatus {
    /// Devices, and lines without one.
    pub known: usize,
    /// With a live registration.
    pub registered: usize,
    /// Answering; nothing while the site cannot be reached.
    pub answering: Option<usize>,
    /// Those that lived and do not answer.
    pub mute: Vec<String>,
    /// Not answering, and never seen to live.
    pub never_seen: usize,
    /// Not asked or not judged yet.
    pub waiting: usize,
}

/// The neighbour table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeighboursStatus {
    /// Entries that the phones need.
    pub needed: usize,
    /// Entries in use, as the IAD reported.
    pub entries: Option<u32>,
    /// Entries that there are: reported or declared, the smaller.
    pub capacity: Option<u32>,
    /// When the IAD reported, in milliseconds since 1970.
    pub reported_at: Option<i64>,
}

/// An alarm in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenAlarm {
    /// Its number.
    pub id: AlarmId,
    /// What is wrong.
    pub kind: AlarmKind,
    /// With what.
    pub subject: String,
    /// What was seen.
    pub cause: String,
}

impl SiteStatus {
    pub(crate) fn of<'a>(
        site: &Site,
        since: i64,
        now: Instant,
        now_ms: i64,
        open: impl Iterator<Item = &'a Alarm>,
    ) -> SiteStatus {
        let (picture, census) = (site.picture(), site.census());
        let report = site.fresh_report(now_ms);
        let reachable = !matches!(site.state(), SiteState::TunnelDown | SiteState::IadUnreachable);
        SiteStatus {
            id: picture.id,
            code: picture.code.clone(),
            name: picture.name.clone(),
            state: site.state(),
            since,
            tunnel: picture.tunnel.as_ref().map(|tunnel| {
                let lease = tunnel.lease.as_ref();
                TunnelStatus {
                    account: tunnel.account.clone(),
                    up: lease.map(|lease| lease.up),
                    client: lease.and_then(|lease| lease.client),
                    server: lease.and_then(|lease| lease.server),
                    since: lease.map(|lease| lease.changed_at),
                }
            }),
            iad: picture.iad.map(|address| {
                let target = site.iad_target();
                let at = target.and_then(|target| target.answered_at);
                IadStatus {
                    address,
                    state: match target.map(Target::health) {
                        None => "not_asked",
                        // Nobody says how it is while it cannot be reached.
                        Some(Health::Answering | Health::Suspected) if !reachable => "unknown",
                        Some(Health::Unknown) => "unknown",
                        Some(Health::Answering | Health::Suspected) => "answering",
                        Some(Health::Mute) => "silent",
                    },
                    answered_seconds_ago: at.map(|at| now.saturating_duration_since(at).as_secs()),
                }
            }),
            phones: PhonesStatus {
                known: census.known,
                registered: census.registered,
                answering: reachable.then_some(census.answering),
                mute: census.mute.clone(),
                never_seen: census.never_seen,
                waiting: census.waiting,
            },
            neighbours: NeighboursStatus {
                needed: census.known * ENTRIES_A_PHONE as usize,
                entries: report.map(|report| report.entries),
                capacity: crate::site::neighbours::capacity(picture.table, report),
                reported_at: report.map(|report| report.at),
            },
            alarms: open
                .map(|alarm| OpenAlarm {
                    id: alarm.id,
                    kind: alarm.kind,
                    subject: alarm.subject.clone(),
                    cause: alarm.cause.clone(),
                })
                .collect(),
        }
    }
}
