//! Transactions: the four machines of RFC 3261 §17 with RFC 6026, and the layer that holds them.
//!
//! [`Layer`] is embedded in a core. It takes what the core gets from the shell (bytes, timers, failures) and the core's
//! commands (requests, responses, CANCEL), and gives [`Output`]s: what to send, which timers to move, and events.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `client_invite`, `client_other`, `server_invite`, `server_other` | one machine each |
//! | `step` | what the machines share |
//! | `client`, `server`, `layer` | the tables, and what goes in and out |
//! | `key` | what identifies a transaction |
//! | `sanity` | what a message must have to be looked at |
//! | `via` | where responses go |
//! | `answer` | messages that the layer writes by itself |

mod answer;
mod client;
mod client_invite;
mod client_other;
mod counters;
mod event;
mod key;
mod layer;
mod outbox;
mod sanity;
mod server;
mod server_invite;
mod server_other;
mod settings;
mod step;
mod via;

#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod pair_tests;

pub use answer::unframed;
pub use counters::Counters;
pub use event::{ClientId, Event, Failure, Output, Overflow, ServerId};
pub use layer::Layer;
pub use settings::Settings;
