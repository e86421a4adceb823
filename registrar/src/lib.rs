//! Who is where: bindings, digest policy and location lookup.
//!
//! Four parts that the proxy's core embeds: [`Locations`], shared by every worker of the process, knows where each line can
//! be reached; the [`Gatekeeper`] decides who may speak; the [`Registrar`] turns a REGISTER into changes to store;
//! [`Sightings`] says which valid credentials were used from the wrong place. A REGISTER
//! that creates or extends what is stored is answered only after the change is on disk.

mod address_check;
mod answer;
mod asked;
#[cfg(test)]
mod flow_tests;
mod gatekeeper;
mod gruu;
mod locations;
pub mod reg_event;
mod register;
mod settings;
mod sightings;

pub use gatekeeper::{Admission, Gatekeeper, Kind, OUTSIDE};
pub use gruu::{Gruu, GruuKey};
pub use locations::Locations;
pub use register::{Registrar, Step};
pub use settings::Settings;
pub use sightings::Sightings;
