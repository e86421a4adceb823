//! Any order of what peers, clock and world may do: each call frees its media and leaves exactly one record.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use sip_core::core::Input;
use sip_core::wire::{Builder, Message, Method, Name};

use super::harness::*;

#[derive(Debug, Clone)]
enum Action {
    Dial {
        offer: bool,
    },
    CallIn,
    /// A response to the request that a peer got, by its place.
    Reply {
        place: usize,
        status: u16,
        body: bool,
    },
    /// A 2xx to the INVITE that came last, and its ACK.
    Answer,
    /// An ACK of the last 2xx that a peer got.
    Ack {
        place: usize,
        body: bool,
    },
    Cancel {
        place: usize,
    },
    Ask {
        place: usize,
        method: u8,
        body: bool,
    },
    Repeat {
        place: usize,
    },
    Pass(u64),
    Slow(bool),
    Exhausted(bool),
    Silence,
    Drain,
    Stop,
}

fn action() -> impl Strategy<Value = Action> {
    let status = proptest::sample::select(
        &[100_u16, 180, 183, 200, 200, 200, 408, 481, 486, 487, 488, 491, 500, 503][..],
    );
    prop_oneof![
        2 => any::<bool>().prop_map(|offer| Action::Dial { offer }),
        2 => Just(Action::CallIn),
        12 => (any::<usize>(), status, prop::bool::weighted(0.8))
            .prop_map(|(place, status, body)| Action::Reply { place, status, body }),
        5 => Just(Action::Answer),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(place, body)| Action::Ack { place, body }),
        1 => any::<usize>().prop_map(|place| Action::Cancel { place }),
        5 => (any::<usize>(), 0..6_u8, any::<bool>())
            .prop_map(|(place, method, body)| Action::Ask { place, method, body }),
        1 => any::<usize>().prop_map(|place| Action::Repeat { place }),
        4 => prop_oneof![0..600_u64, 600..40_000_u64].prop_map(Action::Pass),
        1 => any::<bool>().prop_map(Action::Slow),
        1 => any::<bool>().prop_map(Action::Exhausted),
        1 => Just(Action::Silence),
        1 => Just(Action::Drain),
        1 => Just(Action::Stop),
    ]
}

/// What the peers know: their INVITEs, the requests that they got, the 2xx that they got, and their ends of dialogs.
#[derive(Default)]
struct Peers {
    invites: Vec<(Peer, Message)>,
    requests: Vec<(Peer, Message)>,
    answers: Vec<(Peer, Message)>,
    dialogs: Vec<Peer>,
    ever_sent: Vec<(Peer, Message)>,
    /// Call-IDs of INVITEs that got a final response.
    finals: HashSet<String>,
}

/// One of the latest.
fn pick<T>(items: &[T], place: usize) -> Option<&T> {
    items.iter().nth_back(place % items.len().clamp(1, 5))
}

fn twin(peer: &Peer) -> Peer {
    Peer { address: peer.address, local: peer.local, tag: peer.tag.clone(), dialog: peer.dialog.clone() }
}

