//! The neighbour-table fault told from phones that are switched off.
//!
//! A router whose table is full serves as many phones as fit and lets the others go dead, although each has power, link and address. Seen
//! from the centre: the number of phones that answer stays the same, and some are mute. That alone is also what switched-off phones look
//! like, so one more piece of evidence is needed: the router says so, or which phones answer changes while their number does not (one
//! comes in when another's entry goes), or the number is the one that the router's table can hold.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddrV6;

use dorm_provisioning::neighbours::ENTRIES_A_PHONE;
use serde_json::{Value, json};

use crate::picture::Report;

/// One round through the phones of a site that are known to exist: each was asked until it answered or counted as mute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// How many were asked.
    pub(crate) asked: usize,
    /// Who answered.
    pub(crate) answering: BTreeSet<SocketAddrV6>,
    /// How often the IAD was asked meanwhile, and how often it did not answer.
    pub(crate) iad_asked: u32,
    pub(crate) iad_silent: u32,
}

impl Round {
    pub(crate) fn mute(&self) -> usize {
        self.asked.saturating_sub(self.answering.len())
    }
}

/// What the rounds say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The table is full.
    Full(Evidence),
    /// Phones are mute, and the table is not why: they are switched off, unplugged or broken.
    Off,
    /// More rounds are needed.
    Open,
}

/// Why the table counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The router says so.
    Reported {
        /// Entries in use.
        entries: u32,
        /// Entries that there are.
        capacity: u32,
    },
    /// The number of phones that answer stays, and who answers changes.
    Rotating {
        /// How many answer.
        ceiling: usize,
        /// How many answered in some rounds and not in others.
        changed: usize,
        /// In how many rounds.
        rounds: usize,
    },
    /// As many phones answer as the table can hold.
    AtCapacity {
        /// How many answer.
        ceiling: usize,
        /// The table's entries.
        capacity: u32,
        /// In how many rounds.
        rounds: usize,
    },
}

impl Evidence {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Evidence::Reported { .. } => "reported",
            Evidence::Rotating { .. } => "rotating",
            Evidence::AtCapacity { .. } => "at_capacity",
        }
    }

    /// For programs, and for a watch that starts while the alarm is open.
    pub(crate) fn details(self) -> Value {
        match self {
            Evidence::Reported { entries, capacity } => json!({ "entries": entries, "capacity": capacity }),
            Evidence::Rotating { ceiling, changed, rounds } => {
                json!({ "ceiling": ceiling, "changed": changed, "rounds": rounds })
            }
            Evidence::AtCapacity { ceiling, capacity, rounds } => {
                json!({ "ceiling": ceiling, "capacity": capacity, "rounds": rounds })
            }
        }
    }

    /// What an alarm's details say of rounds. What the IAD reported is in its lease.
    pub(crate) fn of_details(details: &Value) -> Option<Evidence> {
        let numbers = details.get("seen")?;
        let number = |name: &str| usize::try_from(numbers.get(name)?.as_u64()?).ok();
        let (ceiling, rounds) = (number("ceiling")?, number("rounds")?);
        match details.get("evidence")?.as_str()? {
            "rotating" => Some(Evidence::Rotating { ceiling, changed: number("changed")?, rounds }),
            "at_capacity" => {
                let capacity = u32::try_from(number("capacity")?).ok()?;
                Some(Evidence::AtCapacity { ceiling, capacity, rounds })
            }
            _ => None,
        }
    }
}

/// The capacity to reckon with: of a declared and a reported one the smaller, because either may be the one that binds.
pub(crate) fn capacity(table: Option<u32>, report: Option<Report>) -> Option<u32> {
    let reported = report.and_then(|report| report.capacity);
    [table, reported].into_iter().flatten().min()
}

/// What a fresh report says by itself; `mute` are phones that exist and do not answer.
pub(crate) fn reported(table: Option<u32>, report: Option<Report>, mute: usize) -> Option<Evidence> {
    let (report, capacity) = (report?, capacity(table, report)?);
    let full =
        report.entries >= capacity || mute >= MIN_MUTE && percent(report.entries, capacity) >= NEARLY_FULL;
    full.then_some(Evidence::Reported { entries: report.entries, capacity })
}

