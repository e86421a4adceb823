//! The RTP and RTCP relay.
