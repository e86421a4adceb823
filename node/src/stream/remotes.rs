//! Which connection leads to which address, for all workers of a role.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip_core::flow::{ConnectionId, Transport};

/// The first live connection to each address. Shared by a role's workers, because a phone that keeps a stream open to one of
/// them is called by any of them, and no second stream can be opened to it. Bounded as the connections are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remotes {
    inner: Arc<Mutex<HashMap<Remote, ConnectionId>>>,
}

/// The far end of a connection.
pub(crate) type Remote = (Transport, SocketAddr);

impl Remotes {
    /// The connection that leads there; its identifier names the worker that owns it.
    pub(crate) fn find(&self, remote: &Remote) -> Option<ConnectionId> {
        self.lock().get(remote).copied()
    }

    /// Adds a connection, unless another one leads there already.
    pub(super) fn add(&self, remote: Remote, id: ConnectionId) {
        self.lock().entry(remote).or_insert(id);
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, remote: &Remote, id: ConnectionId) {
        let mut remotes = self.lock();
        if remotes.get(remote) == Some(&id) {
            remotes.remove(remote);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Remote, ConnectionId>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_counts_until_it_ends() {
        let remotes = Remotes::default();
        let remote = (Transport::Tcp, "[2001:db8::10]:40000".parse().unwrap());
        remotes.add(remote, ConnectionId(1));
        remotes.add(remote, ConnectionId(2));
        assert_eq!(remotes.find(&remote), Some(ConnectionId(1)));
        remotes.remove(&remote, ConnectionId(2));
        assert_eq!(remotes.clone().find(&remote), Some(ConnectionId(1)));
        remotes.remove(&remote, ConnectionId(1));
        assert_eq!(remotes.find(&remote), None);
    }
}
