//! What is written of leases, in a real store.

use schema::secret::Sealed;
use schema::{AccountId, Change, Directory, Lease, Mirror, Site, SiteId, Writer, WriterSettings};

use super::*;
use crate::dtcp::Report;
use crate::lease::Outer;
use crate::service::leases::LeaseBook;

struct Office {
    _folder: tempfile::TempDir,
    store: Arc<dyn schema::Store>,
    directory: Arc<Directory>,
    writer: Writer,
}

impl Office {
    /// A store with the account s1.
    async fn new() -> Office {
        let folder = tempfile::tempdir().unwrap();
        let store = schema::open(folder.path().join("c6.db").to_str().unwrap()).await.unwrap();
        let directory = Arc::new(Directory::from(&store.load().await.unwrap()));
        let mirror = Mirror::new(Arc::clone(&directory));
        let writer = Writer::spawn(Arc::clone(&store), mirror, "test", WriterSettings::default());
        let office = Office { _folder: folder, store, directory, writer };
        let site = Change::PutSite(Site::new("Sakura", "8001", "s001.example.net").unwrap());
        let Change::PutSite(site) = office.put(site).await else { panic!() };
        office.account("s1", site.id).await;
        office
    }

    async fn put(&self, change: Change) -> Change {
        self.writer.save_each(vec![change]).await.unwrap().remove(0).unwrap()
    }

    async fn account(&self, name: &str, site: SiteId) -> AccountId {
        let account = schema::Account::new(name, site, Sealed::from_stored(String::new())).unwrap();
        match self.put(Change::PutAccount(account)).await {
            Change::PutAccount(account) => account.id,
            other => panic!("{other:?}"),
        }
    }

    fn start(&self) -> (Leases, LeaseBook) {
        Leases::start(Arc::clone(&self.directory), self.writer.clone(), Duration::from_secs(180))
    }

    /// What is stored of s1, on disk and in memory alike.
    async fn lease(&self) -> Lease {
        let stored = self.store.load().await.unwrap().leases;
        let account = self.directory.account_by_name("s1").unwrap().id;
        let lease = self.directory.lease(account).unwrap();
        assert_eq!(stored, [Lease::clone(&lease)]);
        Lease::clone(&lease)
    }
}

fn outer(client: [u8; 4]) -> Outer {
    Outer { client: client.into(), server: crate::testing::SERVER }
}

#[tokio::test]
async fn logins_takeovers_and_ends_are_written() {
    let office = Office::new().await;
    let (mut leases, book) = office.start();
    leases.logged_in("s1", &outer(A));
    leases.logged_in("nobody", &outer(B));
    drop(leases);
    book.close().await;
    let lease = office.lease().await;
    assert!(lease.up && lease.changed_at > 0);
    assert_eq!((lease.client, lease.server), (Some(A.into()), Some(crate::testing::SERVER)));
    assert_eq!((lease.logins, lease.takeovers, lease.previous_client), (1, 0, None));

    // The next broker goes on where this one ended.
    let (mut leases, book) = office.start();
    leases.taken_over("s1");
    leases.logged_in("s1", &outer(B));
    book.close().await;
    let lease = office.lease().await;
    assert!(lease.up);
    assert_eq!((lease.logins, lease.takeovers), (2, 1));
    assert_eq!((lease.client, lease.previous_client), (Some(B.into()), Some(A.into())));

    let (mut leases, book) = office.start();
    leases.logged_out("s1");
    book.close().await;
    let lease = office.lease().await;
    assert!(!lease.up);
    assert_eq!((lease.client, lease.logins), (Some(B.into()), 2));
}

#[tokio::test]
async fn a_takeover_that_came_to_nothing_is_none() {
    let office = Office::new().await;
    let (mut leases, book) = office.start();
    leases.logged_in("s1", &outer(A));
    leases.taken_over("s1");
    leases.logged_out("s1");
    leases.logged_in("s1", &outer(A));
    book.close().await;
    let lease = office.lease().await;
    assert_eq!((lease.logins, lease.takeovers, lease.previous_client), (2, 0, None));
}

#[tokio::test]
async fn a_report_is_written_once_a_minute_unless_the_table_fills_or_empties() {
    let office = Office::new().await;
    let (mut leases, book) = office.start();
    let mut written = Vec::new();
    for neighbours in [100, 101, 128, 129, 127, 120] {
        leases.reported("s1", Report { neighbours, capacity: 128 });
        written.push(book.unwritten("s1", &office.directory).and_then(|lease| lease.neighbours));
    }
    assert_eq!(written, [Some(100), Some(100), Some(128), Some(128), Some(127), Some(127)]);
    // Whatever else is written takes the newest along.
    leases.logged_in("s1", &outer(A));
    book.close().await;
    let lease = office.lease().await;
    assert_eq!((lease.neighbours, lease.neighbour_capacity), (Some(120), Some(128)));
    assert!(lease.reported_at.is_some());
}

#[tokio::test]
async fn what_was_up_before_and_does_not_return_is_down() {
    let office = Office::new().await;
    let (mut leases, book) = office.start();
    leases.logged_in("s1", &outer(A));
    book.close().await;
    let (_leases, book) = office.start();
    book.expire_now(&office.directory);
    book.close().await;
    assert!(!office.lease().await.up);
    // Who has returned stays.
    let (mut leases, book) = office.start();
    leases.logged_in("s1", &outer(A));
    book.expire_now(&office.directory);
    book.close().await;
    assert!(office.lease().await.up);
}
