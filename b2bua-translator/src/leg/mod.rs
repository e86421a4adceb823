//! One leg of a call: our end of a dialog.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `end` | [`Leg`]: requests, responses, the way to its end |
//! | `accept` | our 2xx to an INVITE, until its ACK |
//! | `reliable` | reliable provisional responses (RFC 3262) |
//! | `session` | the session timer (RFC 4028) |
//! | `peer` | what the peer says it understands |

mod accept;
mod end;
mod peer;
mod reliable;
mod session;

pub(crate) use self::end::{Due, Leg, Offered, Peering, allow, supported, with_sdp};
pub(crate) use self::peer::{RELIABLE, Reliability};
pub(crate) use self::reliable::rack_of;
pub(crate) use self::session::Agreement;
