//! What load tests are made of: the real binary as a process of its own, sipp around it, and what they cost.
//!
//! Nothing here links a service of the platform. A [`node::Node`] is started in a temporary folder on ports that the system hands
//! out, a [`sipp::Sipp`] plays a scenario against it, and [`process::Process`] tells how much processor time and memory it took.
//! A [`lab::Lab`] is the whole picture in network namespaces: dorms with their IADs and phones, an IPv4 internet, the centre, a carrier.

pub mod lab;
pub mod node;
pub mod ports;
pub mod process;
pub mod sipp;
