//! What is found wrong at a moment. The ledger makes alarms of what lasts.

pub(crate) mod accounts;
pub(crate) mod health;
pub(crate) mod places;

use schema::SiteId;
use serde_json::Value;

use schema::{Alarm, AlarmKind};

/// One fault as it looks now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: AlarmKind,
    pub(crate) site: SiteId,
    pub(crate) subject: String,
    /// What was seen, with numbers.
    pub(crate) cause: String,
    /// What helps.
    pub(crate) remedy: String,
    /// The numbers, for programs.
    pub(crate) details: Value,
}

/// Kinds that are one fault to an operator: of each family, a subject has one alarm, whose kind is the best name for it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// The way to a site: a cut line is first an IAD that does not answer, then, when the broker has given up, a tunnel that is down.
    Way,
    /// The phones of a site: first some are missing, then the reason is found.
    Phones,
    /// Each of the others is a family of its own, named by its word.
    Single(&'static str),
}

/// Who judges: what one of them does not find any more is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The health of one site.
    Site(SiteId),
    /// Where lines and MACs are.
    Places,
    /// Who logs in.
    Accounts,
}

impl Family {
    pub(crate) fn of(kind: AlarmKind) -> Family {
        match kind {
            AlarmKind::TunnelDown | AlarmKind::IadUnreachable => Family::Way,
            AlarmKind::PhonesMissing | AlarmKind::NeighbourTableFull => Family::Phones,
            other => Family::Single(other.as_str()),
        }
    }
}

impl Scope {
    pub(crate) fn of(kind: AlarmKind, site: SiteId) -> Scope {
        match (Family::of(kind), kind) {
            (Family::Way | Family::Phones, _) => Scope::Site(site),
            (_, AlarmKind::AccountFlapping) => Scope::Accounts,
            (Family::Single(_), _) => Scope::Places,
        }
    }

    /// Where a stored alarm belongs.
    pub(crate) fn of_alarm(alarm: &Alarm) -> Scope {
        Scope::of(alarm.kind, alarm.site.unwrap_or(SiteId::NEW))
    }
}

/// The first of many names, and how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `1 phone does not answer`, `2 phones do not answer`.
pub(crate) fn do_not_answer(count: usize) -> String {
    if count == 1 { "1 phone does not answer".to_owned() } else { format!("{count} phones do not answer") }
}

/// Names that a sentence holds.
const SHOWN: usize = 12;
