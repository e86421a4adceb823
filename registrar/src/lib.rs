//! Bindings, digest policy and location lookup.
