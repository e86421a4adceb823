//! For tests of this crate and of those above it.

mod dialog_ops;
mod pair;
mod tape;
mod transaction_ops;

pub use dialog_ops::dialog_ops;
pub use pair::{End, Pair, Weather, address};
pub use transaction_ops::transaction_ops;
