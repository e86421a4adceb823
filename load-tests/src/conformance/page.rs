//! The page itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::bail;

use super::results::{Outcome, Results};
use super::rules::Rule;

/// The page's text, or what is wrong with the tests that it shall name.
pub(super) fn write(rules: &[Rule], results: &Results) -> anyhow::Result<String> {
    let mut troubles = String::new();
    // In the order of the page: RFC, section, words.
    let mut shown: BTreeMap<(u32, Vec<u32>, &str, &str), BTreeSet<String>> = BTreeMap::new();
    for rule in rules {
        let (name, program) = (&rule.test.name, &rule.test.program);
        let trouble = match results.of(&rule.test) {
            Outcome::Passed(path) => {
                let line = (rule.rfc, order(&rule.section), rule.section.as_str(), rule.words.as_str());
                shown.entry(line).or_default().insert(format!("`{program} {path}`"));
                if title(rule.rfc).is_some() {
                    continue;
                }
                format!("RFC {} (test {name} of {program}) has no title in conformance/page.rs yet", rule.rfc)
            }
            Outcome::Failed => format!("test {name} of {program} failed"),
            Outcome::Missing => format!("test {name} of {program} did not run"),
            Outcome::Ambiguous(paths) => {
                format!("test {name} of {program} could be any of {}", paths.join(", "))
            }
        };
        writeln!(troubles, "  {trouble}")?;
    }
    if !troubles.is_empty() {
        bail!("these rules are not shown:\n{}", troubles.trim_end());
    }
    let mut page = INTRODUCTION.to_owned();
    let mut last = None;
    for ((rfc, _, section, words), tests) in &shown {
        if last.replace(rfc) != Some(rfc) {
            let title = title(*rfc).unwrap_or_default();
            writeln!(page, "\n## RFC {rfc}: {title}\n\n| Section | Rule | Shown by |\n|---|---|---|")?;
        }
        let tests: Vec<_> = tests.iter().map(String::as_str).collect();
        writeln!(page, "| {section} | {} | {} |", words.replace('|', "\\|"), tests.join(", "))?;
    }
    Ok(page)
}

/// Sections in the order of an RFC's contents: §9 before §10.
fn order(section: &str) -> Vec<u32> {
    let first = section.split(',').next().unwrap_or_default();
    first.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

/// The short title of an RFC that a test names.
fn title(rfc: u32) -> Option<&'static str> {
    TITLES
        .binary_search_by_key(&rfc, |(number, _)| *number)
        .ok()
        .and_then(|at| TITLES.get(at))
        .map(|(_, title)| *title)
}

const INTRODUCTION: &str = "# Conformance

Each line is a rule of an RFC in our own words, and the tests that show that Centrex6 keeps it. The page is generated: a test names its rules
in its documentation, and a rule stands here only when its tests passed. `./test` fails when the page is not what the tests say;
`cargo run -p load-tests -- conformance` writes it after a run of `./test`. `blackbox` and `dorm` drive the whole program over the network, the other
tests one machine of it.
";

