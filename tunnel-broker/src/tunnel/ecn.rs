//! Explicit congestion notification through a tunnel, in the normal mode of RFC 6040.
//!
//! Entering, the outer header takes the inner one's DSCP and ECN (§4.1; the DSCP so that voice keeps its place in a carrier's
//! queues). Leaving, the inner DSCP stays and the two ECN fields are combined (§4.2).

/// Congestion experienced.
const CE: u8 = 0b11;
/// Not ECN-capable.
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;

/// The ECN bits of a traffic class or TOS octet.
pub(super) const MASK: u8 = 0b11;

/// The inner traffic class of a packet that leaves a tunnel (RFC 6040 figure 4). `None` when it must be dropped.
pub(super) fn leave(inner: u8, outer: u8) -> Option<u8> {
    let ecn = match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) | (CE, _) => CE,
        (_, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    Some((inner & !MASK) | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECT_0: u8 = 0b10;

    #[test]
    fn figure_4_of_rfc_6040() {
        let columns = [NOT_ECT, ECT_0, ECT_1, CE];
        for (inner, row) in [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ] {
            assert_eq!(columns.map(|outer| leave(inner, outer)), row, "inner {inner:02b}");
            let with_dscp = columns.map(|outer| leave(0xb8 | inner, 0x20 | outer));
            assert_eq!(with_dscp, row.map(|ecn| Some(0xb8 | ecn?)), "the inner DSCP stays");
        }
    }
}
