//! Why a plane cannot do what it is told.

use std::io;
use std::net::Ipv4Addr;

use crate::broker::TunnelFailure;
use crate::tunnel::TableError;

/// Why a plane cannot do what it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// A setting is out of its bounds.
    #[error("tunnel plane: {name} = {value} cannot be: {reason}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// The process lacks a privilege.
    #[error(
        "{what} is not permitted: the process needs the capabilities CAP_NET_ADMIN and CAP_NET_RAW (run it as root, or give them to its service)"
    )]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no TUN driver.
    #[error("/dev/net/tun is missing: load the kernel module `tun`, or pass the device into the container")]
    NoTunDriver {
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has a device of that name.
    #[error(
        "the network device {name} is in use by another process or is no TUN device: stop that process or choose another name"
    )]
    DeviceBusy {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TUN device cannot be had, or cannot be set up.
    #[error("the network device {name} cannot be set up")]
    Device {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Our end of the tunnels is not an address of this machine.
    #[error("{address} is no IPv4 address of this machine: protocol 41 cannot be received there")]
    NotLocal {
        /// The address.
        address: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The raw socket cannot be had.
    #[error("the raw IPv4 socket for protocol 41 cannot be set up")]
    Socket {
        /// What the system said.
        source: io::Error,
    },
    /// A thread of the plane cannot be started.
    #[error("a thread of the tunnel plane cannot be started")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The tunnel cannot be had, moved or found.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl From<&PlaneError> for TunnelFailure {
    /// What the broker is told.
    fn from(error: &PlaneError) -> TunnelFailure {
        match error {
            PlaneError::Table(TableError::Full(_)) => TunnelFailure::Full,
            PlaneError::Table(TableError::Unknown) => TunnelFailure::Unknown,
            PlaneError::Table(_) => TunnelFailure::Clash,
            _ => TunnelFailure::Unreachable,
        }
    }
}
