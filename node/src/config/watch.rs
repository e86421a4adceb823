//! `[watch]`: the role that watches sites, phones and IADs.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::reader::Section;

/// `[watch]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Where OPTIONS come from; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How often a phone that answers is asked.
    pub phone_interval: Duration,
    /// How often an IAD that answers is asked.
    pub iad_interval: Duration,
    /// How soon somebody is asked again who did not answer.
    pub retry_interval: Duration,
    /// How many questions in a row must stay without answer before somebody counts as mute.
    pub tries: u32,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// How long a round through a site's phones takes while several are mute.
    pub survey_interval: Duration,
    /// How long a fault must last before it is an alarm, and be gone before the alarm is cleared.
    pub grace: Duration,
    /// The most packets in a second, in all.
    pub max_packets_per_second: u32,
    /// Whether ICMPv6 echo is used, where it is permitted.
    pub echo: bool,
}

impl Watch {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Watch::default();
        let watch = Watch {
            listen: section.parsed("listen", default.listen),
            phone_interval: section.seconds("phone_interval_s", default.phone_interval, 1..=86_400),
            iad_interval: section.seconds("iad_interval_s", default.iad_interval, 1..=86_400),
            retry_interval: section.millis("retry_interval_ms", default.retry_interval, 100..=600_000),
            tries: section.integer("tries", default.tries, 1..=20),
            answer_within: section.millis("answer_within_ms", default.answer_within, 50..=30_000),
            survey_interval: section.seconds("survey_interval_s", default.survey_interval, 1..=86_400),
            grace: section.seconds("grace_s", default.grace, 1..=3_600),
            max_packets_per_second: section.integer(
                "max_packets_per_second",
                default.max_packets_per_second,
                2..=100_000,
            ),
            echo: section.flag("echo", default.echo),
        };
        if watch.listen.is_ipv4() {
            section.refuse("listen", "must be an IPv6 address and a port, like \"[2001:db8::10]:0\"");
        }
        if watch.survey_interval > watch.phone_interval {
            section.refuse("survey_interval_s", "must not be longer than phone_interval_s");
        }
        watch
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            phone_interval: Duration::from_secs(300),
            iad_interval: Duration::from_secs(60),
            retry_interval: Duration::from_secs(5),
            tries: 3,
            answer_within: Duration::from_secs(3),
            survey_interval: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            max_packets_per_second: 500,
            echo: true,
        }
    }
}
