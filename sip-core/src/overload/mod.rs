//! Overload: how much is taken, and what a server tells the hop before it about that (RFC 7339).

mod bucket;
mod feedback;

pub use bucket::{Bucket, Rate, Rates};
pub use feedback::{Feedback, Throttle, loss_of, offer};
