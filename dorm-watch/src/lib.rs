//! Phones, routers and sites watched from the centre; alarms with their causes and remedies.
//!
//! [`Watch`] is the core, without I/O: it is given [`Picture`]s of what there is and answers to its probes, and gives probes to send and
//! alarms to write.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `picture` | what there is to watch, as a whole |
//! | `site` | one site: whom to ask when, what silence means, the neighbour-table fault |
//! | `findings` | what is wrong at a moment, in words: health, places, accounts |
//! | `ledger` | findings that last become alarms; writing, clearing, acknowledging, forgetting |
//! | `watch` | all of it behind two verbs |
//! | `gather`, `service` | the picture from memory; sockets, clock and store around the core |

mod findings;
mod gather;
mod io;
mod ledger;
mod picture;
mod schedule;
mod service;
mod settings;
#[cfg(test)]
mod simulation;
mod site;
mod status;
mod target;
#[cfg(test)]
mod testing;
mod watch;

pub use gather::{gather, learned};
pub use io::{Counts, Entry, Input, Method, Output, Probe, Saved, Ticket};
pub use picture::{
    ClearedAlarm, DevicePicture, LeasePicture, LinePicture, Mismatch, PhonePicture, Picture, Place, Report,
    SitePicture, TunnelPicture,
};
pub use service::{
    Acknowledged, Bell, Handle, Service, ServiceSettings, WatchError, World, describe_metrics,
};
pub use settings::Settings;
pub use site::SiteState;
pub use status::{IadStatus, NeighboursStatus, OpenAlarm, PhonesStatus, SiteStatus, TunnelStatus};
pub use watch::Watch;
