use super::fixtures::*;
use crate::*;

on_both!(
    an_empty_store_is_empty,
    every_row_comes_back_as_it_went,
    rows_survive_a_restart,
    duplicates_are_named,
    references_must_exist,
    what_is_referred_to_stays,
    a_failing_change_does_not_lose_its_mates,
    numbers_are_given_once,
    a_removed_line_takes_its_bindings_along,
    bindings_change_in_order_within_a_batch,
    a_call_record_is_written_once,
    call_records_are_found,
    text_of_strangers_is_kept_or_refused,
    nodes_are_seen,
);

async fn an_empty_store_is_empty(place: Place) {
    let store = place.open().await;
    let contents = store.load().await.expect("contents");
    assert!(contents.sites.is_empty() && contents.bindings.is_empty());
    assert_eq!(contents.position, FeedPosition::default());
    assert!(store.commit("a", vec![]).await.expect("nothing to do").outcomes.is_empty());
    assert_eq!(store.call_record("none").await.expect("an answer"), None);
    store.settle("a").await.expect("a store that takes writes");
}

async fn every_row_comes_back_as_it_went(place: Place) {
    let store = place.open().await;
    let mut site = site("42");
    site.prefix = "2001:db8:42::/48".parse().ok();
    site.region = "関東".to_owned();
    let mut line = line(SiteId(1), "101");
    line.rights = Rights { external: false, international: true };
    line.anywhere = true;
    line.display_name = "O'Hara \"Ann\"".to_owned();
    let mut trunk = trunk("carrier");
    trunk.gateways.push("tcp:198.51.100.2:5070".parse().expect("a gateway"));
    trunk.sources.push("198.51.100.0/24".parse().expect("a network"));
    trunk.max_calls = Some(u32::MAX);
    trunk.default_caller = Some("+81300000000".to_owned());
    trunk.enabled = false;
    let mut route = Route::new("+81", 7, TrunkId(1)).expect("a route");
    route.strip = 3;
    route.prepend = "0".to_owned();
    let number = Number::new("+81312345678", LineId(1)).expect("a number");
    let mut bare = binding(LineId(1), "sip:bare@[2001:db8::8]");
    (bare.path, bare.user_agent, bare.instance, bare.reg_id, bare.source) = (vec![], None, None, None, None);
    let rich = binding(LineId(1), "sip:101@[2001:db8::7]:5060;ob");
    let batch = vec![
        Change::PutSite(site.clone()),
        Change::PutLine(line.clone()),
        Change::PutTrunk(trunk.clone()),
        Change::PutRoute(route.clone()),
        Change::PutNumber(number.clone()),
        Change::PutBinding(rich.clone()),
        Change::PutBinding(bare.clone()),
    ];
    let committed = store.commit("a", batch).await.expect("a commit");
    assert!(committed.outcomes.iter().all(Result::is_ok), "{committed:?}");
    (site.id, line.id, trunk.id, route.id) = (SiteId(1), LineId(1), TrunkId(1), RouteId(1));
    let contents = store.load().await.expect("contents");
    assert_eq!(contents.sites, [site]);
    assert_eq!(contents.lines, [line]);
    assert_eq!(contents.trunks, [trunk]);
    assert_eq!(contents.routes, [route]);
    assert_eq!(contents.numbers, [number]);
    assert_eq!(contents.bindings.len(), 2);
    assert!(contents.bindings.contains(&rich) && contents.bindings.contains(&bare));
    assert_eq!(contents.position.of("a"), 1);
}

async fn rows_survive_a_restart(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    put(&*store, Change::PutBinding(binding(line, "sip:101@[2001:db8::7]"))).await.expect("a binding");
    store.close().await;
    assert!(matches!(store.load().await, Err(StoreError::Away { .. })));
    drop(store);
    let contents = place.open().await.load().await.expect("contents");
    assert_eq!(contents.bindings, [binding(line, "sip:101@[2001:db8::7]")]);
    assert_eq!(contents.position.of("a"), 3);
}

