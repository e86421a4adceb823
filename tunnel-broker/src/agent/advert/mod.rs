//! Router advertisements (RFC 4861, RFC 4862, RFC 8106): what the phones make their addresses from.
//!
//! In plain code: two message formats and a timer, which no library of Rust offered as a part of its own.

mod message;
mod schedule;
mod socket;

pub(super) use message::{Advertisement, Message};
pub(super) use schedule::{Advertiser, Content};
pub(super) use socket::AdvertSocket;
