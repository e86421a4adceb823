//! Any bytes, read as a sequence of what peers, clock and world may do to calls. The fuzz target of this name and a property test run it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use sip_core::core::Input;
use sip_core::wire::header::{RAck, RSeq};
use sip_core::wire::{Builder, Message, Method, Name, StatusCode};

use super::harness::*;
use crate::sdp::Sdp;

/// Plays the sequence, then lets everybody fall silent and everything run out. Panics when a promise is broken:
///
/// - each call frees its media, gives back its trunk's share, and leaves exactly one record that says how it ended;
/// - each INVITE gets a final response;
/// - a reliable provisional response waits for the PRACK of the one before, and a 2xx for that of a description (RFC 3262 §3);
/// - we have no two INVITEs under way in a dialog, and our CSeq only grows;
/// - what we describe can be read, and names an address of the leg's own family.
pub fn call_ops(data: &[u8]) {
    let mut tape = Tape(data);
    let mut harness = Harness::with(settings(), tape.byte().unwrap_or(0));
    let mut peers = Peers::default();
    let mut steps = 0;
    while let Some(op) = tape.byte() {
        peers.act(&mut harness, op, &mut tape);
        peers.read(&mut harness);
        steps += 1;
        if steps == MAX_STEPS {
            break;
        }
    }
    // Everybody falls silent: the longest call and everything after it run out.
    harness.answer_all();
    harness.pass(Duration::from_secs(13 * 3_600));
    harness.assert_over();
    peers.read(&mut harness);
    for (_, invite) in &peers.invites {
        assert!(peers.finals.contains(invite.call_id().unwrap()), "every INVITE gets a final response");
    }
    assert_eq!(harness.world.records.len(), harness.core.begun(), "one record for each call that was taken");
    for record in &harness.world.records {
        assert!(record.ended_at.is_some() && record.ended_by.is_some());
    }
}

/// The bytes that are left.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `bound`; zero at the end.
    fn below(&mut self, bound: usize) -> usize {
        self.byte().map_or(0, |byte| usize::from(byte) % bound.max(1))
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of the latest.
    fn latest<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let place = self.below(items.len().clamp(1, 5));
        items.iter().nth_back(place)
    }
}

/// What the peers know: their INVITEs, the requests and the answers that they got, and their ends of dialogs.
#[derive(Default)]
struct Peers {
    invites: Vec<(Peer, Message)>,
    requests: Vec<(Peer, Message)>,
    /// Reliable provisional responses and 2xx to INVITE.
    answers: Vec<(Peer, Message)>,
    dialogs: Vec<Peer>,
    ever_sent: Vec<(Peer, Message)>,
    /// Call-IDs of INVITEs that got a final response.
    finals: HashSet<String>,
    watch: Watch,
    /// The number of the next reliable response.
    rseq: u32,
}

/// What is held against us.
#[derive(Default)]
struct Watch {
    /// The highest CSeq that we sent in each dialog.
    cseqs: HashMap<String, u32>,
    /// The branches of our requests: the same again is a retransmission.
    branches: HashSet<String>,
    /// Our INVITEs without a final response, by dialog.
    open: HashMap<String, u32>,
    /// Reliable responses that we sent and nobody has acknowledged, by dialog: their number, and whether they describe something.
    unpracked: HashMap<String, (u32, bool)>,
}

