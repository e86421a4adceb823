//! The async shell: configuration, telemetry, sockets, workers, lifecycle.

pub mod config;
pub mod listener;
