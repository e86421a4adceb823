//! The loop of one worker: it gathers inputs, applies the law of [`Core`], and does what comes out.

use std::collections::VecDeque;
use std::future::{pending, poll_fn, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_core::core::{Core, Input, Output, TimerId, Transmit, TransmitId};
use sip_core::flow::{Flow, Transport};
use sip_core::ids::WorkerId;
use sip_core::owner::{is_keep_alive, may_be_sip, owner};
use sip_core::stun;
use tokio::sync::{mpsc, watch};

use super::activity::Presence;
use super::{WorkerContext, WorkersConfig};
use crate::handover::{Handed, Origin, Peers};
use crate::metrics::Metrics;
use crate::shutdown::{Phase, Shutdown};
use crate::slots::ConnectionSlots;
use crate::socket::{RecvBatch, SendQueue, UdpSocket, WorkerSockets};
use crate::stream::{self, Remotes, SharedParts, StreamEvent, Streams};
use crate::telemetry::Mask;
use crate::timers::Timers;
use crate::trace::{Recorder, Way};
use crate::world::{Answered, Reply, World};

/// What a driver is made from.
pub(super) struct Parts<C, W> {
    pub(super) core: C,
    pub(super) world: W,
    pub(super) config: WorkersConfig,
    pub(super) context: WorkerContext,
    pub(super) shutdown: Shutdown,
    pub(super) sockets: WorkerSockets,
    pub(super) peers: Peers,
    pub(super) handed: mpsc::Receiver<Handed>,
    pub(super) slots: ConnectionSlots,
    pub(super) remotes: Remotes,
}

/// One worker at work.
pub(super) struct Driver<'p, C: Core, W> {
    core: C,
    world: W,
    worker: WorkerId,
    presence: &'p Presence,
    phase: watch::Receiver<Phase>,
    udp: Vec<Udp>,
    /// The socket of the latest batch; the others are asked first, so that a flood on one starves none.
    last_received: usize,
    batch: RecvBatch,
    max_message_bytes: usize,
    linger: Duration,
    streams: Streams,
    remotes: Remotes,
    events: mpsc::Receiver<StreamEvent>,
    peers: Peers,
    handed: mpsc::Receiver<Handed>,
    timers: Timers<TimerId>,
    answers: mpsc::UnboundedSender<Answered<C::Answer>>,
    answered: mpsc::UnboundedReceiver<Answered<C::Answer>>,
    unanswered: usize,
    /// Sends that failed while outputs were drained: inputs of later turns, by the law.
    failed: VecDeque<TransmitId>,
    metrics: Metrics,
    mask: Mask,
    recorder: Recorder,
}

struct Udp {
    socket: UdpSocket,
    queue: SendQueue<Origin>,
}

