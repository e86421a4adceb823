use bytes::Bytes;

use super::*;
use crate::flow::Transport;
use crate::wire::{Limits, Uri};

struct Bench {
    notifier: Notifier<&'static str>,
    now: Instant,
}

fn flow() -> Flow {
    let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::2]:5070".parse().unwrap());
    Flow { transport: Transport::Udp, local, remote, connection: None }
}

fn subscribe(call_id: &str, cseq: u32, more: &str) -> Message {
    let text = format!(
        "SUBSCRIBE sip:101@s1.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::2];branch=z9hG4bK{cseq}\r\n\
         Record-Route: <sip:edge.example.net;lr>\r\nFrom: <sip:101@s1.example.net>;tag=f\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <sip:101@[2001:db8::2]:5070>\r\n{more}\r\n"
    );
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

const TO: &str = "To: <sip:101@s1.example.net>\r\nEvent: reg\r\n";
const IN_DIALOG: &str = "To: <sip:101@s1.example.net>;tag=t\r\nEvent: reg\r\n";

impl Bench {
    fn new() -> Bench {
        let settings = Settings { max_subscriptions: 4, max_per_resource: 2, ..Settings::default() };
        Bench { notifier: Notifier::new(settings), now: Instant::now() }
    }

    fn take(&mut self, request: &Message, resource: &'static str) -> Result<Accepted, Refused> {
        let contact = NameAddr::new("sip:[2001:db8::1]:5060".parse::<Uri>().unwrap());
        self.notifier.subscribe(self.now, request, resource, flow(), ("t", contact))
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// The NOTIFYs that go out now.
    fn notifies(&mut self) -> Vec<Message> {
        let due = self.notifier.due(self.now);
        let via = || Via::new(Transport::Udp, flow().local, "z9hG4bKn");
        due.iter()
            .map(|due| {
                let body = Some(("text/plain", Bytes::from_static(b"state")));
                self.notifier.notify(due.subscription, due.state, via(), body).unwrap()
            })
            .collect()
    }

    /// The only subscription's NOTIFY is answered.
    fn answer(&mut self, status: u16) {
        let (id, _) = self.notifier.iter().next().unwrap();
        let response = Builder::response(StatusCode::new(status).unwrap(), None).finish();
        self.notifier.answered(self.now, id, &response);
    }
}

fn state(notify: &Message) -> &str {
    notify.text(Name::SubscriptionState).unwrap()
}

/// RFC 6665 §4.2.1: a SUBSCRIBE is answered with 200 and its Expires, and followed by a NOTIFY in its dialog.
/// RFC 6665 §4.2.1.4: a refresh is one, too.
/// RFC 6665 §4.2.1.4: a SUBSCRIBE with Expires 0 ends it.
#[test]
fn from_subscribe_to_its_end() {
    let mut bench = Bench::new();
    let request = subscribe("c", 7, &format!("{TO}Expires: 600\r\n"));
    let accepted = bench.take(&request, "101").unwrap();
    assert_eq!(accepted.response.text(Name::Expires), Some("600"));
    assert_eq!(accepted.response.to_tag().as_deref(), Some("t"));
    assert!(accepted.response.has(Name::RecordRoute) && accepted.response.has(Name::Contact));
    let [notify] = &bench.notifies()[..] else { panic!() };
    assert_eq!((state(notify), notify.text(Name::Event)), ("active;expires=600", Some("reg")));
    assert_eq!(notify.request_uri_text(), "sip:101@[2001:db8::2]:5070");
    assert_eq!(notify.text(Name::Route), Some("<sip:edge.example.net;lr>"));
    assert_eq!((notify.from_tag().as_deref(), notify.to_tag().as_deref()), (Some("t"), Some("f")));
    bench.answer(200);
    bench.wait(300);
    let refresh = subscribe("c", 8, &format!("{IN_DIALOG}Expires: 900\r\n"));
    assert!(bench.notifier.owns(&refresh));
    assert_eq!(
        bench.notifier.refresh(bench.now, &refresh).unwrap().response.text(Name::Expires),
        Some("900")
    );
    assert_eq!(state(&bench.notifies()[0]), "active;expires=900");
    bench.answer(200);
    let old = subscribe("c", 7, &format!("{IN_DIALOG}Expires: 0\r\n"));
    assert_eq!(bench.notifier.refresh(bench.now, &old).unwrap_err().status().code(), 500);
    let end = subscribe("c", 9, &format!("{IN_DIALOG}Expires: 0\r\n"));
    bench.notifier.refresh(bench.now, &end).unwrap();
    assert_eq!(state(&bench.notifies()[0]), "terminated;reason=timeout");
    bench.answer(200);
    assert!(bench.notifier.is_empty() && bench.notifier.next_deadline().is_none());
    assert_eq!(bench.notifier.refresh(bench.now, &end).unwrap_err().status().code(), 481);
}

/// RFC 6665 §4.4.3: a SUBSCRIBE with Expires 0 fetches the state once.
#[test]
fn a_fetch() {
    let mut bench = Bench::new();
    bench.take(&subscribe("c", 1, &format!("{TO}Expires: 0\r\n")), "101").unwrap();
    assert_eq!(state(&bench.notifies()[0]), "terminated;reason=timeout");
    bench.answer(200);
    assert!(bench.notifier.is_empty());
}

/// RFC 6665 §4.2.2: a NOTIFY that is refused or finds nobody ends the subscription.
/// RFC 6665 §4.2.2: one that is not refreshed ends with a last NOTIFY.
#[test]
fn who_is_gone_is_forgotten() {
    let mut bench = Bench::new();
    bench.take(&subscribe("c", 1, TO), "101").unwrap();
    bench.notifies();
    bench.answer(481);
    assert!(bench.notifier.is_empty());
    let accepted = bench.take(&subscribe("c", 1, TO), "101").unwrap();
    bench.notifies();
    bench.notifier.gone(accepted.subscription);
    assert_eq!((bench.notifier.len(), bench.notifier.next_deadline()), (0, None));
    bench.take(&subscribe("c", 1, TO), "101").unwrap();
    bench.notifies();
    bench.answer(200);
    assert_eq!(bench.notifier.next_deadline(), Some(bench.now + Duration::from_secs(3761)));
    bench.wait(3761);
    assert_eq!(state(&bench.notifies()[0]), "terminated;reason=timeout");
}

/// RFC 6665 §4.2.1.1: a subscription that is too brief is refused with Min-Expires.
/// RFC 6665 §4.2.1: a SUBSCRIBE has an Event, and a refresh the same one.
#[test]
fn what_is_not_taken() {
    let mut bench = Bench::new();
    let refused = |bench: &mut Bench, more: &str| bench.take(&subscribe("c", 1, more), "101").unwrap_err();
    assert_eq!(refused(&mut bench, &format!("{TO}Expires: 5\r\n")), Refused::TooBrief(60));
    assert_eq!(refused(&mut bench, "To: <sip:101@s1.example.net>\r\n").status().code(), 400);
    bench.take(&subscribe("c", 1, TO), "101").unwrap();
    let other = subscribe("c", 2, &IN_DIALOG.replace("reg", "presence"));
    assert_eq!(bench.notifier.refresh(bench.now, &other).unwrap_err(), Refused::OtherEvent);
    // Bounded for one resource, and for all.
    bench.take(&subscribe("d", 1, TO), "101").unwrap();
    assert_eq!(bench.take(&subscribe("e", 1, TO), "101").unwrap_err(), Refused::TooMany);
    bench.take(&subscribe("e", 1, TO), "102").unwrap();
    bench.take(&subscribe("g", 1, TO), "103").unwrap();
    assert_eq!(bench.take(&subscribe("h", 1, TO), "104").unwrap_err(), Refused::TooMany);
}

/// RFC 6665 §4.4.2: a notifier that goes down says deactivated: subscribe again, elsewhere.
#[test]
fn the_node_goes_down() {
    let mut bench = Bench::new();
    bench.take(&subscribe("c", 1, TO), "101").unwrap();
    bench.notifies();
    bench.notifier.end_all(bench.now, Ending::Deactivated);
    assert!(bench.notifies().is_empty(), "one at a time");
    bench.answer(200);
    assert_eq!(state(&bench.notifies()[0]), "terminated;reason=deactivated");
}
