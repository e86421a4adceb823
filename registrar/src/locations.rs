//! The location table: where each line can be reached, in memory, for every worker of the process.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use schema::{Apply, Binding, Change, Contents, LineId};

/// Bindings of every line. Lookups clone an `Arc` out and hold no lock.
#[derive(Debug, Default)]
pub struct Locations {
    lines: DashMap<LineId, Arc<[Arc<Binding>]>>,
    /// How many bindings came from an address, and from a /64.
    sources: DashMap<IpAddr, usize>,
    networks: DashMap<u64, usize>,
}

impl Locations {
    /// An empty table.
    pub fn new() -> Locations {
        Locations::default()
    }

    /// The line's live bindings, the best `q` first, the newest first among equals.
    pub fn lookup(&self, line: LineId, unix_now: Duration) -> Vec<Arc<Binding>> {
        let mut live: Vec<Arc<Binding>> =
            self.all(line).iter().filter(|binding| is_live(binding, unix_now)).map(Arc::clone).collect();
        live.sort_by_key(|binding| (std::cmp::Reverse(binding.q), std::cmp::Reverse(binding.expires_at)));
        live
    }

    /// Whether a binding came from this address.
    pub fn has_source(&self, address: IpAddr) -> bool {
        self.sources.contains_key(&address)
    }

    /// Whether a binding came from the /64 that begins with this address.
    pub fn has_network(&self, network: Ipv6Addr) -> bool {
        self.networks.contains_key(&high(network))
    }

    /// How many lines have a binding, live or not yet swept.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Puts a binding in, in place of one with the same line and contact.
    pub fn put(&self, binding: Binding) {
        let mut entry = self.lines.entry(binding.line).or_insert_with(|| Arc::from([]));
        let others = entry.iter().filter(|other| other.contact != binding.contact).cloned();
        let bindings: Arc<[Arc<Binding>]> = others.chain([Arc::new(binding.clone())]).collect();
        self.recount(&entry, &bindings);
        *entry = bindings;
    }

    /// Takes one binding away.
    pub fn remove(&self, line: LineId, contact: &str) {
        if let Some(mut entry) = self.lines.get_mut(&line) {
            let left: Arc<[Arc<Binding>]> =
                entry.iter().filter(|other| other.contact != contact).cloned().collect();
            self.recount(&entry, &left);
            *entry = left;
        }
        self.lines.remove_if(&line, |_, bindings| bindings.is_empty());
    }

    /// Takes all bindings of a line away.
    pub fn remove_line(&self, line: LineId) {
        if let Some((_, bindings)) = self.lines.remove(&line) {
            self.recount(&bindings, &[]);
        }
    }

    /// Sets the true expiry of a binding that is stored with a margin, unless a later REGISTER has changed it meanwhile.
    pub(crate) fn narrow(&self, exact: Binding) {
        let current = self.all(exact.line);
        let stored = current.iter().find(|binding| binding.contact == exact.contact);
        if stored.is_some_and(|stored| (&stored.call_id, stored.cseq) == (&exact.call_id, exact.cseq)) {
            self.put(exact);
        }
    }

    /// Drops what has lapsed; gives how many bindings went. Lookups never see lapsed ones, so this only frees memory.
    pub fn sweep(&self, unix_now: Duration) -> usize {
        let mut swept = 0;
        self.lines.retain(|_, bindings| {
            let lapsed = bindings.iter().filter(|binding| !is_live(binding, unix_now)).count();
            if lapsed > 0 {
                swept += lapsed;
                let live: Arc<[_]> =
                    bindings.iter().filter(|binding| is_live(binding, unix_now)).cloned().collect();
                self.recount(bindings, &live);
                *bindings = live;
            }
            !bindings.is_empty()
        });
        swept
    }

    /// Keeps count of where bindings came from. The line's entry is held, so that two changes of one line do not mix.
    fn recount(&self, before: &[Arc<Binding>], after: &[Arc<Binding>]) {
        let sources = |bindings: &[Arc<Binding>]| -> Vec<IpAddr> {
            bindings.iter().filter_map(|binding| Some(binding.source?.ip())).collect()
        };
        for address in sources(after) {
            *self.sources.entry(address).or_default() += 1;
            if let IpAddr::V6(address) = address {
                *self.networks.entry(high(address)).or_default() += 1;
            }
        }
        for address in sources(before) {
            less(&self.sources, address);
            if let IpAddr::V6(address) = address {
                less(&self.networks, high(address));
            }
        }
    }

