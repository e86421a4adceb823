//! What stands behind the extension headers of an IPv6 packet (RFC 8200 §4).

/// The upper-layer header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upper {
    /// Its protocol.
    pub(super) protocol: u8,
    /// Where it begins, in bytes behind the fixed header.
    pub(super) offset: usize,
    /// Whether the packet is the first fragment of a longer one.
    pub(super) is_fragment: bool,
}

/// Looks behind the extension headers. `None` when the chain is cut off or does not end, and for later fragments, which tell nothing
/// of what they are. Behind an unknown header nothing can be looked for: it counts as the upper layer.
pub(super) fn upper(next_header: u8, payload: &[u8]) -> Option<Upper> {
    let mut upper = Upper { protocol: next_header, offset: 0, is_fragment: false };
    for _ in 0..MAX_EXTENSIONS {
        let rest = payload.get(upper.offset..)?;
        let len = match (upper.protocol, rest) {
            (HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS, [_, len, ..]) => 8 * (usize::from(*len) + 1),
            (FRAGMENT, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) >> 3 == 0 => {
                upper.is_fragment = true;
                8
            }
            (HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT, _) => return None,
            _ => return Some(upper),
        };
        upper.protocol = *rest.first()?;
        upper.offset += len;
    }
    None
}

/// TCP.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

const MAX_EXTENSIONS: usize = 8;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: [u8; 8] = [TCP, 0, 1, 4, 0, 0, 0, 0];

    fn found(next_header: u8, payload: &[u8]) -> Option<(u8, usize, bool)> {
        upper(next_header, payload).map(|upper| (upper.protocol, upper.offset, upper.is_fragment))
    }

    #[test]
    fn the_chain_is_walked_to_its_end() {
        assert_eq!(found(TCP, &[]), Some((TCP, 0, false)));
        for extension in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
            assert_eq!(found(extension, &OPTIONS), Some((TCP, 8, false)), "{extension}");
        }
        let long = [&[DESTINATION_OPTIONS, 1][..], &[0; 14], &OPTIONS].concat();
        assert_eq!(found(HOP_BY_HOP, &long), Some((TCP, 24, false)));
        assert_eq!(found(59, &[1, 2, 3]), Some((59, 0, false)), "no next header");
    }

    #[test]
    fn fragments() {
        assert_eq!(found(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 0, 1]), Some((UDP, 8, true)), "the first one");
        assert_eq!(found(FRAGMENT, &[UDP, 0, 0, 0, 0, 0, 0, 1]), Some((UDP, 8, true)), "an atomic one");
        assert_eq!(found(FRAGMENT, &[UDP, 0, 0, 9, 0, 0, 0, 1]), None, "a later one");
    }

    #[test]
    fn what_is_cut_off_or_endless_is_given_up() {
        assert_eq!(found(HOP_BY_HOP, &[]), None);
        assert_eq!(found(HOP_BY_HOP, &OPTIONS[..7]), None);
        assert_eq!(found(FRAGMENT, &[UDP, 0, 0]), None);
        assert_eq!(found(ROUTING, &[TCP, 200, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(found(HOP_BY_HOP, &[0; 8].repeat(30)), None);
    }

    proptest! {
        #[test]
        fn what_is_found_lies_within(next_header: u8, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(upper) = upper(next_header, &payload) {
                prop_assert!(upper.offset <= payload.len());
                prop_assert_eq!(upper.offset % 8, 0);
            }
        }
    }
}