async fn duplicates_are_named(place: Place) {
    let store = place.open().await;
    let site_id = put_site(&*store, "42").await;
    put_line(&*store, site_id, "101").await;
    put_trunk(&*store, "carrier").await;
    let refused = |what: &'static str, key: &'static str, outcome: Result<Change>| match outcome {
        Err(StoreError::Duplicate { what: found, key: with }) => {
            assert_eq!((found, with.as_str()), (what, key))
        }
        other => unreachable!("{what}: {other:?}"),
    };
    refused("site code", "42", put(&*store, Change::PutSite(site("42"))).await);
    let domain = Site { code: "43".to_owned(), ..site("42") };
    refused("site domain", "s42.example.net", put(&*store, Change::PutSite(domain)).await);
    let user = Line { extension: "102".to_owned(), ..line(site_id, "101") };
    refused("auth user", "s1-101", put(&*store, Change::PutLine(user)).await);
    let extension = Line { auth_user: "other".to_owned(), ..line(site_id, "101") };
    refused("extension", "101", put(&*store, Change::PutLine(extension)).await);
    refused("trunk name", "carrier", put(&*store, Change::PutTrunk(trunk("carrier"))).await);
    let route = Route::new("+81", 1, TrunkId(1)).expect("a route");
    put(&*store, Change::PutRoute(route.clone())).await.expect("a route");
    refused("route prefix of the trunk", "+81", put(&*store, Change::PutRoute(route)).await);
    // A row does not collide with itself.
    put(&*store, Change::PutSite(Site { id: site_id, name: "New".to_owned(), ..site("42") }))
        .await
        .expect("a change");
    assert_eq!(
        store.load().await.expect("contents").sites.first().map(|site| site.name.clone()),
        Some("New".to_owned())
    );
}

async fn references_must_exist(place: Place) {
    let store = place.open().await;
    let refused = |what: &'static str, outcome: Result<Change>| match outcome {
        Err(StoreError::Missing { what: found, key }) => assert_eq!((found, key.as_str()), (what, "77")),
        other => unreachable!("{what}: {other:?}"),
    };
    refused("site", put(&*store, Change::PutLine(line(SiteId(77), "101"))).await);
    refused(
        "line",
        put(&*store, Change::PutNumber(Number::new("+8131", LineId(77)).expect("a number"))).await,
    );
    refused("line", put(&*store, Change::PutBinding(binding(LineId(77), "sip:x@y"))).await);
    refused(
        "trunk",
        put(&*store, Change::PutRoute(Route::new("+81", 1, TrunkId(77)).expect("a route"))).await,
    );
    refused("site", put(&*store, Change::RemoveSite(SiteId(77))).await);
    refused("line", put(&*store, Change::RemoveLine(LineId(77))).await);
    refused("trunk", put(&*store, Change::RemoveTrunk(TrunkId(77))).await);
    refused("route", put(&*store, Change::RemoveRoute(RouteId(77))).await);
    refused("number", put(&*store, Change::RemoveNumber("77".to_owned())).await);
    let gone = Change::RemoveBinding { line: LineId(77), contact: "sip:x@y".to_owned() };
    put(&*store, gone).await.expect("nothing to do");
}

async fn what_is_referred_to_stays(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let first = put_line(&*store, site, "101").await;
    put_line(&*store, site, "102").await;
    put(&*store, Change::PutNumber(Number::new("+8131", first).expect("a number"))).await.expect("a number");
    let trunk = put_trunk(&*store, "carrier").await;
    put(&*store, Change::PutRoute(Route::new("", 1, trunk).expect("a route"))).await.expect("a route");
    let words = |outcome: Result<Change>| outcome.expect_err("a refusal").to_string();
    assert_eq!(
        words(put(&*store, Change::RemoveSite(site)).await),
        "site 42 still has 2 lines: remove them first"
    );
    assert_eq!(
        words(put(&*store, Change::RemoveLine(first)).await),
        "line s1-101 still has 1 number: remove them first"
    );
    assert_eq!(
        words(put(&*store, Change::RemoveTrunk(trunk)).await),
        "trunk carrier still has 1 route: remove them first"
    );
    let contents = store.load().await.expect("contents");
    assert_eq!((contents.sites.len(), contents.lines.len(), contents.trunks.len()), (1, 2, 1));
}

