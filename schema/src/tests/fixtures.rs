use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use crate::secret::{Ha1Set, Password, Sealed};
use crate::*;

/// Runs each test on SQLite, and on PostgreSQL where it is installed.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::tests::fixtures::Place::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(place) = $crate::tests::fixtures::Place::postgres().await {
                    super::$name(place).await;
                }
            })*
        }
    };
}

pub(super) use on_both;

/// Where a test's store is.
pub(super) struct Place {
    pub(super) url: String,
    pub(super) directory: TempDir,
}

impl Place {
    pub(super) fn sqlite() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        Place { url: format!("sqlite:{}", directory.path().join("store.db").display()), directory }
    }

    pub(super) async fn postgres() -> Option<Place> {
        let url = testing::shared()?.database().await.expect("a database");
        Some(Place { url, directory: tempfile::tempdir().expect("a directory") })
    }

    pub(super) fn is_shared(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub(super) async fn open(&self) -> Arc<dyn Store> {
        open(&self.url).await.expect("an open store")
    }

    pub(super) async fn open_with(&self, tuning: Tuning) -> Arc<dyn Store> {
        open_with(&self.url, tuning).await.expect("an open store")
    }

    /// Another node's way to the same store: its own connections where many nodes can share it.
    pub(super) async fn second(&self, first: &Arc<dyn Store>) -> Arc<dyn Store> {
        if self.is_shared() { self.open().await } else { Arc::clone(first) }
    }
}

pub(super) fn site(code: &str) -> Site {
    Site::new("Dorm", code, &format!("s{code}.example.net")).expect("a site")
}

pub(super) fn line(site: SiteId, extension: &str) -> Line {
    let user = format!("s{site}-{extension}");
    let ha1 = Ha1Set::of(&user, "r", &Password::new("p"));
    Line::new(site, extension, &user, ha1, Sealed::from_stored("sealed".to_owned())).expect("a line")
}

pub(super) fn trunk(name: &str) -> Trunk {
    Trunk::new(name, vec!["192.0.2.1".parse().expect("a gateway")]).expect("a trunk")
}

pub(super) fn device(site: SiteId, mac: &str) -> Device {
    Device::new(site, mac.parse().expect("a MAC"), "T31P", 24).expect("a device")
}

pub(super) fn allocation(site: SiteId, prefix: &str) -> PrefixAllocation {
    PrefixAllocation {
        id: PrefixAllocationId::NEW,
        prefix: prefix.parse().expect("a prefix"),
        site,
        region: None,
        allocated_at: 1_700_000_000,
        freed_at: None,
    }
}

pub(super) fn account(name: &str, site: SiteId) -> Account {
    Account::new(name, site, Sealed::from_stored("sealed".to_owned())).expect("an account")
}

pub(super) fn binding(line: LineId, contact: &str) -> Binding {
    Binding {
        line,
        contact: contact.to_owned(),
        call_id: "call@phone".to_owned(),
        cseq: u32::MAX,
        q: 500,
        expires_at: 1_800_000_000,
        stored_until: 1_800_000_600,
        path: vec!["<sip:edge.example.net;lr>".to_owned(), "<sip:[2001:db8::2];lr>".to_owned()],
        received: "UDP [2001:db8::7]:5060 > [2001:db8::1]:5060".to_owned(),
        user_agent: Some("Phone \"7\" – ü".to_owned()),
        instance: Some("<urn:uuid:00000000-0000-1000-8000-000A95A0E128>".to_owned()),
        reg_id: Some(1),
        source: "[2001:db8::7]:5060".parse().ok(),
    }
}

pub(super) fn record(id: &str, started_at: i64) -> CallRecord {
    CallRecord {
        id: id.to_owned(),
        node: "a".to_owned(),
        started_at,
        answered_at: Some(started_at + 2_000),
        ended_at: Some(started_at + 62_000),
        caller: "+81312345678".to_owned(),
        callee: "101".to_owned(),
        direction: Direction::Inbound,
        line: Some(LineId(1)),
        trunk: Some(TrunkId(1)),
        result: CallResult::Answered,
        status: Some(200),
        reason: String::new(),
        ended_by: Some(EndedBy::Callee),
        media: serde_json::json!({"legs": [{"sent": 50, "mos": 4.4}]}),
        call_ids: vec!["a@192.0.2.1".to_owned(), "c6w00-b".to_owned()],
        explanation: "the called party hung up".to_owned(),
    }
}

