//! Datagram sockets that receive and send in batches.

mod bind;
mod sys;
mod udp;

pub use self::bind::BindError;
pub(crate) use self::bind::{WorkerSockets, bind};
pub use self::udp::{Datagram, RecvBatch, SendQueue, UdpSocket, Undelivered};
