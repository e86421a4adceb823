//! Workers over real sockets on the loopback, driving a toy core.
#![allow(clippy::unwrap_used, clippy::panic)] // A test fails by panicking, in its helpers, too.

mod datagrams;
mod hostile;
mod lifecycle;
mod questions_and_timers;
mod streams;
mod tls;
mod toy;
mod websocket;
