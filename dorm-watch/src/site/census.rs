//! How many phones of a site are there, and what state the site is in.

use std::collections::BTreeSet;
use std::net::SocketAddrV6;
use std::sync::Arc;

use serde::Serialize;

use super::neighbours::MIN_MUTE;
use super::{Site, Way};
use crate::picture::PhonePicture;
use crate::target::{Health, Target};

/// How a site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteState {
    /// Nothing of it has answered yet, and it has never had a tunnel: it is not installed, or not asked yet.
    NotSeen,
    /// The way is proved, and no phone is missing.
    Up,
    /// The broker holds no tunnel for it.
    TunnelDown,
    /// Neither the IAD nor any phone answers, though nothing says that the tunnel is down.
    IadUnreachable,
    /// The way is proved, and phones that lived or are registered do not answer.
    PhonesMissing,
}

/// The phones of a site, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) known: usize,
    pub(crate) registered: usize,
    pub(crate) answering: usize,
    /// The names of those that do not answer although they have lived.
    pub(crate) mute: Vec<String>,
    /// Not answering, and never seen to live.
    pub(crate) never_seen: usize,
    /// Not asked or not judged yet.
    pub(crate) waiting: usize,
}

impl SiteState {
    /// All of them.
    pub const ALL: [SiteState; 5] = [
        SiteState::NotSeen,
        SiteState::Up,
        SiteState::TunnelDown,
        SiteState::IadUnreachable,
        SiteState::PhonesMissing,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            SiteState::NotSeen => "not_seen",
            SiteState::Up => "up",
            SiteState::TunnelDown => "tunnel_down",
            SiteState::IadUnreachable => "iad_unreachable",
            SiteState::PhonesMissing => "phones_missing",
        }
    }
}

impl Site {
    /// The phones, counted: anew only when one of them changed.
    pub(crate) fn census(&self) -> Arc<Census> {
        let version = self.targets.version();
        let mut counted = self.counted.borrow_mut();
        if counted.0 != Some(version) {
            *counted = (Some(version), Arc::new(self.count()));
        }
        Arc::clone(&counted.1)
    }

    fn count(&self) -> Census {
        let mut census = Census { known: self.picture.phones.len(), ..Census::default() };
        for phone in &self.picture.phones {
            census.registered += usize::from(phone.registered_until.is_some());
            let target = phone.address.and_then(|address| self.targets.get(address));
            match target.map(Target::health) {
                Some(Health::Answering | Health::Suspected) => census.answering += 1,
                Some(Health::Mute) if self.is_expected(phone) => census.mute.push(phone.name.clone()),
                Some(Health::Mute) | None => census.never_seen += 1,
                Some(Health::Unknown) => census.waiting += 1,
            }
        }
        census
    }

    /// Whether some phone that should live has not been judged.
    pub(crate) fn is_judging(&self) -> bool {
        if self.targets.phones(Health::Unknown) + self.targets.phones(Health::Suspected) == 0 {
            return false;
        }
        let undecided = |target: &Target| matches!(target.health(), Health::Unknown | Health::Suspected);
        let mut phones = self.picture.phones.iter().filter(|phone| self.is_expected(phone));
        phones.any(|phone| {
            let target = phone.address.and_then(|address| self.targets.get(address));
            target.is_some_and(undecided)
        })
    }

    /// The state after what is known now; says whether it is another one.
    pub(crate) fn settle_state(&mut self) -> bool {
        // What rounds of an earlier run said of the neighbour table, and there is nothing to begin rounds with.
        if self.table_fault.is_some()
            && self.survey.is_none()
            && self.way == Way::Proved
            && !self.is_judging()
            && self.census().mute.len() < MIN_MUTE
        {
            self.table_fault = None;
        }
        let state = match self.way {
            Way::Down { .. } => SiteState::TunnelDown,
            Way::Cut { .. } if self.ever_seen() || self.has_tunnel() => SiteState::IadUnreachable,
            Way::Cut { .. } => SiteState::NotSeen,
            Way::Doubt { .. } => self.state,
            Way::Proved | Way::Unknown if self.misses_phones() => SiteState::PhonesMissing,
            Way::Proved => SiteState::Up,
            // After a tunnel came up, until something answers.
            Way::Unknown if self.state == SiteState::TunnelDown => self.state,
            Way::Unknown => SiteState::NotSeen,
        };
        std::mem::replace(&mut self.state, state) != state
    }

    pub(crate) fn state(&self) -> SiteState {
        self.state
    }

    /// Whether a phone that has lived does not answer.
    pub(crate) fn misses_phones(&self) -> bool {
        self.targets.phones(Health::Mute) > 0 && !self.census().mute.is_empty()
    }

    /// The addresses of the phones that should live.
    pub(super) fn expected(&self) -> BTreeSet<SocketAddrV6> {
        let expected = self.picture.phones.iter().filter(|phone| self.is_expected(phone));
        expected.filter_map(|phone| phone.address).collect()
    }

    /// Whether anything of the site has ever answered.
    pub(super) fn ever_seen(&self) -> bool {
        self.was_up || self.targets.any_seen()
    }

    fn has_tunnel(&self) -> bool {
        let lease = self.picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
        lease.is_some_and(|lease| lease.up)
    }

    /// A phone that has answered or is registered over UDP should answer, unless its line is known to be elsewhere.
    fn is_expected(&self, phone: &PhonePicture) -> bool {
        let target = phone.address.and_then(|address| self.targets.get(address));
        let seen = target.is_some_and(Target::is_seen);
        let away = phone.line.is_some_and(|line| self.away.contains(&line));
        (seen || phone.registered_until.is_some() && phone.takes_udp) && !away
    }
}