impl<'p, C, W> Driver<'p, C, W>
where
    C: Core,
    W: World<C::Question, C::Answer>,
{
    /// Takes the sockets into the runtime that this is called in.
    pub(super) fn new(parts: Parts<C, W>, presence: &'p Presence) -> io::Result<Self> {
        let Parts { core, world, config, context, shutdown, sockets, peers, handed, slots, remotes } = parts;
        let worker = context.worker;
        let metrics = Metrics::new(&config.role, worker);
        let shared = SharedParts {
            worker,
            peers: peers.clone(),
            metrics: metrics.clone(),
            limits: config.stream,
            tls: config.tls,
            max_message_bytes: config.max_message_bytes,
            mask: config.mask,
        };
        let (streams, events) = Streams::new(shared, sockets.streams, slots, remotes.clone())?;
        let (answers, answered) = mpsc::unbounded_channel();
        let udp = sockets
            .udp
            .into_iter()
            .map(|socket| Ok(Udp { socket: UdpSocket::new(socket)?, queue: SendQueue::new(SEND_QUEUE) }));
        Ok(Driver {
            core,
            world,
            worker,
            presence,
            phase: shutdown.subscribe(),
            udp: udp.collect::<io::Result<_>>()?,
            last_received: 0,
            batch: RecvBatch::new(),
            max_message_bytes: config.max_message_bytes,
            linger: config.linger,
            streams,
            remotes,
            events,
            peers,
            handed,
            timers: Timers::default(),
            answers,
            answered,
            unanswered: 0,
            failed: VecDeque::new(),
            metrics,
            mask: config.mask,
            recorder: config.trace.recorder(&config.role, worker),
        })
    }

    /// Works until the platform stops.
    pub(super) async fn run(mut self) {
        // What the core wants done before anything has happened.
        self.drain();
        // A platform may have begun to drain before this worker was there.
        let mut phase = Phase::Running;
        loop {
            let now = *self.phase.borrow_and_update();
            if now >= Phase::Draining && phase < Phase::Draining {
                self.step(Input::Drain);
                self.presence.set_draining(self.core.active());
            }
            phase = now;
            if phase == Phase::Stopping {
                break;
            }
            self.flush();
            self.tell();
            self.turn().await;
        }
        self.linger().await;
        self.stop().await;
        // Before the connections: what they still tell shall find a closed door, not a full queue.
        self.events.close();
        self.handed.close();
        self.streams.shut_down().await;
    }

    /// Works on for a moment while the role has something alive.
    async fn linger(&mut self) {
        let (presence, limit) = (self.presence, self.linger);
        if limit.is_zero() || presence.role_active() == 0 {
            return;
        }
        let work = async {
            while presence.role_active() > 0 {
                self.flush();
                self.tell();
                self.turn().await;
            }
        };
        let _ = tokio::time::timeout(limit, work).await;
    }

    /// Lets the core end its calls, and hears answers until it has nothing alive and the world has done what it was asked last, such as
    /// to write a call record, or the grace is over.
    async fn stop(&mut self) {
        self.step(Input::Stop);
        self.flush();
        let last_words = async {
            while self.unanswered > 0 {
                let Some(Answered { token, answer, .. }) = self.answered.recv().await else { break };
                self.unanswered -= 1;
                self.step(Input::Answer(token, answer));
                self.flush();
            }
        };
        let _ = tokio::time::timeout(ANSWER_GRACE, last_words).await;
    }

    /// Waits until something happens, and handles it with what else of its kind is there, up to a bound, so that every kind gets its turn.
    async fn turn(&mut self) {
        let has_failed = !self.failed.is_empty();
        tokio::select! {
            _ = self.phase.changed() => {}
            received = received(&self.udp, &mut self.last_received, &mut self.batch) => match received {
                Ok(()) => self.take_datagrams(),
                Err(error) => tracing::debug!(%error, "receiving failed"),
            },
            () = writable(&self.udp) => {}
            Some(handed) = self.handed.recv() => {
                let mut next = Some(handed);
                let mut budget = BUDGET;
                while let Some(handed) = next {
                    self.take_handed(handed);
                    budget -= 1;
                    next = if budget > 0 { self.handed.try_recv().ok() } else { None };
                }
            }
            Some(event) = self.events.recv() => {
                let mut next = Some(event);
                let mut budget = BUDGET;
                while let Some(event) = next {
                    self.take_event(event);
                    budget -= 1;
                    next = if budget > 0 { self.events.try_recv().ok() } else { None };
                }
            }
            Some(answered) = self.answered.recv() => {
                let mut next = Some(answered);
                let mut budget = BUDGET;
                while let Some(Answered { token, asked_at, answer }) = next {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    self.metrics.ask_seconds.record(now().saturating_duration_since(asked_at));
                    self.step(Input::Answer(token, answer));
                    budget -= 1;
                    next = if budget > 0 { self.answered.try_recv().ok() } else { None };
                }
            }
            id = self.timers.expired() => {
                let mut next = Some(id);
                let mut budget = BUDGET;
                while let Some(id) = next {
                    self.step(Input::Timer(id));
                    budget -= 1;
                    next = if budget > 0 { self.timers.try_expired() } else { None };
                }
            }
            () = ready(()), if has_failed => {
                for _ in 0..self.failed.len() {
                    let Some(id) = self.failed.pop_front() else { break };
                    self.step(Input::TransmitFailed(id));
                }
            }
        }
    }

    /// The law of [`Core`]: one input, then every output, then the next input. No other place gives a core its input.
    fn step(&mut self, input: Input<C::Answer>) {
        if let Input::Received { flow, bytes } = &input {
            self.recorder.record(Way::Received, flow, bytes);
        }
        self.core.handle_input(now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.recorder.record(Way::Sent, &transmit.flow, &transmit.bytes);
                    self.transmit(transmit);
                }
                Output::SetTimer(id, at) => self.timers.set(id, at),
                Output::Ask(token, question) => {
                    self.unanswered += 1;
                    self.world.ask(token, question, Reply::new(token, now(), self.answers.clone()));
                }
            }
        }
    }

    fn take_datagrams(&mut self) {
        // Out of `self` while the core works; it comes back below.
        let batch = std::mem::replace(&mut self.batch, RecvBatch::placeholder());
        for datagram in batch.datagrams() {
            self.metrics.datagrams_received.increment(1);
            if is_keep_alive(datagram.bytes) {
                // Over datagrams there is nothing to answer: RFC 5626 §3.5.2 has STUN for that.
                self.metrics.keep_alives.increment(1);
            } else if stun::is_stun(datagram.bytes) {
                self.metrics.keep_alives.increment(1);
                self.answer_stun(datagram.bytes, datagram.local, datagram.remote);
            } else if datagram.bytes.len() > self.max_message_bytes {
                self.metrics.dropped_oversize.increment(1);
            } else if !may_be_sip(datagram.bytes) {
                self.metrics.dropped_garbage.increment(1);
            } else {
                let flow = Flow {
                    transport: Transport::Udp,
                    local: datagram.local,
                    remote: datagram.remote,
                    connection: None,
                };
                self.deliver(flow, datagram.bytes);
            }
        }
        self.batch = batch;
    }

    /// RFC 5626 §8, from here: nothing of it concerns a core.
    fn answer_stun(&mut self, datagram: &[u8], local: SocketAddr, remote: SocketAddr) {
        if let Some(bytes) = stun::answer(datagram, remote) {
            let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
            let origin = Origin { worker: self.worker, id: TransmitId::NONE };
            self.transmit_datagram(Transmit { id: TransmitId::NONE, flow, bytes }, origin);
        }
    }

    fn deliver(&mut self, flow: Flow, bytes: &[u8]) {
        let owner = owner(bytes, self.peers.count());
        let bytes = Bytes::copy_from_slice(bytes);
        if owner == self.worker {
            self.step(Input::Received { flow, bytes });
        } else if self.peers.give(owner, Handed::Received { flow, bytes }) {
            self.metrics.handed_over.increment(1);
        } else {
            self.metrics.dropped_handover_full.increment(1);
        }
    }

    fn take_handed(&mut self, handed: Handed) {
        match handed {
            // Whoever handed it over has found us to be the owner: it is not looked at twice.
            Handed::Received { flow, bytes } => self.step(Input::Received { flow, bytes }),
            Handed::Transmit { transmit, by } => {
                let origin = Origin { worker: by, id: transmit.id };
                if let Err(origin) = self.streams.send(transmit, origin) {
                    self.fail(origin);
                }
            }
            Handed::Failed(id) => self.step(Input::TransmitFailed(id)),
            Handed::Identified { connection, names } => self.step(Input::Identified { connection, names }),
            Handed::Closed(id) => self.step(Input::ConnectionClosed(id)),
        }
    }

    fn take_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Accepted { stream, transport, remote } => {
                self.streams.accepted(stream, transport, remote);
            }
            StreamEvent::Identified { connection, names } => {
                self.step(Input::Identified { connection, names });
            }
            StreamEvent::Received { flow, bytes } => self.step(Input::Received { flow, bytes }),
            StreamEvent::Failed(origin) => self.fail(origin),
            StreamEvent::Closed(id) => {
                self.streams.closed(id);
                self.step(Input::ConnectionClosed(id));
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let origin = Origin { worker: self.worker, id: transmit.id };
        if transmit.flow.transport == Transport::Udp {
            self.transmit_datagram(transmit, origin);
            return;
        }
        // Where no connection is named, any worker's to the same place will do: a phone behind a stream has only that one.
        let key = (transmit.flow.transport, transmit.flow.remote);
        let connection = transmit.flow.connection.or_else(|| self.remotes.find(&key));
        let owner = connection.map_or(self.worker, stream::owner_of);
        let result = if owner == self.worker || self.peers.to(owner).is_none() {
            self.streams.send(transmit, origin)
        } else if self.peers.give(owner, Handed::Transmit { transmit, by: self.worker }) {
            Ok(())
        } else {
            self.metrics.dropped_handover_full.increment(1);
            Err(origin)
        };
        if let Err(origin) = result {
            self.fail(origin);
        }
    }

    fn transmit_datagram(&mut self, transmit: Transmit, origin: Origin) {
        let Transmit { flow, bytes, .. } = transmit;
        let Some((index, from)) = choose(self.udp.iter().map(|udp| udp.socket.local()), &flow) else {
            tracing::debug!(remote = %self.mask.addr(flow.remote), "no socket of this address family");
            self.metrics.dropped_unreachable.increment(1);
            return self.fail(origin);
        };
        let Some(udp) = self.udp.get_mut(index) else { return };
        if udp.queue.push(origin, flow.remote, from, bytes).is_err() {
            // As if the network had lost it: the core's retransmissions know what to do.
            self.metrics.dropped_send_full.increment(1);
        } else if udp.queue.is_batch_full() && !udp.queue.is_blocked() {
            self.flush();
        }
    }

    /// Sends what the sockets take.
    fn flush(&mut self) {
        for Udp { socket, queue } in &mut self.udp {
            if queue.is_empty() {
                continue;
            }
            let sent = queue.flush(socket, |undelivered| {
                self.metrics.dropped_send_failed.increment(1);
                let (remote, error) = (self.mask.addr(undelivered.to), &undelivered.error);
                tracing::debug!(%remote, %error, "a datagram was refused");
                if undelivered.name.id != TransmitId::NONE {
                    self.failed.push_back(undelivered.name.id);
                }
            });
            self.metrics.datagrams_sent.increment(u64::try_from(sent).unwrap_or_default());
        }
    }

    /// Tells the core that wanted it sent; it may be another worker's.
    fn fail(&mut self, origin: Origin) {
        if origin.id == TransmitId::NONE {
        } else if origin.worker == self.worker {
            self.failed.push_back(origin.id);
        } else if !self.peers.give(origin.worker, Handed::Failed(origin.id)) {
            self.metrics.dropped_handover_full.increment(1);
        }
    }

    fn tell(&self) {
        let active = self.core.active();
        self.presence.set_active(active);
        self.metrics.active.set(as_f64(active));
        self.metrics.timers_armed.set(as_f64(self.timers.armed()));
        self.metrics.handover_queue.set(as_f64(self.handed.len()));
    }
}

