//! How many connections a role may have, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections that a role may have; shared by its workers, touched only when a connection begins or ends.
#[derive(Debug, Clone)]
pub struct ConnectionSlots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: usize,
    max_per_source: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// The limit in all is reached.
    Total,
    /// The limit of this source is reached.
    Source,
}

impl ConnectionSlots {
    /// So many in all, and so many from one address (of IPv6, from one /64).
    pub fn new(max: usize, max_per_source: usize) -> Self {
        ConnectionSlots { inner: Arc::new(Inner { max, max_per_source, taken: Mutex::default() }) }
    }

    /// A slot for one connection with `peer`, held until it is dropped.
    ///
    /// # Errors
    /// [`NoSlot`] when a limit is reached.
    pub fn take(&self, peer: IpAddr) -> Result<Slot, NoSlot> {
        let source = source(peer);
        let mut taken = self.inner.taken();
        if taken.total >= self.inner.max {
            return Err(NoSlot::Total);
        }
        let of_source = taken.by_source.entry(source).or_default();
        if *of_source >= self.inner.max_per_source {
            return Err(NoSlot::Source);
        }
        *of_source += 1;
        taken.total += 1;
        Ok(Slot { inner: Arc::clone(&self.inner), source })
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The counts are right after every statement, so a panic elsewhere spoils nothing.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Slot {
    inner: Arc<Inner>,
    source: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.inner.taken();
        taken.total = taken.total.saturating_sub(1);
        if let Some(of_source) = taken.by_source.get_mut(&self.source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

/// An IPv6 host has a whole /64 to call from.
fn source(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_in_all_and_by_source_and_come_back() {
        let slots = ConnectionSlots::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = slots.take(ip("2001:db8::1")).unwrap();
        let _second = slots.take(ip("2001:db8::2")).unwrap();
        assert_eq!(slots.take(ip("2001:db8::3")).unwrap_err(), NoSlot::Source);
        let _third = slots.take(ip("192.0.2.1")).unwrap();
        assert_eq!(slots.take(ip("192.0.2.2")).unwrap_err(), NoSlot::Total);
        drop(first);
        let _fourth = slots.take(ip("2001:db8::3")).unwrap();
        assert_eq!(slots.inner.taken().by_source.len(), 2);
    }
}
