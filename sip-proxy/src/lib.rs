//! The stateful proxy: routing, forking, admission.
