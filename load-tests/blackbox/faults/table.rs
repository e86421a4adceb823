//! The table: what goes wrong, and the words without which the sentence does not name it.

use crate::support::Legs;

use super::gateway::{
    Then, answered, answered_badly, cancelled, never_refreshed, refused, rejected, silenced,
};
use super::inside::{self, Inside};
use super::outside::{self, Limited};
use super::unreachable::{self, Quick};

/// A fault on a stage of the type `S`.
pub(super) struct Fault<S> {
    pub(super) name: &'static str,
    /// Makes it happen; gives the Call-ID of the call.
    pub(super) inject: fn(&mut S) -> String,
    /// What the sentence must hold.
    pub(super) says: &'static [&'static str],
}

const fn fault<S>(
    name: &'static str,
    inject: fn(&mut S) -> String,
    says: &'static [&'static str],
) -> Fault<S> {
    Fault { name, inject, says }
}

/// Calls to the outside, which the gateway or the phone ends.
#[rustfmt::skip]
pub(super) const GATEWAY: &[Fault<Legs>] = &[
    fault("the gateway is out of service", |legs| refused(legs, 503, &[]), &["called side", "trunk carrier", "503", "out of service"]),
    fault("no circuit", |legs| refused(legs, 503, &[("Reason", "Q.850;cause=34")]), &["trunk carrier", "503", "cause 34", "no circuit available"]),
    fault("busy", |legs| refused(legs, 486, &[]), &["called side", "trunk carrier at udp:127.0.0.1:", "486", "busy"]),
    fault("busy, said in Q.850", |legs| refused(legs, 500, &[("Reason", "Q.850;cause=17")]), &["trunk carrier", "500", "user busy"]),
    fault("no such number", |legs| refused(legs, 404, &[]), &["trunk carrier", "404", "no such number"]),
    fault("too few digits", |legs| refused(legs, 484, &[]), &["trunk carrier", "484", "number is incomplete"]),
    fault("the gateway forbids it", |legs| refused(legs, 403, &[]), &["trunk carrier", "403", "does not allow"]),
    fault("the gateway asks for credentials", |legs| refused(legs, 407, &[]), &["trunk carrier", "407", "credentials"]),
    fault("the gateway takes none of our codecs", |legs| refused(legs, 488, &[("Warning", "304 gw \"Media type not available\"")]), &["trunk carrier", "488", "no common codec", "Media type not available"]),
    fault("the called party declines", |legs| refused(legs, 603, &[]), &["trunk carrier", "603", "declined"]),
    fault("a time-out behind the gateway", |legs| refused(legs, 408, &[]), &["trunk carrier", "408", "in time"]),
    fault("the gateway ends the call unasked", |legs| refused(legs, 487, &[]), &["trunk carrier", "487", "cancelled"]),
    fault("a loop behind the gateway", |legs| refused(legs, 482, &[]), &["trunk carrier", "482", "loop"]),
    fault("too many hops behind the gateway", |legs| refused(legs, 483, &[]), &["trunk carrier", "483", "too many hops"]),
    fault("too large for the gateway", |legs| refused(legs, 513, &[]), &["trunk carrier", "513", "too large"]),
    fault("the caller gives up", cancelled, &["caller's side", "line s01-101", "gave up", "rang"]),
    fault("no media at all", |legs| answered(legs, Then::Nothing), &["No media at all", "caller's side", "hung up"]),
    fault("one-way media", |legs| answered(legs, Then::PhoneSpeaks(0)), &["One-way media", "no RTP came from the called side"]),
    fault("a codec that was not agreed", |legs| answered(legs, Then::BothSpeak(9)), &["Wrong codec", "caller's side", "payload type 9"]),
    fault("media from an unexpected source", |legs| answered(legs, Then::StrangerSpeaks), &["Media of the called side", "127.0.0.2", "unexpected source"]),
    fault("the network clears the call", |legs| answered(legs, Then::GatewayHangsUp(Some("Q.850;cause=27"))), &["called side", "trunk carrier", "hung up", "destination out of order"]),
    fault("the gateway forgets the call", |legs| answered(legs, Then::GatewayForgets), &["called side", "trunk carrier", "no longer knew the call"]),
    fault("no common codec in the answer", |legs| answered_badly(legs, Some("18")), &["called side", "trunk carrier", "no common codec"]),
    fault("an answer without a description", |legs| answered_badly(legs, None), &["called side", "trunk carrier", "an answer without SDP"]),
    fault("a body that is no SDP", |legs| rejected(legs, &[("Content-Type", "text/plain")], "hello"), &["415", "translator"]),
    fault("media over TCP only", |legs| rejected(legs, &[], "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n"), &["caller's side", "488", "no media that the platform can carry"]),
    fault("SDP that cannot be read", |legs| rejected(legs, &[], "nonsense"), &["caller's side", "488", "SDP", "cannot be read"]),
    fault("an extension that we lack", |legs| rejected(legs, &[("Require", "teleport")], ""), &["420", "translator", "teleport"]),
];