async fn a_failing_change_does_not_lose_its_mates(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let contact = |n: usize| format!("sip:{n}@[2001:db8::7]");
    let mut batch: Vec<Change> = (0..20).map(|n| Change::PutBinding(binding(line, &contact(n)))).collect();
    batch.insert(3, Change::PutBinding(binding(LineId(77), "sip:x@y")));
    batch.insert(17, Change::PutBinding(binding(LineId(78), "sip:x@y")));
    batch.insert(9, Change::PutBinding(Binding { q: 1001, ..binding(line, "sip:q@y") }));
    batch.push(Change::PutSite(super::fixtures::site("42")));
    batch.push(Change::PutSite(super::fixtures::site("43")));
    let committed = store.commit("a", batch).await.expect("a commit");
    let failed: Vec<usize> = committed
        .outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| outcome.is_err())
        .map(|(index, _)| index)
        .collect();
    assert_eq!(failed, [3, 9, 18, 23]);
    let contents = store.load().await.expect("contents");
    assert_eq!((contents.bindings.len(), contents.sites.len()), (20, 2));
    let (entries, _) = store.changes_since(&FeedPosition::default()).await.expect("a feed");
    assert_eq!(entries.last().map(|entry| entry.keys.len()), Some(21), "what failed is not in the feed");
}

async fn numbers_are_given_once(place: Place) {
    let store = place.open().await;
    assert_eq!(put_site(&*store, "1").await, SiteId(1));
    put(&*store, Change::PutSite(Site { id: SiteId(10), ..site("10") }))
        .await
        .expect("a site with its own number");
    assert_eq!(put_site(&*store, "2").await, SiteId(11));
    put(&*store, Change::RemoveSite(SiteId(11))).await.expect("a removal");
    // A failed one in the middle does not disturb the others.
    let batch = ["3", "1", "4"].map(|code| Change::PutSite(site(code))).to_vec();
    let outcomes = store.commit("a", batch).await.expect("a commit").outcomes;
    let ids: Vec<Option<i64>> = outcomes
        .into_iter()
        .map(|outcome| if let Ok(Change::PutSite(site)) = outcome { Some(site.id.0) } else { None })
        .collect();
    assert_eq!(ids, [Some(12), None, Some(13)]);
}

async fn a_removed_line_takes_its_bindings_along(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    put(&*store, Change::PutBinding(binding(line, "sip:101@[2001:db8::7]"))).await.expect("a binding");
    put(&*store, Change::RemoveLine(line)).await.expect("a removal");
    assert!(store.load().await.expect("contents").bindings.is_empty());
}

async fn bindings_change_in_order_within_a_batch(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let (one, two) = (put_line(&*store, site, "101").await, put_line(&*store, site, "102").await);
    let put = |line, contact: &str, cseq| Change::PutBinding(Binding { cseq, ..binding(line, contact) });
    let gone = |line, contact: &str| Change::RemoveBinding { line, contact: contact.to_owned() };
    let batch = vec![
        put(one, "sip:a@x", 1),
        put(one, "sip:a@x", 2),
        put(one, "sip:b@x", 1),
        gone(one, "sip:b@x"),
        put(two, "sip:c@x", 1),
        put(two, "sip:d@x", 1),
        Change::RemoveBindings { line: two },
        put(two, "sip:c@x", 9),
    ];
    let committed = store.commit("a", batch).await.expect("a commit");
    assert!(committed.outcomes.iter().all(Result::is_ok), "{committed:?}");
    let mut left = store.load().await.expect("contents").bindings;
    left.sort_by_key(|binding| binding.line);
    let left: Vec<_> =
        left.iter().map(|binding| (binding.line, binding.contact.as_str(), binding.cseq)).collect();
    assert_eq!(left, [(one, "sip:a@x", 2), (two, "sip:c@x", 9)]);
}

async fn a_call_record_is_written_once(place: Place) {
    let store = place.open().await;
    let first = record("c1", 1_000);
    let again = CallRecord { reason: "twice".to_owned(), ..first.clone() };
    let batch =
        [&first, &again, &record("c2", 2_000)].map(|record| Change::AddCallRecord(record.clone())).to_vec();
    let committed = store.commit("a", batch).await.expect("a commit");
    assert_eq!(committed.repeated_records, 1);
    assert!(committed.outcomes.iter().all(Result::is_ok));
    let committed = store.commit("b", vec![Change::AddCallRecord(again)]).await.expect("a commit");
    assert_eq!(committed.repeated_records, 1);
    assert_eq!(store.call_record("c1").await.expect("an answer"), Some(first));
    let (entries, _) = store.changes_since(&FeedPosition::default()).await.expect("a feed");
    assert!(entries.is_empty(), "nobody keeps call records in memory");
}

