//! Two call legs, SDP translation, and the RTP/RTCP relay between IPv6 and IPv4.

pub mod relay;
pub mod sdp;
