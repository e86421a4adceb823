//! Subscriptions at the notifier (RFC 6665 §4.2): who subscribed, until when, and when each is due a NOTIFY.
//!
//! [`Notifier`] is embedded in a core. It takes SUBSCRIBEs, the passing of time, changes of what is subscribed to and the answers to
//! its NOTIFYs, and says which NOTIFYs are due; what stands in them is the event package's business.

mod notifier;
mod one;

pub use notifier::{Accepted, Due, Notifier, Refused, Settings, SubscriptionId};
pub use one::{Ending, State};
