use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IEEE 802 MAC-48 address of one device. It is written in lower case with colons, and read in every usual spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// Why something is no device's MAC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMac {
    /// Nothing was given.
    #[error("the MAC is empty: it is on the device's label, like 00:1a:2b:3c:4d:5e")]
    Empty,
    /// A character is neither a hexadecimal digit nor a separator.
    #[error(
        "{character:?} at place {place} of MAC {text:?} is neither a hexadecimal digit nor a separator (: - . or a blank)"
    )]
    Character {
        /// What was given, shortened.
        text: String,
        /// The character.
        character: char,
        /// Where it stands, counted from 1.
        place: usize,
    },
    /// The digits do not make six octets.
    #[error("MAC {text:?} has {digits} hexadecimal digits: it needs 12")]
    Length {
        /// What was given, shortened.
        text: String,
        /// How many digits it has.
        digits: usize,
    },
    /// The separators are of two kinds, or stand at unequal distances.
    #[error(
        "the separators of MAC {text:?} are not regular: write it like 00:1a:2b:3c:4d:5e, 00-1a-2b-3c-4d-5e, 001a.2b3c.4d5e or 001a2b3c4d5e"
    )]
    Grouping {
        /// What was given, shortened.
        text: String,
    },
    /// The group bit is set, or all octets are 0: no device has such an address of its own.
    #[error("{mac} is no address of one device: it is {what}")]
    NotADevice {
        /// As it was read.
        mac: String,
        /// What it is.
        what: &'static str,
    },
}

impl Mac {
    /// A device's MAC from its octets.
    ///
    /// # Errors
    /// [`BadMac::NotADevice`] for group, broadcast and all-zero addresses.
    pub fn new(octets: [u8; 6]) -> Result<Mac, BadMac> {
        let what = match octets {
            [0, 0, 0, 0, 0, 0] => "all zeros",
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => "the broadcast address",
            [first, ..] if first & GROUP_BIT != 0 => "a multicast address",
            _ => return Ok(Mac(octets)),
        };
        Err(BadMac::NotADevice { mac: Mac(octets).to_string(), what })
    }

    /// The octets, in the order in which they are written.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(given: &str) -> Result<Mac, BadMac> {
        let trimmed = given.trim();
        if trimmed.is_empty() {
            return Err(BadMac::Empty);
        }
        let text = || trimmed.chars().take(40).collect::<String>();
        let wrong =
            trimmed.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit() && !SEPARATORS.contains(c));
        if let Some((place, character)) = wrong {
            return Err(BadMac::Character { text: text(), character, place: place + 1 });
        }
        let digits = trimmed.chars().filter(char::is_ascii_hexdigit).count();
        let mut separators = trimmed.chars().filter(|c| SEPARATORS.contains(c));
        let separator = separators.next();
        if separators.any(|other| Some(other) != separator) {
            return Err(BadMac::Grouping { text: text() });
        }
        let groups: Vec<&str> =
            separator.map_or_else(|| vec![trimmed], |separator| trimmed.split(separator).collect());
        // Six groups may leave a leading zero out, as some systems write them.
        let short = groups.len() == 6 && groups.iter().all(|group| (1..=2).contains(&group.len()));
        if !short && digits != 12 {
            return Err(BadMac::Length { text: text(), digits });
        }
        let even = groups.iter().all(|group| group.len() * groups.len() == 12);
        if !(short || even && [1, 2, 3, 6].contains(&groups.len())) {
            return Err(BadMac::Grouping { text: text() });
        }
        let digits: String = groups
            .iter()
            .map(|group| if short { format!("{group:0>2}") } else { (*group).to_owned() })
            .collect();
        let number = u64::from_str_radix(&digits, 16).map_err(|_| BadMac::Grouping { text: text() })?;
        let [_, _, octets @ ..] = number.to_be_bytes();
        Mac::new(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Mac, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

const SEPARATORS: [char; 4] = [':', '-', '.', ' '];
/// IEEE 802: the first octet's lowest bit.
const GROUP_BIT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_mac() {
        for text in [
            "00:1a:2b:3c:4d:5e",
            "00-1A-2B-3C-4D-5E",
            "001a.2b3c.4d5e",
            "001A2B3C4D5E",
            "001a2b-3c4d5e",
            "00 1a 2b 3c 4d 5e",
            "0:1a:2b:3c:4d:5e",
            "  001a-2b3c-4d5e\n",
        ] {
            assert_eq!(
                text.parse::<Mac>().map(|mac| mac.to_string()),
                Ok("00:1a:2b:3c:4d:5e".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_mac_says_why() {
        for (text, words) in [
            ("", "is empty"),
            ("00:1a:2b:3c:4d:5g", "'g' at place 17"),
            ("00:1a:2b:3c:4d", "10 hexadecimal digits"),
            ("00:1a:2b:3c:4d:5e:6f", "14 hexadecimal digits"),
            ("00:1a-2b:3c:4d:5e", "not regular"),
            ("00:1a2b:3c:4d:5e", "not regular"),
            ("001a2b3c4d5e:", "not regular"),
            ("00:00:00:00:00:00", "all zeros"),
            ("ff:ff:ff:ff:ff:ff", "broadcast"),
            ("01:00:5e:00:00:01", "multicast"),
            ("００1a2b3c4d5e", "neither"),
        ] {
            let error = text.parse::<Mac>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
