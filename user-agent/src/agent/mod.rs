//! The task behind a phone or gateway: one socket, one loop, and the handle to it.

mod core;
mod in_dialog;
mod incoming;
mod outgoing;
mod register;

use std::{
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    time::{self, Instant},
};
use tracing::{Instrument, debug, debug_span};

use crate::{
    call::{Call, CallOptions, HoldStyle, IncomingCall},
    digest::Credentials,
    error::UaError,
    incoming::{Incoming, OptionsPolicy, Policies, Queue, ReceivedInvite, lock},
    media::MediaOptions,
    phone::Registered,
};
use core::Core;

/// What a phone and a gateway differ in.
#[derive(Debug)]
pub(crate) struct AgentConfig {
    pub(crate) local: SocketAddr,
    pub(crate) next_hop: SocketAddr,
    pub(crate) user: String,
    /// Empty: the address of the next hop for whom we call, our own address for ourselves.
    pub(crate) domain: String,
    pub(crate) display_name: Option<String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) incoming: Incoming,
    pub(crate) media: MediaOptions,
    pub(crate) t1: Duration,
    pub(crate) max_calls: usize,
    /// The status for a call too many.
    pub(crate) full_status: u16,
    pub(crate) auto_refresh: bool,
    pub(crate) product: &'static str,
}

pub(crate) type Reply<T = ()> = oneshot::Sender<Result<T, UaError>>;

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Register { expires: u32, reply: Reply<Registered> },
    Call { target: String, options: Box<CallOptions>, reply: Reply<Call> },
    Cancel { call: u64, reply: Reply },
    Hangup { call: u64, reply: Reply },
    Reinvite { call: u64, hold: Option<HoldStyle>, reply: Reply },
    Ring { call: u64, early_media: bool, reply: Reply },
    Answer { call: u64, reply: Reply },
    Reject { call: u64, status: u16, reply: Reply },
    HangupAll { reply: oneshot::Sender<()> },
}

/// The handle; the task ends with its last clone.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    commands: mpsc::Sender<Command>,
    shared: Arc<AgentShared>,
    local: SocketAddr,
    /// The task ends when this is dropped; calls hold a command sender too, so the channel alone does not tell.
    _alive: Arc<oneshot::Sender<()>>,
}

/// What handle and task share.
#[derive(Debug)]
pub(crate) struct AgentShared {
    pub(crate) policies: Mutex<Policies>,
    pub(crate) options: Mutex<OptionsPolicy>,
    pub(crate) options_received: AtomicU64,
    pub(crate) received: Queue<ReceivedInvite>,
    pub(crate) calls: Queue<Call>,
    pub(crate) asked: Queue<IncomingCall>,
}

impl Agent {
    pub(crate) fn start(config: AgentConfig) -> Result<Self, UaError> {
        let bind_error = |source| UaError::Bind { addr: config.local, source };
        let socket = StdUdpSocket::bind(config.local).map_err(bind_error)?;
        socket.set_nonblocking(true).map_err(bind_error)?;
        let bound = socket.local_addr().map_err(bind_error)?;
        let socket = UdpSocket::from_std(socket).map_err(bind_error)?;
        let local = advertised(bound, config.next_hop).map_err(bind_error)?;
        let (commands, received) = mpsc::channel(COMMAND_QUEUE);
        let (alive, stop) = oneshot::channel();
        let shared = Arc::new(AgentShared {
            policies: Mutex::new(Policies::new(config.incoming)),
            options: Mutex::new(OptionsPolicy::default()),
            options_received: AtomicU64::new(0),
            received: Queue::new(RECORD),
            calls: Queue::new(RECORD),
            asked: Queue::new(RECORD),
        });
        let span = debug_span!("agent", user = %config.user, %local);
        let core = Core::new(config, local, Arc::clone(&shared), commands.clone());
        tokio::spawn(run(core, socket, received, stop).instrument(span));
        Ok(Self { commands, shared, local, _alive: Arc::new(alive) })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) async fn send(&self, command: Command) -> Result<(), UaError> {
        self.commands.send(command).await.map_err(|_| UaError::Stopped)
    }

    pub(crate) async fn call(&self, target: &str, options: CallOptions) -> Result<Call, UaError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Call { target: target.to_owned(), options: Box::new(options), reply }).await?;
        answer.await.map_err(|_| UaError::Stopped)?
    }

    pub(crate) async fn hangup_all(&self) {
        let (reply, done) = oneshot::channel();
        if self.send(Command::HangupAll { reply }).await.is_ok() {
            // An error means that the task is gone, and the calls with it.
            let _ = done.await;
        }
    }

    pub(crate) fn set_incoming(&self, prefix: &str, incoming: Incoming) {
        lock(&self.shared.policies).set(prefix, incoming);
    }

    pub(crate) fn set_default_incoming(&self, incoming: Incoming) {
        lock(&self.shared.policies).set_default(incoming);
    }

    pub(crate) fn set_options(&self, policy: OptionsPolicy) {
        *lock(&self.shared.options) = policy;
    }

    pub(crate) fn options_received(&self) -> u64 {
        self.shared.options_received.load(Ordering::Relaxed)
    }

    pub(crate) async fn next_call(&self) -> Call {
        self.shared.calls.pop().await
    }

    pub(crate) async fn next_incoming(&self) -> IncomingCall {
        self.shared.asked.pop().await
    }

    pub(crate) fn received(&self) -> Vec<ReceivedInvite> {
        self.shared.received.snapshot()
    }

    pub(crate) async fn await_received(&self, count: usize) {
        self.shared.received.wait_for_len(count).await;
    }

    pub(crate) fn clear_received(&self) {
        self.shared.received.clear();
    }
}

async fn run(
    mut core: Core,
    socket: UdpSocket,
    mut commands: mpsc::Receiver<Command>,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        let deadline = core.next_deadline();
        let timer = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut stop => return,
            ready = socket.readable() => {
                core.advance(Instant::now());
                if ready.is_ok() {
                    receive(&socket, &mut core);
                }
            }
            Some(command) = commands.recv() => {
                core.advance(Instant::now());
                core.command(command);
            }
            () = timer => core.advance(Instant::now()),
        }
        core.expire();
        while let Some((to, bytes)) = core.next_transmit() {
            if let Err(error) = socket.send_to(&bytes, to).await {
                debug!(%to, %error, "not sent");
            }
        }
    }
}

/// Takes some datagrams; the buffer is on the stack, so that an idle phone costs no memory for it.
fn receive(socket: &UdpSocket, core: &mut Core) {
    let mut buffer = [0; 65_535];
    for _ in 0..BATCH {
        match socket.try_recv_from(&mut buffer) {
            Ok((length, from)) => core.datagram(buffer.get(..length).unwrap_or_default(), from),
            Err(_) => return,
        }
    }
}

/// The address that others shall use: when all addresses were bound, the one that leads to the next hop. Without a scope, which
/// means nothing to others.
fn advertised(bound: SocketAddr, next_hop: SocketAddr) -> std::io::Result<SocketAddr> {
    let mut ip = bound.ip();
    if ip.is_unspecified() && bound.is_ipv6() == next_hop.is_ipv6() {
        let probe = StdUdpSocket::bind((ip, 0))?;
        probe.connect(next_hop)?;
        ip = probe.local_addr()?.ip();
    }
    Ok(SocketAddr::new(ip, bound.port()))
}

const COMMAND_QUEUE: usize = 64;
/// Calls and INVITEs that wait for a reader.
const RECORD: usize = 256;
/// Datagrams taken before commands and timers get their turn.
const BATCH: usize = 32;
