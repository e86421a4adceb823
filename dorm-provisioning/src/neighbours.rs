//! The neighbour table of a site's router.
//!
//! A router keeps an entry for each IPv6 address that it speaks with on the LAN (RFC 4861 §5.1). A phone costs two, its link-local and its
//! global address. A phone past the table's end answers nobody, although it has power, link and address: so count at design time.

use std::fmt;

use serde::Serialize;

/// More neighbours than the router's table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overflow {
    /// The router, as its maker calls it.
    pub router: String,
    /// How many entries its table holds.
    pub table: u32,
    /// How many devices stand behind it.
    pub phones: u32,
    /// How many entries they need.
    pub needed: u32,
    /// How many of them can be reached at a time.
    pub reachable: u32,
}

/// What is known of a router's table when nobody gave a number: that of the Linux kernel, on which OpenWrt and VyOS stand too.
pub fn table_of(model: &str) -> Option<u32> {
    let model = model.to_ascii_lowercase();
    ["linux", "openwrt", "vyos"].iter().any(|system| model.contains(system)).then_some(LINUX_TABLE)
}

/// Warns when `phones` need more entries than a router's table holds.
pub fn check(phones: usize, router: &str, table: u32) -> Option<Overflow> {
    let phones = u32::try_from(phones).unwrap_or(u32::MAX);
    let needed = phones.saturating_mul(ENTRIES_A_PHONE);
    let reachable = table / ENTRIES_A_PHONE;
    let warning = Overflow { router: router.to_owned(), table, phones, needed, reachable };
    (needed > table).then_some(warning)
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overflow { router, table, phones, needed, reachable } = self;
        write!(
            f,
            "{phones} phones need {needed} entries in the router's neighbour table ({ENTRIES_A_PHONE} a phone, link-local and global), \
             and {router} holds {table}: past about {reachable} phones the others go dead. {REMEDY}"
        )
    }
}

/// What helps, in the order of how well it does.
pub const REMEDY: &str = "Take a router with a bigger table or raise its thresholds (Linux: net.ipv6.neigh.default.gc_thresh1 to 3), \
     split the phones over two VLANs with a router each, make permanent entries for known MACs, and let inbound packets through to known \
     addresses only, so that a scan cannot fill the table (RFC 6583)";

/// Link-local and global address.
pub const ENTRIES_A_PHONE: u32 = 2;

/// Entries that are not permanent and that Linux keeps with its default thresholds (gc_thresh3).
const LINUX_TABLE: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origins_fault_is_seen_at_design_time() {
        assert_eq!(check(64, "small router", 128), None);
        let warning = check(90, "small router", 128).expect("90 phones are too many");
        assert_eq!((warning.needed, warning.reachable), (180, 64));
        let words = warning.to_string();
        for part in ["90 phones", "180 entries", "holds 128", "about 64 phones", "two VLANs"] {
            assert!(words.contains(part), "{words}");
        }
        assert!(check(usize::MAX, "x", u32::MAX - 1).is_some());
        assert_eq!(check(0, "x", 0), None);
    }

    #[test]
    fn known_systems_have_a_number() {
        assert_eq!(table_of("OpenWrt 24.10"), Some(1024));
        assert_eq!(table_of("RTX830"), None);
    }
}
