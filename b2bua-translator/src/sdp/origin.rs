//! Our own `o=` line, one a leg, and its version.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use super::Sdp;
use super::address::typed_address;
use super::rewrite::{MediaRewrite, Rewrite, rewrite};

/// An `o=` value of ours (RFC 8866 §5.2), which hides the one of the other leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnOrigin {
    /// The user name; `-` says nothing.
    pub username: String,
    /// Names the session; stays for the life of the leg.
    pub session_id: u64,
    /// One more whenever the body changes.
    pub version: u64,
    /// Our address on this leg.
    pub address: IpAddr,
}

impl OwnOrigin {
    /// An origin without a user name.
    pub fn new(session_id: u64, version: u64, address: IpAddr) -> Self {
        OwnOrigin { username: "-".into(), session_id, version, address }
    }
}

impl fmt::Display for OwnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.username, self.session_id, self.version, typed_address(self.address))
    }
}

/// Keeps the `o=` line of the bodies that we send on one leg: the session identifier stays, and the version grows by one
/// exactly when the body differs from the last one sent (RFC 3264 §8), whatever the other leg does with its own.
#[derive(Debug, Clone)]
pub struct OriginCounter {
    session_id: u64,
    version: u64,
    sent: Option<Bytes>,
}

impl OriginCounter {
    /// A leg on which nothing was sent yet. `session_id` must be unpredictable to the other leg and new for this one;
    /// 63 bits at most, since some devices read it as signed.
    pub fn new(session_id: u64) -> Self {
        OriginCounter { session_id: session_id & (u64::MAX >> 1), version: 1, sent: None }
    }

    /// A leg taken over from another node, with the last body that it sent.
    pub fn resume(session_id: u64, version: u64, sent: Bytes) -> Self {
        OriginCounter { session_id, version, sent: Some(sent) }
    }

    /// The session identifier on this leg.
    pub fn session_id(&self) -> u64 {
        self.session_id
    }

    /// The version of the last body sent, or of the first to be sent.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The last body sent.
    pub fn sent(&self) -> Option<&Bytes> {
        self.sent.as_ref()
    }

    /// Rewrites a body of the other leg for this one, under our own `o=` line at `address`, and remembers it as sent.
    pub fn rewrite(
        &mut self,
        sdp: &Sdp,
        media: Vec<MediaRewrite>,
        remove_attributes: Vec<String>,
        address: IpAddr,
    ) -> Bytes {
        let origin = OwnOrigin::new(self.session_id, self.version, address);
        let mut plan = Rewrite { origin: Some(origin), media, remove_attributes };
        let mut body = rewrite(sdp, &plan);
        if self.sent.as_ref().is_some_and(|sent| *sent != body) {
            self.version += 1;
            plan.origin = Some(OwnOrigin::new(self.session_id, self.version, address));
            body = rewrite(sdp, &plan);
        }
        self.sent = Some(body.clone());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_version_grows_only_with_a_change() {
        let address: IpAddr = "2001:db8::9".parse().unwrap();
        let media = |rtp_port| vec![MediaRewrite::Relay { address, rtp_port, rtcp_port: rtp_port + 1 }];
        let first = Sdp::parse(samples::ASTERISK_V4).unwrap();
        let mut counter = OriginCounter::new(42);
        let one = counter.rewrite(&first, media(30_000), Vec::new(), address);
        assert!(one.starts_with(b"v=0\r\no=- 42 1 IN IP6 2001:db8::9\r\n"));
        assert_eq!(counter.rewrite(&first, media(30_000), Vec::new(), address), one);

        // The gateway counts its own version up for a session refresh: nothing changed for us.
        let refreshed =
            Sdp::parse(samples::ASTERISK_V4.replace("o=root 1821 1821", "o=root 1821 1822")).unwrap();
        assert_eq!(counter.rewrite(&refreshed, media(30_000), Vec::new(), address), one);

        let moved = counter.rewrite(&first, media(30_002), Vec::new(), address);
        assert!(moved.starts_with(b"v=0\r\no=- 42 2 IN IP6"));
        assert_eq!(counter.version(), 2);

        let mut adopted = OriginCounter::resume(counter.session_id(), counter.version(), moved.clone());
        assert_eq!(adopted.rewrite(&first, media(30_002), Vec::new(), address), moved);
    }
}
