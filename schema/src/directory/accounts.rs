//! Tunnel accounts and their leases in memory, by id, name and site.

use std::sync::Arc;

use dashmap::DashMap;

use super::{found, gone, sorted};
use crate::rows::{Account, AccountId, Lease, SiteId};
use crate::store::Contents;

/// The caller changes it under one lock, so that the maps agree.
#[derive(Debug, Default)]
pub(super) struct AccountTable {
    by_id: DashMap<AccountId, Arc<Account>>,
    by_name: DashMap<String, Arc<Account>>,
    by_site: DashMap<SiteId, Arc<Account>>,
    leases: DashMap<AccountId, Arc<Lease>>,
}

impl AccountTable {
    pub(super) fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        found(&self.by_id, &id)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        found(&self.by_name, name)
    }

    pub(super) fn of_site(&self, site: SiteId) -> Option<Arc<Account>> {
        found(&self.by_site, &site)
    }

    pub(super) fn lease(&self, account: AccountId) -> Option<Arc<Lease>> {
        found(&self.leases, &account)
    }

    /// By name.
    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        sorted(&self.by_id, |account| account.name.clone())
    }

    /// By account.
    pub(super) fn leases(&self) -> Vec<Arc<Lease>> {
        sorted(&self.leases, |lease| lease.account)
    }

    pub(super) fn put(&self, row: &Account) {
        let account = Arc::new(row.clone());
        let old = self.by_id.insert(account.id, Arc::clone(&account));
        self.by_name.insert(account.name.clone(), Arc::clone(&account));
        self.by_site.insert(account.site, Arc::clone(&account));
        if let Some(old) = old {
            if old.name != account.name {
                self.forget_name(&old);
            }
            if old.site != account.site {
                self.forget_site(&old);
            }
        }
    }

    /// The database removes the lease with the account.
    pub(super) fn remove(&self, id: AccountId) {
        if let Some((_, old)) = self.by_id.remove(&id) {
            self.forget_name(&old);
            self.forget_site(&old);
        }
        self.leases.remove(&id);
    }

    pub(super) fn put_lease(&self, row: &Lease) {
        self.leases.insert(row.account, Arc::new(row.clone()));
    }

    pub(super) fn remove_lease(&self, account: AccountId) {
        self.leases.remove(&account);
    }

    /// Becomes what the store holds.
    pub(super) fn replace(&self, contents: &Contents) {
        contents.accounts.iter().for_each(|account| self.put(account));
        for id in gone(&self.by_id, contents.accounts.iter().map(|account| account.id)) {
            self.remove(id);
        }
        contents.leases.iter().for_each(|lease| self.put_lease(lease));
        for account in gone(&self.leases, contents.leases.iter().map(|lease| lease.account)) {
            self.leases.remove(&account);
        }
    }

    /// Somebody else may have the name by now.
    fn forget_name(&self, old: &Account) {
        self.by_name.remove_if(&old.name, |_, holder| holder.id == old.id);
    }

    /// Somebody else may have the site by now.
    fn forget_site(&self, old: &Account) {
        self.by_site.remove_if(&old.site, |_, holder| holder.id == old.id);
    }
}