impl Peers {
    fn read(&mut self, harness: &mut Harness) {
        while let Some((flow, message)) = harness.try_take_any() {
            let tag = format!("t{}", harness.count());
            let mut peer = Peer { address: flow.remote, local: flow.local, tag, dialog: None };
            let of_invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
            if of_invite && message.status().is_some_and(|status| status.is_final()) {
                self.finals.insert(message.call_id().unwrap().to_owned());
            }
            if message.is_request() {
                self.requests.push((peer, message));
            } else if message.status().is_some_and(|status| status.is_success())
                && message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite)
            {
                let invite = self.invites.iter().find(|(_, invite)| invite.call_id() == message.call_id());
                if let Some((_, invite)) = invite {
                    peer.learn(invite, &message);
                    self.dialogs.push(twin(&peer));
                    self.answers.push((peer, message));
                }
            }
        }
    }

    fn act(&mut self, harness: &mut Harness, action: Action) {
        let offer = |yes: bool, inside: bool| {
            let ip = if inside { PHONE_MEDIA } else { GATEWAY_MEDIA };
            yes.then(|| sdp(ip, 4_000))
        };
        match action {
            Action::Dial { offer: with } => {
                let proxy = harness.proxy();
                let invite = harness.dial(&proxy, "+81901234567", offer(with, true));
                self.ever_sent.push((twin(&proxy), invite.clone()));
                self.invites.push((proxy, invite));
            }
            Action::CallIn => {
                let gateway = harness.gateway(GATEWAY_1);
                let uri = format!("sip:0312340101@{OUTSIDE}");
                let invite = harness.invite(&gateway, &uri, "<sip:a@192.0.2.1>", offer(true, false));
                harness.send(&gateway, &invite);
                self.ever_sent.push((twin(&gateway), invite.clone()));
                self.invites.push((gateway, invite));
            }
            Action::Reply { place, status, body } => {
                let Some((peer, request)) = pick(&self.requests, place) else { return };
                let mut peer = twin(peer);
                if request.is(&Method::Ack) {
                    return;
                }
                let body = offer(body && request.is(&Method::Invite), peer.address.is_ipv6());
                let response = peer.response(request, status, body);
                harness.send(&peer, &response);
                if peer.dialog.is_some() {
                    self.dialogs.push(twin(&peer));
                }
                self.ever_sent.push((peer, response));
            }
            Action::Answer => {
                let invite = self.requests.iter().rev().find(|(_, request)| request.is(&Method::Invite));
                let Some((peer, request)) = invite else { return };
                let (mut peer, request) = (twin(peer), request.clone());
                let body = offer(true, peer.address.is_ipv6());
                let response = harness.reply(&mut peer, &request, 200, body);
                if peer.dialog.is_some() {
                    self.dialogs.push(twin(&peer));
                }
                self.ever_sent.push((peer, response));
                self.read(harness);
                if let Some((peer, answer)) = self.answers.last() {
                    harness.ack(peer, answer, offer(request.body().is_empty(), peer.address.is_ipv6()));
                }
            }
            Action::Ack { place, body } => {
                let Some((peer, answer)) = pick(&self.answers, place) else { return };
                harness.ack(peer, answer, offer(body, peer.address.is_ipv6()));
            }
            Action::Cancel { place } => {
                let Some((peer, invite)) = pick(&self.invites, place) else { return };
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
            Action::Ask { place, method, body } => {
                let recent = self.dialogs.len().clamp(1, 5);
                let Some(peer) = self.dialogs.iter_mut().nth_back(place % recent) else { return };
                let method =
                    [Method::Bye, Method::Invite, Method::Invite, Method::Update, Method::Info, Method::Bye]
                        .into_iter()
                        .nth(usize::from(method))
                        .unwrap();
                let body = offer(body, peer.address.is_ipv6()).map(|sdp| ("application/sdp", sdp));
                let request = harness.ask(peer, method, body);
                self.ever_sent.push((twin(peer), request));
            }
            Action::Repeat { place } => {
                let Some((peer, message)) = pick(&self.ever_sent, place) else { return };
                harness.send(peer, message);
            }
            Action::Pass(ms) => harness.pass(Duration::from_millis(ms)),
            Action::Slow(true) => harness.world.slow = true,
            Action::Slow(false) => harness.answer_all(),
            Action::Exhausted(yes) => harness.world.exhausted = yes,
            Action::Silence => harness.maybe_silence(),
            Action::Drain => harness.input(Input::Drain),
            Action::Stop => harness.input(Input::Stop),
        }
    }
}

fn run(seed: u8, actions: Vec<Action>) {
    let mut harness = Harness::with(settings(), seed);
    let mut peers = Peers::default();
    for action in actions {
        peers.act(&mut harness, action);
        peers.read(&mut harness);
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

proptest! {
    #[test]
    fn each_call_leaves_one_record_and_nothing_else(
        seed in any::<u8>(),
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        run(seed, actions);
    }
}
