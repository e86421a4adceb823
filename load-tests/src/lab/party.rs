//! One end of a call in the lab.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::LabError;

/// One end of a call, written `1/2` (second phone of the first dorm) or `gateway`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Party {
    /// A phone by its dorm and its number, both from 1.
    Phone(u8, u8),
    /// The carrier's gateway.
    Gateway,
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

const GATEWAY: &str = "gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_reads_as_it_is_written() {
        for word in ["1/2", "50/90", "gateway"] {
            assert_eq!(word.parse::<Party>().unwrap().to_string(), word);
        }
        for word in ["", "1", "1-1", "1/2/3", "256/1", "Gateway"] {
            assert!(word.parse::<Party>().is_err(), "{word}");
        }
    }
}
