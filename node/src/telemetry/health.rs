//! Whether the node wants work: what `/ready` says.

use std::sync::{Arc, Mutex, PoisonError};

use crate::shutdown::{Phase, Shutdown};

/// The readiness of one platform. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Health {
    shutdown: Shutdown,
    unready: Arc<Mutex<Option<String>>>,
}

impl Health {
    /// Not ready yet, because it is starting.
    pub fn starting(shutdown: &Shutdown) -> Self {
        let unready = Arc::new(Mutex::new(Some("starting".to_owned())));
        Health { shutdown: shutdown.clone(), unready }
    }

    /// Ready for work from now on.
    pub fn set_ready(&self) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Not ready, for this reason.
    pub fn set_unready(&self, reason: impl Into<String>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// Why the node wants no work now; `None` when it is ready. A draining node is not.
    pub fn unready(&self) -> Option<String> {
        match self.shutdown.phase() {
            Phase::Running => self.unready.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Phase::Draining => Some("draining".to_owned()),
            Phase::Stopping => Some("stopping".to_owned()),
        }
    }
}
