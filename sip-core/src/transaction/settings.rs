//! What can be set.

use std::time::Duration;

use crate::wire::{Limits, Method};

/// Times and bounds of a transaction layer. The defaults are those of RFC 3261.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The round trip estimate: the first retransmission's distance, 500 ms (RFC 3261 §17.1.1.1).
    pub t1: Duration,
    /// The longest distance of retransmissions other than INVITE's, 4 s.
    pub t2: Duration,
    /// How long a message stays in the network, 5 s.
    pub t4: Duration,
    /// After which time without a response an INVITE gets a 100 from the layer; 200 ms (RFC 3261 §17.2.1), `None` for never.
    pub trying_after: Option<Duration>,
    /// How many client transactions, and how many server transactions, may be alive at once. The layer's own CANCELs may take
    /// as many places again.
    pub max_transactions: usize,
    /// How many more server transactions there may be for requests in a dialog, and for those to [`urgent`](Settings::urgent) numbers:
    /// calls that are up, and calls for help, are taken when others are not.
    pub reserve: usize,
    /// The user parts of emergency numbers.
    pub urgent: Vec<String>,
    /// The Retry-After of a 503 that the layer sends when the table is full, in seconds.
    pub retry_after: u32,
    /// Which requests get 482 from the layer when they arrive a second time by another path (RFC 3261 §8.2.2.2). A proxy names those
    /// alone that it answers itself: it looks for loops of the others (RFC 5393), and what spirals through it may look alike.
    pub detect_merged: fn(&Method) -> bool,
    /// How much of a message is read.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            trying_after: Some(Duration::from_millis(200)),
            max_transactions: 65_536,
            reserve: 16_384,
            urgent: Vec::new(),
            retry_after: 5,
            detect_merged: |_| true,
            limits: Limits::default(),
        }
    }
}
