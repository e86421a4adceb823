//! Two legs joined: what one asks becomes a request on the other, and the answer goes back.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `pair` | [`Bridge`]: the two legs, and who gets which request |
//! | `early` | before the answer: provisional responses, PRACK, and the 2xx that ends it |
//! | `offer` | a new offer of one side (re-INVITE, UPDATE, PRACK), from its arrival to its refusal or its way on |
//! | `answer` | what the other side says to it |
//! | `refresh` | the session timers' refreshes |
//! | `relayed` | requests that are no offers |

mod answer;
mod early;
mod exchange;
mod offer;
mod pair;
mod refresh;
mod relayed;

pub(crate) use self::pair::{Bridge, Context, Step};
