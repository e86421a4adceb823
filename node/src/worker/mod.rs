//! Workers: one thread each, with its own sockets, connections, timers and core.

mod activity;
mod driver;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sip_core::core::Core;
use sip_core::ids::WorkerId;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use self::activity::{Activity, Presence};
use self::driver::{Driver, Parts};
use crate::config::{Sip, StreamLimits};
use crate::handover::Peers;
use crate::listener::Listener;
use crate::shutdown::Shutdown;
use crate::slots::ConnectionSlots;
use crate::socket::{self, BindError, WorkerSockets};
use crate::stream::Remotes;
use crate::telemetry::Mask;
use crate::tls::RoleTls;
use crate::trace::Trace;
use crate::world::World;

/// How the workers of one role are set up.
#[derive(Debug, Clone)]
pub struct WorkersConfig {
    /// The role: names the threads (`c6-proxy-0`) and labels the metrics. At most ten characters show in a thread's name.
    pub role: String,
    /// How many; 0 stands for the number of cores. At most 256.
    pub workers: usize,
    /// Where they listen.
    pub listen: Vec<Listener>,
    /// The longest message taken, in bytes.
    pub max_message_bytes: usize,
    /// Limits on stream connections.
    pub stream: StreamLimits,
    /// Certificates; needed by listeners with TLS, and to connect by it.
    pub tls: Option<RoleTls>,
    /// The most messages that wait for one worker after others received them.
    pub handover_queue: usize,
    /// How long they go on after the stop while the role has something alive: another role of this process, stopped at the same
    /// moment, may end its calls through this one.
    pub linger: Duration,
    /// What log lines hide.
    pub mask: Mask,
    /// Where messages are remembered.
    pub trace: Trace,
}

impl WorkersConfig {
    /// Workers of `role` that listen on `listen`, as many as there are cores, with the limits of `sip`.
    pub fn new(role: impl Into<String>, listen: Vec<Listener>, sip: &Sip) -> Self {
        WorkersConfig {
            role: role.into(),
            workers: 0,
            listen,
            max_message_bytes: sip.max_message_bytes,
            stream: sip.stream.clone(),
            tls: None,
            handover_queue: 4096,
            linger: Duration::ZERO,
            mask: Mask::default(),
            trace: Trace::default(),
        }
    }
}

/// What a worker's core and world are made from.
#[derive(Debug, Clone)]
pub struct WorkerContext {
    /// Which worker it is.
    pub worker: WorkerId,
    /// How many workers the role has.
    pub count: usize,
    /// The addresses that the role listens on, with the ports that the system gave.
    pub local: Vec<Listener>,
    /// Randomness for identifiers, fresh for each worker.
    pub seed: [u8; 32],
    /// The platform's end, for tasks of the world.
    pub shutdown: Shutdown,
}

/// Why workers did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gave no random numbers.
    #[error("no randomness from the system: {0}")]
    Random(getrandom::Error),
    /// A thread or its runtime could not be started.
    #[error("worker {thread} could not be started: {source}")]
    Start {
        /// The thread's name.
        thread: String,
        /// Why.
        source: std::io::Error,
    },
    /// A worker panicked.
    #[error("worker {thread} died of a bug; the log tells where")]
    Died {
        /// The thread's name.
        thread: String,
    },
}

/// Workers whose listeners are open, but which do not run yet. Messages that arrive meanwhile wait in the sockets.
#[derive(Debug)]
pub struct BoundWorkers {
    config: WorkersConfig,
    shutdown: Shutdown,
    local: Vec<Listener>,
    sockets: Vec<WorkerSockets>,
}

impl BoundWorkers {
    /// The addresses listened on, in the order of the configuration, with the ports that the system gave.
    pub fn local(&self) -> &[Listener] {
        &self.local
    }

