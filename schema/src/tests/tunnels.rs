//! Tunnel accounts, leases, sightings and alarms.

use std::sync::{Arc, Mutex, PoisonError};

use super::fixtures::*;
use crate::*;

on_both!(
    tunnels_and_alarms_come_back_as_they_went,
    accounts_are_unique_by_name_and_site,
    a_site_with_an_account_stays,
    what_goes_along_is_gone_everywhere,
    leases_and_sightings_need_their_owner,
    tunnel_keys_are_read_back,
);

fn alarm(kind: AlarmKind, subject: &str) -> Alarm {
    Alarm::new(kind, subject, "no session for 90 s", "Look whether the IAD has power.", 1_700_000_000_000)
}

fn sighting(line: LineId, source: &str) -> Sighting {
    Sighting { line, source: source.parse().expect("an address"), seen_at: i64::MAX }
}

async fn tunnels_and_alarms_come_back_as_they_went(place: Place) {
    let store = place.open().await;
    let (one, two) = (put_site(&*store, "41").await, put_site(&*store, "42").await);
    let line = put_line(&*store, one, "101").await;
    let bare = Account { id: AccountId(1), ..account("s041", one) };
    let rich = Account {
        id: AccountId(2),
        link: Some(TunnelLink {
            client: "2001:db8:f::2".parse().expect("an address"),
            server: "2001:db8:f::1".parse().expect("an address"),
        }),
        barred: true,
        ..account("\"';--\\u0041%@feel6", two)
    };
    let never = Lease::new(AccountId(1));
    let busy = Lease {
        account: AccountId(2),
        up: true,
        client: "203.0.113.7".parse().ok(),
        server: "192.0.2.1".parse().ok(),
        changed_at: i64::MAX,
        logins: i64::MAX,
        takeovers: 7,
        previous_client: "203.0.113.6".parse().ok(),
        neighbours: Some(u32::MAX),
        neighbour_capacity: Some(0),
        reported_at: Some(i64::MIN),
    };
    let seen = sighting(line, "2001:db8::7");
    let raised = Alarm { id: AlarmId(1), ..alarm(AlarmKind::TunnelDown, "041") };
    let over = Alarm {
        id: AlarmId(2),
        site: Some(SiteId(77)),
        details: serde_json::json!({"phones": 90, "answer": [1, 2.5, "関東"]}),
        cleared_at: Some(1_700_000_001_000),
        acked_at: Some(1_700_000_000_500),
        acked_by: Some("O'Hara".to_owned()),
        comment: Some("on my way".to_owned()),
        ..alarm(AlarmKind::NeighbourTableFull, "042")
    };
    let batch = vec![
        Change::PutAccount(bare.clone()),
        Change::PutAccount(rich.clone()),
        Change::PutLease(never.clone()),
        Change::PutLease(busy.clone()),
        Change::PutSighting(sighting(line, "192.0.2.9")),
        Change::PutSighting(seen.clone()),
        Change::PutAlarm(raised.clone()),
        Change::PutAlarm(over.clone()),
    ];
    let committed = store.commit("a", batch).await.expect("a commit");
    assert!(committed.outcomes.iter().all(Result::is_ok), "{committed:?}");
    let mut contents = store.load().await.expect("contents");
    contents.accounts.sort_by_key(|row| row.id);
    contents.leases.sort_by_key(|row| row.account);
    contents.alarms.sort_by_key(|row| row.id);
    assert_eq!(contents.accounts, [bare, rich.clone()]);
    assert_eq!(contents.leases, [never, busy]);
    assert_eq!(contents.sightings, [seen], "the newest only");
    assert_eq!(contents.alarms, [raised, over]);
    // The store numbers on after rows that brought their own number.
    match put(&*store, Change::PutAlarm(alarm(AlarmKind::WrongRoom, "x"))).await {
        Ok(Change::PutAlarm(alarm)) => assert_eq!(alarm.id, AlarmId(3)),
        other => unreachable!("{other:?}"),
    }
    let directory = Directory::from(&store.load().await.expect("contents"));
    assert_eq!(directory.account_of_site(two).as_deref(), Some(&rich));
    assert_eq!(directory.alarms().len(), 3);
}

async fn accounts_are_unique_by_name_and_site(place: Place) {
    let store = place.open().await;
    let (one, two) = (put_site(&*store, "41").await, put_site(&*store, "42").await);
    put_account(&*store, "s041", one).await;
    let words = |outcome: Result<Change>| outcome.expect_err("a refusal").to_string();
    assert_eq!(
        words(put(&*store, Change::PutAccount(account("s041", two))).await),
        "account name s041 is already in use"
    );
    let second = put(&*store, Change::PutAccount(account("other", one))).await;
    assert!(matches!(second, Err(StoreError::Duplicate { what: "account of site", .. })), "{second:?}");
    let nowhere = put(&*store, Change::PutAccount(account("nowhere", SiteId(77)))).await;
    assert!(matches!(nowhere, Err(StoreError::Missing { what: "site", .. })), "{nowhere:?}");
    let invalid =
        put(&*store, Change::PutAccount(Account { name: "a b".to_owned(), ..account("x", two) })).await;
    assert!(matches!(invalid, Err(StoreError::Invalid(_))), "{invalid:?}");
}

