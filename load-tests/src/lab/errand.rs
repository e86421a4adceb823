//! A call to be made in the lab, and what has to be dialled for it.

use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::party::Party;
use super::plan::{PhonePlan, Plan};

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
        if let Party::Phone(site, phone) = from {
            find(plan, site, phone)?;
        }
        let dialled = match (from, to) {
            (from, to) if from == to => {
                return Err(LabError::Wish { what: format!("{from} cannot call itself") });
            }
            (_, Party::Gateway) => OUTSIDE.to_owned(),
            (Party::Gateway, Party::Phone(site, phone)) => find(plan, site, phone)?.e164(),
            (Party::Phone(here, _), Party::Phone(there, phone)) => {
                let extension = find(plan, there, phone)?.extension();
                if here == there { extension } else { plan.dorm(there)?.code() + &extension }
            }
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
        let with_phones: Vec<_> =
            plan.dorms.iter().filter_map(|dorm| Some((dorm.phones.first()?, dorm.phones.last()?))).collect();
        let mut pairs = Vec::new();
        for (first, last) in &with_phones {
            let (first, last) = (first.party(), last.party());
            if first != last {
                pairs.push((first, last));
            }
            pairs.extend([(last, Party::Gateway), (Party::Gateway, first)]);
        }
        for ((here, _), (there, _)) in with_phones.iter().zip(with_phones.iter().skip(1)) {
            pairs.push((here.party(), there.party()));
        }
        if pairs.is_empty() {
            return Err(LabError::Wish { what: "this lab has no phones".to_owned() });
        }
        pairs.into_iter().map(|(from, to)| Errand::between(plan, from, to)).collect()
    }
}

/// A phone of the plan.
fn find(plan: &Plan, site: u8, phone: u8) -> Result<&PhonePlan, LabError> {
    let planned = plan.dorm(site)?.phones.iter().find(|planned| planned.number == phone);
    planned.ok_or_else(|| LabError::Wish { what: format!("there is no phone {site}/{phone}") })
}

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
