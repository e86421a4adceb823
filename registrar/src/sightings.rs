//! Valid credentials from where they may not be used: what the watch tells a phone at the wrong site by.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use schema::{Directory, LineId, Sighting};

/// Decides which sightings are worth a write. One a worker; what is on disk, the workers and nodes share through the directory.
///
/// Only who knows a line's password gets here, so that a stranger causes no write. Who knows it causes one in ten seconds at most, however
/// often the source changes.
#[derive(Debug)]
pub struct Sightings {
    directory: Arc<Directory>,
    /// Lines whose sighting is on its way to the disk.
    pending: HashSet<LineId>,
}

impl Sightings {
    /// Nothing seen yet but what the directory knows.
    pub fn new(directory: Arc<Directory>) -> Sightings {
        Sightings { directory, pending: HashSet::new() }
    }

    /// Takes note of a line's valid credential from outside its site. Gives what to save, after which [`saved`](Sightings::saved) must be
    /// told; nothing when the same is known already. `now` is in milliseconds since 1970.
    pub fn see(&mut self, now: i64, line: LineId, source: IpAddr) -> Option<Sighting> {
        let source = source.to_canonical();
        if self.pending.contains(&line) || self.pending.len() >= MAX_PENDING {
            return None;
        }
        if let Some(known) = self.directory.sighting(line) {
            let pause = if known.source == source { SAME_SOURCE } else { OTHER_SOURCE };
            // Another node's clock may be ahead of ours.
            if now.abs_diff(known.seen_at) < pause {
                return None;
            }
        }
        self.pending.insert(line);
        Some(Sighting { line, source, seen_at: now })
    }

    /// The save has ended, well or not.
    pub fn saved(&mut self, line: LineId) {
        self.pending.remove(&line);
    }
}

/// Milliseconds between two writes of a line's sighting from one source.
const SAME_SOURCE: u64 = 10 * 60 * 1000;
/// Milliseconds between two writes of a line's sightings from changing sources: two phones may share a credential.
const OTHER_SOURCE: u64 = 10 * 1000;
/// Sightings of one worker that may be on their way to the disk.
const MAX_PENDING: usize = 256;

#[cfg(test)]
mod tests {
    use schema::Change;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const LINE: LineId = LineId(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Sees and saves, as the core and the store do; says whether anything was written.
    fn see(sightings: &mut Sightings, now: i64, line: LineId, source: &str) -> bool {
        let Some(sighting) = sightings.see(now, line, ip(source)) else { return false };
        sightings.directory.apply(&Change::PutSighting(sighting));
        sightings.saved(line);
        true
    }

    #[test]
    fn a_line_is_written_once_in_ten_minutes_unless_it_moves() {
        let directory = Arc::new(Directory::default());
        let mut sightings = Sightings::new(Arc::clone(&directory));
        assert!(see(&mut sightings, NOW, LINE, "2001:db8:2::7"));
        assert!(!see(&mut sightings, NOW + 599_999, LINE, "2001:db8:2::7"));
        assert!(see(&mut sightings, NOW + 600_000, LINE, "2001:db8:2::7"));
        let moved = NOW + 610_000;
        assert!(!see(&mut sightings, moved - 1, LINE, "::ffff:192.0.2.7"), "who moves all the time waits");
        assert!(see(&mut sightings, moved, LINE, "::ffff:192.0.2.7"));
        assert_eq!(directory.sighting(LINE).unwrap().source, ip("192.0.2.7"));
        assert!(see(&mut sightings, moved, LineId(2), "192.0.2.7"), "another line is another matter");
        // What another worker or node wrote counts, although its clock is ahead.
        let ahead = Sighting { line: LineId(3), source: ip("192.0.2.7"), seen_at: NOW + 5_000 };
        directory.apply(&Change::PutSighting(ahead));
        assert!(!see(&mut sightings, NOW, LineId(3), "192.0.2.7"));
    }

    #[test]
    fn what_is_on_its_way_is_bounded_and_not_sent_twice() {
        let mut sightings = Sightings::new(Arc::default());
        assert!(sightings.see(NOW, LINE, ip("192.0.2.7")).is_some());
        assert!(sightings.see(NOW, LINE, ip("192.0.2.8")).is_none());
        let more = (2..10_000).filter(|id| sightings.see(NOW, LineId(*id), ip("192.0.2.7")).is_some());
        assert_eq!(more.count(), MAX_PENDING - 1);
        // The save failed: the next request tries again.
        sightings.saved(LINE);
        assert!(sightings.see(NOW, LINE, ip("192.0.2.8")).is_some());
    }
}