/// What the last rounds say, the newest last.
pub(crate) fn judge(rounds: &VecDeque<Round>, table: Option<u32>, report: Option<Report>) -> Verdict {
    let rounds: Vec<&Round> = rounds.iter().rev().take(ROUNDS).collect();
    let Some(newest) = rounds.first() else { return Verdict::Open };
    let numbers = rounds.iter().map(|round| round.answering.len());
    let (least, ceiling) = (numbers.clone().min().unwrap_or(0), numbers.max().unwrap_or(0));
    if rounds.len() < MIN_ROUNDS {
        return Verdict::Open;
    }
    if newest.asked < ceiling + MIN_MUTE {
        return Verdict::Off;
    }
    let capacity = capacity(table, report);
    if let (Some(report), Some(capacity)) = (report, capacity)
        && percent(report.entries, capacity) < FAR_FROM_FULL
    {
        return Verdict::Off;
    }
    let (asked, silent) = rounds
        .iter()
        .fold((0, 0), |(asked, silent), round| (asked + round.iad_asked, silent + round.iad_silent));
    let lossy = silent * LOSSY > asked;
    // A number that moves is no ceiling: phones are going off or coming back. On a lossy line, mute means little.
    if lossy || ceiling - least > (ceiling / STEADY).max(1) {
        return Verdict::Open;
    }
    let swaps = rounds.windows(2).filter(|pair| {
        let [one, other] = pair else { return false };
        one.answering.difference(&other.answering).next().is_some()
            && other.answering.difference(&one.answering).next().is_some()
    });
    if swaps.count() >= MIN_SWAPS {
        let all: BTreeSet<_> = rounds.iter().flat_map(|round| &round.answering).collect();
        let always =
            all.iter().filter(|who| rounds.iter().all(|round| round.answering.contains(who))).count();
        return Verdict::Full(Evidence::Rotating {
            ceiling,
            changed: all.len() - always,
            rounds: rounds.len(),
        });
    }
    // A phone costs two entries, or one when it is never spoken with by its link-local address.
    let holds = |capacity: u32| {
        let near = |number: u32| ceiling.abs_diff(number as usize) <= (number as usize / 10).max(1);
        near(capacity / ENTRIES_A_PHONE) || near(capacity)
    };
    match capacity {
        Some(capacity) if newest.asked * ENTRIES_A_PHONE as usize > capacity as usize && holds(capacity) => {
            Verdict::Full(Evidence::AtCapacity { ceiling, capacity, rounds: rounds.len() })
        }
        _ => Verdict::Off,
    }
}

fn percent(entries: u32, capacity: u32) -> u64 {
    u64::from(entries) * 100 / u64::from(capacity.max(1))
}

