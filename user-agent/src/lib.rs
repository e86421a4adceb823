//! Simulated phones and a simulated telephone gateway for the demo, the lab, load tests and integration tests.
//!
//! The crate shares no SIP or SDP code with the platform, so that a mistake of ours is not mirrored by our own phones.
//! `rsipstack` 0.7.14 was read for this work and not taken: it knows the digest algorithms only as `SHA256` and `SHA512`, so that
//! a `SHA-256` or `SHA-512-256` challenge (RFC 8760) is an error to it, and it looks at the first challenge alone. Its transaction
//! timers run only while someone awaits the transaction, and its queues are unbounded; so this is a small client of our own, on UDP.
//!
//! - [`Phone`] registers, calls and is called: [`Phone::bind`].
//! - [`Gateway`] is a carrier's gateway: no registration, a policy by dialled number, and a record of what it received.
//! - [`Call`] is one call of either; [`Media`] is its RTP and RTCP, stamped by the sender and verified by the receiver.
//! - [`MediaSession`] is the same media without any SIP, for relay load.
//!
//! ```no_run
//! # async fn example() -> Result<(), user_agent::UaError> {
//! use user_agent::{CallOptions, Phone, PhoneConfig};
//!
//! let local = "[::1]:0".parse().expect("an address");
//! let proxy = "[::1]:5060".parse().expect("an address");
//! let phone = Phone::bind(PhoneConfig::new(local, proxy, "101", "s042.example.net", "secret"))?;
//! phone.register().await?;
//! let call = phone.call("102", CallOptions::default()).await?;
//! call.answered().await?;
//! call.media().await_received(50).await;
//! call.hangup().await?;
//! println!("{:?}", call.media().report());
//! # Ok(()) }
//! ```

mod agent;
mod call;
mod dialog;
mod digest;
mod error;
mod gateway;
mod ids;
mod incoming;
mod media;
mod message;
mod phone;
mod sdp;
mod transaction;
mod uri;
mod via;

pub use call::{Call, CallDirection, CallEvent, CallOptions, CallPhase, EndedBy, HoldStyle, IncomingCall};
pub use digest::answer_challenge;
pub use error::UaError;
pub use gateway::{Gateway, GatewayConfig};
pub use incoming::{Incoming, OptionsPolicy, ReceivedInvite};
pub use media::{Codec, DirectionReport, Media, MediaOptions, MediaReport, MediaSession};
pub use message::{Message, MessageError, StartLine};
pub use phone::{Phone, PhoneConfig, Registered};