impl Watch {
    fn sent(&mut self, peer: &Peer, message: &Message) {
        let cseq = message.cseq().unwrap();
        if let Ok(sdp) = Sdp::parse(message.body()) {
            for index in 0..sdp.media_count() {
                let Some((ip, ..)) = sdp.media_address(index) else { continue };
                assert_eq!(ip.is_ipv6(), peer.address.is_ipv6(), "{message:?}");
                let own = [INSIDE, OUTSIDE, OUTSIDE_V6].map(|own| address(own).ip());
                assert!(ip.is_unspecified() || own.contains(&ip), "{ip} is not ours");
            }
        } else {
            assert!(message.body().is_empty() || !message.is(&Method::Invite), "{message:?}");
        }
        if message.is_request() && !message.is(&Method::Ack) && !message.is(&Method::Cancel) {
            let branch = message.top_via().unwrap().branch().unwrap_or_default().to_owned();
            if !self.branches.insert(branch) {
                return;
            }
            let key = dialog_of(message, message.to_tag(), peer);
            let last = self.cseqs.entry(key.clone()).or_insert(0);
            // An answer that comes again after the call is gone is ended once more, with a number of its own.
            let numbered = cseq.number > *last || message.to_tag().is_none() || message.is(&Method::Bye);
            assert!(numbered, "CSeq {} after {last}", cseq.number);
            *last = cseq.number.max(*last);
            if message.is(&Method::Invite) && message.to_tag().is_some() {
                assert!(self.open.insert(key, cseq.number).is_none(), "two INVITEs under way");
            }
        }
        let Some(status) = message.status() else { return };
        if cseq.method != Method::Invite || message.to_tag().is_none() {
            return;
        }
        let key = dialog_of(message, message.to_tag(), peer);
        if let Some(rseq) = message.header::<RSeq>().unwrap() {
            let describes = !message.body().is_empty();
            let before = self.unpracked.insert(key, (rseq.0, describes));
            assert!(
                before.is_none_or(|(number, _)| number == rseq.0),
                "a second reliable response too early"
            );
        } else if status.is_success()
            && let Some((_, true)) = self.unpracked.get(&key)
        {
            panic!("a 2xx before the PRACK of a description");
        }
    }

    fn received(&mut self, message: &Message, from: &Peer) {
        let final_response = message.status().is_some_and(StatusCode::is_final);
        if final_response && message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite) {
            self.open.remove(&dialog_of(message, message.to_tag(), from));
        }
        if let Ok(Some(rack)) = message.header::<RAck>() {
            let key = dialog_of(message, message.to_tag(), from);
            if self.unpracked.get(&key).is_some_and(|(number, _)| *number == rack.rseq) {
                self.unpracked.remove(&key);
            }
        }
    }
}

/// Names a dialog by its Call-ID and one tag, which is the To tag of whatever its first INVITE's server says and hears.
fn dialog_of(message: &Message, tag: Option<String>, peer: &Peer) -> String {
    let both = [message.from_tag(), tag].map(Option::unwrap_or_default);
    format!("{} {both:?} {}", message.call_id().unwrap(), peer.address)
}

fn twin(peer: &Peer) -> Peer {
    Peer { address: peer.address, local: peer.local, tag: peer.tag.clone(), dialog: peer.dialog.clone() }
}

impl Peers {
    /// Peers take what was sent to them.
    fn read(&mut self, harness: &mut Harness) {
        while let Some((flow, message)) = harness.try_take_any() {
            let tag = format!("t{}", harness.count());
            let mut peer = Peer { address: flow.remote, local: flow.local, tag, dialog: None };
            self.watch.sent(&peer, &message);
            if message.is_request() {
                self.requests.push((peer, message));
                continue;
            }
            let status = message.status().unwrap();
            if message.cseq().is_ok_and(|cseq| cseq.method != Method::Invite) {
                continue;
            }
            if status.is_final() {
                self.finals.insert(message.call_id().unwrap().to_owned());
            }
            if status.is_success() || message.has(Name::RSeq) || status.code() > 100 && status.code() < 200 {
                let invite = self.invites.iter().find(|(_, invite)| invite.call_id() == message.call_id());
                if let Some((_, invite)) = invite
                    && message.to_tag().is_some()
                {
                    peer.learn(invite, &message);
                    self.dialogs.push(twin(&peer));
                    self.answers.push((peer, message));
                }
            }
        }
    }

    fn send(&mut self, harness: &mut Harness, peer: &Peer, message: Message) {
        self.watch.received(&message, peer);
        harness.send(peer, &message);
        self.ever_sent.push((twin(peer), message));
    }

