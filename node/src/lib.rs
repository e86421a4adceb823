//! The async shell: configuration, telemetry, sockets, workers, lifecycle.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`] | the TOML file, its overrides, and validated types |
//! | [`telemetry`] | logs, metrics, the admin port, masking |
//! | [`worker`] | threads that drive a [`Core`](sip_core::core::Core) with sockets and timers |
//! | [`world`] | how a core's questions are answered |
//! | [`lifecycle`] | phases, signals, drain and an orderly end |
//! | [`socket`] | datagram sockets in batches |
//! | [`slots`] | limits on connections, in all and by source |
//! | [`sources`] | where requests come from: how many are taken, and who is a scanner |
//! | [`timers`] | the timers of a core |
//! | [`listener`] | a transport and an address |
//! | [`tls`] | certificates, ours and others' |
//! | [`dns`] | the places behind names |
//! | [`trace`], [`explain`] | the latest SIP messages; why a call ended, in words |

pub mod config;
pub mod dns;
pub mod explain;
mod handover;
pub mod lifecycle;
pub mod listener;
mod metrics;
mod shutdown;
pub mod slots;
pub mod socket;
pub mod sources;
mod stream;
pub mod telemetry;
pub mod timers;
pub mod tls;
pub mod trace;
pub mod worker;
pub mod world;
