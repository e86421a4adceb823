use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fixtures::*;
use crate::*;

on_both!(
    saves_share_commits,
    a_refused_change_is_told_alone,
    the_mirror_has_it_when_the_save_returns,
    closing_saves_what_waits,
);

fn settings() -> WriterSettings {
    WriterSettings { retry: Duration::from_millis(5), ..WriterSettings::default() }
}

fn mirror() -> Arc<Mirror> {
    Mirror::new(Arc::default())
}

async fn saves_share_commits(place: Place) {
    let store = Faulty::new(place.open().await);
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    store.commits.store(0, Ordering::SeqCst);
    let writer = Writer::spawn(store.clone(), mirror(), "a", settings());
    let saves = (0..1000).map(|n| {
        let writer = writer.clone();
        tokio::spawn(async move {
            writer.save(vec![Change::PutBinding(binding(line, &format!("sip:{n}@y")))]).await
        })
    });
    for save in saves.collect::<Vec<_>>() {
        save.await.expect("a task").expect("a save");
    }
    let stats = writer.stats();
    assert_eq!((stats.saves, stats.rows, stats.refused), (1000, 1000, 0));
    assert_eq!(stats.batches, store.commits.load(Ordering::SeqCst) as u64);
    assert!(stats.batches < 100, "{stats:?}");
    assert_eq!(store.load().await.expect("contents").bindings.len(), 1000);
}

async fn a_refused_change_is_told_alone(place: Place) {
    let store = place.open().await;
    let site_id = put_site(&*store, "42").await;
    let writer = Writer::spawn(store.clone(), mirror(), "a", settings());
    let good = writer.save(vec![Change::PutSite(site("43"))]);
    let bad = writer.save(vec![Change::PutSite(site("42")), Change::PutLine(line(site_id, "101"))]);
    let (good, bad) = tokio::join!(good, bad);
    good.expect("a save");
    assert!(matches!(bad, Err(SaveError::Refused(StoreError::Duplicate { what: "site code", .. }))));
    assert_eq!(store.load().await.expect("contents").lines.len(), 1, "the rest of that save is there");
    assert_eq!(writer.stats().refused, 1);
}

async fn the_mirror_has_it_when_the_save_returns(place: Place) {
    let store = place.open().await;
    let mirror = mirror();
    let writer = Writer::spawn(store, mirror.clone(), "a", settings());
    let saved = writer.save_each(vec![Change::PutSite(site("42"))]).await.expect("a save");
    assert!(matches!(saved.as_slice(), [Ok(Change::PutSite(site))] if site.id == SiteId(1)));
    assert_eq!(mirror.directory().site_by_code("42").map(|site| site.id), Some(SiteId(1)));
}

async fn closing_saves_what_waits(place: Place) {
    let store = place.open().await;
    let patient = WriterSettings { max_delay: Duration::from_secs(3600), ..settings() };
    let writer = Writer::spawn(store.clone(), mirror(), "a", patient);
    let waiting = tokio::spawn({
        let writer = writer.clone();
        async move { writer.save(vec![Change::PutSite(site("42"))]).await }
    });
    tokio::task::yield_now().await;
    writer.close().await;
    waiting.await.expect("a task").expect("a save");
    assert_eq!(store.load().await.expect("contents").sites.len(), 1);
    assert!(matches!(writer.save(vec![Change::PutSite(site("43"))]).await, Err(SaveError::Closed)));
    writer.close().await;
}

#[tokio::test]
async fn an_answer_comes_only_after_the_commit() {
    let place = Place::sqlite();
    let store = Faulty::new(place.open().await);
    let mirror = mirror();
    let writer = Writer::spawn(store.clone(), mirror.clone(), "a", settings());
    store.door.forget_permits(1);
    let mut save = Box::pin(writer.save(vec![Change::PutSite(site("42"))]));
    tokio::select! {
        saved = &mut save => unreachable!("answered before the commit: {saved:?}"),
        () = store.arrived() => {}
    }
    assert!(mirror.directory().sites().is_empty());
    store.door.add_permits(1);
    save.await.expect("a save");
    assert_eq!(mirror.directory().sites().len(), 1);
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let place = Place::sqlite();
    let store = Faulty::new(place.open().await);
    store.door.forget_permits(1);
    let narrow = WriterSettings { queue: 1, max_rows: 1, ..settings() };
    let writer = Writer::spawn(store.clone(), mirror(), "a", narrow);
    let save = |code: &'static str| {
        let writer = writer.clone();
        tokio::spawn(async move { writer.save(vec![Change::PutSite(site(code))]).await })
    };
    let first = save("1");
    store.arrived().await;
    let second = save("2");
    while writer.queued() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(writer.save(vec![Change::PutSite(site("3"))]).await, Err(SaveError::Busy)));
    assert_eq!(writer.stats().busy, 1);
    store.door.add_permits(1);
    first.await.expect("a task").expect("a save");
    second.await.expect("a task").expect("a save");
}

