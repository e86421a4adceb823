//! Devices and the address plan.

use super::fixtures::*;
use crate::*;

on_both!(
    the_plan_comes_back_as_it_went,
    what_must_be_unique_is_named,
    a_site_has_one_live_prefix,
    what_a_device_refers_to_stays,
    provisioning_keys_are_read_back,
);

fn region_id(change: Result<Change>) -> RegionId {
    match change {
        Ok(Change::PutRegion(region)) => region.id,
        other => unreachable!("{other:?}"),
    }
}

fn allocation_id(change: Result<Change>) -> PrefixAllocationId {
    match change {
        Ok(Change::PutPrefixAllocation(row)) => row.id,
        other => unreachable!("{other:?}"),
    }
}

async fn the_plan_comes_back_as_it_went(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let mut pool = Pool::new("2001:db8::/32".parse().expect("a prefix")).expect("a pool");
    let region = Region { id: RegionId(1), name: "関東".to_owned() };
    let block = RegionBlock {
        id: RegionBlockId(1),
        region: RegionId(1),
        prefix: "2001:db8::/38".parse().expect("a prefix"),
        given_at: 1_700_000_000,
    };
    let live = PrefixAllocation {
        id: PrefixAllocationId(1),
        region: Some(RegionId(1)),
        ..allocation(site, "2001:db8:1::/48")
    };
    let freed = PrefixAllocation {
        id: PrefixAllocationId(2),
        freed_at: Some(1_700_000_001),
        ..allocation(site, "2001:db8:2::/48")
    };
    let bare = Device { id: DeviceId(1), ..device(site, "00:1a:2b:00:00:01") };
    let rich = Device {
        id: DeviceId(2),
        addressing: Addressing::Static,
        static_address: "2001:db8:1:18::7".parse().ok(),
        line: Some(line),
        neighbours: Some(u32::MAX),
        ..device(site, "00:1a:2b:00:00:02")
    };
    let batch = vec![
        Change::PutPool(pool.clone()),
        Change::PutRegion(region.clone()),
        Change::PutRegionBlock(block.clone()),
        Change::PutPrefixAllocation(live.clone()),
        Change::PutPrefixAllocation(freed.clone()),
        Change::PutDevice(bare.clone()),
        Change::PutDevice(rich.clone()),
    ];
    let committed = store.commit("a", batch).await.expect("a commit");
    assert!(committed.outcomes.iter().all(Result::is_ok), "{committed:?}");
    pool.rest = 0;
    put(&*store, Change::PutPool(pool.clone())).await.expect("the pool again");
    let contents = store.load().await.expect("contents");
    assert_eq!(contents.pools, [pool]);
    assert_eq!(contents.regions, [region]);
    assert_eq!(contents.region_blocks, [block]);
    assert_eq!(contents.prefix_allocations.len(), 2);
    assert!(contents.prefix_allocations.contains(&live) && contents.prefix_allocations.contains(&freed));
    assert_eq!(contents.devices.len(), 2);
    assert!(contents.devices.contains(&bare) && contents.devices.contains(&rich));
    // The store numbers on after rows that brought their own number.
    match put(&*store, Change::PutDevice(device(site, "00:1a:2b:00:00:03"))).await {
        Ok(Change::PutDevice(device)) => assert_eq!(device.id, DeviceId(3)),
        other => unreachable!("{other:?}"),
    }
    for gone in [
        Change::RemoveDevice(DeviceId(1)),
        Change::RemovePrefixAllocation(PrefixAllocationId(1)),
        Change::RemovePool(Pool::MAIN.to_owned()),
    ] {
        put(&*store, gone).await.expect("a removal");
    }
    assert!(matches!(
        put(&*store, Change::RemovePool(Pool::MAIN.to_owned())).await,
        Err(StoreError::Missing { what: "pool", .. })
    ));
}

async fn what_must_be_unique_is_named(place: Place) {
    let store = place.open().await;
    let (one, two) = (put_site(&*store, "41").await, put_site(&*store, "42").await);
    let refused = |what: &'static str, key: &'static str, outcome: Result<Change>| match outcome {
        Err(StoreError::Duplicate { what: found, key: with }) => {
            assert_eq!((found, with.as_str()), (what, key))
        }
        other => unreachable!("{what}: {other:?}"),
    };
    put(&*store, Change::PutDevice(device(one, "00:1a:2b:00:00:01"))).await.expect("a device");
    let again = put(&*store, Change::PutDevice(device(two, "00-1A-2B-00-00-01"))).await;
    refused("MAC", "00:1a:2b:00:00:01", again);
    let region = region_id(put(&*store, Change::PutRegion(Region::new("Kanto").expect("a region"))).await);
    refused(
        "region name",
        "Kanto",
        put(&*store, Change::PutRegion(Region::new("Kanto").expect("a region"))).await,
    );
    let block = RegionBlock {
        id: RegionBlockId::NEW,
        region,
        prefix: "2001:db8::/38".parse().expect("a prefix"),
        given_at: 1,
    };
    put(&*store, Change::PutRegionBlock(block.clone())).await.expect("a block");
    refused("region block", "2001:db8::/38", put(&*store, Change::PutRegionBlock(block)).await);
    put(&*store, Change::PutPrefixAllocation(allocation(one, "2001:db8:1::/48"))).await.expect("a prefix");
    let stolen = put(&*store, Change::PutPrefixAllocation(allocation(two, "2001:db8:1::/48"))).await;
    refused("prefix", "2001:db8:1::/48", stolen);
}

