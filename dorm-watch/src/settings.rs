//! How often, how fast and how long: everything about time that the watch is told.

use std::time::Duration;

/// What the watch is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a phone that answers is asked.
    pub phone_every: Duration,
    /// How often an IAD that answers is asked.
    pub iad_every: Duration,
    /// How soon somebody is asked again who did not answer.
    pub retry_every: Duration,
    /// How many questions in a row must stay without answer before somebody counts as mute; at least 1.
    pub tries: u32,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// How long a round through the phones of a site takes while some of them are mute and nobody knows why.
    pub survey_every: Duration,
    /// How long a fault must last before it is an alarm, and be gone before the alarm is cleared. Some kinds take a part or a multiple.
    pub grace: Duration,
    /// The most packets in a second, in all; at least 1.
    pub max_packets_per_second: u32,
    /// Whether ICMPv6 echo can be sent. Without it phones are asked by OPTIONS alone, and IADs not at all.
    pub echo: bool,
    /// How long cleared alarms are kept.
    pub history: Duration,
    /// How many cleared alarms are kept.
    pub max_history: usize,
}

impl Settings {
    /// As the configuration says.
    pub fn from_config(config: &node::config::Watch) -> Settings {
        Settings {
            phone_every: config.phone_interval,
            iad_every: config.iad_interval,
            retry_every: config.retry_interval,
            tries: config.tries,
            answer_within: config.answer_within,
            survey_every: config.survey_interval,
            grace: config.grace,
            max_packets_per_second: config.max_packets_per_second,
            echo: config.echo,
            ..Settings::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            phone_every: Duration::from_secs(300),
            iad_every: Duration::from_secs(60),
            retry_every: Duration::from_secs(5),
            tries: 3,
            answer_within: Duration::from_secs(3),
            survey_every: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            max_packets_per_second: 500,
            echo: true,
            history: Duration::from_secs(90 * 24 * 3600),
            max_history: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_defaults_are_ours() {
        assert_eq!(Settings::from_config(&node::config::Watch::default()), Settings::default());
    }
}
