use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{AccountId, InvalidRow, ensure};

/// What the tunnel broker last saw of an account: only the broker writes it. The account is its key, and it goes with the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The account.
    pub account: AccountId,
    /// Whether the tunnel is up.
    pub up: bool,
    /// The IAD's public IPv4 address: the present one, else the last.
    pub client: Option<Ipv4Addr>,
    /// The tunnel server's IPv4 address: the present one, else the last.
    pub server: Option<Ipv4Addr>,
    /// When the tunnel last came up, moved or went down, in milliseconds since 1970.
    pub changed_at: i64,
    /// How often the account has logged in with success.
    pub logins: i64,
    /// How many of those logins took the tunnel over from a session that was still up.
    pub takeovers: i64,
    /// The address before `client`, when it was another one.
    pub previous_client: Option<Ipv4Addr>,
    /// How many entries the IAD's neighbour table held when it last reported.
    pub neighbours: Option<u32>,
    /// How many it can hold, when the IAD knows.
    pub neighbour_capacity: Option<u32>,
    /// When it last reported, in milliseconds since 1970.
    pub reported_at: Option<i64>,
}

impl Lease {
    /// The lease of an account that has not logged in.
    pub fn new(account: AccountId) -> Lease {
        Lease {
            account,
            up: false,
            client: None,
            server: None,
            changed_at: 0,
            logins: 0,
            takeovers: 0,
            previous_client: None,
            neighbours: None,
            neighbour_capacity: None,
            reported_at: None,
        }
    }

    /// Whether the lease may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(
            self.account.0 > 0,
            "lease account",
            &self.account.to_string(),
            "use the number of a stored account",
        )?;
        for (what, count) in [("lease logins", self.logins), ("lease takeovers", self.takeovers)] {
            ensure(count >= 0, what, &count.to_string(), "count from 0")?;
        }
        Ok(())
    }
}
