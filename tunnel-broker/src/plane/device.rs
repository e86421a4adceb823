//! The TUN device.

use std::io;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::error::PlaneError;

/// Makes the device: up, with the MTU, without an address, and read without waiting.
pub(super) fn open(name: &str, mtu: u16) -> Result<SyncDevice, PlaneError> {
    let is_sound = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
        && ![".", "..", "all", "default"].contains(&name);
    if !is_sound {
        let reason = "a network device's name has 1 to 15 letters, digits and signs, but no slash, colon or percent sign";
        return Err(PlaneError::Setting { name: "device", value: name.to_owned(), reason });
    }
    let builder = DeviceBuilder::new().name(name).mtu(mtu).enable(false);
    let device = builder.with(|linux| _ = linux.tx_queue_len(QUEUE)).build_sync();
    let device = device.map_err(|source| explain(name, source))?;
    keep_silent(name);
    let set_up = || {
        device.enabled(true)?;
        device.set_nonblocking(true)
    };
    set_up().map_err(|source| explain(name, source))?;
    Ok(device)
}

/// Asks the system not to give the device a link-local address, with which it would look for routers and multicast listeners in the
/// tunnels. What it sends nevertheless is dropped and counted; so it does no harm where this cannot be set.
fn keep_silent(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1");
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
/// Packets that wait for us at most: some 20 ms at 200,000 a second, while the thread waits for a processor.
const QUEUE: u32 = 4096;
