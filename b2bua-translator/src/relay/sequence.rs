//! Sequence numbers: what was expected, lost, doubled, out of order (RFC 3550 appendices A.1 and A.3).

/// Follows the sequence numbers of one direction, across changes of the source and restarts.
#[derive(Debug, Default)]
pub(super) struct SequenceTracker {
    current: Option<Run>,
    /// Sums over the runs that have ended.
    expected: u64,
    unique: u64,
    duplicates: u64,
    reordered: u64,
    restarts: u64,
}

/// Numbers that follow one another.
#[derive(Debug)]
struct Run {
    ssrc: u32,
    base: u16,
    highest: u16,
    cycles: u64,
    unique: u64,
    /// Which of the 64 numbers up to `highest` have come, the newest in bit 0.
    window: u64,
    /// After a jump: the number that would confirm it.
    jump: Option<u16>,
}

/// How a number stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is the newest, or the first of its run.
    Newest,
    /// It was overtaken, or repeats one that came.
    Old,
    /// It is far off, and nothing confirms it yet.
    Stray,
}

impl SequenceTracker {
    pub(super) fn packet(&mut self, ssrc: u32, number: u16) -> Order {
        let Some(run) = self.current.as_mut().filter(|run| run.ssrc == ssrc) else {
            self.start(ssrc, number);
            return Order::Newest;
        };
        let ahead = number.wrapping_sub(run.highest);
        let behind = run.highest.wrapping_sub(number);
        if ahead == 0 {
            self.duplicates += 1;
            Order::Old
        } else if ahead < MAX_DROPOUT {
            if number < run.highest {
                run.cycles += 1 << 16;
            }
            run.highest = number;
            run.window = run.window.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            run.unique += 1;
            run.jump = None;
            Order::Newest
        } else if behind < MAX_MISORDER {
            let seen = run.window.checked_shr(u32::from(behind)).unwrap_or(0) & 1 == 1;
            // Older than the run's first: neither expected nor lost.
            let before_base = u64::from(behind) >= run.expected();
            if seen {
                self.duplicates += 1;
            } else {
                run.window |= 1_u64.checked_shl(u32::from(behind)).unwrap_or(0);
                self.reordered += 1;
                if !before_base {
                    run.unique += 1;
                }
            }
            Order::Old
        } else if run.jump == Some(number) {
            // Two in a row after a jump: the sender has started over without saying so.
            self.start(ssrc, number);
            Order::Newest
        } else {
            run.jump = Some(number.wrapping_add(1));
            Order::Stray
        }
    }

    /// How many packets the sender sent, as far as the numbers tell.
    pub(super) fn expected(&self) -> u64 {
        self.expected + self.current.as_ref().map_or(0, Run::expected)
    }

    /// Expected less received, duplicates not counted.
    pub(super) fn lost(&self) -> u64 {
        let unique = self.unique + self.current.as_ref().map_or(0, |run| run.unique);
        self.expected().saturating_sub(unique)
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// How often a new source or a new count has begun after the first.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    fn start(&mut self, ssrc: u32, number: u16) {
        let run = Run { ssrc, base: number, highest: number, cycles: 0, unique: 1, window: 1, jump: None };
        if let Some(old) = self.current.replace(run) {
            self.expected += old.expected();
            self.unique += old.unique.min(old.expected());
            self.restarts += 1;
        }
    }
}

impl Run {
    fn expected(&self) -> u64 {
        (self.cycles + u64::from(self.highest)).saturating_sub(u64::from(self.base)) + 1
    }
}

/// A gap that is still taken as loss (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3_000;
/// A step back that is still taken as reordering (RFC 3550 A.1).
const MAX_MISORDER: u16 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(numbers: impl IntoIterator<Item = u16>) -> SequenceTracker {
        let mut tracker = SequenceTracker::default();
        for number in numbers {
            tracker.packet(7, number);
        }
        tracker
    }

    fn counts(tracker: &SequenceTracker) -> (u64, u64, u64, u64) {
        (tracker.expected(), tracker.lost(), tracker.duplicates(), tracker.reordered())
    }

    #[test]
    fn in_order_across_the_wrap() {
        assert_eq!(counts(&run((0..300).map(|n| 65_500_u16.wrapping_add(n)))), (300, 0, 0, 0));
        assert_eq!(counts(&run((0..200_000_u32).map(|n| n as u16))), (200_000, 0, 0, 0));
    }

    #[test]
    fn loss_duplicates_and_order() {
        assert_eq!(counts(&run([1, 2, 5, 6])), (6, 2, 0, 0));
        assert_eq!(counts(&run([1, 2, 2, 3, 3])), (3, 0, 2, 0));
        assert_eq!(counts(&run([1, 3, 2, 4])), (4, 0, 0, 1));
        assert_eq!(counts(&run([1, 3, 2, 2, 4])), (4, 0, 1, 1));
        assert_eq!(counts(&run([65_534, 0, 65_535, 1])), (4, 0, 0, 1));
        assert_eq!(counts(&run([65_535, 65_535, 1, 0])), (3, 0, 1, 1));
        // A packet from before the first one does not count against later losses.
        assert_eq!(counts(&run([10, 9, 12])), (3, 1, 0, 1));
        // Older than the window of 64: taken as reordered.
        assert_eq!(counts(&run([1, 2, 90, 3])), (90, 86, 0, 1));
    }

    #[test]
    fn a_jump_needs_a_second_packet() {
        let mut tracker = run([100, 101]);
        assert_eq!(tracker.packet(7, 40_000), Order::Stray);
        assert_eq!(tracker.packet(7, 102), Order::Newest);
        assert_eq!(counts(&tracker), (3, 0, 0, 0));
        assert_eq!(tracker.packet(7, 20_000), Order::Stray);
        assert_eq!(tracker.packet(7, 20_001), Order::Newest);
        assert_eq!((tracker.restarts(), counts(&tracker)), (1, (4, 0, 0, 0)));
    }

    #[test]
    fn a_new_source_starts_anew() {
        let mut tracker = run([1, 4]);
        assert_eq!(tracker.packet(8, 60_000), Order::Newest);
        tracker.packet(8, 60_002);
        assert_eq!((tracker.restarts(), counts(&tracker)), (1, (7, 3, 0, 0)));
    }

    proptest! {
        #[test]
        fn sums_hold_for_any_numbers(numbers in proptest::collection::vec((0_u32..3, any::<u16>()), 0..500)) {
            let mut tracker = SequenceTracker::default();
            for (ssrc, number) in &numbers {
                tracker.packet(*ssrc, *number);
            }
            prop_assert!(tracker.lost() <= tracker.expected());
            prop_assert!(tracker.duplicates() + tracker.reordered() <= numbers.len() as u64);
        }

        #[test]
        fn losses_are_counted_exactly(start in any::<u16>(), keep in proptest::collection::vec(any::<bool>(), 1..2_000)) {
            let mut tracker = SequenceTracker::default();
            tracker.packet(1, start);
            let mut lost = 0;
            let mut pending = 0;
            for (index, keep) in keep.iter().enumerate() {
                if *keep {
                    tracker.packet(1, start.wrapping_add(index as u16 + 1));
                    lost += pending;
                    pending = 0;
                } else {
                    pending += 1;
                }
            }
            prop_assert_eq!(tracker.lost(), lost);
        }
    }
}
