use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::{AccountId, InvalidRow, SiteId, check_id, ensure};
use crate::secret::{KeyFile, Password, Sealed, SecretError};

/// What a site's IAD logs in to the tunnel broker with (DTCP). A site has one at most.
///
/// It serializes for listings: the password is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The row's number.
    pub id: AccountId,
    /// The DTCP user name; unique.
    pub name: String,
    /// The site whose prefix the tunnel carries; unique.
    pub site: SiteId,
    /// The password, which DTCP needs in the clear; only the key file opens it, and only under the account's name.
    #[serde(skip)]
    pub sealed_password: Sealed,
    /// The numbered ends of the tunnel link, for IADs that ask for them (DTCP type `host`).
    pub link: Option<TunnelLink>,
    /// Whether logins are refused.
    pub barred: bool,
}

/// The numbered ends of a tunnel link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelLink {
    /// The IAD's address.
    pub client: Ipv6Addr,
    /// Our own address on the link.
    pub server: Ipv6Addr,
}

impl Account {
    /// A new account with the fields that every account needs.
    ///
    /// # Errors
    /// As [`check`](Account::check).
    pub fn new(name: &str, site: SiteId, sealed_password: Sealed) -> Result<Account, InvalidRow> {
        let account = Account {
            id: AccountId::NEW,
            name: name.to_owned(),
            site,
            sealed_password,
            link: None,
            barred: false,
        };
        account.check().map(|()| account)
    }

    /// Whether the account may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("account id", self.id.0)?;
        ensure(
            (1..=64).contains(&self.name.len()) && self.name.bytes().all(|byte| byte.is_ascii_graphic()),
            "account name",
            &self.name,
            "use 1 to 64 printable ASCII characters without blanks, like s042",
        )?;
        let Some(link) = self.link else { return Ok(()) };
        for end in [link.client, link.server] {
            ensure(
                !end.is_multicast()
                    && !end.is_unspecified()
                    && !end.is_loopback()
                    && !end.is_unicast_link_local(),
                "account link",
                &end.to_string(),
                "use unicast addresses of the carrier's, like 2001:db8:fffe::2 and 2001:db8:fffe::1",
            )?;
        }
        ensure(
            link.client != link.server,
            "account link",
            &link.client.to_string(),
            "give its two ends different addresses",
        )
    }

    /// Seals a password for an account of this name. Seal it again when the account is renamed.
    ///
    /// # Errors
    /// As [`KeyFile::seal`].
    pub fn seal(name: &str, key: &KeyFile, password: &Password) -> Result<Sealed, SecretError> {
        key.seal(&seal_name(name), password)
    }

    /// The password in the clear.
    ///
    /// # Errors
    /// As [`KeyFile::unseal`].
    pub fn password(&self, key: &KeyFile) -> Result<Password, SecretError> {
        key.unseal(&seal_name(&self.name), &self.sealed_password)
    }
}

/// No line's user name holds a blank, so that a line's sealed password is never taken for an account's.
fn seal_name(account: &str) -> String {
    format!("account {account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_says_what_is_wrong_with_it() {
        let sealed = || Sealed::from_stored(String::new());
        for name in ["", "a b", "a\tb", "ü", "a\0", &"x".repeat(65)] {
            assert!(Account::new(name, SiteId(1), sealed()).is_err(), "{name:?}");
        }
        let account = Account::new("dorm-042@feel6", SiteId(1), sealed()).expect("valid");
        let linked = |client: &str, server: &str| Account {
            link: Some(TunnelLink {
                client: client.parse().expect("an address"),
                server: server.parse().expect("an address"),
            }),
            ..account.clone()
        };
        assert!(linked("2001:db8::2", "2001:db8::1").check().is_ok());
        for (client, server) in
            [("2001:db8::1", "2001:db8::1"), ("fe80::1", "2001:db8::1"), ("::2", "ff02::1")]
        {
            assert!(linked(client, server).check().is_err(), "{client} {server}");
        }
    }

    #[test]
    fn a_password_opens_for_its_account_alone_and_is_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = KeyFile::open(&dir.path().join("key")).expect("a key");
        let sealed = Account::seal("s042", &key, &Password::new("open sesame")).expect("sealed");
        let account = Account::new("s042", SiteId(1), sealed.clone()).expect("valid");
        assert_eq!(account.password(&key).expect("opened").reveal(), "open sesame");
        let renamed = Account { name: "s043".to_owned(), ..account.clone() };
        assert!(matches!(renamed.password(&key), Err(SecretError::Seal)));
        assert!(matches!(key.unseal("s042", &sealed), Err(SecretError::Seal)), "no line opens it");
        let shown = format!("{account:?} {}", serde_json::to_string(&account).expect("json"));
        assert!(shown.contains("s042") && !shown.contains(sealed.as_stored()) && !shown.contains("sesame"));
    }
}
