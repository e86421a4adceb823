//! How full the neighbour table is (RFC 4861 §5.1): the fault that kept whole floors mute.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How full the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Entries that take a place for good: those of neighbours, without the permanent, failed and multicast ones, which the kernel does not
    /// count or throws out first.
    pub entries: u32,
    /// How many can be held; 0 when that is not known.
    pub capacity: u32,
}

/// What the fill means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is room, or nothing is known about it.
    Roomy,
    /// 80 % are taken.
    Pressing,
    /// Full: phones past this number go mute.
    Full,
}

/// Watches the fill and says when the broker is to be told.
#[derive(Debug, Default)]
pub(super) struct FillWatch {
    last: Option<Fill>,
    reported: Option<Instant>,
}

/// What to do about a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The level, when it is another one than before.
    pub(super) changed: Option<Level>,
    /// Whether the broker is told now.
    pub(super) report: bool,
}

impl Fill {
    /// What the fill means.
    pub fn level(self) -> Level {
        let Fill { entries, capacity } = self;
        let share = |percent: u64| u64::from(entries) * 100 >= u64::from(capacity) * percent;
        match () {
            () if capacity == 0 => Level::Roomy,
            () if share(100) => Level::Full,
            () if share(80) => Level::Pressing,
            () => Level::Roomy,
        }
    }
}

impl FillWatch {
    /// The table was looked at.
    pub(super) fn look(&mut self, now: Instant, fill: Fill) -> Step {
        let before = self.last.replace(fill).map_or(Level::Roomy, Fill::level);
        let changed = (fill.level() != before).then_some(fill.level());
        let due = self.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= REPORT);
        let report = due || changed.is_some();
        if report {
            self.reported = Some(now);
        }
        Step { changed, report }
    }

    /// The last fill that was seen.
    pub(super) fn last(&self) -> Option<Fill> {
        self.last
    }

    /// A new session: this broker has been told nothing yet.
    pub(super) fn forget_report(&mut self) {
        self.reported = None;
    }
}

/// How many entries the kernel takes; a child network namespace does not tell.
pub(super) fn kernel_capacity() -> Option<u32> {
    read_number(Path::new(GC_THRESH3))
}

/// How often the kernel has refused an entry since it started; a child network namespace does not tell.
pub(super) fn kernel_overflows() -> Option<u64> {
    overflows(&std::fs::read_to_string(STATISTICS).ok()?)
}

/// The table with one line a processor: the column `table_fulls`, added up.
fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == "table_fulls")?;
    let counts = lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok());
    counts.sum()
}

fn read_number(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|&number| number > 0)
}

const GC_THRESH3: &str = "/proc/sys/net/ipv6/neigh/default/gc_thresh3";
const STATISTICS: &str = "/proc/net/stat/ndisc_cache";
/// How often the broker is told.
const REPORT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(entries: u32, capacity: u32) -> Fill {
        Fill { entries, capacity }
    }

    #[test]
    fn levels() {
        assert_eq!(fill(5000, 0).level(), Level::Roomy, "nothing is known");
        assert_eq!(fill(0, 8).level(), Level::Roomy);
        assert_eq!(fill(6, 8).level(), Level::Roomy);
        assert_eq!(fill(7, 8).level(), Level::Pressing);
        assert_eq!(fill(8, 8).level(), Level::Full);
        assert_eq!(fill(819, 1024).level(), Level::Roomy);
        assert_eq!(fill(820, 1024).level(), Level::Pressing);
        assert_eq!(fill(u32::MAX, u32::MAX).level(), Level::Full);
    }

    #[test]
    fn reports_go_out_each_minute_and_at_once_when_the_level_changes() {
        let mut now = Instant::now();
        let mut watch = FillWatch::default();
        let quiet = Step { changed: None, report: false };
        assert_eq!(watch.look(now, fill(10, 100)), Step { changed: None, report: true });
        for _ in 0..5 {
            now += Duration::from_secs(10);
            assert_eq!(watch.look(now, fill(11, 100)), quiet);
        }
        now += Duration::from_secs(10);
        assert_eq!(watch.look(now, fill(12, 100)), Step { changed: None, report: true });
        now += Duration::from_secs(1);
        assert_eq!(watch.look(now, fill(80, 100)), Step { changed: Some(Level::Pressing), report: true });
        assert_eq!(watch.look(now, fill(81, 100)), quiet);
        assert_eq!(watch.look(now, fill(100, 100)), Step { changed: Some(Level::Full), report: true });
        assert_eq!(watch.look(now, fill(10, 100)), Step { changed: Some(Level::Roomy), report: true });
        watch.forget_report();
        assert!(watch.look(now, fill(10, 100)).report);
        assert_eq!(watch.last(), Some(fill(10, 100)));
    }

    #[test]
    fn the_kernels_count_of_overflows_is_read() {
        let text = "entries  allocs destroys hash_grows table_fulls\n\
                    00000005 00000010 00000000 00000000 0000000a\n\
                    00000005 00000000 00000000 00000000 00000002\n";
        assert_eq!(overflows(text), Some(12));
        assert_eq!(overflows("entries allocs\n1 2\n"), None);
        assert_eq!(overflows("table_fulls\nxyz\n"), None);
        assert_eq!(overflows(""), None);
    }
}