/// What the proxy refuses, and calls between phones.
#[rustfmt::skip]
pub(super) const INSIDE: &[Fault<Inside>] = &[
    fault("no credential", inside::no_credential, &["Our proxy", "407", "without a credential", "udp:[::1]:"]),
    fault("a wrong password", inside::wrong_password, &["Our proxy", "403", "wrong user name or password"]),
    fault("the source is outside the site", inside::wrong_site, &["Our proxy", "403", "source is refused", "outside the prefix"]),
    fault("barred from the outside", |stage| inside::call(stage, "barred", "0312345678", &[]), &["403", "barred", "no calls to the outside"]),
    fault("barred from other countries", |stage| inside::call(stage, "caller", "01012125550123", &[]), &["403", "barred", "no international calls"]),
    fault("no such extension", |stage| inside::call(stage, "caller", "199", &[]), &["404", "no such number"]),
    fault("no route", |stage| inside::call(stage, "caller", "0451234567", &[]), &["404", "no route leads to this number"]),
    fault("not registered", |stage| inside::call(stage, "caller", "104", &[]), &["480", "no phone is registered"]),
    fault("too many hops", |stage| inside::call(stage, "caller", "102", &[("Max-Forwards", "0")]), &["483", "too many hops"]),
    fault("a proxy extension that we lack", |stage| inside::call(stage, "caller", "102", &[("Proxy-Require", "teleport")]), &["420", "extension", "teleport"]),
    fault("a foreign host", inside::foreign_host, &["403", "not ours"]),
    fault("the phone is busy", |stage| inside::answered_with(stage, 486), &["called side", "phone 102", "486", "busy"]),
    fault("the phone accepts none of the media", |stage| inside::answered_with(stage, 488), &["called side", "phone 102", "488", "no common codec"]),
    fault("the called user declines", |stage| inside::answered_with(stage, 603), &["called side", "phone 102", "603", "declined"]),
    fault("the caller of a phone gives up", inside::cancelled, &["caller's side", "gave up", "rang"]),
    fault("the called phone hangs up", inside::hung_up, &["called side", "hung up"]),
];

/// Calls from the trunk.
#[rustfmt::skip]
pub(super) const OUTSIDE: &[Fault<Legs>] = &[
    fault("a gateway that is no trunk", outside::stranger, &["translator", "403", "source is refused", "no enabled trunk"]),
    fault("a number that is nobody's", |legs| outside::dialled(legs, "+81355550999"), &["called side", "404", "no such number"]),
    fault("not even a number", |legs| outside::dialled(legs, "reception"), &["caller's side", "trunk carrier", "no telephone number"]),
    fault("the called phone is busy", outside::phone_is_busy, &["called side", "line s01-101", "486", "busy"]),
    fault("a gateway's call without hops", outside::no_hops, &["translator", "483", "too many hops"]),
];

/// Bounds that are reached: one call is up already.
#[rustfmt::skip]
pub(super) const LIMITED: &[Fault<Limited>] = &[
    fault("the trunk is full", outside::trunk_is_full, &["trunk narrow", "was full", "1 calls"]),
    fault("too many calls", outside::too_many_calls, &["translator", "503", "too many calls"]),
    fault("a translator asks for fewer calls", outside::held_back, &["proxy", "503", "overload", "fewer calls"]),
    fault("media ports are used up", outside::no_ports, &["no media ports", "no free media ports"]),
];

/// Peers that cannot be reached.
#[rustfmt::skip]
pub(super) const QUICK: &[Fault<Quick>] = &[
    fault("a silent gateway", unreachable::silent, &["trunk silent", "gave no answer to the INVITE", "time-out"]),
    fault("the gateway's name is not in the DNS", unreachable::no_name, &["trunk nameless", "gw.nowhere.example", "not found in the DNS"]),
    fault("TCP is refused", unreachable::tcp_refused, &["trunk closed", "tcp:127.0.0.1:", "connection refused"]),
    fault("the gateway's certificate has expired", |stage| unreachable::tls(stage, "expired"), &["trunk expired", "tls:127.0.0.1:", "certificate has expired"]),
    fault("the gateway's certificate is another's", |stage| unreachable::tls(stage, "misnamed"), &["trunk misnamed", "certificate is for another name"]),
    fault("the gateway's authority is unknown", |stage| unreachable::tls(stage, "untrusted"), &["trunk untrusted", "authority that we do not trust"]),
    fault("the gateway does not speak TLS", |stage| unreachable::tls(stage, "plain"), &["trunk plain", "TLS handshake failed"]),
    fault("the network refuses the datagram", unreachable::no_way, &["trunk away", "could not be reached"]),
    fault("every gateway fails", unreachable::all_fail, &["trunk both at tcp:", "connection refused", "then trunk both at udp:", "time-out"]),
    fault("a registered phone that is gone", unreachable::phone_gone, &["phone 102", "no response at all", "408"]),
    fault("no ACK", unreachable::no_ack, &["caller's side", "never acknowledged", "no ACK"]),
];

/// What takes seconds.
#[rustfmt::skip]
pub(super) const PATIENT: &[Fault<Legs>] = &[
    fault("RTP stops", silenced, &["sent no media any more", "media time-out"]),
    fault("nobody refreshes the session", never_refreshed, &["caller's side", "trunk carrier", "session timer lapse"]),
];
