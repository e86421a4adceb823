//! The async shell: configuration, telemetry, sockets, workers, lifecycle.
