//! Who may log in.

use std::sync::Arc;

use schema::Directory;
use schema::secret::{KeyFile, Password};

use crate::broker::{Account, LookupFailed};
use crate::lease::{Grant, Link};

/// Looks accounts up. It answers from memory, because the broker waits for it.
pub trait Accounts: Send + Sync + 'static {
    /// The account with that user name; `None` when there is none, or it is barred.
    ///
    /// # Errors
    /// [`LookupFailed`] when that cannot be told now.
    fn look_up(&self, user: &str) -> Result<Option<Arc<Account>>, LookupFailed>;

    /// Whether an account may keep what it has, after a login with this password; `None` when that was at another broker. When it cannot
    /// be told now, the account may.
    fn verdict(&self, user: &str, grant: &Grant, password: Option<&Password>) -> Verdict {
        let Ok(found) = self.look_up(user) else { return Verdict::Stands };
        let is_same = |now: &Password| password.is_none_or(|then| then.reveal() == now.reveal());
        let Some(account) = found.filter(|account| is_same(&account.password)) else {
            return Verdict::Ended;
        };
        let may_have = grant.prefix.is_none_or(|prefix| account.prefix == Some(prefix))
            && grant.link.is_none_or(|link| account.link == Some(link));
        if may_have { Verdict::Stands } else { Verdict::Changed }
    }
}

/// What becomes of a tunnel after accounts or prefixes have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Stands,
    /// The account may have something else: it shall log in again.
    Changed,
    /// The account is gone or barred, or has another password.
    Ended,
}

/// The accounts of the platform's directory.
pub struct Provisioned {
    directory: Arc<Directory>,
    key: KeyFile,
}

impl Provisioned {
    /// The accounts in `directory`, whose passwords `key` opens.
    pub fn new(directory: Arc<Directory>, key: KeyFile) -> Provisioned {
        Provisioned { directory, key }
    }
}

impl Accounts for Provisioned {
    fn look_up(&self, user: &str) -> Result<Option<Arc<Account>>, LookupFailed> {
        let Some(row) = self.directory.account_by_name(user).filter(|account| !account.barred) else {
            return Ok(None);
        };
        let Some(site) = self.directory.site(row.site) else { return Ok(None) };
        let password = row.password(&self.key).map_err(|error| {
            tracing::error!(account = %row.name, %error, "the account's password cannot be used");
            LookupFailed
        })?;
        Ok(Some(Arc::new(Account {
            name: row.name.as_str().into(),
            password,
            region: site.region.as_str().into(),
            prefix: site.prefix,
            link: row.link.map(|link| Link { client: link.client, server: link.server }),
        })))
    }
}
