//! Alarms over time: restarts, what comes and goes, history, and a store that is away.

use super::*;

#[test]
fn a_renumbering_is_no_alarm() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    for _ in 0..10 {
        world.lease_up(0, false);
        world.cut.insert(SiteId(1));
        world.run(Duration::from_secs(20));
        world.lease_up(0, true);
        world.cut.clear();
        world.minutes(2);
    }
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn alarms_survive_a_restart() {
    let settings = Settings::default();
    let mut world = World::new(sites(3, 20));
    world.minutes(6);
    world.cut.extend([SiteId(1), SiteId(3)]);
    world.lease_up(2, false);
    world.switch_off(1, 0..2);
    world.sites[1].phones.iter_mut().for_each(|phone| phone.registered_until = None);
    world.minutes(15);
    let before = world.stored.clone();
    assert_eq!(before.len(), 3);
    world.restart(settings.clone());
    world.minutes(15);
    let ids = |stored: &BTreeMap<AlarmId, Alarm>| {
        stored
            .values()
            .map(|alarm| (alarm.id, alarm.kind, alarm.raised_at, alarm.cleared_at))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&world.stored), ids(&before));
    // What ended while nobody watched is cleared.
    world.cut.clear();
    world.off.clear();
    world.lease_up(2, true);
    world.restart(settings);
    world.minutes(15);
    assert!(world.open().is_empty(), "{:?}", world.open());
    assert_eq!(world.stored.len(), 3);
}

#[test]
fn a_full_neighbour_table_is_still_named_after_a_restart() {
    let mut world = World::new(sites(1, 90));
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    let turn_over = |world: &mut World| {
        world.minutes(1);
        if let Some((_, served)) = world.tables.get_mut(&SiteId(1)) {
            served.drain(..served.len().min(4));
        }
    };
    (0..20).for_each(|_| turn_over(&mut world));
    let id = world.open()[0].id;
    world.give(Input::Acknowledge { alarm: id, by: "mia".into(), comment: None });
    world.restart(Settings::default());
    for _ in 0..20 {
        turn_over(&mut world);
        let open = world.open();
        assert_eq!((open.len(), open[0].id, open[0].kind), (1, id, AlarmKind::NeighbourTableFull));
        assert_eq!(open[0].acked_by.as_deref(), Some("mia"));
    }
    // It was mended while nobody watched.
    world.tables.clear();
    world.restart(Settings::default());
    world.minutes(10);
    assert!(world.open().is_empty(), "{:?}", world.open());
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn a_line_that_goes_up_and_down_is_one_alarm() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    for _ in 0..20 {
        world.cut.insert(SiteId(1));
        world.minutes(4);
        world.cut.clear();
        world.minutes(4);
    }
    assert!(world.stored.len() <= 5, "{}", world.stored.len());
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    assert_eq!(world.state("801"), "up", "the state tells how it is now");
    world.minutes(17);
    assert!(world.open().is_empty());
}

#[test]
fn a_phone_that_was_away_and_is_home_again_is_no_alarm() {
    let mut all = sites(2, 3);
    let home = all[0].phones[0].address.expect("an address");
    let elsewhere = testing::address(SiteId(2), 0x999);
    all[0].lines = vec![testing::line(1000, home)];
    let mut world = World::new(all);
    world.minutes(6);
    let at = world.ms();
    let sighting = Place { address: SocketAddrV6::new(elsewhere, 5060, 0, 0), time: at };
    world.sites[0].lines[0].sighting = Some(sighting);
    world.off.insert(home);
    world.minutes(4);
    assert_eq!(world.kinds(), [AlarmKind::WrongSite], "and the phone is not missed at home");
    // It is carried back, and the sighting stays in the store.
    world.off.clear();
    world.minutes(7);
    assert!(world.open().is_empty(), "{:?}", world.open());
    world.restart(Settings::default());
    world.minutes(7);
    assert_eq!((world.open().len(), world.stored.len()), (0, 1), "{:?}", world.stored);
}

#[test]
fn an_acknowledgement_stays_and_the_history_is_bounded() {
    let settings = Settings { max_history: 2, ..Settings::default() };
    let mut world = World::with(settings, sites(1, 20));
    world.minutes(6);
    world.cut.insert(SiteId(1));
    world.minutes(5);
    let id = world.open()[0].id;
    world.give(Input::Acknowledge { alarm: id, by: "mia".into(), comment: Some("the digger".into()) });
    world.minutes(1);
    world.lease_up(0, false);
    world.minutes(5);
    let alarm = world.open()[0].clone();
    assert_eq!((alarm.kind, alarm.acked_by.as_deref()), (AlarmKind::TunnelDown, Some("mia")));
    for _ in 0..4 {
        world.cut.clear();
        world.lease_up(0, true);
        world.minutes(5);
        world.cut.insert(SiteId(1));
        world.minutes(5);
    }
    let ids: Vec<i64> = world.stored.keys().map(|id| id.0).collect();
    assert_eq!(ids.len(), 3, "two of the past and the open one: {ids:?}");
}

#[test]
fn nothing_is_lost_while_the_database_is_away() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    world.away = true;
    world.cut.insert(SiteId(1));
    world.minutes(5);
    assert!(world.stored.is_empty());
    world.away = false;
    world.minutes(1);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
}

#[test]
fn a_site_that_is_removed_takes_its_alarms_along() {
    let mut world = World::new(sites(2, 20));
    world.minutes(6);
    world.cut.insert(SiteId(1));
    world.minutes(5);
    world.sites.remove(0);
    world.minutes(1);
    assert!(world.open().is_empty());
}
