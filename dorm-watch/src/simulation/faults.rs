//! What is told from what: phones, tables, lines, losses.

use super::*;

#[test]
fn phones_that_are_switched_off_are_missing_and_nothing_else() {
    let mut world = World::new(sites(2, 40));
    world.minutes(6);
    world.switch_off(0, 3..6);
    world.minutes(40);
    assert_eq!(world.kinds(), [AlarmKind::PhonesMissing]);
    let alarm = world.open()[0];
    assert!(
        alarm.cause.contains("3 phones do not answer, of 40 that have lived: 104, 105, 106."),
        "{}",
        alarm.cause
    );
    assert_eq!((world.state("801"), world.state("802")), ("phones_missing", "up"));
    world.off.clear();
    world.minutes(10);
    assert!(world.open().is_empty());
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn a_phone_that_restarts_is_no_alarm() {
    let mut world = World::new(sites(1, 40));
    world.minutes(6);
    for phone in 0..40 {
        world.off.clear();
        world.switch_off(0, phone..phone + 1);
        world.run(Duration::from_secs(45));
    }
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn phones_that_never_lived_are_not_missed() {
    let mut all = sites(1, 40);
    all[0].phones[30..].iter_mut().for_each(|phone| phone.registered_until = None);
    let mut world = World::new(all);
    world.switch_off(0, 30..40);
    world.minutes(30);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
    let status = world.watch.status(world.now);
    assert_eq!((status[0].phones.answering, status[0].phones.never_seen), (Some(30), 10));
}

#[test]
fn a_full_neighbour_table_is_named_by_its_rotation() {
    let mut world = World::new(sites(2, 90));
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    for _ in 0..40 {
        world.minutes(1);
        // Entries go when they are old, and whoever asks next takes the place.
        if let Some((_, served)) = world.tables.get_mut(&SiteId(1)) {
            served.drain(..served.len().min(4));
        }
    }
    assert_eq!(world.kinds(), [AlarmKind::NeighbourTableFull], "{:?}", world.open());
    let alarm = world.open()[0];
    for words in ["site 801", "never more than", "of 90 phones", "180 entries", "changed sides"] {
        assert!(alarm.cause.contains(words), "{words}: {}", alarm.cause);
    }
    for words in ["bigger table", "gc_thresh", "two VLANs", "permanent", "RFC 6583"] {
        assert!(alarm.remedy.contains(words), "{words}: {}", alarm.remedy);
    }
    assert_eq!(world.stored.len(), 1, "it took the place of the missing phones: {:#?}", world.stored);
    // A bigger router comes.
    world.tables.clear();
    world.minutes(20);
    assert!(world.open().is_empty(), "{:?}", world.open());
}

#[test]
fn a_full_neighbour_table_is_named_by_the_number_that_it_holds() {
    let mut all = sites(2, 90);
    all[0].table = Some(128);
    all[1].table = Some(1024);
    let mut world = World::new(all);
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    world.switch_off(1, 64..90);
    world.minutes(30);
    let mut kinds: Vec<_> = world.open().iter().map(|alarm| (alarm.subject.as_str(), alarm.kind)).collect();
    kinds.sort_unstable_by_key(|(subject, _)| *subject);
    assert_eq!(kinds, [("801", AlarmKind::NeighbourTableFull), ("802", AlarmKind::PhonesMissing)]);
}

#[test]
fn an_iad_that_reports_a_full_table_is_believed_at_once() {
    let mut world = World::new(sites(1, 90));
    world.minutes(6);
    let at = world.ms();
    if let Some(lease) = world.sites[0].tunnel.as_mut().and_then(|tunnel| tunnel.lease.as_mut()) {
        lease.report = Some(crate::picture::Report { entries: 128, capacity: Some(128), at });
    }
    world.run(Duration::from_secs(20));
    assert_eq!(world.kinds(), [AlarmKind::NeighbourTableFull]);
    assert!(world.open()[0].cause.contains("reports 128 of 128 entries"), "{}", world.open()[0].cause);
    // An old report says nothing.
    world.minutes(17);
    assert!(world.open().is_empty());
}

#[test]
fn an_iad_that_answers_no_echo_is_not_unreachable() {
    let mut world = World::new(sites(2, 20));
    world.no_echo.extend([SiteId(1), SiteId(2)]);
    world.minutes(20);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
    assert_eq!(world.state("801"), "up");
    // A cut line is told by the phones alone.
    world.cut.insert(SiteId(1));
    world.minutes(8);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    world.switch_off(1, 0..1);
    world.minutes(15);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable, AlarmKind::PhonesMissing]);
    world.cut.clear();
    world.off.clear();
    world.minutes(15);
    assert!(world.open().is_empty(), "{:?}", world.open());
}

#[test]
fn a_lossy_line_is_neither_cut_nor_full() {
    let mut world = World::new(sites(3, 60));
    world.loses_one_in = Some(7);
    world.minutes(90);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn without_account_or_prefix_only_what_can_be_known_is_told() {
    let mut all = sites(3, 10);
    for site in &mut all {
        site.tunnel = None;
        site.phones.iter_mut().for_each(|phone| phone.registered_until = None);
    }
    all[1].iad = None;
    all[2].phones.clear();
    all[2].iad = None;
    let mut world = World::new(all);
    world.cut.insert(SiteId(1));
    world.minutes(20);
    assert_eq!(["801", "802", "803"].map(|code| world.state(code)), ["not_seen", "up", "not_seen"]);
    assert!(world.stored.is_empty());
    // Once it has been up, silence is a fault.
    world.cut.clear();
    world.minutes(10);
    world.cut.extend([SiteId(1), SiteId(2)]);
    world.minutes(15);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable, AlarmKind::IadUnreachable]);
}
