//! The latest SIP messages of this node, kept in memory within a bound, so that a call can be drawn and explained afterwards.
//!
//! Each worker has a ring of its own; the oldest messages make room for new ones. Nothing is written to disk. With `[trace] homer`
//! set, each message is also sent to a Homer server ([`hep`]).

pub mod hep;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use sip_core::flow::Flow;
use sip_core::ids::WorkerId;
use sip_core::owner;

use self::hep::Exporter;
use self::ring::Ring;
use crate::explain::Troubles;

/// The messages of all workers. Clones are the same trace.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    rings: Arc<Mutex<Vec<Arc<Mutex<Ring>>>>>,
    bytes_per_worker: usize,
    exporter: Option<Exporter>,
    troubles: Troubles,
}

/// One message that passed.
#[derive(Debug, Clone)]
pub struct Traced {
    /// When it passed us.
    pub at: SystemTime,
    /// The role that received or sent it.
    pub role: Arc<str>,
    /// Which way it went.
    pub way: Way,
    /// Between which addresses.
    pub flow: Flow,
    /// The message as it stood on the wire.
    pub bytes: Bytes,
}

/// Which way a message went, as seen from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To us.
    Received,
    /// From us.
    Sent,
}

/// A worker's hand on the trace.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Option<Active>);

#[derive(Debug)]
struct Active {
    role: Arc<str>,
    ring: Arc<Mutex<Ring>>,
    exporter: Option<Exporter>,
}

impl Trace {
    /// Keeps so many bytes of messages a worker; 0 keeps none.
    pub fn new(bytes_per_worker: usize, exporter: Option<Exporter>) -> Trace {
        Trace { rings: Arc::default(), bytes_per_worker, exporter, troubles: Troubles::default() }
    }

    /// What is remembered of these dialogs (by Call-ID), in the order in which it passed.
    pub fn messages_of(&self, call_ids: &[&str]) -> Vec<Traced> {
        let mut found: Vec<Traced> = Vec::new();
        for ring in locked(&self.rings).iter() {
            let ring = locked(ring);
            let wanted = |traced: &&Traced| {
                let call_id = owner::call_id(&traced.bytes);
                call_ids.iter().any(|wanted| wanted.as_bytes() == call_id)
            };
            found.extend(ring.iter().filter(wanted).cloned());
        }
        found.sort_by_key(|traced| traced.at);
        found
    }

    /// Why peers could not be reached.
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    pub(crate) fn recorder(&self, role: &str, _worker: WorkerId) -> Recorder {
        if self.bytes_per_worker == 0 && self.exporter.is_none() {
            return Recorder(None);
        }
        let ring = Arc::new(Mutex::new(Ring::new(self.bytes_per_worker)));
        locked(&self.rings).push(Arc::clone(&ring));
        Recorder(Some(Active { role: role.into(), ring, exporter: self.exporter.clone() }))
    }
}

impl Recorder {
    /// Remembers a message; the oldest ones make room.
    pub(crate) fn record(&self, way: Way, flow: &Flow, bytes: &Bytes) {
        let Some(active) = &self.0 else { return };
        let (role, bytes) = (Arc::clone(&active.role), bytes.clone());
        let traced = Traced { at: SystemTime::now(), role, way, flow: *flow, bytes };
        if let Some(exporter) = &active.exporter {
            exporter.export(&traced);
        }
        locked(&active.ring).push(traced);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use sip_core::flow::Transport;

    use super::*;

    fn flow() -> Flow {
        let (local, remote) = ("[::1]:5060".parse().unwrap(), "[::1]:6000".parse().unwrap());
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }

    fn options(call_id: &str) -> Bytes {
        Bytes::from(format!("OPTIONS sip:a@[::1] SIP/2.0\r\nCall-ID: {call_id}\r\n\r\n"))
    }

    #[test]
    fn a_dialog_is_found_among_others_on_every_worker() {
        let trace = Trace::new(10_000, None);
        let (one, two) = (trace.recorder("proxy", WorkerId(0)), trace.recorder("translator", WorkerId(1)));
        one.record(Way::Received, &flow(), &options("a"));
        two.record(Way::Sent, &flow(), &options("b"));
        two.record(Way::Sent, &flow(), &options("ab"));
        one.record(Way::Sent, &flow(), &options("a"));
        let seen = |ids: &[&str]| {
            let messages = trace.messages_of(ids).into_iter();
            messages.map(|traced| (traced.role.to_string(), traced.way)).collect::<Vec<_>>()
        };
        let proxy = "proxy".to_owned();
        assert_eq!(seen(&["a"]), [(proxy.clone(), Way::Received), (proxy, Way::Sent)]);
        assert_eq!(seen(&["a", "b"]).len(), 3);
        assert!(seen(&["c"]).is_empty());
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let trace = Trace::new(0, None);
        trace.recorder("proxy", WorkerId(0)).record(Way::Sent, &flow(), &options("a"));
        assert!(trace.messages_of(&["a"]).is_empty());
    }
}
