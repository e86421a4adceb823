//! What reads bytes from the network here: each function takes any, and panics only when a promise is broken.

use bytes::Bytes;
use std::net::IpAddr;

use sip_core::wire::{Builder, Method, Name};

use crate::body::{Body, can_relay, trouble_with};
use crate::sdp::{
    MediaRewrite, OriginCounter, Rewrite, Sdp, keep_codecs, rewrite, shares_codec, without_direction,
};

/// A session description: whatever can be read can be rewritten, and what we write can be read, names us alone and is a fixed point.
pub fn sdp(data: &[u8]) {
    let Ok(sdp) = Sdp::parse(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(sdp.as_bytes(), data);
    look_at(&sdp);
    assert_eq!(rewrite(&sdp, &Rewrite::default()), data, "no change changes nothing");

    let address = IpAddr::from([192, 0, 2, 1]);
    let relay = MediaRewrite::Relay { address, rtp_port: 4_000, rtcp_port: 4_001 };
    for all in [relay, MediaRewrite::Reject] {
        let media = vec![all; sdp.media_count()];
        let once = OriginCounter::new(7).rewrite(&sdp, media.clone(), vec!["altc".into()], address);
        let written = Sdp::parse(once.clone()).expect("what we write can be read");
        look_at(&written);
        assert_eq!(written.media_count(), sdp.media_count());
        for (index, section) in written.media().enumerate() {
            assert_eq!(section.is_rejected(), all == MediaRewrite::Reject || sdp.is_rejected(index));
            assert!(section.address().is_none_or(|own| own == address), "an address of the other leg");
            assert!(section.candidates().next().is_none() && section.attributes("altc").next().is_none());
        }
        let twice = OriginCounter::new(7).rewrite(&written, media, vec!["altc".into()], address);
        assert_eq!(once, twice);
    }

    let allowed = ["PCMA".to_owned(), "t38".to_owned()];
    let kept = keep_codecs(&sdp, &allowed);
    assert_eq!(keep_codecs(&kept, &allowed).as_bytes(), kept.as_bytes());
    for section in kept.media().filter(|section| section.is_rtp() && !section.is_rejected()) {
        assert!(section.codecs().all(|codec| {
            ["PCMA", "telephone-event"].iter().any(|name| codec.name.eq_ignore_ascii_case(name))
        }));
    }
    let open = without_direction(&sdp);
    assert!(
        open.session_direction().is_none() && open.media().all(|section| section.own_direction().is_none())
    );
}

/// A body: its Content-Type up to the first line feed, then its bytes.
pub fn body(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (kind, bytes) = data.split_at(at);
    let kind: String = String::from_utf8_lossy(kind).chars().filter(|c| !c.is_control()).collect();
    for method in [Method::Invite, Method::Ack] {
        let message = Builder::request(&method, "sip:a@192.0.2.1")
            .header(Name::Other("Content-Disposition"), "session")
            .body(&kind, Bytes::copy_from_slice(bytes.get(1..).unwrap_or_default()))
            .finish();
        if let Body::Sdp(found) = Body::of(&message) {
            look_at(&found);
        }
    }
}

/// Datagrams on a media stream, each after its length in one byte; see [`crate::relay`].
pub fn rtp(data: &[u8]) {
    crate::relay::testing::datagrams(data);
}

fn look_at(sdp: &Sdp) {
    let _ = (sdp.origin(), sdp.session_connection(), sdp.session_direction(), sdp.is_hold());
    let _ = (can_relay(sdp), trouble_with(sdp), shares_codec(sdp, sdp));
    for index in 0..=sdp.media_count() {
        let _ = (sdp.media_address(index), sdp.is_rejected(index), sdp.direction(index));
    }
    for section in sdp.media() {
        let _ = (section.codecs().count(), section.rtcp_mux(), section.rtcp_address());
        let _ = (section.alternative(true), section.alternative(false));
    }
}
