//! What 27,000 phones at 300 sites cost, and one or all lines cut among them.

use super::*;

#[test]
fn three_hundred_sites_cost_little_and_a_cut_line_is_one_alarm() {
    let mut world = World::new(sites(300, 90));
    // So many phones are a big picture, which costs a simulation more than the watch.
    world.picture_every = PICTURE_EVERY * 3;
    // The first round takes 5 minutes.
    world.minutes(6);
    assert_eq!(world.watch.states().map(|(_, count)| count), [0, 300, 0, 0, 0]);
    assert!(world.open().is_empty());
    let begin = world.now;
    world.minutes(2);
    let packets: usize =
        world.probes.iter().filter(|(at, _)| *at >= begin).map(|(_, probe)| packets(probe)).sum();
    let per_second = packets as f64 / 120.0;
    // 27,000 phones in 300 s, 300 IADs in 60 s.
    assert!((85.0..105.0).contains(&per_second), "{per_second} packets/s");
    busiest_second_is_bounded(&world, 500);
    evenly_spread(&world, begin);

    world.cut.insert(SiteId(42));
    let cut_at = world.now;
    world.minutes(3);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    let alarm = world.open()[0].clone();
    assert!(alarm.cause.contains("site 842") && alarm.cause.contains("90 phones"), "{}", alarm.cause);
    let after =
        Duration::from_millis((alarm.raised_at - WallClock::new(world.start, EPOCH).unix_ms(cut_at)) as u64);
    assert!(after < Duration::from_secs(90), "raised after {after:?}");
    let to_site = world.probes.iter().filter(|(at, probe)| *at >= cut_at && in_site(probe, 42)).count();
    assert!(to_site < 150, "{to_site} probes into a cut line");
    // The broker gives up: the same fault by its better name.
    world.lease_up(41, false);
    world.minutes(1);
    assert_eq!(world.kinds(), [AlarmKind::TunnelDown]);
    assert_eq!((world.open()[0].id, world.stored.len()), (alarm.id, 1));
    assert_eq!(world.state("842"), "tunnel_down");
    // The line is mended.
    world.cut.clear();
    world.lease_up(41, true);
    world.minutes(2);
    assert!(world.open().is_empty() && world.stored.len() == 1, "{:?}", world.stored);
    assert_eq!(world.watch.states().map(|(_, count)| count), [0, 300, 0, 0, 0]);
}

#[test]
fn all_lines_cut_at_once_stay_within_the_bound() {
    let mut world = World::new(sites(300, 30));
    world.minutes(6);
    world.cut.extend((1..=300).map(SiteId));
    world.minutes(4);
    assert_eq!(world.open().len(), 300);
    assert!(world.kinds().iter().all(|kind| *kind == AlarmKind::IadUnreachable));
    world.cut.clear();
    world.minutes(4);
    assert!(world.open().is_empty());
    assert_eq!(world.stored.len(), 300);
    busiest_second_is_bounded(&world, 500);
}

fn packets(probe: &Probe) -> usize {
    usize::from(probe.options) + usize::from(probe.echo)
}

fn in_site(probe: &Probe, site: u16) -> bool {
    probe.target.ip().segments()[2] == site
}

fn by_second(world: &World, from: Instant) -> BTreeMap<u64, usize> {
    let mut seconds = BTreeMap::new();
    for (at, probe) in world.probes.iter().filter(|(at, _)| *at >= from) {
        *seconds.entry(at.duration_since(from).as_secs()).or_default() += packets(probe);
    }
    seconds
}

fn busiest_second_is_bounded(world: &World, bound: usize) {
    let busiest = by_second(world, world.start).into_values().max().unwrap_or(0);
    // A tenth of a second's packets may have been saved up.
    assert!(busiest <= bound + bound / 10 + 2, "{busiest} packets in a second");
}

fn evenly_spread(world: &World, from: Instant) {
    let seconds = by_second(world, from);
    let busiest = seconds.values().max().copied().unwrap_or(0);
    let idlest = (0..119).map(|second| seconds.get(&second).copied().unwrap_or(0)).min().unwrap_or(0);
    assert!(busiest < 180 && idlest > 40, "between {idlest} and {busiest} packets in a second");
}
