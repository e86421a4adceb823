//! The data plane and the agent for real: TUN devices and raw sockets in network namespaces that each test makes for itself. Needs
//! root.

mod agent;
mod carry;
mod namespace;
mod packet;
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