async fn a_site_with_an_account_stays(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let account = put_account(&*store, "s042", site).await;
    put(&*store, Change::PutAlarm(Alarm { site: Some(site), ..alarm(AlarmKind::TunnelDown, "042") }))
        .await
        .expect("an alarm");
    let refusal = put(&*store, Change::RemoveSite(site)).await.expect_err("a refusal").to_string();
    assert_eq!(refusal, "site 42 still has 1 account: remove them first");
    put(&*store, Change::RemoveAccount(account)).await.expect("a removal");
    put(&*store, Change::RemoveSite(site)).await.expect("a removal");
    assert_eq!(store.load().await.expect("contents").alarms.len(), 1, "an alarm outlives its site");
    for (what, gone) in
        [("account", Change::RemoveAccount(account)), ("alarm", Change::RemoveAlarm(AlarmId(77)))]
    {
        let missing = put(&*store, gone).await;
        assert!(
            matches!(missing, Err(StoreError::Missing { what: found, .. }) if found == what),
            "{missing:?}"
        );
    }
}

/// Remembers what it was told.
#[derive(Default)]
struct Listener(Mutex<Vec<Change>>);

impl Apply for Listener {
    fn apply(&self, change: &Change) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(change.clone());
    }

    fn reload(&self, _contents: &Contents) {}
}

async fn what_goes_along_is_gone_everywhere(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let account = put_account(&*store, "s042", site).await;
    let mirror = Mirror::new(Arc::default());
    mirror.reload(&*store).await.expect("contents");
    let listener = Arc::new(Listener::default());
    mirror.add(listener.clone());
    let writer = Writer::spawn(store.clone(), mirror.clone(), "a", WriterSettings::default());
    let put = vec![Change::PutLease(Lease::new(account)), Change::PutSighting(sighting(line, "192.0.2.9"))];
    writer.save(put).await.expect("a save");
    assert!(mirror.directory().lease(account).is_some() && mirror.directory().sighting(line).is_some());
    writer.save(vec![Change::RemoveAccount(account), Change::RemoveLine(line)]).await.expect("a save");
    assert!(mirror.directory().lease(account).is_none() && mirror.directory().sighting(line).is_none());
    let contents = store.load().await.expect("contents");
    assert!(contents.leases.is_empty() && contents.sightings.is_empty());
    let heard = listener.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for gone in [Change::RemoveLease(account), Change::RemoveSighting(line), Change::RemoveBindings { line }]
    {
        assert!(heard.contains(&gone), "{gone:?} in {heard:?}");
    }
    writer.close().await;
}

async fn leases_and_sightings_need_their_owner(place: Place) {
    let store = place.open().await;
    let refused = |what: &'static str, outcome: Result<Change>| match outcome {
        Err(StoreError::Missing { what: found, key }) => assert_eq!((found, key.as_str()), (what, "77")),
        other => unreachable!("{what}: {other:?}"),
    };
    refused("account", put(&*store, Change::PutLease(Lease::new(AccountId(77)))).await);
    refused("line", put(&*store, Change::PutSighting(sighting(LineId(77), "192.0.2.9"))).await);
    put(&*store, Change::RemoveLease(AccountId(77))).await.expect("nothing to do");
    put(&*store, Change::RemoveSighting(LineId(77))).await.expect("nothing to do");
    let site = put_site(&*store, "42").await;
    let account = put_account(&*store, "s042", site).await;
    put(&*store, Change::PutLease(Lease::new(account))).await.expect("a lease");
    put(&*store, Change::RemoveLease(account)).await.expect("a removal");
    assert!(store.load().await.expect("contents").leases.is_empty());
}

async fn tunnel_keys_are_read_back(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let account = Account { id: AccountId(1), ..account("s042", site) };
    let alarm = Alarm { id: AlarmId(1), ..alarm(AlarmKind::AccountFlapping, "s042") };
    let batch = vec![
        Change::PutAccount(account),
        Change::PutLease(Lease::new(AccountId(1))),
        Change::PutSighting(sighting(line, "2001:db8::7")),
        Change::PutAlarm(alarm),
    ];
    store.commit("a", batch.clone()).await.expect("a commit");
    let (entries, _) = store.changes_since(&FeedPosition::default()).await.expect("a feed");
    let mut keys = entries.last().map(|entry| entry.keys.clone()).unwrap_or_default();
    keys.extend([
        Key::Account(AccountId(7)),
        Key::Lease(AccountId(7)),
        Key::Sighting(LineId(7)),
        Key::Alarm(AlarmId(7)),
    ]);
    let mut expected = batch;
    expected.extend([
        Change::RemoveAccount(AccountId(7)),
        Change::RemoveLease(AccountId(7)),
        Change::RemoveSighting(LineId(7)),
        Change::RemoveAlarm(AlarmId(7)),
    ]);
    assert_eq!(store.read_back(&keys).await.expect("changes"), expected);
}
