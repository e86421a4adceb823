//! Two call legs, SDP translation, and the RTP/RTCP relay between IPv6 and IPv4.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`core`] | [`TranslatorCore`]: takes each input to the call that it belongs to |
//! | `call` | one call: from the INVITE to its record |
//! | `bridge` | two legs joined: what one asks becomes a request on the other |
//! | `leg` | one end of a dialog: its reliable responses, its session timer, its end |
//! | `invite` | the INVITE to the called side |
//! | `media`, `talk` | a call's media, and SDP on its way between the legs; what both sides last said |
//! | `body`, `required` | what a message brings, and what it may require |
//! | [`trunks`], `keep_alive` | which gateway takes a call; which gateways live |
//! | `gateway_names` | whose certificate a gateway must show |
//! | `identity`, `failure`, `cause` | who calls and what is shown of it; how failures pass; why a call ends |
//! | [`record`] | what stays of a call |
//! | [`question`], [`world`] | what the core asks, and who answers |
//! | [`sdp`], [`relay`] | SDP by splices; RTP and RTCP |
//!
//! Imports run one way: core, call, bridge, leg, and what stands below them.

pub mod core;
pub mod question;
pub mod record;
pub mod relay;
pub mod sdp;
pub mod settings;
pub mod trunks;
pub mod world;

mod body;
mod bridge;
mod call;
mod cause;
mod env;
mod failure;
mod gateway_names;
mod identity;
mod invite;
mod keep_alive;
mod leg;
mod media;
mod required;
mod talk;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use self::core::{Shared, TranslatorCore, describe_metrics};
pub use self::gateway_names::GatewayNames;
pub use self::question::{Answer, Question};
pub use self::settings::{Country, Face, KeepAlive, SessionPolicy, Settings};
pub use self::world::TranslatorWorld;
