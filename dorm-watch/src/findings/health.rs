//! What is wrong with a site's way, its phones and its router, in words.

use dorm_provisioning::neighbours::{self, ENTRIES_A_PHONE};
use schema::AlarmKind;
use serde_json::json;

use super::{Family, Finding, do_not_answer, some_of};
use crate::picture::{LeasePicture, SitePicture};
use crate::site::neighbours::Evidence;
use crate::site::{Site, SiteState, Way};

/// What is found at a site, and what cannot be told at the moment.
pub(crate) fn findings(site: &Site, now_ms: i64) -> (Vec<Finding>, Vec<Family>) {
    let mut found = Vec::new();
    let mut frozen = Vec::new();
    match site.way() {
        Way::Down { .. } => {
            found.extend(tunnel_down(site.picture()));
            frozen.push(Family::Phones);
        }
        Way::Cut { .. } => {
            if site.state() == SiteState::IadUnreachable {
                found.push(iad_unreachable(site));
            }
            frozen.push(Family::Phones);
        }
        Way::Unknown if site.is_askable() => frozen.extend([Family::Way, Family::Phones]),
        Way::Doubt { .. } => frozen.extend([Family::Way, Family::Phones]),
        Way::Unknown | Way::Proved => match phones(site, now_ms) {
            Some(finding) => found.push(finding),
            None if site.is_judging() => frozen.push(Family::Phones),
            None => {}
        },
    }
    (found, frozen)
}

fn tunnel_down(picture: &SitePicture) -> Option<Finding> {
    let tunnel = picture.tunnel.as_ref()?;
    let lease = tunnel.lease.as_ref()?;
    let from = lease.client.map(|client| format!(", last from {client}")).unwrap_or_default();
    let cause = format!(
        "Site {} ({}) has no tunnel since {}: account {} is not logged in{from}.",
        picture.code,
        picture.name,
        when(lease.changed_at),
        tunnel.account
    );
    let remedy = "Ask the site whether the IAD and the broadband router have power, and whether the broadband line works. \
                  `centrex6 iad check` on the IAD tells which step fails; `centrex6 account list` tells whether the account is barred.";
    Some(Finding {
        kind: AlarmKind::TunnelDown,
        site: picture.id,
        subject: picture.code.clone(),
        cause,
        remedy: remedy.to_owned(),
        details: json!({
            "account": tunnel.account,
            "client": lease.client,
            "server": lease.server,
            "down_since": lease.changed_at,
            "phones": picture.phones.len(),
        }),
    })
}

fn iad_unreachable(site: &Site) -> Finding {
    let picture = site.picture();
    let known = picture.phones.len();
    let nobody = match picture.iad.filter(|_| site.has_iad()) {
        Some(iad) => format!("neither the IAD ({iad}) nor any of its {known} phones answers"),
        None => format!("none of its {known} phones answers, and the IAD cannot be asked"),
    };
    let lease = picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
    let tunnel = match lease.filter(|lease| lease.up) {
        Some(LeasePicture { client: Some(client), .. }) => {
            format!(", although the broker holds its tunnel to {client}")
        }
        Some(_) => ", although the broker holds its tunnel".to_owned(),
        None => String::new(),
    };
    let remedy = "Ask the site whether the IAD has power and whether the broadband line works. If both are well, packets are lost between \
                  the tunnel server and the IAD: protocol 41 must pass the broadband router and every filter on the way. \
                  `centrex6 iad check` on the IAD tells which step fails; the broker itself notices a dead line after 300 s.";
    Finding {
        kind: AlarmKind::IadUnreachable,
        site: picture.id,
        subject: picture.code.clone(),
        cause: format!("At site {} ({}) {nobody}{tunnel}.", picture.code, picture.name),
        remedy: remedy.to_owned(),
        details: json!({
            "iad": picture.iad,
            "phones": known,
            "client": lease.and_then(|lease| lease.client),
            "server": lease.and_then(|lease| lease.server),
        }),
    }
}

fn phones(site: &Site, now_ms: i64) -> Option<Finding> {
    match site.table_fault(now_ms) {
        Some(evidence) => Some(table_full(site, evidence, now_ms)),
        None => phones_missing(site),
    }
}

fn phones_missing(site: &Site) -> Option<Finding> {
    if !site.misses_phones() {
        return None;
    }
    let (picture, census) = (site.picture(), site.census());
    let expected = census.mute.len() + census.answering;
    let cause = format!(
        "At site {} ({}) {}, of {expected} that have lived: {}.",
        picture.code,
        picture.name,
        do_not_answer(census.mute.len()),
        some_of(&census.mute)
    );
    let remedy = "Have a look at the phones: power, cable, and the switch that they hang on. When neighbours in one corridor are mute, it \
                  is the switch. A phone that was taken away for good is removed with `centrex6 device remove` or `centrex6 line remove`.";
    Some(Finding {
        kind: AlarmKind::PhonesMissing,
        site: picture.id,
        subject: picture.code.clone(),
        cause,
        remedy: remedy.to_owned(),
        details: json!({
            "answering": census.answering,
            "registered": census.registered,
            "known": census.known,
            "mute": census.mute.iter().take(NAMED).collect::<Vec<_>>(),
        }),
    })
}

fn table_full(site: &Site, evidence: Evidence, now_ms: i64) -> Finding {
    let (picture, census) = (site.picture(), site.census());
    let expected = census.mute.len() + census.answering;
    let needed = expected * ENTRIES_A_PHONE as usize;
    let report = site.fresh_report(now_ms);
    let capacity = crate::site::neighbours::capacity(picture.table, report);
    let why = match evidence {
        Evidence::Reported { entries, capacity } => {
            format!("its IAD reports {entries} of {capacity} entries in use")
        }
        Evidence::Rotating { ceiling, changed, rounds } => format!(
            "in {rounds} rounds never more than {ceiling} of {expected} phones answered, and not always the same ones \
             ({changed} phones changed sides), while the IAD answers"
        ),
        Evidence::AtCapacity { ceiling, capacity, rounds } => format!(
            "in {rounds} rounds {ceiling} of {expected} phones answered, which is what a table of {capacity} entries holds, while the IAD answers"
        ),
    };
    let holds = match capacity {
        Some(capacity) => format!(
            "{expected} phones need {needed} entries ({ENTRIES_A_PHONE} a phone), the table holds {capacity}"
        ),
        None => format!(
            "{expected} phones need {needed} entries ({ENTRIES_A_PHONE} a phone); how many the table holds is not known"
        ),
    };
    let mute = match census.mute.len() {
        0 => String::new(),
        count => format!(" Now {}: {}.", do_not_answer(count), some_of(&census.mute)),
    };
    Finding {
        kind: AlarmKind::NeighbourTableFull,
        site: picture.id,
        subject: picture.code.clone(),
        cause: format!(
            "The neighbour table of the router at site {} ({}) is full: {why}. {holds}.{mute}",
            picture.code, picture.name
        ),
        remedy: format!("{}.", neighbours::REMEDY),
        details: json!({
            "answering": census.answering,
            "expected": expected,
            "entries_needed": needed,
            "capacity": capacity,
            "entries": report.map(|report| report.entries),
            "evidence": evidence.as_str(),
            "seen": evidence.details(),
            "mute": census.mute.iter().take(NAMED).collect::<Vec<_>>(),
        }),
    }
}

/// A time for people, in UTC.
pub(crate) fn when(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Names that the details hold: an alarm's details are bounded.
const NAMED: usize = 200;
