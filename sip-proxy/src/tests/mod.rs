//! The whole core with a hand-moved clock: phones and translators are text and addresses.

mod calls;
mod extensions;
mod forking;
mod gruu;
mod harness;
mod limits;
mod names;
mod nonsense;
mod outside;
mod overload;
mod redirection;
mod registrations;
mod relaying;
mod sightings;
