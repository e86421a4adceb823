//! `centrex6 iad check`: which of the eight steps holds, which fails, and what to do, in an installer's words.
//!
//! `gather` collects evidence, from the running agent or by a short login of its own; `judge` makes findings of it, without I/O.

mod gather;
mod judge;
#[cfg(test)]
mod judge_tests;
mod probe;
mod sip;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use gather::{CheckError, check};

/// What was found, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether no step fails.
    pub good: bool,
    /// Whether the agent runs on this box.
    pub agent_running: bool,
    /// The eight steps in their order.
    pub steps: Vec<Finding>,
}

/// What was found about one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// Whether it holds.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// Why it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it; or good advice though the step holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// The eight steps by which a dorm comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The box joins the IPv4 Internet.
    Line,
    /// It reaches the tunnel broker and is let in.
    Login,
    /// It is given the site's prefix.
    Prefix,
    /// It advertises the prefix on the LAN.
    Advertisement,
    /// Its tunnel carries packets.
    Tunnel,
    /// Phones make their addresses.
    Addresses,
    /// Phones reach the SIP centre and register.
    Registration,
    /// Calls work.
    Calls,
}

/// Whether a step holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds.
    Holds,
    /// It fails.
    Fails,
    /// It was not tried, because a step before it fails.
    NotTried,
    /// It cannot be told from here.
    Unknown,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Step; 8] = [
        Step::Line,
        Step::Login,
        Step::Prefix,
        Step::Advertisement,
        Step::Tunnel,
        Step::Addresses,
        Step::Registration,
        Step::Calls,
    ];

    /// Its number, from 1.
    pub fn number(self) -> usize {
        self as usize + 1
    }

    fn title(self) -> &'static str {
        match self {
            Step::Line => "IPv4 line",
            Step::Login => "Login to the tunnel broker",
            Step::Prefix => "IPv6 prefix",
            Step::Advertisement => "Prefix advertised on the LAN",
            Step::Tunnel => "Tunnel",
            Step::Addresses => "Phones' addresses",
            Step::Registration => "SIP centre",
            Step::Calls => "Calls",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.steps {
            let state = match finding.state {
                State::Holds => "ok",
                State::Fails => "FAILS",
                State::NotTried => "-",
                State::Unknown => "?",
            };
            let (number, title) = (finding.step.number(), finding.step.title());
            writeln!(f, "{number} {title:28} {state:6} {}", finding.seen)?;
            for (label, text) in [("cause:", &finding.cause), ("do:", &finding.remedy)] {
                if let Some(text) = text {
                    writeln!(f, "{:38}{label:6} {text}", "")?;
                }
            }
        }
        let agent = if self.agent_running { "" } else { " The agent does not run on this box." };
        let failing = self.steps.iter().find(|finding| finding.state == State::Fails);
        match failing {
            None => write!(f, "Every step that can be told from here holds.{agent}"),
            Some(finding) => write!(f, "Begin with step {}.{agent}", finding.step.number()),
        }
    }
}
