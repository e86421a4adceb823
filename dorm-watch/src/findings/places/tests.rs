use super::*;
use crate::picture::DevicePicture;
use crate::testing;

const MINUTE: i64 = 60_000;
/// When things were seen; times of day do not matter.
const SEEN: i64 = 1_700_000_000_000;

fn mac(last: u8) -> Mac {
    Mac::new([0x00, 0x1b, 0x2c, 0x3d, 0x4e, last]).expect("a MAC")
}

/// The address that a phone makes at a site from its MAC.
fn from_mac(site: i64, mac: Mac) -> SocketAddrV6 {
    let [a, b, c, d, e, f] = mac.octets().map(u16::from);
    let host = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
    let site = u16::try_from(site).expect("small");
    SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, site, 0, host[0], host[1], host[2], host[3]), 5060, 0, 0)
}

fn opaque(site: i64, host: u16) -> SocketAddrV6 {
    SocketAddrV6::new(testing::address(SiteId(site), host), 5060, 0, 0)
}

/// A line of site 1 with the device of that number.
fn line(number: u8, from: SocketAddrV6) -> LinePicture {
    let devices = vec![DevicePicture { mac: mac(number), from_mac: true }];
    LinePicture { devices, ..testing::line(number.into(), from) }
}

fn sites(lines: Vec<LinePicture>) -> Vec<SitePicture> {
    let mut sites: Vec<_> = (1..=3).map(|id| testing::site(SiteId(id), &(800 + id).to_string(), 0)).collect();
    sites[0].lines = lines;
    sites
}

fn kinds(
    places: &Places,
    now: i64,
    sites: &[SitePicture],
    answered: &[(SocketAddrV6, i64)],
) -> Vec<(AlarmKind, String)> {
    let answered: HashMap<_, _> = answered.iter().copied().collect();
    let sites: Vec<_> = sites.iter().collect();
    let found = places.findings(now, 15 * MINUTE, &sites, |_, address| answered.get(&address).copied());
    found.findings.into_iter().map(|finding| (finding.kind, finding.subject)).collect()
}

fn sighted(mut line: LinePicture, address: SocketAddrV6, time: i64) -> LinePicture {
    line.sighting = Some(Place { address, time });
    line
}

#[test]
fn a_mac_is_double_when_both_places_live() {
    let (here, there) = (from_mac(1, mac(1)), from_mac(2, mac(1)));
    let mut all = sites(vec![line(1, here)]);
    let mut places = Places::default();
    assert!(places.update(SEEN, &all).is_empty());
    let roaming = LinePicture { anywhere: true, ..line(1, there) };
    all[1].lines = vec![LinePicture { id: LineId(77), user: "other".to_owned(), ..roaming }];
    let mut new = places.update(SEEN + 1, &all);
    new.sort_unstable();
    assert_eq!(new, [(SiteId(1), here), (SiteId(2), there)]);
    assert!(places.update(SEEN + 2, &all).is_empty(), "known");
    assert!(places.cares_for(here) && places.of_site(SiteId(2)).contains(&there));
    // A binding lingers where the phone was.
    let now = SEEN + MINUTE;
    assert!(kinds(&places, now, &all, &[(here, SEEN - MINUTE), (there, now)]).is_empty());
    let double = kinds(&places, now, &all, &[(here, now), (there, now)]);
    assert_eq!(double, [(AlarmKind::DuplicateMac, mac(1).to_string())]);
    assert!(kinds(&places, now + 16 * MINUTE, &all, &[(here, now), (there, now)]).is_empty(), "long ago");
    all[1].lines.clear();
    places.update(now, &all);
    assert!(!places.cares_for(here) && places.of_site(SiteId(2)).is_empty(), "nothing is kept");
}

#[test]
fn a_line_that_is_used_at_another_site_is_there_until_its_phone_is_home() {
    let home = from_mac(1, mac(1));
    let away = from_mac(2, mac(1));
    let all = sites(vec![sighted(line(1, home), away, SEEN)]);
    let mut places = Places::default();
    let now = SEEN + MINUTE;
    assert!(places.update(now, &all).contains(&(SiteId(1), home)), "asked whether it is back");
    let wrong = [(AlarmKind::WrongSite, "line1".to_owned())];
    assert_eq!(kinds(&places, now, &all, &[]), wrong);
    assert_eq!(
        kinds(&places, now, &all, &[(home, SEEN - 1)]),
        wrong,
        "it answered before it was carried off"
    );
    assert!(kinds(&places, now, &all, &[(home, SEEN + SETTLING + 1)]).is_empty(), "it answers at home");
}

