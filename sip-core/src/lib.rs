//! SIP without I/O: messages, transactions, dialogs, authentication.
//!
//! Nothing here knows a runtime, a socket or a clock. Every layer is a plain struct with two verbs,
//! `handle_input` and `poll_output`, and one law: one input, then drain every output, then the next input.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`wire`] | messages: one buffer and a span index, typed views, splicing edits |
//! | [`transaction`] | the four machines of RFC 3261 §17 |
//! | [`dialog`] | dialog state of RFC 3261 §12 |
//! | [`auth`] | digest authentication, both sides' arithmetic |
//! | [`core`] | the [`Core`](core::Core) trait that the async shell drives |
//! | [`owner`] | which worker a message belongs to, before it is parsed |
//! | [`stun`] | keep-alives of phones on UDP |
//! | [`flow`], [`ids`], [`clock`] | ground-floor values: where bytes travel, what identifies things, what time it is |

pub mod auth;
pub mod clock;
pub mod core;
pub mod dialog;
pub mod flow;
pub mod ids;
pub mod owner;
pub mod stun;
#[doc(hidden)]
pub mod testing;
pub mod transaction;
pub mod wire;
