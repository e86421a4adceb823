//! DTCP, the Dynamic Tunnel Configuration Protocol, as the old clients speak it.
//!
//! A client connects by TCP over IPv4 (port 20200) and is greeted with a challenge. One line authenticates and asks for a tunnel:
//! `tunnel <user> <MD5(user ‖ challenge ‖ password)> <type>`. The connection is the lease: while it lives, the tunnel does.
//! [`Centre`] and [`Report`] are additions of ours that old clients and brokers do without.
//! Lines end with CRLF or a bare LF, verbs and hashes may come in either case, words are split on single spaces.

mod answer;
mod extension;
mod line;
mod proof;
mod reply;
mod request;

pub(crate) use answer::success as answered;
pub use answer::{Denial, Granted, Greeting};
pub use extension::{Centre, Report};
pub use line::{LineBuffer, TooLong};
pub use proof::{Challenge, Proof};
pub use reply::{Refusal, Reply};
pub use request::{Kind, Login, Request};

/// The TCP port of a broker.
pub const PORT: u16 = 20200;