    /// Every binding of the line, lapsed ones too.
    pub(crate) fn all(&self, line: LineId) -> Arc<[Arc<Binding>]> {
        self.lines.get(&line).map_or_else(|| Arc::from([]), |entry| Arc::clone(&entry))
    }
}

/// Follows the store. A binding that another node may have refreshed in its memory alone lives as long as the store says.
impl Apply for Locations {
    fn apply(&self, change: &Change) {
        match change {
            Change::PutBinding(binding) => {
                self.put(Binding { expires_at: binding.stored_until, ..binding.clone() })
            }
            Change::RemoveBinding { line, contact } => self.remove(*line, contact),
            Change::RemoveBindings { line } => self.remove_line(*line),
            _ => {}
        }
    }

    fn reload(&self, contents: &Contents) {
        self.lines.clear();
        self.sources.clear();
        self.networks.clear();
        for binding in &contents.bindings {
            self.put(Binding { expires_at: binding.stored_until, ..binding.clone() });
        }
    }
}

/// The first half of an address.
fn high(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

fn less<K: Eq + std::hash::Hash>(counts: &DashMap<K, usize>, key: K) {
    if let dashmap::Entry::Occupied(mut entry) = counts.entry(key) {
        match entry.get().checked_sub(1) {
            None | Some(0) => {
                entry.remove();
            }
            Some(left) => *entry.get_mut() = left,
        }
    }
}

fn is_live(binding: &Binding, unix_now: Duration) -> bool {
    binding.expires_at > unix_now.as_secs() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::tests::binding;

    #[test]
    fn knows_where_bindings_came_from() {
        let locations = Locations::new();
        let from = |contact: &str, source: &str, line| {
            let source = Some(source.parse().unwrap());
            Binding { source, line: LineId(line), ..binding(contact, 100) }
        };
        let is_known = |address: &str| locations.has_source(address.parse().unwrap());
        let network = "2001:db8:1::".parse().unwrap();
        locations.put(from("sip:a@[::1]", "[2001:db8:1::7]:5060", 1));
        locations.put(from("sip:b@[::1]", "[2001:db8:1::7]:5062", 2));
        locations.put(from("sip:a@[::1]", "192.0.2.7:5060", 1));
        assert!(is_known("2001:db8:1::7") && is_known("192.0.2.7") && locations.has_network(network));
        locations.remove_line(LineId(2));
        assert!(!is_known("2001:db8:1::7") && !locations.has_network(network));
        locations.put(from("sip:b@[::1]", "[2001:db8:1::7]:5062", 2));
        locations.sweep(Duration::from_secs(100));
        assert!(!is_known("2001:db8:1::7") && !is_known("192.0.2.7") && locations.networks.is_empty());
    }

    #[test]
    fn the_best_live_binding_comes_first() {
        let locations = Locations::new();
        locations.put(Binding { q: 500, ..binding("sip:a@[::1]", 100) });
        locations.put(Binding { q: 1000, ..binding("sip:b@[::1]", 100) });
        locations.put(Binding { q: 1000, ..binding("sip:c@[::1]", 50) });
        let contacts = |now| {
            let live = locations.lookup(LineId(1), Duration::from_secs(now));
            live.iter().map(|binding| binding.contact.clone()).collect::<Vec<_>>()
        };
        assert_eq!(contacts(10), ["sip:b@[::1]", "sip:c@[::1]", "sip:a@[::1]"]);
        assert_eq!(contacts(50), ["sip:b@[::1]", "sip:a@[::1]"]);
        assert_eq!(locations.sweep(Duration::from_secs(50)), 1);
        locations.remove(LineId(1), "sip:a@[::1]");
        assert_eq!(contacts(10), ["sip:b@[::1]"]);
        assert_eq!(locations.sweep(Duration::from_secs(100)), 1);
        assert_eq!(locations.lines(), 0);
    }
}
