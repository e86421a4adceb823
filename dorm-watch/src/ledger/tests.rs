use serde_json::json;

use super::*;

const GRACE: Duration = Duration::from_secs(30);
const SITE: SiteId = SiteId(1);

/// A ledger, a clock and the store.
struct Desk {
    ledger: Ledger,
    start: Instant,
    now: Instant,
    stored: BTreeMap<AlarmId, Alarm>,
    saves: usize,
}

impl Desk {
    fn new() -> Desk {
        let now = Instant::now();
        Desk { ledger: Ledger::new(GRACE), start: now, now, stored: BTreeMap::new(), saves: 0 }
    }

    fn ms(&self) -> i64 {
        i64::try_from(self.now.duration_since(self.start).as_millis()).unwrap_or(i64::MAX)
    }

    /// For so many seconds, five by five, the same is found.
    fn find(&mut self, seconds: u64, kinds: &[AlarmKind], frozen: &[Family]) {
        for _ in 0..seconds / 5 {
            self.report(kinds, frozen);
            self.now += Duration::from_secs(5);
        }
    }

    fn report(&mut self, kinds: &[AlarmKind], frozen: &[Family]) {
        let found = kinds.iter().map(|kind| finding(*kind, "some")).collect();
        self.ledger.report(self.now, Scope::Site(SITE), found, frozen);
        self.turn();
    }

    fn turn(&mut self) {
        self.ledger.tick(self.now, self.ms());
        for output in self.ledger.take_outputs() {
            let Output::Save { entry, mut alarm } = output else { continue };
            self.saves += 1;
            if alarm.id == AlarmId::NEW {
                alarm.id = AlarmId(1 + self.stored.len() as i64);
            }
            self.stored.insert(alarm.id, Alarm::clone(&alarm));
            self.ledger.saved(self.now, entry, Saved::Stored(alarm.id));
        }
        self.ledger.tick(self.now, self.ms());
        assert!(self.ledger.next().is_none_or(|at| at > self.now), "all that is due is done");
    }

    fn open(&self) -> Vec<AlarmKind> {
        self.stored.values().filter(|alarm| alarm.is_active()).map(|alarm| alarm.kind).collect()
    }
}

fn finding(kind: AlarmKind, cause: &str) -> Finding {
    Finding {
        kind,
        site: SITE,
        subject: "801".to_owned(),
        cause: cause.to_owned(),
        remedy: "Look.".to_owned(),
        details: json!({}),
    }
}

#[test]
fn what_lasts_is_an_alarm_and_what_is_gone_is_cleared() {
    let mut desk = Desk::new();
    desk.find(85, &[AlarmKind::PhonesMissing], &[]);
    assert!(desk.stored.is_empty());
    desk.find(10, &[AlarmKind::PhonesMissing], &[]);
    assert_eq!(desk.open(), [AlarmKind::PhonesMissing]);
    // The better name takes over the alarm.
    desk.report(&[AlarmKind::NeighbourTableFull], &[]);
    assert_eq!((desk.open(), desk.stored.len()), (vec![AlarmKind::NeighbourTableFull], 1));
    desk.find(25, &[], &[]);
    desk.report(&[AlarmKind::NeighbourTableFull], &[]);
    desk.find(25, &[], &[]);
    assert_eq!(desk.open().len(), 1, "it was back in between");
    desk.find(10, &[], &[]);
    assert!(desk.open().is_empty());
}

#[test]
fn what_comes_and_goes_is_one_alarm_before_long() {
    let mut desk = Desk::new();
    for _ in 0..60 {
        desk.find(120, &[AlarmKind::IadUnreachable], &[]);
        desk.find(180, &[], &[]);
    }
    assert_eq!(desk.open(), [AlarmKind::IadUnreachable], "in five hours of ups and downs it settled");
    assert!(desk.stored.len() <= 5, "{}", desk.stored.len());
    // It ends when it has ended for long enough, and is forgotten after an hour of peace.
    desk.find(16 * 60 + 5, &[], &[]);
    assert!(desk.open().is_empty());
    desk.find(3700, &[], &[]);
    assert!(desk.ledger.matters.is_empty() && desk.ledger.due.is_empty() && desk.ledger.rows.is_empty());
    desk.find(60, &[AlarmKind::IadUnreachable], &[]);
    desk.find(40, &[], &[]);
    assert!(desk.open().is_empty(), "as the first time");
}

#[test]
fn what_cannot_be_told_is_neither_raised_nor_cleared() {
    let phones = [Family::Phones];
    let mut desk = Desk::new();
    desk.find(60, &[AlarmKind::PhonesMissing], &[]);
    desk.find(20, &[], &phones);
    desk.find(25, &[AlarmKind::PhonesMissing], &[]);
    assert!(desk.stored.is_empty(), "85 s, and 20 s that do not count");
    desk.find(10, &[AlarmKind::PhonesMissing], &[]);
    assert_eq!(desk.open().len(), 1);
    desk.find(3600, &[], &phones);
    assert_eq!(desk.open().len(), 1);
    // A long pause begins anew.
    let mut desk = Desk::new();
    desk.find(85, &[AlarmKind::PhonesMissing], &[]);
    desk.find(600, &[], &phones);
    desk.find(85, &[AlarmKind::PhonesMissing], &[]);
    assert!(desk.stored.is_empty());
}

