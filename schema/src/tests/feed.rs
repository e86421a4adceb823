use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::fixtures::*;
use crate::*;

on_both!(
    a_second_reader_sees_every_change_in_order,
    a_reader_takes_many_batches_in_pages,
    a_reader_that_is_too_slow_loads_again,
    keys_are_read_back_as_they_are_now,
    a_follower_keeps_its_mirror_true,
);

async fn a_second_reader_sees_every_change_in_order(place: Place) {
    let store = place.open().await;
    let reader = place.second(&store).await;
    let mut watch = reader.watch();
    let start = reader.load().await.expect("contents").position;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    assert!(watch.look().await, "the reader was called");
    store.commit("b", vec![Change::PutBinding(binding(line, "sip:x@y"))]).await.expect("a commit");
    let gone = Change::RemoveBinding { line, contact: "sip:x@y".to_owned() };
    store.commit("b", vec![gone.clone(), gone]).await.expect("a commit");

    let (entries, position) = reader.changes_since(&start).await.expect("a feed");
    let seen: Vec<(&str, u64)> = entries.iter().map(|entry| (entry.node.as_str(), entry.seq)).collect();
    assert_eq!(seen, [("a", 1), ("a", 2), ("b", 1), ("b", 2)]);
    let keys: Vec<Vec<Key>> = entries.into_iter().map(|entry| entry.keys).collect();
    let key = Key::Binding(line, "sip:x@y".to_owned());
    assert_eq!(keys, [vec![Key::Site(site)], vec![Key::Line(line)], vec![key.clone()], vec![key]]);
    assert_eq!((position.of("a"), position.of("b")), (2, 2));

    let (entries, again) = reader.changes_since(&position).await.expect("a feed");
    assert!(entries.is_empty() && again == position);
    let mut others = start;
    others.ignore("a");
    let (entries, _) = reader.changes_since(&others).await.expect("a feed");
    assert!(entries.iter().all(|entry| entry.node == "b") && entries.len() == 2);
}

async fn a_reader_takes_many_batches_in_pages(place: Place) {
    let store = place.open().await;
    let site_id = put_site(&*store, "42").await;
    for n in 0..300 {
        let renamed = Site { id: site_id, name: format!("Dorm {n}"), ..site("42") };
        put(&*store, Change::PutSite(renamed)).await.expect("a change");
    }
    let (mut position, mut seen) = (FeedPosition::default(), Vec::new());
    loop {
        let (entries, next) = store.changes_since(&position).await.expect("a feed");
        if entries.is_empty() {
            break;
        }
        seen.extend(entries.into_iter().map(|entry| entry.seq));
        position = next;
    }
    assert_eq!(seen, (1..=301).collect::<Vec<u64>>());
}

async fn a_reader_that_is_too_slow_loads_again(place: Place) {
    let store = place.open_with(Tuning { feed_keep: 8, ..Tuning::default() }).await;
    let site_id = put_site(&*store, "42").await;
    for _ in 0..40 {
        put(&*store, Change::PutSite(Site { id: site_id, ..site("42") })).await.expect("a change");
    }
    let slow = store.changes_since(&FeedPosition::default()).await;
    assert!(matches!(slow, Err(StoreError::FeedPruned { node }) if node == "a"));
    let mut position = FeedPosition::default();
    position.advance("a", 35);
    let (entries, _) = store.changes_since(&position).await.expect("a feed");
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [36, 37, 38, 39, 40, 41]);
    let now = store.load().await.expect("contents").position;
    assert!(store.changes_since(&now).await.expect("a feed").0.is_empty());
}

async fn keys_are_read_back_as_they_are_now(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line_id = put_line(&*store, site, "101").await;
    let number = Number::new("+8131", line_id).expect("a number");
    let trunk_id = put_trunk(&*store, "carrier").await;
    let route = Route { id: RouteId(5), ..Route::new("+81", 1, trunk_id).expect("a route") };
    let (one, two) = (binding(line_id, "sip:1@y"), binding(line_id, "sip:2@y"));
    let batch = vec![
        Change::PutNumber(number.clone()),
        Change::PutRoute(route.clone()),
        Change::PutBinding(one.clone()),
        Change::PutBinding(two.clone()),
    ];
    store.commit("a", batch).await.expect("a commit");
    let keys = [
        Key::Binding(line_id, "sip:1@y".to_owned()),
        Key::Binding(line_id, "sip:none@y".to_owned()),
        Key::Bindings(line_id),
        Key::Number("+8131".to_owned()),
        Key::Number("+8132".to_owned()),
        Key::Route(RouteId(5)),
        Key::Route(RouteId(6)),
        Key::Trunk(trunk_id),
        Key::Trunk(TrunkId(77)),
        Key::Line(line_id),
        Key::Line(line_id),
        Key::Line(LineId(77)),
        Key::Site(SiteId(77)),
    ];
    let changes = store.read_back(&keys).await.expect("changes");
    let expected = vec![
        Change::PutBinding(one.clone()),
        Change::RemoveBinding { line: line_id, contact: "sip:none@y".to_owned() },
        Change::RemoveBindings { line: line_id },
        Change::PutBinding(one),
        Change::PutBinding(two),
        Change::PutNumber(number),
        Change::RemoveNumber("+8132".to_owned()),
        Change::PutRoute(route),
        Change::RemoveRoute(RouteId(6)),
        Change::PutTrunk(Trunk { id: trunk_id, ..trunk("carrier") }),
        Change::RemoveTrunk(TrunkId(77)),
        Change::PutLine(Line { id: line_id, ..line(site, "101") }),
        Change::RemoveLine(LineId(77)),
        Change::RemoveSite(SiteId(77)),
    ];
    assert_eq!(changes, expected);
}

