//! The data plane for real: TUN devices and raw sockets in network namespaces that each test makes for itself. Needs root.

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
