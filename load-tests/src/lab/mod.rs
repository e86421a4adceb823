//! The lab: the whole picture of a dorm's coming up, in network namespaces of this machine and nothing outside them.
//!
//! The real binary plays centre, tunnel server and IADs; the kernel makes the phones' addresses; phones and the carrier's gateway are
//! those of the crate `user-agent`, on threads of this process. [`plan`] is the picture as data, [`Lab::up`] makes it.
//!
//! Namespaces and processes end with the [`Lab`]. What a killed process leaves behind, [`Folder::remove`] takes away.

mod call;
mod connections;
mod errand;
mod error;
mod fault;
mod folder;
mod iad;
mod namespace;
mod party;
mod phone;
pub mod plan;
mod platform;
mod program;
mod provision;
mod running;
mod setup;
pub mod spoof;
mod status;
mod wiring;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use call::{CallReport, LabCall, wait};
pub use errand::Errand;
pub use error::LabError;
pub use folder::{Folder, Owner};
pub use iad::Iad;
pub use namespace::Namespace;
pub use party::Party;
pub use phone::{Credentials, PhoneState, Station};
pub use platform::Node;
pub use program::{Program, await_that};
pub use provision::Provisioned;
pub use running::Lab;
pub use setup::{Advertiser, Setup};
pub use status::{Machine, PhoneStatus, Router, SiteStatus, Status};

/// Whether a lab can be made here.
///
/// # Errors
/// With what is missing.
pub fn check_machine() -> Result<(), LabError> {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Err(LabError::NotRoot);
    }
    check_programs(&PROGRAMS)?;
    if !Path::new("/dev/net/tun").exists() {
        return Err(LabError::Kernel { what: "make TUN devices (/dev/net/tun is missing)" });
    }
    Ok(())
}

/// Whether these programs are there, each given with the Debian package that brings it.
///
/// # Errors
/// With the first that is missing.
pub fn check_programs(programs: &[(&'static str, &'static str)]) -> Result<(), LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    match programs.iter().find(|(program, _)| !there(program)) {
        None => Ok(()),
        Some((program, package)) => Err(LabError::NoProgram { program, package }),
    }
}

/// What the lab runs, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];
