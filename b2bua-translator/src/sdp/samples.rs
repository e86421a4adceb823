//! Bodies as real devices write them, with documentation addresses.

pub(super) const YEALINK_V6: &str = "v=0\r\n\
o=- 20013 20013 IN IP6 2001:db8:42:10::101\r\n\
s=SDP data\r\n\
c=IN IP6 2001:db8:42:10::101\r\n\
t=0 0\r\n\
m=audio 11780 RTP/AVP 0 8 18 9 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:18 G729/8000\r\n\
a=fmtp:18 annexb=no\r\n\
a=rtpmap:9 G722/8000\r\n\
a=fmtp:101 0-15\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

pub(super) const ASTERISK_V4: &str = "v=0\r\n\
o=root 1821 1821 IN IP4 198.51.100.20\r\n\
s=Asterisk PBX 20.5.2\r\n\
c=IN IP4 198.51.100.20\r\n\
t=0 0\r\n\
m=audio 16384 RTP/AVP 0 8 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=maxptime:150\r\n\
a=sendrecv\r\n";

/// A gateway that gives the connection again in each section, after the session's.
pub(super) const CISCO_OWN_C: &str = "v=0\r\n\
o=CiscoSystemsSIP-GW-UserAgent 8642 3871 IN IP4 192.0.2.1\r\n\
s=SIP Call\r\n\
c=IN IP4 192.0.2.1\r\n\
t=0 0\r\n\
m=audio 18322 RTP/AVP 18 0 101 19\r\n\
c=IN IP4 192.0.2.7\r\n\
a=rtpmap:18 G729/8000\r\n\
a=fmtp:18 annexb=yes\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=rtpmap:19 CN/8000\r\n\
a=ptime:20\r\n\
m=video 18324 RTP/AVP 97\r\n\
c=IN IP4 192.0.2.7\r\n\
b=TIAS:1000000\r\n\
a=rtpmap:97 H264/90000\r\n\
a=fmtp:97 profile-level-id=42801E;packetization-mode=0\r\n";

pub(super) const T38_OFFER: &str = "v=0\r\n\
o=- 90210 90211 IN IP4 198.51.100.20\r\n\
s=-\r\n\
c=IN IP4 198.51.100.20\r\n\
t=0 0\r\n\
m=image 17442 udptl t38\r\n\
a=T38FaxVersion:0\r\n\
a=T38MaxBitRate:14400\r\n\
a=T38FaxRateManagement:transferredTCF\r\n\
a=T38FaxMaxBuffer:262\r\n\
a=T38FaxMaxDatagram:176\r\n\
a=T38FaxUdpEC:t38UDPRedundancy\r\n";

/// Speech refused in favour of fax, and a third section refused too.
pub(super) const T38_ANSWER: &str = "v=0\r\n\
o=- 5 2 IN IP4 198.51.100.20\r\n\
s=-\r\n\
c=IN IP4 198.51.100.20\r\n\
t=0 0\r\n\
m=audio 0 RTP/AVP 0\r\n\
m=image 17442 udptl t38\r\n\
a=T38FaxVersion:0\r\n\
a=T38FaxUdpEC:t38UDPRedundancy\r\n\
m=video 0 RTP/AVP 31\r\n";

pub(super) const ICE_SOFTPHONE: &str = "v=0\r\n\
o=- 3890000000 3890000000 IN IP6 2001:db8:42:10::77\r\n\
s=soft\r\n\
c=IN IP6 2001:db8:42:10::77\r\n\
t=0 0\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789abcdefghijkl\r\n\
m=audio 50000 RTP/AVP 111 0 101\r\n\
a=rtcp:50001 IN IP6 2001:db8:42:10::77\r\n\
a=altc:1 IP6 2001:db8:42:10::77 50000\r\n\
a=candidate:1 1 UDP 2130706431 2001:db8:42:10::77 50000 typ host\r\n\
a=candidate:1 2 UDP 2130706430 2001:db8:42:10::77 50001 typ host\r\n\
a=end-of-candidates\r\n\
a=remote-candidates:1 192.0.2.3 45664\r\n\
a=rtpmap:111 opus/48000/2\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=rtcp-mux\r\n\
a=sendrecv\r\n";

/// A wholesale switch in bare LF, with media-level connections only.
pub(super) const SWITCH_LF: &str = "v=0\n\
o=sippy 1 2 IN IP4 203.0.113.5\n\
s=-\n\
t=0 0\n\
m=audio 40000 RTP/AVP 8 101\n\
c=IN IP4 203.0.113.5\n\
a=rtpmap:8 PCMA/8000\n\
a=rtpmap:101 telephone-event/8000\n\
a=rtcp:40001\n\
a=sendonly\n";

pub(super) const VALID: &[&str] =
    &[YEALINK_V6, ASTERISK_V4, CISCO_OWN_C, T38_OFFER, T38_ANSWER, ICE_SOFTPHONE, SWITCH_LF];