/// Hands what it is told to a test.
struct Listener(mpsc::UnboundedSender<Change>);

impl Apply for Listener {
    fn apply(&self, change: &Change) {
        self.0.send(change.clone()).expect("a test that listens");
    }

    fn reload(&self, contents: &Contents) {
        contents.bindings.iter().for_each(|binding| self.apply(&Change::PutBinding(binding.clone())));
    }
}

async fn a_follower_keeps_its_mirror_true(place: Place) {
    let store = place.open_with(Tuning { feed_keep: 4, ..Tuning::default() }).await;
    let reader = place.second(&store).await;
    let site_id = put_site(&*store, "42").await;
    let contents = reader.load().await.expect("contents");
    let mirror = Mirror::new(Arc::new(Directory::from(&contents)));
    let (sender, mut told) = mpsc::unbounded_channel();
    mirror.add(Arc::new(Listener(sender)));
    let task = tokio::spawn(follow(reader.clone(), mirror.clone(), "b".to_owned(), contents.position));

    let line_id = put_line(&*store, site_id, "101").await;
    let mut next = async || told.recv().await.expect("a change");
    assert!(matches!(next().await, Change::PutLine(line) if line.id == line_id));
    assert!(mirror.directory().line_by_auth_user("s1-101").is_some());
    put(&*store, Change::PutBinding(binding(line_id, "sip:x@y"))).await.expect("a binding");
    assert_eq!(next().await, Change::PutBinding(binding(line_id, "sip:x@y")));
    // What the node's own writer commits is not applied a second time.
    store.commit("b", vec![Change::PutSite(site("43"))]).await.expect("a commit");
    put(&*store, Change::RemoveLine(line_id)).await.expect("a removal");
    assert_eq!(next().await, Change::RemoveBindings { line: line_id });
    assert_eq!(next().await, Change::RemoveSighting(line_id));
    assert_eq!(next().await, Change::RemoveLine(line_id));
    assert!(mirror.directory().line(line_id).is_none() && mirror.directory().site_by_code("43").is_none());
    task.abort();

    // Far behind: everything is loaded again.
    for n in 0..20 {
        put(&*store, Change::PutSite(Site { id: site_id, name: format!("Dorm {n}"), ..site("42") }))
            .await
            .expect("a change");
    }
    let line_id = put_line(&*store, site_id, "102").await;
    put(&*store, Change::PutBinding(binding(line_id, "sip:z@y"))).await.expect("a binding");
    let task = tokio::spawn(follow(reader.clone(), mirror.clone(), "b".to_owned(), FeedPosition::default()));
    assert_eq!(next().await, Change::PutBinding(binding(line_id, "sip:z@y")));
    assert_eq!(mirror.directory().site(site_id).map(|site| site.name.clone()), Some("Dorm 19".to_owned()));
    reader.close().await;
    task.await.expect("a task that ends with its store");
}

#[tokio::test]
async fn a_lost_connection_does_not_lose_changes() {
    let Some(place) = Place::postgres().await else { return };
    // Nobody looks without being called.
    let tuning = Tuning { look_every: Duration::from_secs(3600), ..Tuning::default() };
    let store = place.open_with(tuning).await;
    let reader = place.open_with(tuning).await;
    let names = Arc::new(Mutex::new(Vec::new()));
    let (sender, mut told) = mpsc::unbounded_channel();
    let mirror = Mirror::new(Arc::default());
    mirror.add(Arc::new(Listener(sender)));
    let site_id = put_site(&*store, "42").await;
    let _task = tokio::spawn(follow(reader.clone(), mirror, "b".to_owned(), FeedPosition::default()));
    told.recv().await.expect("the first change");
    kill_connections(&place.url).await;
    // Our own pools lost theirs as well, and take new ones.
    while store.settle("a").await.is_err() {}
    for n in 0..3 {
        let renamed = Site { id: site_id, name: format!("Dorm {n}"), ..site("42") };
        put(&*store, Change::PutSite(renamed)).await.expect("a change");
    }
    while let Some(Change::PutSite(site)) = told.recv().await {
        names.lock().unwrap_or_else(PoisonError::into_inner).push(site.name.clone());
        if site.name == "Dorm 2" {
            return;
        }
    }
    unreachable!("the feed ended");
}

async fn kill_connections(url: &str) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("a connection");
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(kill).fetch_all(&mut connection).await.expect("an answer");
}