#[test]
fn an_alarm_of_an_earlier_run_is_kept_while_it_holds() {
    let mut desk = Desk::new();
    let stored = |id, kind| Alarm {
        id: AlarmId(id),
        site: Some(SITE),
        details: json!({}),
        ..Alarm::new(kind, "801", "some", "Look.", -1_000_000)
    };
    let open = vec![stored(1, AlarmKind::PhonesMissing), stored(2, AlarmKind::TunnelDown)];
    desk.stored = open.iter().map(|alarm| (alarm.id, alarm.clone())).collect();
    assert_eq!(desk.ledger.adopt(desk.now, open.clone()).len(), 2);
    assert!(desk.ledger.adopt(desk.now, open).is_empty());
    desk.find(60, &[AlarmKind::PhonesMissing], &[]);
    assert_eq!((desk.open(), desk.stored.len()), (vec![AlarmKind::PhonesMissing], 2));
    assert!(desk.ledger.has_open(AlarmId(1)) && !desk.ledger.has_open(AlarmId(2)));
    assert_eq!(desk.saves, 1, "only what changed is written");
}

#[test]
fn an_older_picture_does_not_bring_back_what_is_cleared() {
    let mut desk = Desk::new();
    desk.find(60, &[AlarmKind::TunnelDown], &[]);
    let older: Vec<Alarm> = desk.stored.values().cloned().collect();
    desk.find(60, &[], &[]);
    assert!(desk.open().is_empty());
    assert!(desk.ledger.adopt(desk.now, older).is_empty());
    assert_eq!(desk.ledger.past.len(), 1);
    desk.ledger.adopt(desk.now, Vec::new());
    assert!(desk.ledger.past.is_empty(), "once a picture shows it no more it need not be remembered");
}

#[test]
fn of_two_open_alarms_for_one_matter_one_stays() {
    let mut desk = Desk::new();
    let stored = |id| Alarm {
        id: AlarmId(id),
        site: Some(SITE),
        ..Alarm::new(AlarmKind::TunnelDown, "801", "some", "Look.", 0)
    };
    desk.stored = [1, 2].map(|id| (AlarmId(id), stored(id))).into();
    desk.ledger.adopt(desk.now, vec![stored(1), stored(2)]);
    desk.find(60, &[AlarmKind::TunnelDown], &[]);
    assert_eq!(desk.open().len(), 1);
}

#[test]
fn a_text_that_changes_is_written_once_a_minute() {
    let mut desk = Desk::new();
    for second in 0..600 {
        let found = vec![finding(AlarmKind::TunnelDown, &format!("{second} seconds"))];
        desk.ledger.report(desk.now, Scope::Site(SITE), found, &[]);
        desk.turn();
        desk.now += Duration::from_secs(1);
    }
    assert!((10..=11).contains(&desk.saves), "{}", desk.saves);
    // Who acknowledges is written at once.
    let saves = desk.saves;
    let ms = desk.ms();
    desk.ledger.acknowledge(desk.now, ms, AlarmId(1), "mia".to_owned(), None);
    desk.turn();
    assert_eq!((desk.saves, desk.stored[&AlarmId(1)].acked_by.as_deref()), (saves + 1, Some("mia")));
}

#[test]
fn a_site_that_is_gone_leaves_nothing_behind() {
    let mut desk = Desk::new();
    desk.find(120, &[AlarmKind::TunnelDown, AlarmKind::PhonesMissing], &[]);
    assert_eq!(desk.open().len(), 2);
    let ms = desk.ms();
    desk.ledger.drop_sites(desk.now, ms, |id| id != SITE);
    desk.turn();
    assert!(desk.open().is_empty());
    let ledger = &desk.ledger;
    assert!(ledger.matters.is_empty() && ledger.due.is_empty() && ledger.writes.is_empty());
    assert!(ledger.rows.is_empty() && ledger.numbered.is_empty());
}

#[test]
fn what_the_store_refuses_is_tried_again() {
    let mut desk = Desk::new();
    desk.ledger.report(desk.now, Scope::Site(SITE), vec![finding(AlarmKind::DuplicateMac, "x")], &[]);
    desk.ledger.tick(desk.now, 0);
    let outputs = desk.ledger.take_outputs();
    let [Output::Save { entry, .. }] = outputs.as_slice() else { unreachable!("{outputs:?}") };
    desk.ledger.saved(desk.now, *entry, Saved::Failed);
    desk.ledger.tick(desk.now, 0);
    assert!(desk.ledger.take_outputs().is_empty(), "not at once");
    assert_eq!(desk.ledger.next(), Some(desk.now + RETRY));
    desk.now += RETRY;
    desk.ledger.tick(desk.now, 0);
    assert_eq!(desk.ledger.take_outputs().len(), 1);
    // Somebody else has it: it comes with a picture.
    desk.ledger.saved(desk.now, *entry, Saved::Taken);
    assert!(desk.ledger.matters.is_empty() && desk.ledger.rows.is_empty() && desk.ledger.due.is_empty());
}