async fn call_records_are_found(place: Place) {
    let store = place.open().await;
    let busy = CallRecord {
        answered_at: None,
        ended_at: None,
        result: CallResult::Busy,
        status: Some(486),
        line: None,
        trunk: Some(TrunkId(2)),
        ended_by: None,
        caller: "102".to_owned(),
        node: "b".to_owned(),
        ..record("c2", 2_000)
    };
    let records = [record("c1", 1_000), busy.clone(), record("c3", 3_000)];
    store.commit("a", records.map(Change::AddCallRecord).to_vec()).await.expect("a commit");
    let all = CallQuery::default();
    let cases: [(CallQuery, &[&str]); 9] = [
        (all.clone(), &["c3", "c2", "c1"]),
        (CallQuery { limit: Some(2), ..all.clone() }, &["c3", "c2"]),
        (CallQuery { from: Some(2_000), ..all.clone() }, &["c3", "c2"]),
        (CallQuery { until: Some(2_000), ..all.clone() }, &["c1"]),
        (CallQuery { party: Some("102".to_owned()), ..all.clone() }, &["c2"]),
        (CallQuery { party: Some("101".to_owned()), from: Some(1_500), ..all.clone() }, &["c3", "c2"]),
        (CallQuery { line: Some(LineId(1)), ..all.clone() }, &["c3", "c1"]),
        (CallQuery { trunk: Some(TrunkId(2)), node: Some("b".to_owned()), ..all.clone() }, &["c2"]),
        (CallQuery { result: Some(CallResult::Busy), party: Some("' OR 1=1 --".to_owned()), ..all }, &[]),
    ];
    for (query, expected) in cases {
        let found = store.call_records(&query).await.expect("records");
        assert_eq!(found.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), expected, "{query:?}");
    }
    assert_eq!(store.call_record("c2").await.expect("an answer"), Some(busy));
}

async fn text_of_strangers_is_kept_or_refused(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let odd = "sip:\"';--\\u0041%00\u{10ffff}\\@x?a=[1,2]";
    put(&*store, Change::PutBinding(binding(line, odd))).await.expect("odd but harmless");
    for bad in ["", "sip:\0@x", "sip:\n@x", &"x".repeat(2_000)] {
        assert!(matches!(
            put(&*store, Change::PutBinding(binding(line, bad))).await,
            Err(StoreError::Invalid(_))
        ));
    }
    let long: String = std::iter::repeat_n('\u{10ffff}', 256).collect();
    put(&*store, Change::PutBinding(binding(line, &long))).await.expect("the longest contact fits the index");
    let contents = store.load().await.expect("contents");
    assert_eq!(contents.bindings.len(), 2);
    assert!(contents.bindings.iter().any(|binding| binding.contact == odd));
    let nul = CallRecord { media: serde_json::json!("\0"), ..record("c1", 1) };
    assert!(matches!(put(&*store, Change::AddCallRecord(nul)).await, Err(StoreError::Invalid(_))));
}

async fn nodes_are_seen(place: Place) {
    let store = place.open().await;
    let node = |name: &str, seen_at| Node {
        name: name.to_owned(),
        roles: vec!["translator".to_owned()],
        started_at: 1,
        seen_at,
    };
    for (name, seen_at) in [("b", 5), ("a", 6), ("b", 7)] {
        put(&*store, Change::SeeNode(node(name, seen_at))).await.expect("a node");
    }
    assert_eq!(store.nodes().await.expect("nodes"), [node("a", 6), node("b", 7)]);
}

#[tokio::test]
async fn a_file_has_one_writing_process() {
    let place = Place::sqlite();
    let _store = place.open().await;
    let Err(error) = open(&place.url).await else { unreachable!("opened twice") };
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_says_why() {
    let Err(error) = open("mysql://root:secret@host/db").await else { unreachable!("opened") };
    assert!(matches!(error, StoreError::BadUrl { .. }) && !error.to_string().contains("secret"), "{error}");
    let Err(error) = open("/nonexistent/folder/store.db").await else { unreachable!("opened") };
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    let place = Place::sqlite();
    let file = place.directory.path().join("store.db");
    std::fs::write(&file, "this is no database, but it is long enough to be looked at as one".repeat(40))
        .expect("written");
    assert!(open(&place.url).await.is_err());
}
