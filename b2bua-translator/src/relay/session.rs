//! A media session: its task, and the handle that the bridge holds.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use super::gauges::Tally;
use super::silence::{Silence, SilenceWatch};
use super::statistics::SessionStatistics;
use super::stream::{Shared, Stream};
use super::worker::RelayWorker;
use super::{Endpoint, RelayError, Side, SideUpdate, StreamEndpoints, StreamSpec};

/// Names a session within its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// The bridge's hold on a media session. Clones hold the same session; it closes with [`close`](Self::close), or when
/// the last of them goes.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    owner: Arc<Owner>,
}

/// Closes the session when it goes. The task must not hold it.
#[derive(Debug)]
struct Owner {
    id: SessionId,
    session: Arc<Session>,
    worker: RelayWorker,
}

/// Shared by the handle and the task. The lock is held for one call of either and never across a wait; both live on one
/// worker, so that it is free whenever it is asked for.
#[derive(Debug)]
struct Session {
    state: Mutex<State>,
    told: watch::Sender<Told>,
}

#[derive(Debug)]
struct State {
    /// `None` once closed.
    streams: Option<Vec<Stream>>,
    shared: Shared,
    /// The task's, to tell it that something has changed.
    waker: Option<Waker>,
}

/// What waits to be read by [`RelayHandle::silent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Silent(Silence),
    Closed,
}

impl RelayHandle {
    /// Starts the task. Must be called within a tokio runtime.
    pub(super) fn start(
        id: SessionId,
        streams: Vec<Stream>,
        silence: Option<Duration>,
        worker: RelayWorker,
    ) -> Self {
        let shared = Shared { tally: Tally::default(), silence: SilenceWatch::new(silence) };
        let state = State { streams: Some(streams), shared, waker: None };
        let session = Arc::new(Session { state: Mutex::new(state), told: watch::Sender::new(Told::Nothing) });
        tokio::spawn(run(session.clone(), worker.clone()));
        RelayHandle { owner: Arc::new(Owner { id, session, worker }) }
    }

    /// The session's name within its worker, for logs.
    pub fn id(&self) -> SessionId {
        self.owner.id
    }

    /// Our own addresses and ports, one entry a stream; nothing once closed.
    pub fn endpoints(&self) -> Vec<StreamEndpoints> {
        let state = self.owner.session.lock();
        state.streams.iter().flatten().map(Stream::endpoints).collect()
    }

    /// Our own address and ports on one side of a stream.
    pub fn endpoint(&self, stream: usize, side: Side) -> Option<Endpoint> {
        let state = self.owner.session.lock();
        Some(state.streams.as_ref()?.get(stream)?.endpoints().side(side))
    }

    /// Opens a further stream, as a new media section in a re-INVITE needs it. Gives its index.
    ///
    /// # Errors
    ///
    /// As [`RelayWorker::open`], and [`RelayError::Closed`].
    pub fn add_stream(&self, spec: StreamSpec) -> Result<usize, RelayError> {
        let mut state = self.owner.session.lock();
        let streams = state.streams.as_mut().ok_or(RelayError::Closed)?;
        let mut opened = self.owner.worker.open_streams(&[spec], streams.len())?;
        streams.append(&mut opened);
        let index = streams.len().saturating_sub(1);
        state.wake();
        Ok(index)
    }

    /// Takes what a new offer or answer says about one side of a stream: from the next datagram on it holds, and the
    /// latch is armed again.
    ///
    /// # Errors
    ///
    /// [`RelayError::NoSuchStream`], [`RelayError::Closed`].
    pub fn update(&self, stream: usize, side: Side, update: SideUpdate) -> Result<(), RelayError> {
        let now = clock();
        let session = &self.owner.session;
        let mut state = session.lock();
        let streams = state.streams.as_mut().ok_or(RelayError::Closed)?;
        streams.get_mut(stream).ok_or(RelayError::NoSuchStream { stream })?.update(side, update);
        let sends = streams.iter().any(|stream| stream.sends(side));
        state.shared.silence.expect(side, sends, now);
        session.told.send_if_modified(|told| {
            let stale = matches!(told, Told::Silent(silence) if silence.side == side);
            if stale {
                *told = Told::Nothing;
            }
            stale
        });
        // Silence may be due earlier than the task thinks.
        state.wake();
        Ok(())
    }

    /// The figures of a running session; `None` once closed.
    pub fn statistics(&self) -> Option<SessionStatistics> {
        let state = self.owner.session.lock();
        state.streams.as_deref().map(statistics)
    }

    /// Closes the sockets, lets the ports rest, and gives the figures: to the first that calls, so that they are counted
    /// once, and `None` to any after it.
    pub fn close(&self) -> Option<SessionStatistics> {
        self.owner.close()
    }

    /// Waits until a side that is bound to send has delivered neither RTP nor RTCP for the worker's silence time, on any
    /// stream. A silence is told until an update of that side. `None` when the session closes.
    pub async fn silent(&self) -> Option<Silence> {
        let mut told = self.owner.session.told.subscribe();
        let seen = told.wait_for(|told| *told != Told::Nothing).await;
        match seen.as_deref() {
            Ok(Told::Silent(silence)) => Some(*silence),
            _ => None,
        }
    }
}

impl Owner {
    fn close(&self) -> Option<SessionStatistics> {
        let (streams, figures) = {
            let mut state = self.session.lock();
            let streams = state.streams.take()?;
            state.shared.tally.flush(self.worker.gauges());
            state.wake();
            let figures = statistics(&streams);
            (streams, figures)
        };
        self.session.told.send_replace(Told::Closed);
        self.worker.close_streams(streams);
        Some(figures)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One turn of the task: whatever has arrived, then the timer. Ready when the session is closed.
    fn poll(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, worker: &RelayWorker) -> Poll<()> {
        let mut state = self.lock();
        let State { streams, shared, waker } = &mut *state;
        let Some(streams) = streams else { return Poll::Ready(()) };
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        let now = clock();
        for stream in streams.iter_mut() {
            stream.poll(cx, now, shared);
        }
        if shared.tally.is_due() {
            shared.tally.flush(worker.gauges());
        }
        // The timer is not moved for each packet: when it rings it is asked whether there is something to tell.
        while let Some(deadline) = shared.silence.deadline() {
            let deadline = deadline.into();
            if timer.deadline() > deadline || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            shared.tally.flush(worker.gauges());
            if let Some(silence) = shared.silence.check(clock()) {
                self.told.send_replace(Told::Silent(silence));
            }
        }
        Poll::Pending
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

async fn run(session: Arc<Session>, worker: RelayWorker) {
    let mut timer = pin!(sleep_until(tokio::time::Instant::now() + FAR));
    poll_fn(|cx| session.poll(cx, timer.as_mut(), &worker)).await;
}

fn statistics(streams: &[Stream]) -> SessionStatistics {
    SessionStatistics { streams: streams.iter().map(Stream::statistics).collect() }
}

/// The runtime's clock, which tests can pause.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Where the timer of a session stands that waits for nothing.
const FAR: Duration = Duration::from_secs(86_400 * 365);
