//! Who calls whom in the lab, and what has to be dialled for that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::plan::Plan;

/// One end of a call, written `1/2` (second phone of the first dorm) or `gateway`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Party {
    /// A phone by its dorm and its number, both from 1.
    Phone(u8, u8),
    /// The carrier's gateway.
    Gateway,
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Who calls.
    pub from: Party,
    /// Who shall answer.
    pub to: Party,
    /// What is dialled.
    pub dialled: String,
}

impl Errand {
    /// The call from one party to another.
    ///
    /// # Errors
    /// When one of them is not in the plan, or both are the same.
    pub fn between(plan: &Plan, from: Party, to: Party) -> Result<Errand, LabError> {
        let refuse = |what: String| Err(LabError::Wish { what });
        for party in [from, to] {
            if let Party::Phone(site, phone) = party
                && !plan.dorm(site)?.phones.iter().any(|planned| planned.number == phone)
            {
                return refuse(format!("there is no phone {party}"));
            }
        }
        let dialled = match (from, to) {
            (from, to) if from == to => return refuse(format!("{from} cannot call itself")),
            (Party::Phone(here, _), Party::Phone(there, phone)) if here == there => extension(phone),
            (Party::Phone(..), Party::Phone(site, phone)) => plan.dorm(site)?.code() + &extension(phone),
            (_, Party::Gateway) => OUTSIDE.to_owned(),
            (Party::Gateway, Party::Phone(site, phone)) => e164(plan, site, phone)?,
        };
        Ok(Errand { from, to, dialled })
    }

    /// A call from a phone, or from the gateway, to whatever is dialled: an outside number is answered by the gateway.
    ///
    /// # Errors
    /// When the caller is not in the plan.
    pub fn to_number(plan: &Plan, from: Party, number: &str) -> Result<Errand, LabError> {
        let errand = Errand::between(plan, from, Party::Gateway)?;
        Ok(Errand { dialled: number.to_owned(), ..errand })
    }

    /// One call of every kind: inside each dorm, from each dorm to the next, from each to the carrier and from there to each.
    ///
    /// # Errors
    /// When there is nobody to call.
    pub fn tour(plan: &Plan) -> Result<Vec<Errand>, LabError> {
        let with_phones: Vec<_> = plan.dorms.iter().filter(|dorm| !dorm.phones.is_empty()).collect();
        let mut pairs = Vec::new();
        for dorm in &with_phones {
            let (first, last) =
                (Party::Phone(dorm.number, 1), Party::Phone(dorm.number, last(dorm.phones.len())));
            if first != last {
                pairs.push((first, last));
            }
            pairs.extend([(last, Party::Gateway), (Party::Gateway, first)]);
        }
        for (here, there) in with_phones.iter().zip(with_phones.iter().skip(1)) {
            pairs.push((Party::Phone(here.number, 1), Party::Phone(there.number, 1)));
        }
        if pairs.is_empty() {
            return Err(LabError::Wish { what: "this lab has no phones".to_owned() });
        }
        pairs.into_iter().map(|(from, to)| Errand::between(plan, from, to)).collect()
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Phone(site, phone) => write!(f, "{site}/{phone}"),
            Party::Gateway => f.write_str(GATEWAY),
        }
    }
}

impl FromStr for Party {
    type Err = LabError;

    fn from_str(word: &str) -> Result<Party, LabError> {
        if word == GATEWAY {
            return Ok(Party::Gateway);
        }
        let numbers =
            word.split_once('/').and_then(|(site, phone)| Some((site.parse().ok()?, phone.parse().ok()?)));
        numbers.map(|(site, phone)| Party::Phone(site, phone)).ok_or_else(|| LabError::Wish {
            what: format!("{word:?} is nobody: write 1/2 for the second phone of site 1, or gateway"),
        })
    }
}

impl TryFrom<String> for Party {
    type Error = LabError;

    fn try_from(word: String) -> Result<Party, LabError> {
        word.parse()
    }
}

impl From<Party> for String {
    fn from(party: Party) -> String {
        party.to_string()
    }
}

fn extension(phone: u8) -> String {
    format!("{}", 100 + u16::from(phone))
}

fn e164(plan: &Plan, site: u8, phone: u8) -> Result<String, LabError> {
    let dorm = plan.dorm(site)?;
    let planned = dorm.phones.iter().find(|planned| planned.number == phone);
    planned
        .map(|planned| planned.e164())
        .ok_or_else(|| LabError::Wish { what: format!("there is no phone {site}/{phone}") })
}

fn last(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

const GATEWAY: &str = "gateway";
/// A number in Tokyo: leads outside.
const OUTSIDE: &str = "0312345678";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::Wishes;

    #[test]
    fn everybody_is_dialled_as_people_would() {
        let plan = Wishes { sites: 2, ..Wishes::new("x") }.plan().unwrap();
        let dialled = |from: &str, to: &str| {
            Errand::between(&plan, from.parse()?, to.parse()?).map(|errand| errand.dialled)
        };
        assert_eq!(dialled("1/1", "1/2").unwrap(), "102");
        assert_eq!(dialled("1/1", "2/2").unwrap(), "8002102");
        assert_eq!(dialled("1/1", "gateway").unwrap(), "0312345678");
        assert_eq!(dialled("gateway", "2/1").unwrap(), "+81312340201");
        for (from, to) in
            [("1/1", "1/1"), ("1/1", "1/3"), ("3/1", "1/1"), ("1-1", "1/2"), ("gateway", "gateway")]
        {
            assert!(dialled(from, to).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn a_tour_has_every_kind_of_call() {
        let plan = Wishes { sites: 3, ..Wishes::new("x") }.plan().unwrap();
        let tour = Errand::tour(&plan).unwrap();
        let shown: Vec<_> = tour.iter().map(|errand| format!("{}-{}", errand.from, errand.to)).collect();
        let sites = ["1/1-1/2", "1/2-gateway", "gateway-1/1", "2/1-2/2", "2/2-gateway", "gateway-2/1"];
        assert_eq!(shown[..6], sites);
        assert_eq!(shown[9..], ["1/1-2/1", "2/1-3/1"]);
        assert!(Errand::tour(&Wishes { phones: 0, ..Wishes::new("x") }.plan().unwrap()).is_err());
    }
}