#[tokio::test]
async fn call_records_wait_in_memory_when_the_spool_fails_too() {
    let place = Place::sqlite();
    let store = Faulty::new(place.open().await);
    let spool = place.directory.path().join("missing").join("calls.spool");
    let writer =
        Writer::spawn(store.clone(), mirror(), "a", WriterSettings { spool: Some(spool), ..settings() });
    store.away.store(true, Ordering::SeqCst);
    writer.save(vec![Change::AddCallRecord(record("c1", 1))]).await.expect("a record that waits");
    store.away.store(false, Ordering::SeqCst);
    writer.close().await;
    assert!(store.call_record("c1").await.expect("an answer").is_some());
}

#[tokio::test]
async fn while_the_database_is_away_call_records_wait() {
    let place = Place::sqlite();
    let store = Faulty::new(place.open().await);
    let spool = place.directory.path().join("calls.spool");
    let writer = Writer::spawn(
        store.clone(),
        mirror(),
        "a",
        WriterSettings { spool: Some(spool.clone()), spool_rows: 2, ..settings() },
    );
    store.away.store(true, Ordering::SeqCst);
    let add = |id: &str| vec![Change::AddCallRecord(record(id, 1))];
    assert!(matches!(writer.save(vec![Change::PutSite(site("42"))]).await, Err(SaveError::Away)));
    assert!(writer.is_away());
    writer.save(add("c1")).await.expect("a spooled record");
    writer.save(add("c2")).await.expect("a spooled record");
    assert!(matches!(writer.save(add("c3")).await, Err(SaveError::Busy)), "the spool is bounded");
    assert!(matches!(writer.save(vec![Change::PutSite(site("42"))]).await, Err(SaveError::Away)));
    assert_eq!(store.call_record("c1").await.expect("an answer"), None);
    // The process ends; what is in the file is taken up by the next one.
    writer.close().await;
    assert_eq!(std::fs::read_to_string(&spool).expect("a spool").lines().count(), 2);
    store.away.store(false, Ordering::SeqCst);
    let writer = Writer::spawn(
        store.clone(),
        mirror(),
        "a",
        WriterSettings { spool: Some(spool.clone()), ..settings() },
    );
    writer.close().await;
    assert!(store.call_record("c1").await.expect("an answer").is_some());
    assert!(store.call_record("c2").await.expect("an answer").is_some());
    assert_eq!(std::fs::read_to_string(&spool).expect("a spool"), "");
}

#[tokio::test]
async fn when_the_database_comes_back_all_is_written() {
    let place = Place::sqlite();
    let store = Faulty::new(place.open().await);
    let mirror = mirror();
    let writer = Writer::spawn(store.clone(), mirror.clone(), "a", settings());
    let site_id = put_site(&*store, "42").await;
    let line_id = put_line(&*store, site_id, "101").await;
    // The commit is done and its answer is lost: what was saved is found in memory later.
    store.loses_answer.store(true, Ordering::SeqCst);
    let number = Number::new("+8131", line_id).expect("a number");
    assert!(matches!(writer.save(vec![Change::PutNumber(number)]).await, Err(SaveError::Away)));
    writer.save(vec![Change::AddCallRecord(record("c1", 1))]).await.expect("a record");
    loop {
        match writer.save(vec![Change::PutSite(site("43"))]).await {
            Err(SaveError::Away) => tokio::task::yield_now().await,
            saved => break saved.expect("a save"),
        }
    }
    assert!(mirror.directory().number("+8131").is_some());
    assert!(store.call_record("c1").await.expect("an answer").is_some());
    assert!(!writer.stats().away && writer.stats().spooled == 0);
}
