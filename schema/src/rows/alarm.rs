use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::{UnknownWord, words};
use super::{AlarmId, InvalidRow, SiteId, check_id, check_text, ensure};

/// What the watch found wrong: raised, perhaps acknowledged, cleared, and kept as history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The row's number.
    pub id: AlarmId,
    /// What is wrong.
    pub kind: AlarmKind,
    /// The site that it is about. An alarm outlives its site.
    pub site: Option<SiteId>,
    /// What it is about, as people call it: a site's code, a MAC, a line's user name, an account.
    pub subject: String,
    /// Why it was raised, in words, with the numbers.
    pub cause: String,
    /// What to do.
    pub remedy: String,
    /// The same for programs.
    pub details: serde_json::Value,
    /// When it was raised, in milliseconds since 1970.
    pub raised_at: i64,
    /// When it was over, in milliseconds since 1970.
    pub cleared_at: Option<i64>,
    /// When somebody took note of it, in milliseconds since 1970.
    pub acked_at: Option<i64>,
    /// Who took note of it.
    pub acked_by: Option<String>,
    /// What they said.
    pub comment: Option<String>,
}

words!(
    /// What an alarm says is wrong.
    AlarmKind {
        /// The site's tunnel is down.
        TunnelDown = "tunnel_down",
        /// The tunnel is up and the IAD does not answer.
        IadUnreachable = "iad_unreachable",
        /// The IAD answers and phones of the site do not.
        PhonesMissing = "phones_missing",
        /// The site's router has no room for more neighbours (RFC 4861 §5.1).
        NeighbourTableFull = "neighbour_table_full",
        /// One MAC is seen at two places.
        DuplicateMac = "duplicate_mac",
        /// A phone is used at another site than its own.
        WrongSite = "wrong_site",
        /// A phone is used in another room (VLAN) than its own.
        WrongRoom = "wrong_room",
        /// Two IADs take one account from each other.
        AccountFlapping = "account_flapping",
        /// A phone's learned address is not the predicted one.
        AddressMismatch = "address_mismatch",
    }
);

impl Alarm {
    /// A new alarm, with no site and no details.
    pub fn new(kind: AlarmKind, subject: &str, cause: &str, remedy: &str, raised_at: i64) -> Alarm {
        Alarm {
            id: AlarmId::NEW,
            kind,
            site: None,
            subject: subject.to_owned(),
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
            details: serde_json::Value::Null,
            raised_at,
            cleared_at: None,
            acked_at: None,
            acked_by: None,
            comment: None,
        }
    }

    /// Whether it is still so.
    pub fn is_active(&self) -> bool {
        self.cleared_at.is_none()
    }

    /// Whether the alarm may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("alarm id", self.id.0)?;
        ensure(!self.subject.is_empty(), "alarm subject", "", "name what the alarm is about")?;
        check_text("alarm subject", &self.subject, 256)?;
        check_text("alarm cause", &self.cause, 1024)?;
        check_text("alarm remedy", &self.remedy, 1024)?;
        let details = self.details.to_string();
        ensure(details.len() <= 16 * 1024, "alarm details", "", "use at most 16 KiB of JSON")?;
        ensure(!details.contains("\\u0000"), "alarm details", "", "leave NUL characters out")?;
        check_text("who acknowledges the alarm", self.acked_by.as_deref().unwrap_or_default(), 128)?;
        check_text("alarm comment", self.comment.as_deref().unwrap_or_default(), 512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_says_what_is_wrong_with_it() {
        let alarm = Alarm::new(AlarmKind::TunnelDown, "042", "no session for 90 s", "Look at the IAD.", 1);
        assert!(alarm.check().is_ok() && alarm.is_active());
        assert!(Alarm { subject: String::new(), ..alarm.clone() }.check().is_err());
        assert!(Alarm { comment: Some("a\nb".to_owned()), ..alarm.clone() }.check().is_err());
        let details = serde_json::json!({ "phones": "x".repeat(16 * 1024) });
        assert!(Alarm { details, ..alarm }.check().is_err());
    }

    #[test]
    fn every_kind_has_its_word() {
        assert_eq!(AlarmKind::ALL.len(), 9);
        for kind in AlarmKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).expect("json"), kind.as_str());
        }
        assert!("tunnel-down".parse::<AlarmKind>().is_err());
    }
}
