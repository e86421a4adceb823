//! For tests of this crate and of those above it.

mod pair;
mod transaction_ops;

pub use pair::{End, Pair, Weather, address};
pub use transaction_ops::transaction_ops;
