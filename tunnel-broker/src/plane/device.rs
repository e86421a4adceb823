//! The TUN device.

use std::io;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::error::PlaneError;

/// Makes the device, up, with the MTU, and read without blocking.
pub(super) fn open(name: &str, mtu: u16) -> Result<SyncDevice, PlaneError> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', ' ', '%', ':', '\0']) {
        let reason =
            "a device's name has 1 to 15 bytes, none of them a blank, a slash, a colon or a percent sign";
        return Err(PlaneError::Setting { name: "device", value: name.to_owned(), reason });
    }
    let device = DeviceBuilder::new().name(name).mtu(mtu).enable(true).build_sync();
    let device = device.map_err(|source| explain(name, source))?;
    device.set_nonblocking(true).map_err(|source| explain(name, source))?;
    Ok(device)
}

fn explain(name: &str, source: io::Error) -> PlaneError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            PlaneError::NotPermitted { what: "making the tunnels' TUN device", source }
        }
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => PlaneError::NoTunDriver { source },
        Some(libc::EBUSY | libc::EINVAL) => PlaneError::DeviceBusy { name: name.to_owned(), source },
        _ => PlaneError::Device { name: name.to_owned(), source },
    }
}

/// IFNAMSIZ, without the zero at the end.
const MAX_NAME: usize = 15;
