//! The agent for real: against a broker of a few lines, with the kernel's own address autoconfiguration on the far side of its LAN.

mod broker;
mod check;
mod dorm;
mod lan;
mod line;