#[test]
fn a_registration_at_home_after_the_sighting_ends_it() {
    for (home, away) in [(from_mac(1, mac(1)), from_mac(2, mac(1))), (opaque(1, 0x77), opaque(2, 0x99))] {
        let mut all = sites(vec![sighted(line(1, home), away, SEEN)]);
        all[0].lines[0].bindings[0].time = 5_000;
        let mut places = Places::default();
        places.update(SEEN + MINUTE, &all);
        assert_eq!(kinds(&places, SEEN + MINUTE, &all, &[]).len(), 1, "{home}");
        all[0].lines[0].bindings[0].time = 5_600;
        places.update(SEEN + 2 * MINUTE, &all);
        places.update(SEEN + 3 * MINUTE, &all);
        assert!(kinds(&places, SEEN + 3 * MINUTE, &all, &[]).is_empty(), "{home}");
        // It is carried off again.
        all[0].lines[0].sighting = Some(Place { address: away, time: SEEN + 4 * MINUTE });
        places.update(SEEN + 4 * MINUTE, &all);
        assert_eq!(kinds(&places, SEEN + 4 * MINUTE, &all, &[]).len(), 1, "{home}");
        all[0].lines.clear();
        places.update(SEEN + 5 * MINUTE, &all);
        assert!(places.sighted.is_empty() && places.decisive.is_empty(), "nothing is kept");
    }
}

#[test]
fn another_phone_of_the_line_at_home_proves_nothing() {
    // Of two phones whose addresses do not tell who they are, the one at home is not the one that is away.
    let mut two = line(1, opaque(1, 0x77));
    two.devices.push(DevicePicture { mac: mac(2), from_mac: false });
    let all = sites(vec![sighted(two, opaque(2, 0x99), SEEN)]);
    let mut places = Places::default();
    places.update(SEEN, &all);
    let lives = [(opaque(1, 0x77), SEEN + MINUTE)];
    assert_eq!(kinds(&places, SEEN + MINUTE, &all, &lives).len(), 1);
}

#[test]
fn an_old_sighting_says_nothing_and_an_unknown_place_neither() {
    let home = opaque(1, 0x77);
    let mut all = sites(vec![sighted(line(1, home), opaque(2, 0x99), SEEN)]);
    let mut places = Places::default();
    places.update(SEEN, &all);
    assert_eq!(kinds(&places, SEEN + SIGHTING_HOLDS, &all, &[]).len(), 1);
    assert!(kinds(&places, SEEN + SIGHTING_HOLDS + 1, &all, &[]).is_empty());
    places.update(SEEN + SIGHTING_HOLDS + 1, &all);
    assert!(places.sighted.is_empty());
    // No site of ours.
    all[0].lines[0].sighting = Some(Place { address: opaque(0x99, 1), time: SEEN });
    assert!(kinds(&places, SEEN, &all, &[]).is_empty());
    // It may be anywhere.
    all[0].lines[0] = LinePicture { anywhere: true, ..sighted(line(1, home), opaque(2, 0x99), SEEN) };
    assert!(kinds(&places, SEEN, &all, &[]).is_empty());
}

#[test]
fn swapped_phones_are_one_matter_and_a_strange_one_another() {
    let all = sites(vec![line(1, from_mac(1, mac(2))), line(2, from_mac(1, mac(1)))]);
    let found = kinds(&Places::default(), SEEN, &all, &[]);
    assert_eq!(found, [(AlarmKind::WrongRoom, "line1 line2".to_owned())]);
    let all = sites(vec![line(1, from_mac(1, mac(9))), line(2, from_mac(1, mac(2)))]);
    assert_eq!(kinds(&Places::default(), SEEN, &all, &[]), [(AlarmKind::WrongRoom, "line1".to_owned())]);
}

#[test]
fn many_mismatches_of_one_kind_are_one_matter() {
    let mismatched = |number: u8| {
        let learned = opaque(1, number.into());
        let predicted = *from_mac(1, mac(number)).ip();
        let mismatch = Mismatch { predicted, learned: (*learned.ip()).into(), cause: Cause::OtherIdentifier };
        LinePicture { mismatch: Some(mismatch), ..line(number, learned) }
    };
    let all = sites((1..=5).map(mismatched).collect());
    assert_eq!(kinds(&Places::default(), SEEN, &all, &[]).len(), 5);
    let all = sites((1..=6).map(mismatched).collect());
    let found = kinds(&Places::default(), SEEN, &all, &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.starts_with("801 "), "{found:?}");
}
