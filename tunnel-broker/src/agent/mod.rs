//! The IAD agent.
mod advert;
mod backoff;
mod client;
mod kernel;
pub use client::{Client, End, Event, Input, Output};