    fn act(&mut self, harness: &mut Harness, op: u8, tape: &mut Tape<'_>) {
        match op % 32 {
            0 | 1 => self.dial(harness, tape),
            2 => self.call_in(harness, tape),
            3..=9 => self.reply(harness, tape),
            10..=13 => self.answer(harness, tape),
            14..=16 => self.acknowledge(harness, tape),
            17 => self.cancel(harness, tape),
            18..=23 => self.ask(harness, tape),
            24 => {
                let Some((peer, message)) = tape.latest(&self.ever_sent) else { return };
                let (peer, message) = (twin(peer), message.clone());
                self.watch.received(&message, &peer);
                harness.send(&peer, &message);
            }
            25 | 26 => {
                let scale = *tape.pick(&[2, 20, 200, 4_000]);
                harness.pass(Duration::from_millis(tape.below(256) as u64 * scale));
            }
            27 => harness.world.slow = true,
            28 => harness.answer_all(),
            29 => harness.world.exhausted = tape.flag(),
            30 => harness.maybe_silence(),
            // Rarely: after it there are no new calls.
            _ => match tape.below(16) {
                0 => harness.input(Input::Drain),
                1 => harness.input(Input::Stop),
                _ => harness.pass(Duration::from_secs(1)),
            },
        }
    }

    fn dial(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let proxy = harness.proxy();
        let number = *tape.pick(&["+81901234567", "+442071234567", "110"]);
        let uri = format!("sip:{number}@{INSIDE}");
        let body = description(tape, proxy.address.ip());
        let invite = harness.invite(&proxy, &uri, "<sip:101@s042.example.net>", body);
        self.first(harness, tape, proxy, &invite);
    }

    fn call_in(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let gateway = harness.gateway(GATEWAY_1);
        let uri = format!("sip:0312340101@{OUTSIDE}");
        let body = description(tape, gateway.address.ip());
        let invite = harness.invite(&gateway, &uri, "<sip:a@192.0.2.1>", body);
        self.first(harness, tape, gateway, &invite);
    }

    fn first(&mut self, harness: &mut Harness, tape: &mut Tape<'_>, peer: Peer, invite: &Message) {
        let invite = knowing(tape, invite);
        self.invites.push((twin(&peer), invite.clone()));
        self.send(harness, &peer, invite);
    }

    /// A response to a request that a peer got.
    fn reply(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let Some((peer, request)) = tape.latest(&self.requests) else { return };
        let (mut peer, request) = (twin(peer), request.clone());
        if request.is(&Method::Ack) {
            return;
        }
        let status = *tape.pick(&STATUSES);
        let describes = matches!(request.method(), Some(Method::Invite | Method::Update | Method::Prack));
        let body = description(tape, peer.address.ip()).filter(|_| describes);
        if tape.flag() {
            // Another party behind the same gateway, or the same one.
            peer.tag = format!("f{}", tape.below(3));
        }
        let mut response = knowing(tape, &peer.response(&request, status, body));
        if request.is(&Method::Invite) && (101..200).contains(&status) && tape.flag() {
            self.rseq += u32::from(!tape.flag());
            response =
                response.edit().append(Name::Require, "100rel").append(Name::RSeq, self.rseq.max(1)).finish();
        }
        if status == 422 {
            response = response.edit().append(Name::MinSe, 100 + tape.below(4)).finish();
        }
        if peer.dialog.is_some() {
            self.dialogs.push(twin(&peer));
        }
        self.send(harness, &peer, response);
    }

    /// A 2xx to the INVITE that came last, and its ACK.
    fn answer(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let invite = self.requests.iter().rev().find(|(_, request)| request.is(&Method::Invite));
        let Some((peer, request)) = invite else { return };
        let (mut peer, request) = (twin(peer), request.clone());
        let body = Some(plain(peer.address.ip()));
        let response = knowing(tape, &peer.response(&request, 200, body));
        if peer.dialog.is_some() {
            self.dialogs.push(twin(&peer));
        }
        self.send(harness, &peer, response);
        self.read(harness);
        let answered = self.answers.iter().rev().find(|(_, answer)| answer.status() == Some(StatusCode::OK));
        if let Some((peer, answer)) = answered {
            harness.ack(peer, answer, request.body().is_empty().then(|| plain(peer.address.ip())));
        }
    }

