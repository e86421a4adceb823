//! Two call legs, SDP translation, and the RTP/RTCP relay between IPv6 and IPv4.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`core`] | [`TranslatorCore`]: takes each input to the call that it belongs to |
//! | `call`, `leg` | a call and its state; one of its two legs |
//! | `incoming`, `invite` | a new call: who calls whom; the INVITE to the called side |
//! | `setup` | from the first candidate to the answer |
//! | `bridge` | what one leg asks in an answered call becomes a request on the other |
//! | `media` | a call's media, and SDP on its way between the legs |
//! | [`trunks`], `keep_alive` | which gateway takes a call; which gateways live |
//! | `gateway_names` | whose certificate a gateway must show |
//! | `identity`, `failure` | who calls and what is shown of it; how failures pass |
//! | [`record`] | what stays of a call |
//! | [`question`], [`world`] | what the core asks, and who answers |
//! | [`sdp`], [`relay`] | SDP by splices; RTP and RTCP |

pub mod core;
pub mod question;
pub mod record;
pub mod relay;
pub mod sdp;
pub mod settings;
pub mod trunks;
pub mod world;

mod bridge;
mod call;
mod env;
mod failure;
mod gateway_names;
mod identity;
mod incoming;
mod invite;
mod keep_alive;
mod leg;
mod media;
mod setup;

#[cfg(test)]
mod tests;

pub use self::core::{Shared, TranslatorCore, describe_metrics};
pub use self::gateway_names::GatewayNames;
pub use self::question::{Answer, Question};
pub use self::settings::{Country, Face, KeepAlive, Settings};
pub use self::world::TranslatorWorld;
