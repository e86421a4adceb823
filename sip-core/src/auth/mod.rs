//! Digest authentication: RFC 3261 §22, RFC 7616, RFC 8760.
//!
//! A server holds one [`Digest`] per worker. It challenges with signed nonces, so that a client that has shown nothing
//! costs no memory, and remembers nonce counts only of nonces that a right response has used.

mod algorithm;
mod nonce;
mod server;
mod window;

pub use algorithm::{Algorithm, Answer, Ha1, ha1};
pub use nonce::NonceKey;
pub use server::{Digest, DigestSettings, Verdict};