/// By number.
const TITLES: &[(u32, &str)] = &[
    (2827, "Network Ingress Filtering"),
    (3261, "SIP: Session Initiation Protocol"),
    (3262, "Reliability of Provisional Responses"),
    (3263, "Locating SIP Servers"),
    (3264, "An Offer/Answer Model with SDP"),
    (3265, "SIP-Specific Event Notification"),
    (3311, "The UPDATE Method"),
    (3312, "Preconditions"),
    (3323, "A Privacy Mechanism for SIP"),
    (3325, "P-Asserted-Identity"),
    (3326, "The Reason Header Field"),
    (3327, "The Path Header Field"),
    (3420, "message/sipfrag"),
    (3515, "The REFER Method"),
    (3550, "RTP: A Transport Protocol for Real-Time Applications"),
    (3556, "RTCP Bandwidth in SDP"),
    (3605, "The rtcp Attribute in SDP"),
    (3608, "The Service-Route Header Field"),
    (3680, "A Registration Event Package"),
    (3711, "The Secure Real-time Transport Protocol"),
    (3840, "Indicating User Agent Capabilities"),
    (3891, "The Replaces Header Field"),
    (3892, "The Referred-By Mechanism"),
    (3911, "The Join Header Field"),
    (3966, "The tel URI"),
    (4028, "Session Timers"),
    (4213, "Basic Transition Mechanisms for IPv6"),
    (4320, "Actions Addressing Identified Issues with Non-INVITE Transactions"),
    (4475, "SIP Torture Test Messages"),
    (4566, "SDP: Session Description Protocol"),
    (4568, "SDP Security Descriptions"),
    (4585, "RTP/AVPF"),
    (4733, "RTP Payload for DTMF Digits"),
    (4861, "Neighbor Discovery for IPv6"),
    (4862, "IPv6 Stateless Address Autoconfiguration"),
    (5118, "SIP Torture Test Messages for IPv6"),
    (5389, "STUN"),
    (5393, "Amplification Vulnerability in Forking Proxies"),
    (5621, "Message Body Handling"),
    (5626, "Managing Client-Initiated Connections (Outbound)"),
    (5627, "Globally Routable User Agent URIs"),
    (5628, "Registration Event Package Extension for GRUUs"),
    (5658, "Addressing Record-Route Issues"),
    (5761, "Multiplexing RTP and RTCP"),
    (5922, "Domain Certificates in SIP"),
    (5923, "Connection Reuse in SIP"),
    (6026, "Correct Transaction Handling for 2xx Responses to INVITE"),
    (6040, "Tunnelling of Explicit Congestion Notification"),
    (6086, "The INFO Method"),
    (6140, "Registration for Multiple Phone Numbers"),
    (6141, "Re-INVITE and Target-Refresh Request Handling"),
    (6228, "Response Code for Indication of Terminated Dialog (199)"),
    (6324, "Routing Loop Attack Using IPv6 Automatic Tunnels"),
    (6337, "SIP Usage of the Offer/Answer Model"),
    (6665, "SIP-Specific Event Notification"),
    (6947, "The altc Attribute in SDP"),
    (7118, "The WebSocket Protocol as a Transport for SIP"),
    (7315, "Private Header (P-Header) Extensions"),
    (7339, "SIP Overload Control"),
    (7616, "HTTP Digest Access Authentication"),
    (7845, "Ogg Encapsulation for Opus"),
    (8445, "Interactive Connectivity Establishment"),
    (8489, "STUN"),
    (8760, "Digest Access Authentication with SHA-256"),
    (8839, "SDP Offer/Answer Procedures for ICE"),
    (8866, "SDP: Session Description Protocol"),
    (9096, "Improving the Reaction of CEs to Renumbering Events"),
];

#[cfg(test)]
mod tests {
    use super::super::{results, rules::Test};
    use super::*;

    fn rule(rfc: u32, section: &str, words: &str, name: &str) -> Rule {
        let test = Test { program: "sip_core".into(), modules: vec!["fork".into()], name: name.into() };
        Rule { rfc, section: section.into(), words: words.into(), test }
    }

    const LOG: &str = "Running unittests src/lib.rs (target/debug/deps/sip_core-88e6)
        test fork::tests::six ... ok\ntest fork::tests::two ... ok\ntest fork::tests::bad ... FAILED\n";

    #[test]
    fn rules_stand_in_the_order_of_the_rfc_with_all_their_tests() {
        let rules = [
            rule(3261, "16.7", "ends it", "six"),
            rule(3261, "9.2", "none", "two"),
            rule(3261, "16.7", "ends it", "two"),
        ];
        let page = write(&rules, &results::read(LOG)).unwrap();
        let (_, body) = page.split_once("\n## ").unwrap();
        assert_eq!(
            body,
            "RFC 3261: SIP: Session Initiation Protocol\n\n| Section | Rule | Shown by |\n|---|---|---|\n\
             | 9.2 | none | `sip_core fork::tests::two` |\n\
             | 16.7 | ends it | `sip_core fork::tests::six`, `sip_core fork::tests::two` |\n"
        );
    }

    #[test]
    fn a_rule_whose_test_failed_or_did_not_run_is_no_rule() {
        let rules = [rule(3261, "1", "a", "bad"), rule(3261, "1", "b", "gone"), rule(1, "1", "c", "six")];
        let told = write(&rules, &results::read(LOG)).unwrap_err().to_string();
        for part in ["bad of sip_core failed", "gone of sip_core did not run", "RFC 1 "] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn titles_are_in_order() {
        assert!(TITLES.is_sorted_by(|one, other| one.0 < other.0));
    }
}
