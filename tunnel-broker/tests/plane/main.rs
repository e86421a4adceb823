//! The data plane and the agent for real: TUN devices and raw sockets in network namespaces that each test makes for itself. Needs
//! root.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

mod agent;
mod carry;
mod judge;
mod moving;
mod namespace;
mod packet;
mod routing;
mod trouble;
mod world;

/// Ends a test early, and loudly, where the machine does not let it run.
macro_rules! need_root {
    () => {
        if !crate::namespace::is_possible() {
            return;
        }
    };
}
pub(crate) use need_root;
