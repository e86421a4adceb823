//! Centrex6.
fn main() {}
