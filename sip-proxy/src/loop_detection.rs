//! Loop detection by a hash in our branch (RFC 5393 §4).

use sha2::{Digest, Sha256};
use sip_core::ids::worker_of_branch;
use sip_core::wire::header::Via;
use sip_core::wire::{Message, Name};

/// A hash over everything by which we route: what comes back with the same hash would take the same way again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoopHash(u64);

impl LoopHash {
    /// Of a request as it was received, before anything is changed.
    ///
    /// Besides what we route by, it covers what names the request, so that two calls never collide. Via and Max-Forwards
    /// change at every hop and are left out (RFC 5393 §4.2.1).
    pub(crate) fn of(request: &Message) -> LoopHash {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // The length first: two fields must not read like one.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(request.request_uri_text().as_bytes());
        for name in [Name::Route, Name::CallId, Name::CSeq, Name::From, Name::ProxyRequire] {
            for value in request.raws(name) {
                add(value);
            }
        }
        let digest = hash.finalize();
        LoopHash(digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte)))
    }

    /// Puts the hash behind a branch of ours.
    pub(crate) fn mark(self, branch: &str) -> String {
        format!("{branch}.{:016x}", self.0)
    }

    /// Whether the request has been here before with the same hash.
    pub(crate) fn is_loop(self, request: &Message) -> bool {
        let own = format!(".{:016x}", self.0);
        request.all::<Via>().flatten().any(|via| {
            via.branch()
                .is_some_and(|branch| worker_of_branch(branch.as_bytes()).is_some() && branch.ends_with(&own))
        })
    }
}

#[cfg(test)]
mod tests {
    use sip_core::ids::{IdSource, WorkerId};
    use sip_core::wire::{Builder, Method};

    use super::*;

    fn invite(uri: &str, branch: &str) -> Message {
        Builder::request(&Method::Invite, uri)
            .header(Name::Via, format_args!("SIP/2.0/UDP [::1]:5060;branch={branch}"))
            .header(Name::Via, "SIP/2.0/UDP [::1]:5061;branch=z9hG4bKother")
            .header(Name::CallId, "1")
            .finish()
    }

    /// RFC 5393 §4.2: what the routing depends on is in the branch: the same again is a loop, anything else a spiral.
    #[test]
    fn a_loop_is_known_and_a_spiral_is_none() {
        let mut ids = IdSource::new(WorkerId(3), [1; 32]);
        let hash = LoopHash::of(&invite("sip:101@a.example", "z9hG4bKx"));
        assert!(!hash.is_loop(&invite("sip:101@a.example", "z9hG4bKx")));
        let branch = hash.mark(&ids.branch());
        let back = invite("sip:101@a.example", &branch);
        assert!(LoopHash::of(&back).is_loop(&back));
        let spiral = invite("sip:102@a.example", &branch);
        assert!(!LoopHash::of(&spiral).is_loop(&spiral));
    }

    #[test]
    fn a_foreign_branch_with_our_hash_is_no_loop() {
        let hash = LoopHash::of(&invite("sip:101@a.example", "z9hG4bKx"));
        assert!(!hash.is_loop(&invite("sip:101@a.example", &hash.mark("z9hG4bKforeign"))));
    }
}