    /// An ACK of a 2xx, or the PRACK of a reliable response.
    fn acknowledge(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let Some((peer, answer)) = tape.latest(&self.answers) else { return };
        let (mut peer, answer) = (twin(peer), answer.clone());
        let body = description(tape, peer.address.ip());
        match answer.header::<RSeq>() {
            Ok(Some(rseq)) => {
                let number = rseq.0 + u32::from(tape.below(8) == 7);
                let rack = RAck { rseq: number, cseq: answer.cseq().unwrap().number, method: Method::Invite };
                let rack = rack.to_string();
                let prack = harness.compose_with(&mut peer, Method::Prack, body, &[(Name::RAck, &rack)]);
                self.send(harness, &peer, prack);
            }
            _ if answer.status().is_some_and(StatusCode::is_success) => harness.ack(&peer, &answer, body),
            _ => {}
        }
    }

    fn cancel(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let Some((peer, invite)) = tape.latest(&self.invites) else { return };
        let cancel = Builder::request(&Method::Cancel, invite.request_uri_text())
            .header(Name::Via, invite.top_via().unwrap())
            .header(Name::MaxForwards, "70")
            .copy(invite, Name::From)
            .copy(invite, Name::To)
            .copy(invite, Name::CallId)
            .header(Name::CSeq, "1 CANCEL")
            .finish();
        harness.send(peer, &cancel);
    }

    fn ask(&mut self, harness: &mut Harness, tape: &mut Tape<'_>) {
        let recent = self.dialogs.len().clamp(1, 5);
        let place = tape.below(recent);
        let Some(peer) = self.dialogs.iter_mut().nth_back(place) else { return };
        let method = tape.pick(&METHODS).clone();
        // What an INFO brings is passed as it is.
        let body = description(tape, peer.address.ip()).filter(|_| method != Method::Info);
        let request = harness.compose_with(peer, method, body, &[]);
        let peer = twin(peer);
        let request = knowing(tape, &request);
        self.send(harness, &peer, request);
    }
}

/// What its sender says that it knows.
fn knowing(tape: &mut Tape<'_>, message: &Message) -> Message {
    let mut edit = message.edit();
    for (name, value) in tape.pick(&KNOWS).iter() {
        edit.append(*name, value);
    }
    edit.finish()
}

fn plain(peer: IpAddr) -> String {
    sdp(if peer.is_ipv6() { PHONE_MEDIA } else { GATEWAY_MEDIA }, 4_000)
}

fn description(tape: &mut Tape<'_>, peer: IpAddr) -> Option<String> {
    let ip = if peer.is_ipv6() { PHONE_MEDIA } else { GATEWAY_MEDIA };
    let media = match tape.below(12) {
        0..=3 => return None,
        4..=6 => return Some(plain(peer)),
        choice => *MEDIA.get(choice - 7)?,
    };
    Some(sdp_with(ip, media))
}

const MAX_STEPS: usize = 120;
const STATUSES: [u16; 19] =
    [100, 180, 183, 183, 183, 199, 200, 200, 200, 302, 408, 422, 481, 486, 487, 488, 491, 500, 503];
const METHODS: [Method; 9] = [
    Method::Bye,
    Method::Invite,
    Method::Invite,
    Method::Update,
    Method::Update,
    Method::Info,
    Method::Prack,
    Method::Options,
    Method::Refer,
];
const KNOWS: [&[(Name, &str)]; 6] = [
    &[],
    &[],
    &[(Name::Supported, "100rel, timer"), (Name::Allow, "INVITE, UPDATE, PRACK")],
    &[(Name::Require, "100rel"), (Name::Allow, "INVITE, UPDATE, PRACK")],
    &[(Name::Supported, "timer, 199"), (Name::SessionExpires, "90;refresher=uac")],
    &[(Name::Supported, "timer"), (Name::SessionExpires, "120;refresher=uas"), (Name::Allow, "INVITE")],
];
const MEDIA: [&str; 5] = [
    "m=audio 4000 RTP/AVP 0 8\r\na=sendonly\r\n",
    "m=audio 4002 RTP/AVP 0 8\r\na=inactive\r\n",
    "m=audio 4000 RTP/AVP 0\r\nm=image 4004 udptl t38\r\n",
    "m=audio 0 RTP/AVP 0\r\nm=video 4006 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "m=audio 4000 RTP/AVP 9\r\nc=IN IP4 0.0.0.0\r\n",
];