async fn a_site_has_one_live_prefix(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let first = allocation(site, "2001:db8:1::/48");
    let id = allocation_id(put(&*store, Change::PutPrefixAllocation(first.clone())).await);
    let second = put(&*store, Change::PutPrefixAllocation(allocation(site, "2001:db8:2::/48"))).await;
    assert!(matches!(second, Err(StoreError::Duplicate { what: "prefix of site", .. })), "{second:?}");
    let freed = PrefixAllocation { id, freed_at: Some(1_800_000_000), ..first };
    put(&*store, Change::PutPrefixAllocation(freed)).await.expect("freed");
    let second = put(&*store, Change::PutPrefixAllocation(allocation(site, "2001:db8:2::/48"))).await;
    second.expect("a second prefix after the first");
    // An allocation rests after its site is gone.
    put(&*store, Change::RemoveSite(site)).await.expect("a removal");
    assert_eq!(store.load().await.expect("contents").prefix_allocations.len(), 2);
}

async fn what_a_device_refers_to_stays(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let line = put_line(&*store, site, "101").await;
    let nowhere = Device { line: Some(LineId(77)), ..device(site, "00:1a:2b:00:00:01") };
    let missing = put(&*store, Change::PutDevice(nowhere)).await;
    assert!(matches!(missing, Err(StoreError::Missing { what: "line", .. })), "{missing:?}");
    let missing = put(&*store, Change::PutDevice(device(SiteId(77), "00:1a:2b:00:00:01"))).await;
    assert!(matches!(missing, Err(StoreError::Missing { what: "site", .. })), "{missing:?}");
    let held = Device { line: Some(line), ..device(site, "00:1a:2b:00:00:01") };
    put(&*store, Change::PutDevice(held)).await.expect("a device");
    let words = |outcome: Result<Change>| outcome.expect_err("a refusal").to_string();
    let refusal = words(put(&*store, Change::RemoveLine(line)).await);
    assert_eq!(refusal, "line s1-101 still has 1 device: remove them first");
    let region = region_id(put(&*store, Change::PutRegion(Region::new("Kanto").expect("a region"))).await);
    let from = PrefixAllocation { region: Some(region), ..allocation(site, "2001:db8:1::/48") };
    put(&*store, Change::PutPrefixAllocation(from)).await.expect("a prefix");
    let refusal = words(put(&*store, Change::RemoveRegion(region)).await);
    assert_eq!(refusal, "region Kanto still has 1 prefix allocation: remove them first");
}

async fn provisioning_keys_are_read_back(place: Place) {
    let store = place.open().await;
    let site = put_site(&*store, "42").await;
    let pool = Pool::new("2001:db8::/32".parse().expect("a prefix")).expect("a pool");
    let device = Device { id: DeviceId(1), ..device(site, "00:1a:2b:00:00:01") };
    let row = PrefixAllocation { id: PrefixAllocationId(1), ..allocation(site, "2001:db8:1::/48") };
    let batch = vec![
        Change::PutPool(pool.clone()),
        Change::PutDevice(device.clone()),
        Change::PutPrefixAllocation(row.clone()),
    ];
    store.commit("a", batch).await.expect("a commit");
    let (entries, _) = store.changes_since(&FeedPosition::default()).await.expect("a feed");
    let mut keys = entries.last().map(|entry| entry.keys.clone()).unwrap_or_default();
    keys.extend([Key::Device(DeviceId(7)), Key::Region(RegionId(7)), Key::RegionBlock(RegionBlockId(7))]);
    let changes = store.read_back(&keys).await.expect("changes");
    let expected = vec![
        Change::PutPool(pool),
        Change::PutDevice(device),
        Change::PutPrefixAllocation(row),
        Change::RemoveDevice(DeviceId(7)),
        Change::RemoveRegion(RegionId(7)),
        Change::RemoveRegionBlock(RegionBlockId(7)),
    ];
    assert_eq!(changes, expected);
}