/// Rounds that are looked at, and the fewest that say something.
const ROUNDS: usize = 4;
const MIN_ROUNDS: usize = 3;
/// One mute phone is a mute phone.
pub(crate) const MIN_MUTE: usize = 2;
/// Between how many pairs of rounds somebody must have gone mute and somebody else come back: a resident who unplugs a phone while
/// another plugs one in does not do so twice in a row.
const MIN_SWAPS: usize = 2;
/// A table that is so full, in percent, while phones are mute, is full: collecting old entries keeps it just below its end.
const NEARLY_FULL: u64 = 95;
/// A table that is less full than this, in percent, is not why phones are mute.
const FAR_FROM_FULL: u64 = 80;
/// A number that moves by less than one in so many is steady: in each round a few come in while others go, and both are counted.
const STEADY: usize = 8;
/// One answer in so many missing makes a line lossy.
const LOSSY: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn round(asked: usize, answering: impl IntoIterator<Item = u16>) -> Round {
        let address = |port| SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0);
        Round { asked, answering: answering.into_iter().map(address).collect(), iad_asked: 4, iad_silent: 0 }
    }

    /// `count` of `of` phones, beginning at another one each round.
    fn rotating(count: u16, of: u16) -> VecDeque<Round> {
        (0..4).map(|turn| round(of.into(), (0..count).map(|port| (port + 7 * turn) % of))).collect()
    }

    fn fixed(count: u16, of: u16) -> VecDeque<Round> {
        (0..4).map(|_| round(of.into(), 0..count)).collect()
    }

    fn report(entries: u32, capacity: u32) -> Option<Report> {
        Some(Report { entries, capacity: Some(capacity), at: 0 })
    }

    #[test]
    fn a_constant_number_of_changing_phones_is_a_full_table() {
        let Verdict::Full(Evidence::Rotating { ceiling: 64, changed, rounds: 4 }) =
            judge(&rotating(64, 90), None, None)
        else {
            unreachable!("{:?}", judge(&rotating(64, 90), None, None));
        };
        assert!(changed > 20, "{changed}");
        // An unknown capacity in the report does not matter.
        let unknown = Some(Report { entries: 128, capacity: None, at: 0 });
        assert!(matches!(judge(&rotating(64, 90), None, unknown), Verdict::Full(_)));
    }

    #[test]
    fn the_same_phones_mute_all_the_time_are_switched_off() {
        assert_eq!(judge(&fixed(64, 90), None, None), Verdict::Off);
        // ... also when the table is known and could hold many more, or all of them.
        assert_eq!(judge(&fixed(40, 90), Some(128), None), Verdict::Off);
        assert_eq!(judge(&fixed(64, 90), Some(1024), None), Verdict::Off);
        assert_eq!(judge(&fixed(10, 12), Some(24), None), Verdict::Off, "all twelve would fit");
    }

    #[test]
    fn the_same_phones_at_the_tables_end_are_a_full_table() {
        let full = Verdict::Full(Evidence::AtCapacity { ceiling: 64, capacity: 128, rounds: 4 });
        assert_eq!(judge(&fixed(64, 90), Some(128), None), full);
        assert!(
            matches!(judge(&fixed(60, 90), Some(128), None), Verdict::Full(_)),
            "a router has neighbours of its own"
        );
        assert!(matches!(judge(&fixed(8, 12), Some(8), None), Verdict::Full(_)), "one entry a phone");
    }

    #[test]
    fn a_report_that_is_far_from_full_rules_it_out() {
        assert_eq!(judge(&rotating(64, 90), None, report(140, 1024)), Verdict::Off);
        assert_eq!(judge(&fixed(64, 90), Some(128), report(60, 128)), Verdict::Off);
        // The smaller of the declared and the reported capacity binds.
        assert!(matches!(judge(&fixed(64, 90), Some(128), report(126, 1024)), Verdict::Full(_)));
    }

    #[test]
    fn a_report_can_be_enough() {
        assert_eq!(
            reported(None, report(128, 128), 0),
            Some(Evidence::Reported { entries: 128, capacity: 128 })
        );
        assert_eq!(
            reported(Some(8), report(14, 1024), 0),
            Some(Evidence::Reported { entries: 14, capacity: 8 })
        );
        assert_eq!(reported(None, report(124, 128), 0), None, "nobody suffers");
        assert!(reported(None, report(124, 128), 5).is_some());
        assert_eq!(reported(None, report(100, 128), 5), None);
        assert_eq!(reported(Some(128), None, 5), None);
        assert_eq!(reported(None, Some(Report { entries: 900, capacity: None, at: 0 }), 5), None);
    }

    #[test]
    fn what_moves_or_is_too_short_says_nothing_yet() {
        let two: VecDeque<_> = rotating(64, 90).into_iter().take(2).collect();
        assert_eq!(judge(&two, Some(128), None), Verdict::Open);
        assert_eq!(judge(&VecDeque::new(), None, None), Verdict::Open);
        let falling = [80, 70, 64, 60].into_iter().map(|count| round(90, 0..count)).collect();
        assert_eq!(judge(&falling, None, None), Verdict::Open);
    }

    #[test]
    fn a_lossy_line_rotates_too_and_proves_nothing() {
        let mut rounds = rotating(64, 90);
        rounds.iter_mut().for_each(|round| round.iad_silent = 1);
        assert_eq!(judge(&rounds, None, None), Verdict::Open);
    }

    #[test]
    fn one_who_leaves_while_another_comes_is_chance() {
        let mut rounds = fixed(64, 90);
        rounds[2] = round(90, (0..63).chain([80]));
        rounds[3] = rounds[2].clone();
        assert_eq!(judge(&rounds, None, None), Verdict::Off);
    }

    #[test]
    fn one_mute_phone_is_a_mute_phone() {
        assert_eq!(judge(&rotating(89, 90), Some(178), None), Verdict::Off);
    }
}
