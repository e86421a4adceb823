//! What a plane has done.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::tunnel::Counters;

/// What a plane has done since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaneCounters {
    /// The packets that were judged.
    pub relay: Counters,
    /// The packets that passed and that the system did not take.
    pub send: SendCounters,
    /// Packets from the IPv4 side that were lost because they came faster than they were looked at.
    pub overflows: u64,
    /// Packets that the system had merged from several TCP segments, and that were taken apart again.
    pub merged: u64,
    /// Tunnels there are now.
    pub tunnels: usize,
}

/// Packets that the system did not take, by its reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCounters {
    /// To the IPv4 side: not permitted, usually by a firewall rule (EPERM).
    pub not_permitted: u64,
    /// To the IPv4 side: no buffers (ENOBUFS, ENOMEM).
    pub no_buffers: u64,
    /// To the IPv4 side: too long, even in fragments (EMSGSIZE).
    pub too_long: u64,
    /// To the IPv4 side: no route there (ENETUNREACH, EHOSTUNREACH, …).
    pub unreachable: u64,
    /// To the IPv4 side: any other reason.
    pub other: u64,
    /// To the inside: the device did not take it.
    pub inside: u64,
}

/// The same, counted by both threads.
#[derive(Debug, Default)]
pub(super) struct SendErrors {
    not_permitted: AtomicU64,
    no_buffers: AtomicU64,
    too_long: AtomicU64,
    unreachable: AtomicU64,
    other: AtomicU64,
    inside: AtomicU64,
}

impl SendErrors {
    /// Counts a packet that did not go out to the IPv4 side.
    pub(super) fn outside(&self, error: &io::Error) {
        let counter = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => &self.not_permitted,
            Some(libc::ENOBUFS | libc::ENOMEM) => &self.no_buffers,
            Some(libc::EMSGSIZE) => &self.too_long,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN) => {
                &self.unreachable
            }
            _ => &self.other,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a packet that the device did not take.
    pub(super) fn inside(&self) {
        self.inside.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> SendCounters {
        SendCounters {
            not_permitted: self.not_permitted.load(Relaxed),
            no_buffers: self.no_buffers.load(Relaxed),
            too_long: self.too_long.load(Relaxed),
            unreachable: self.unreachable.load(Relaxed),
            other: self.other.load(Relaxed),
            inside: self.inside.load(Relaxed),
        }
    }
}
