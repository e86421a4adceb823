//! Accounts that two IADs take from each other.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use schema::AlarmKind;
use serde_json::json;

use super::Finding;
use crate::picture::{LeasePicture, SitePicture};

/// Who took over from whom lately, by account.
#[derive(Debug, Default)]
pub(crate) struct Accounts(BTreeMap<String, Takeovers>);

#[derive(Debug)]
struct Takeovers {
    /// All there were, as last seen.
    counted: i64,
    lately: VecDeque<Takeover>,
}

#[derive(Debug, Clone, Copy)]
struct Takeover {
    at: i64,
    /// The two addresses, in order.
    pair: (Ipv4Addr, Ipv4Addr),
    times: i64,
}

impl Accounts {
    /// Takes what the broker last saw, and gives what is wrong.
    pub(crate) fn update<'p>(
        &mut self,
        now_ms: i64,
        sites: impl Iterator<Item = &'p SitePicture>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut known = BTreeMap::new();
        for site in sites {
            let Some((account, lease)) =
                site.tunnel.as_ref().and_then(|tunnel| Some((&tunnel.account, tunnel.lease.as_ref()?)))
            else {
                continue;
            };
            let old = self.0.remove(account);
            let mut takeovers =
                old.unwrap_or(Takeovers { counted: lease.takeovers, lately: VecDeque::new() });
            takeovers.note(now_ms, lease);
            if let Some((pair, times)) = takeovers.most() {
                found.push(finding(site, account, pair, times));
            }
            known.insert(account.clone(), takeovers);
        }
        self.0 = known;
        found
    }
}

impl Takeovers {
    fn note(&mut self, now_ms: i64, lease: &LeasePicture) {
        let times = lease.takeovers - std::mem::replace(&mut self.counted, lease.takeovers);
        self.lately.retain(|takeover| now_ms - takeover.at < LATELY);
        // A session that is taken over from its own address is an IAD that came back: nobody flaps.
        if let (Some(one), Some(other)) = (lease.client, lease.previous_client)
            && times > 0
            && one != other
        {
            self.lately.push_back(Takeover { at: now_ms, pair: (one.min(other), one.max(other)), times });
            if self.lately.len() > KEPT {
                self.lately.pop_front();
            }
        }
    }

    /// The pair that took over from each other too often, and how often.
    fn most(&self) -> Option<((Ipv4Addr, Ipv4Addr), i64)> {
        let mut counts: BTreeMap<(Ipv4Addr, Ipv4Addr), i64> = BTreeMap::new();
        for takeover in &self.lately {
            *counts.entry(takeover.pair).or_default() += takeover.times;
        }
        counts.into_iter().max_by_key(|(_, times)| *times).filter(|(_, times)| *times >= TOO_OFTEN)
    }
}

fn finding(site: &SitePicture, account: &str, pair: (Ipv4Addr, Ipv4Addr), times: i64) -> Finding {
    let (one, other) = pair;
    Finding {
        kind: AlarmKind::AccountFlapping,
        site: site.id,
        subject: account.to_owned(),
        cause: format!(
            "Account {account} of site {} ({}) was taken over {times} times in {} minutes by {one} and {other} in turn: two IADs log in with it, \
             and neither keeps its tunnel.",
            site.code,
            site.name,
            LATELY / 60_000
        ),
        remedy: format!(
            "Find the IAD that does not belong to site {}: it may have been set up with a copy of this one's configuration. Give it an account \
             of its own (`centrex6 account add`), then change the password of this one (`centrex6 account password`).",
            site.code
        ),
        details: json!({ "account": account, "addresses": [one, other], "takeovers": times }),
    }
}

/// How long a takeover counts, in milliseconds.
const LATELY: i64 = 10 * 60 * 1000;
/// After so long, who took over lately is known.
pub(crate) const KNOWS_AFTER: Duration = Duration::from_millis(LATELY as u64);
/// So many takeovers between two addresses are no renumbering.
const TOO_OFTEN: i64 = 3;
/// Takeovers that are remembered of an account.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use schema::SiteId;

    use super::*;
    use crate::picture::TunnelPicture;

    fn site(takeovers: i64, client: u8, previous: u8) -> SitePicture {
        let address = |last: u8| (last > 0).then_some(Ipv4Addr::new(203, 0, 113, last));
        let lease = LeasePicture {
            up: true,
            client: address(client),
            server: None,
            changed_at: 0,
            takeovers,
            previous_client: address(previous),
            report: None,
        };
        SitePicture {
            tunnel: Some(TunnelPicture { account: "s801".to_owned(), lease: Some(lease) }),
            ..crate::testing::site(SiteId(1), "801", 0)
        }
    }

    /// What is found after these `(minute, takeovers, client, previous)`.
    fn after(history: &[(i64, i64, u8, u8)]) -> Option<String> {
        let mut accounts = Accounts::default();
        let mut last = Vec::new();
        for (minute, takeovers, client, previous) in history {
            last = accounts.update(minute * 60_000, [site(*takeovers, *client, *previous)].iter());
        }
        last.pop().map(|finding| finding.cause)
    }

    #[test]
    fn two_iads_with_one_account_are_named() {
        let cause = after(&[(0, 5, 7, 9), (1, 6, 9, 7), (2, 7, 7, 9), (3, 8, 9, 7)]).expect("found");
        assert!(cause.contains("3 times in 10 minutes by 203.0.113.7 and 203.0.113.9"), "{cause}");
        // Two takeovers between two looks count both.
        assert!(after(&[(0, 5, 7, 9), (1, 7, 7, 9), (2, 8, 9, 7)]).is_some());
    }

    #[test]
    fn what_is_not_flapping() {
        assert_eq!(after(&[(0, 500, 7, 9)]), None, "what was before the watch started");
        assert_eq!(
            after(&[(0, 0, 7, 0), (1, 1, 8, 7), (2, 2, 9, 8), (3, 3, 10, 9)]),
            None,
            "renumbered each time"
        );
        assert_eq!(
            after(&[(0, 0, 7, 0), (1, 1, 7, 7), (2, 2, 7, 7), (3, 3, 7, 7)]),
            None,
            "an IAD that restarts"
        );
        assert_eq!(after(&[(0, 0, 7, 9), (1, 1, 9, 7), (9, 2, 7, 9), (12, 3, 9, 7)]), None, "too seldom");
        assert_eq!(after(&[(0, 0, 7, 9), (1, 3, 9, 7), (12, 3, 9, 7)]), None, "over");
    }
}