/// Commits one change as node `a` and gives it back as it was written.
pub(super) async fn put(store: &dyn Store, change: Change) -> Result<Change> {
    let committed = store.commit("a", vec![change]).await.expect("a commit");
    committed.outcomes.into_iter().next().expect("an outcome")
}

pub(super) async fn put_site(store: &dyn Store, code: &str) -> SiteId {
    match put(store, Change::PutSite(site(code))).await {
        Ok(Change::PutSite(site)) => site.id,
        other => unreachable!("{other:?}"),
    }
}

pub(super) async fn put_line(store: &dyn Store, site: SiteId, extension: &str) -> LineId {
    match put(store, Change::PutLine(line(site, extension))).await {
        Ok(Change::PutLine(line)) => line.id,
        other => unreachable!("{other:?}"),
    }
}

pub(super) async fn put_account(store: &dyn Store, name: &str, site: SiteId) -> AccountId {
    match put(store, Change::PutAccount(account(name, site))).await {
        Ok(Change::PutAccount(account)) => account.id,
        other => unreachable!("{other:?}"),
    }
}

pub(super) async fn put_trunk(store: &dyn Store, name: &str) -> TrunkId {
    match put(store, Change::PutTrunk(trunk(name))).await {
        Ok(Change::PutTrunk(trunk)) => trunk.id,
        other => unreachable!("{other:?}"),
    }
}

/// A store that can be held at the door, or sent away, before or after it has done what it was asked.
pub(super) struct Faulty {
    pub(super) store: Arc<dyn Store>,
    pub(super) away: AtomicBool,
    /// The next commit is done, and answered as if the database had gone.
    pub(super) loses_answer: AtomicBool,
    pub(super) door: Semaphore,
    at_door: Notify,
    pub(super) commits: AtomicUsize,
}

impl Faulty {
    pub(super) fn new(store: Arc<dyn Store>) -> Arc<Faulty> {
        Arc::new(Faulty {
            store,
            away: AtomicBool::new(false),
            loses_answer: AtomicBool::new(false),
            door: Semaphore::new(1),
            at_door: Notify::new(),
            commits: AtomicUsize::new(0),
        })
    }

    /// Waits until somebody wants to commit.
    pub(super) async fn arrived(&self) {
        self.at_door.notified().await;
    }

    fn here(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) { Err(gone()) } else { Ok(()) }
    }
}

fn gone() -> StoreError {
    StoreError::Away { source: Arc::new(sqlx::Error::PoolTimedOut) }
}

#[async_trait]
impl Store for Faulty {
    async fn load(&self) -> Result<Contents> {
        self.here()?;
        self.store.load().await
    }

    async fn commit(&self, node: &str, batch: Vec<Change>) -> Result<Committed> {
        self.at_door.notify_one();
        let _permit = self.door.acquire().await.expect("an open door");
        self.here()?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        let committed = self.store.commit(node, batch).await;
        if self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(gone());
        }
        committed
    }

    async fn settle(&self, node: &str) -> Result<()> {
        self.here()?;
        self.store.settle(node).await
    }

    async fn changes_since(&self, position: &FeedPosition) -> Result<(Vec<FeedEntry>, FeedPosition)> {
        self.here()?;
        self.store.changes_since(position).await
    }

    async fn read_back(&self, keys: &[Key]) -> Result<Vec<Change>> {
        self.here()?;
        self.store.read_back(keys).await
    }

    async fn call_records(&self, query: &CallQuery) -> Result<Vec<CallRecord>> {
        self.store.call_records(query).await
    }

    async fn call_record(&self, id: &str) -> Result<Option<CallRecord>> {
        self.store.call_record(id).await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        self.store.nodes().await
    }

    fn watch(&self) -> Watch {
        self.store.watch()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
