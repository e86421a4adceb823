//! Dialogs (RFC 3261 §12): what two user agents remember of each other between transactions.

mod error;
mod id;
mod set;
mod state;

pub use error::DialogError;
pub use id::DialogId;
pub use set::DialogSet;
pub use state::{Dialog, Role};