/// The one clock of a worker, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn received(udp: &[Udp], last: &mut usize, batch: &mut RecvBatch) -> io::Result<()> {
    poll_fn(|context| {
        for index in (1..=udp.len()).map(|step| (*last + step) % udp.len()) {
            let Some(Udp { socket, .. }) = udp.get(index) else { continue };
            if let Poll::Ready(result) = socket.poll_recv(context, batch) {
                *last = index;
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns when a socket that held up its queue takes more; never when none does.
async fn writable(udp: &[Udp]) {
    let mut blocked = udp.iter().filter(|udp| udp.queue.is_blocked());
    match blocked.next() {
        Some(udp) => {
            let _ = udp.socket.writable().await;
        }
        None => pending().await,
    }
}

/// The socket to send over, and the source address to name when the socket is bound to a wildcard: the one that is bound to
/// the flow's own address, else a wildcard on its port, else any of the family.
fn choose(sockets: impl Iterator<Item = SocketAddr> + Clone, flow: &Flow) -> Option<(usize, Option<IpAddr>)> {
    let family = || sockets.clone().enumerate().filter(|(_, bound)| bound.is_ipv6() == flow.remote.is_ipv6());
    let local_ip = (flow.local.is_ipv6() == flow.remote.is_ipv6() && !flow.local.ip().is_unspecified())
        .then_some(flow.local.ip());
    let exact = || family().find(|(_, bound)| *bound == flow.local);
    let wildcard =
        || family().find(|(_, bound)| bound.ip().is_unspecified() && bound.port() == flow.local.port());
    let (index, bound) = exact().or_else(wildcard).or_else(|| family().next())?;
    Some((index, local_ip.filter(|_| bound.ip().is_unspecified())))
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

/// Inputs of one kind handled before the other kinds get their turn.
const BUDGET: usize = 64;
/// Datagrams that wait for one socket.
const SEND_QUEUE: usize = 4096;
/// How long a stopping worker waits for the world to do what was asked last.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_follows_the_flow() {
        let bound: Vec<SocketAddr> = ["[::]:5060", "0.0.0.0:5060", "192.0.2.1:5070", "[2001:db8::1]:5070"]
            .iter()
            .map(|addr| addr.parse().unwrap())
            .collect();
        let choice = |local: &str, remote: &str| {
            let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
            let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
            choose(bound.iter().copied(), &flow)
        };
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(choice("192.0.2.1:5070", "192.0.2.9:5060"), Some((2, None)));
        assert_eq!(choice("[2001:db8::1]:5070", "[2001:db8::9]:5060"), Some((3, None)));
        assert_eq!(choice("[2001:db8::7]:5060", "[2001:db8::9]:5060"), Some((0, ip("2001:db8::7"))));
        assert_eq!(choice("[::]:5060", "[2001:db8::9]:5060"), Some((0, None)));
        // A flow of the other family cannot be followed; the remote's family decides.
        assert_eq!(choice("[2001:db8::7]:5060", "192.0.2.9:5060"), Some((1, None)));
        assert_eq!(
            choose(
                [].into_iter(),
                &Flow { transport: Transport::Udp, local: bound[0], remote: bound[0], connection: None }
            ),
            None
        );
    }
}
