//! One worker's latest messages.

use std::collections::VecDeque;

use super::Traced;

/// Messages within a bound of bytes; the oldest make room.
#[derive(Debug)]
pub(super) struct Ring {
    messages: VecDeque<Traced>,
    bytes: usize,
    limit: usize,
}

impl Ring {
    pub(super) fn new(limit: usize) -> Ring {
        Ring { messages: VecDeque::new(), bytes: 0, limit }
    }

    pub(super) fn push(&mut self, traced: Traced) {
        self.bytes += cost(&traced);
        self.messages.push_back(traced);
        while self.bytes > self.limit
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= cost(&oldest);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Traced> {
        self.messages.iter()
    }
}

/// What a message takes of the bound, in bytes.
fn cost(traced: &Traced) -> usize {
    traced.bytes.len() + size_of::<Traced>()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use sip_core::flow::{Flow, Transport};

    use super::super::Way;
    use super::*;

    #[test]
    fn the_oldest_make_room_and_the_bound_holds() {
        let addr = "[::1]:5060".parse().unwrap();
        let flow = Flow { transport: Transport::Udp, local: addr, remote: addr, connection: None };
        let message = |length: usize| Traced {
            at: SystemTime::now(),
            role: "proxy".into(),
            way: Way::Sent,
            flow,
            bytes: Bytes::from(vec![b'x'; length]),
        };
        let each = cost(&message(100));
        let mut ring = Ring::new(3 * each);
        (0..10).for_each(|_| ring.push(message(100)));
        assert_eq!((ring.iter().count(), ring.bytes), (3, 3 * each));
        ring.push(message(3 * each));
        assert_eq!((ring.iter().count(), ring.bytes), (0, 0), "one that is too long is not kept");
        ring.push(message(1));
        assert_eq!(ring.iter().count(), 1);
    }
}
