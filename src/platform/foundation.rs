//! What every role stands on: the store, what is in memory of it, and the key.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use node::config::Config;
use node::sources::{SourceSettings, Sources};
use node::telemetry::Mask;
use registrar::Locations;
use schema::secret::KeyFile;
use schema::{Change, Contents, Directory, Mirror, Node, Store, StoreError, Writer, WriterSettings};
use tokio::task::JoinHandle;
use tunnel_broker::control::ControlKey;

use super::neighbourhood::Neighbours;
use crate::operation::{Live, Office};

/// The store and what is in memory of it.
pub(super) struct Foundation {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Arc<Directory>,
    pub(super) locations: Arc<Locations>,
    pub(super) writer: Writer,
    /// Where one who follows what is stored is told of it.
    pub(super) mirror: Arc<Mirror>,
    /// A secret that all nodes share, for nonces and routes.
    pub(super) shared_key: [u8; 32],
    /// Another one, for brokers and tunnel servers.
    pub(super) control_key: ControlKey,
    /// What the translator's workers share, when the role is played here.
    translator: OnceLock<b2bua_translator::Shared>,
    /// Where requests come from.
    pub(super) sources: Arc<Sources>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Foundation {
    /// Opens the store and reads everything into memory.
    pub(super) async fn lay(config: &Config) -> anyhow::Result<Foundation> {
        std::fs::create_dir_all(&config.node.data_dir)
            .with_context(|| format!("cannot make the data folder {}", config.node.data_dir.display()))?;
        let key_file = KeyFile::open(&config.node.key_file)?;
        let store = open(config).await?;
        let contents = store.load().await?;
        let directory = Arc::new(Directory::from(&contents));
        let locations = Arc::new(Locations::new());
        schema::Apply::reload(&*locations, &contents);
        let mirror = Mirror::new(Arc::clone(&directory));
        mirror.add(Arc::clone(&locations) as Arc<dyn schema::Apply>);
        let name = &config.node.name;
        // Call records outlive a restart while the database is away.
        let spool = Some(config.node.data_dir.join("calls.spool"));
        let settings = WriterSettings { spool, ..WriterSettings::default() };
        let writer = Writer::spawn(Arc::clone(&store), Arc::clone(&mirror), name, settings);
        let Contents { position, .. } = contents;
        let follow =
            tokio::spawn(schema::follow(Arc::clone(&store), Arc::clone(&mirror), name.clone(), position));
        let sweep = tokio::spawn(sweep(Arc::clone(&locations)));
        let neighbours = Neighbours::new(config, Arc::clone(&directory), Arc::clone(&locations));
        let sources = Arc::new(Sources::new(
            SourceSettings { mask: Mask::new(&config.log), ..config.admission.sources() },
            Box::new(neighbours),
        ));
        Ok(Foundation {
            sources,
            store,
            directory,
            locations,
            writer,
            mirror,
            shared_key: key_file.derive("sip"),
            control_key: ControlKey::new(key_file.derive(tunnel_broker::control::KEY_PURPOSE)),
            translator: OnceLock::new(),
            tasks: std::sync::Mutex::new(vec![follow, sweep]),
        })
    }

    /// Lets [`calls`](Foundation::calls) count those of the translator.
    pub(super) fn watch_calls(&self, translator: b2bua_translator::Shared) {
        // There is one translator a process: the first stays.
        let _ = self.translator.set(translator);
    }

    /// Counts the calls that the translator carries.
    pub(super) fn calls(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let translator = self.translator.get().cloned();
        move || translator.as_ref().map_or(0, b2bua_translator::Shared::calls)
    }

    /// What operations work on.
    pub(super) fn office(&self, config: &Config, live: Option<Live>) -> anyhow::Result<Office> {
        Ok(Office {
            store: Arc::clone(&self.store),
            directory: Arc::clone(&self.directory),
            locations: Arc::clone(&self.locations),
            writer: self.writer.clone(),
            key_file: KeyFile::open(&config.node.key_file)?,
            realm: config.sip.realm.clone(),
            live,
        })
    }

    /// Tells the other nodes, now and from time to time, that this one lives.
    pub(super) fn announce(&self, config: &Config) {
        let writer = self.writer.clone();
        let started_at = unix_ms();
        let node = Node {
            name: config.node.name.clone(),
            roles: config.node.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            started_at,
            seen_at: started_at,
        };
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(SIGN_OF_LIFE);
            loop {
                every.tick().await;
                let seen = Node { seen_at: unix_ms(), ..node.clone() };
                if let Err(error) = writer.save(vec![Change::SeeNode(seen)]).await {
                    tracing::debug!(%error, "the sign of life could not be written");
                }
            }
        });
        self.tasks().push(task);
    }

    /// Writes what waits, and closes the store.
    pub(super) async fn close(self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
        self.writer.close().await;
        self.store.close().await;
    }

    /// Ends a task with the platform.
    pub(super) fn keep(&self, task: JoinHandle<()>) {
        self.tasks().push(task);
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens the store. A command that works on it without a node, or another node's end, holds it for a moment only: that is
/// waited for.
async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let deadline = Instant::now() + HELD;
    loop {
        match schema::open(config.store.url.expose()).await {
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => tokio::time::sleep(HELD / 50).await,
            other => return other,
        }
    }
}

/// Frees the memory of lapsed bindings.
async fn sweep(locations: Arc<Locations>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        let swept = locations.sweep(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        metrics::gauge!("centrex6_registered_lines").set(locations.lines() as f64);
        if swept > 0 {
            metrics::counter!("centrex6_bindings_lapsed_total").increment(swept as u64);
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long another process may hold the embedded store before it counts as taken.
const HELD: Duration = Duration::from_secs(5);
/// How often a node writes that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How often lapsed bindings are dropped from memory.
const SWEEP: Duration = Duration::from_secs(30);
