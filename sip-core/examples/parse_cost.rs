//! Prints what reading and forwarding a usual INVITE costs: `cargo run --release -p sip-core --example parse_cost`.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sip_core::wire::frame::Framer;
use sip_core::wire::{Limits, Message, Name, Uri};

/// An INVITE as a desk phone sends it through one proxy.
const INVITE: &str = "INVITE sip:102@s042.example.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP [2001:db8:42::5060]:5060;branch=z9hG4bKc6w00-0123456789abcdef;rport\r\n\
    Via: SIP/2.0/UDP [2001:db8:42:100::23]:5060;branch=z9hG4bK-524287-1---8f2a;rport=5060;received=2001:db8:42:100::23\r\n\
    Record-Route: <sip:[2001:db8:42::5060]:5060;lr>\r\n\
    Max-Forwards: 69\r\n\
    From: \"Alice\" <sip:101@s042.example.net>;tag=a73kszlfl\r\n\
    To: <sip:102@s042.example.net>\r\n\
    Call-ID: 1j9FpLxk3uxtm8tn@[2001:db8:42:100::23]\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:101@[2001:db8:42:100::23]:5060;transport=udp>\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, PRACK, UPDATE\r\n\
    Supported: replaces, 100rel, timer\r\n\
    Session-Expires: 1800\r\n\
    User-Agent: Example Desk Phone 3.1.4\r\n\
    P-Asserted-Identity: <sip:101@s042.example.net>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 165\r\n\
    \r\n\
    v=0\r\n\
    o=- 1 1 IN IP6 2001:db8:42:100::23\r\n\
    s=-\r\n\
    c=IN IP6 2001:db8:42:100::23\r\n\
    t=0 0\r\n\
    m=audio 49170 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";

const BATCHES: u32 = 2000;
const ROUNDS: u32 = 500;

fn main() {
    let limits = Limits::default();
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let message = match Message::parse(bytes.clone(), &limits) {
        Ok(message) => message,
        Err(malformed) => {
            eprintln!("the sample does not parse: {malformed}");
            std::process::exit(1);
        }
    };
    println!("{} bytes, {} header lines", bytes.len(), message.iter().count());
    measure("index", || Message::parse(black_box(bytes.clone()), &limits).is_ok());
    measure("top Via, From, To, CSeq, Call-ID typed", || {
        let ids = (message.from_tag(), message.to_tag(), message.call_id().is_ok());
        black_box((message.top_via().is_ok(), message.cseq().is_ok(), ids));
    });
    let target: Option<Uri> = "sip:102@[2001:db8:42:100::24]:5060".parse().ok();
    measure("forward: new Request-URI, Via, Max-Forwards, Record-Route", || {
        let mut edit = message.edit();
        if let Some(target) = &target {
            edit.request_uri(target);
        }
        edit.prepend(
            Name::Via,
            "SIP/2.0/UDP [2001:db8:42::5060]:5060;branch=z9hG4bKc6w00-0123456789abcdef;rport",
        );
        edit.prepend(Name::RecordRoute, "<sip:[2001:db8:42::5060]:5060;lr>");
        edit.set(Name::MaxForwards, 68);
        black_box(edit.finish());
    });
    measure("frame from a stream", || {
        let mut framer = Framer::new(&limits);
        framer.push(black_box(&bytes));
        black_box(framer.next_frame()).is_ok()
    });
}

fn measure<T>(what: &str, mut work: impl FnMut() -> T) {
    // The best of many short batches: what disturbs one only ever makes it slower.
    let batch = |work: &mut dyn FnMut() -> T| {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            black_box(work());
        }
        begin.elapsed()
    };
    let best = (0..BATCHES).map(|_| batch(&mut work)).min().unwrap_or_default();
    println!("{what}: {:.0} ns", best.as_nanos() as f64 / f64::from(ROUNDS));
}
