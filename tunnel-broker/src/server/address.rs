//! This machine's own IPv6 addresses.

use std::net::Ipv6Addr;

/// The global addresses of this machine, in the system's order; none when the system does not tell.
pub(super) fn of_this_machine() -> Vec<Ipv6Addr> {
    std::fs::read_to_string("/proc/net/if_inet6").map(|text| global(&text)).unwrap_or_default()
}

/// Reads the system's table: address, interface, prefix length, scope and flags in hexadecimal, interface.
fn global(table: &str) -> Vec<Ipv6Addr> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u128::from_str_radix(words.next()?, 16).ok()?;
            let scope = words.nth(2)?;
            (scope == GLOBAL).then_some(Ipv6Addr::from(address))
        })
        .collect()
}

const GLOBAL: &str = "00";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_addresses_count() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe80000000000000020c29fffe000001 02 40 20 80     eth0\n\
                     20010db8000c00000000000000000001 02 40 00 80     eth0\n\
                     nonsense\n20010db8000c\n";
        assert_eq!(global(table), ["2001:db8:c::1".parse::<Ipv6Addr>().unwrap()]);
    }
}
