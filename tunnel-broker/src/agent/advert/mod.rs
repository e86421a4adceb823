//! Router advertisements (RFC 4861, RFC 4862, RFC 8106): what the phones make their addresses from.
//!
//! In plain code, because the libraries that were looked at either send nothing themselves or drive a whole interface.

mod message;
mod schedule;
mod socket;

pub(super) use message::{Advertisement, Message};
pub(super) use schedule::{Advertiser, Content};
pub(super) use socket::AdvertSocket;
