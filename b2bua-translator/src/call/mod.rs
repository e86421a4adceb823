//! One call: from the INVITE to its record.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `state` | [`Call`] and how far it is |
//! | `ending` | the way to the end: who is told, and the record |
//! | `attempt` | the INVITE to one gateway |
//! | `setup` | gateways in turn, their early dialogs, the answer |
//! | `incoming` | a new call: who calls whom |
//! | `transfer` | what a party asks for by REFER |
//! | `inputs` | what peers, clock and world bring, taken to where it belongs |
//!
//! Imports run upward in this table.

mod attempt;
mod ending;
mod incoming;
mod inputs;
mod setup;
mod state;
mod story;
mod transfer;

pub(crate) use self::incoming::Incoming;
pub(crate) use self::state::Call;
