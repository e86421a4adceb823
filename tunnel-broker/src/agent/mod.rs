//! The agent for the box at the site: what makes a dorm come up by itself.
//!
//! It logs in to the broker and stays logged in, raises the tunnel, puts the first address of each LAN's /64 on its interface, advertises the
//! prefix (RFC 4861), watches the neighbour table, and takes everything back when it stops. [`run`] does all of that; [`status`] is what it
//! tells about itself.
//!
//! What decides has no I/O and a clock that is handed in: [`Client`] (a DTCP session), `site` (what stands, and for how long), `advert` (when which
//! advertisement goes out), `neighbours` (what the fill means). Around them stand `session` (dialling), `raised` (tunnel and routes), `lan`
//! (an interface) and `run`, which ties them together and makes the system what it shall be, again and again, whatever happened to it.

mod advert;
mod backoff;
pub mod check;
mod client;
mod dial;
mod kernel;
mod lan;
mod neighbours;
mod raised;
mod run;
mod session;
mod settings;
mod sip_watch;
mod site;
pub mod status;
mod tap;

use std::error::Error;

pub use client::{Client, End, Event, Input, Output};
pub use dial::DialError;
pub use kernel::KernelError;
pub use neighbours::{Fill, Level};
pub use run::{AgentError, run};
pub use settings::{BadSetting, Broker, Lan, Settings, TLS_PORT, Trust};

/// An error with all its causes, each said once: for a log line or an installer.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