    /// How many workers there will be.
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Starts the threads. `factory` is called once on each of them, within its runtime, to make the core and its world.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started; those already running are stopped.
    pub fn spawn<F, C, W>(self, factory: F) -> Result<Workers, WorkerError>
    where
        F: Fn(WorkerContext) -> (C, W) + Send + Sync + 'static,
        C: Core,
        W: World<C::Question, C::Answer>,
    {
        let BoundWorkers { config, shutdown, local, sockets } = self;
        let count = sockets.len();
        let factory = Arc::new(factory);
        let activity = Arc::new(Activity::new(count));
        let slots =
            ConnectionSlots::new(config.stream.max_connections, config.stream.max_connections_per_source);
        let remotes = Remotes::default();
        let (peers, receivers) = Peers::new(count, config.handover_queue);
        let mut workers = Workers { shutdown: shutdown.clone(), local, activity, threads: vec![] };
        for ((index, sockets), handed) in (0..=u8::MAX).zip(sockets).zip(receivers) {
            let worker = WorkerId(index);
            let name = format!("c6-{}-{index}", config.role);
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(WorkerError::Random)?;
            let context = WorkerContext {
                worker,
                count,
                local: workers.local.clone(),
                seed,
                shutdown: shutdown.clone(),
            };
            let started = |source| WorkerError::Start { thread: name.clone(), source };
            // Built here, so that its failure is the caller's to handle.
            let runtime = Builder::new_current_thread().enable_all().build().map_err(started)?;
            let presence = Presence::new(Arc::clone(&workers.activity), usize::from(index), shutdown.clone());
            let (factory, config, shutdown) = (Arc::clone(&factory), config.clone(), shutdown.clone());
            let (peers, slots, remotes) = (peers.clone(), slots.clone(), remotes.clone());
            let body = move || {
                let presence = presence;
                let tasks = LocalSet::new();
                let worked = tasks.block_on(&runtime, async {
                    let (core, world) = factory(context.clone());
                    let parts = Parts {
                        core,
                        world,
                        config,
                        context,
                        shutdown,
                        sockets,
                        peers,
                        handed,
                        slots,
                        remotes,
                    };
                    match Driver::new(parts, &presence) {
                        Ok(driver) => driver.run().await,
                        Err(error) => {
                            tracing::error!(%error, "worker could not take its sockets");
                            return false;
                        }
                    }
                    true
                });
                drop(tasks);
                runtime.shutdown_timeout(RUNTIME_GRACE);
                worked
            };
            let thread = thread::Builder::new().name(name.clone()).spawn(body).map_err(started)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

/// Running workers of one role. Dropped without [`join`](Workers::join), they stop the platform that they belong to.
#[derive(Debug)]
pub struct Workers {
    shutdown: Shutdown,
    local: Vec<Listener>,
    activity: Arc<Activity>,
    threads: Vec<Thread>,
}

impl Workers {
    /// Opens the listeners. The workers follow `shutdown`.
    ///
    /// # Errors
    ///
    /// When a listener cannot be opened.
    pub fn bind(config: WorkersConfig, shutdown: &Shutdown) -> Result<BoundWorkers, WorkerError> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let count = if config.workers == 0 { cores() } else { config.workers };
        let (local, sockets) = socket::bind(&config.listen, count.min(MAX_WORKERS))?;
        for listener in &local {
            tracing::info!(role = config.role, %listener, workers = sockets.len(), "listening");
        }
        Ok(BoundWorkers { config, shutdown: shutdown.clone(), local, sockets })
    }

    /// [`bind`](Workers::bind) and [`BoundWorkers::spawn`] in one.
    ///
    /// # Errors
    ///
    /// As theirs.
    pub fn spawn<F, C, W>(
        config: WorkersConfig,
        shutdown: &Shutdown,
        factory: F,
    ) -> Result<Workers, WorkerError>
    where
        F: Fn(WorkerContext) -> (C, W) + Send + Sync + 'static,
        C: Core,
        W: World<C::Question, C::Answer>,
    {
        Workers::bind(config, shutdown)?.spawn(factory)
    }

    /// The addresses listened on, in the order of the configuration, with the ports that the system gave.
    pub fn local(&self) -> &[Listener] {
        &self.local
    }

    /// Calls and transactions alive in all workers, as they last said.
    pub fn active(&self) -> usize {
        self.activity.active()
    }

    /// Returns when every worker was told to drain and has nothing alive any more.
    pub async fn drained(&self) {
        self.activity.drained().await;
    }

    /// Returns when a worker has ended though nobody stopped it.
    pub async fn died(&self) {
        self.activity.died().await;
    }

    /// Stops the platform that the workers belong to and waits for their threads.
    ///
    /// # Errors
    ///
    /// When a worker had died.
    pub async fn join(mut self) -> Result<(), WorkerError> {
        self.shutdown.stop();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || join_all(threads)).await;
        joined.unwrap_or_else(|_| Err(WorkerError::Died { thread: "that joins the workers".to_owned() }))
    }

    /// As [`join`](Workers::join), outside any runtime.
    ///
    /// # Errors
    ///
    /// When a worker had died.
    pub fn join_blocking(mut self) -> Result<(), WorkerError> {
        self.shutdown.stop();
        join_all(std::mem::take(&mut self.threads))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shutdown.stop();
        }
    }
}

/// A worker's thread; it gives whether it worked until it was stopped.
type Thread = thread::JoinHandle<bool>;

fn join_all(threads: Vec<Thread>) -> Result<(), WorkerError> {
    let mut result = Ok(());
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if !thread.join().unwrap_or(false) {
            result = Err(WorkerError::Died { thread: name });
        }
    }
    result
}

/// As many as a [`WorkerId`] can name.
const MAX_WORKERS: usize = 256;
/// How long a stopping worker waits for blocking work that its world has under way.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);
