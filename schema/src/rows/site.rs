use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use super::{InvalidRow, SiteId, check_id, check_name, check_text, ensure, is_digits};

/// A dorm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The row's number.
    pub id: SiteId,
    /// What people call it.
    pub name: String,
    /// The digits dialled before an extension to reach it from another site; unique.
    pub code: String,
    /// The host part of its lines' addresses-of-record, in lower case (`s042.example.net`); unique.
    pub domain: String,
    /// Where it is, for listings.
    #[serde(default)]
    pub region: String,
    /// How it was installed, for listings.
    #[serde(default)]
    pub pattern: String,
    /// The IPv6 prefix that its phones' packets come from, when it is known.
    #[serde(default)]
    pub prefix: Option<Ipv6Net>,
}

impl Site {
    /// A new site with the fields that every site needs.
    ///
    /// # Errors
    /// As [`check`](Site::check).
    pub fn new(name: &str, code: &str, domain: &str) -> Result<Site, InvalidRow> {
        let site = Site {
            id: SiteId::NEW,
            name: name.to_owned(),
            code: code.to_owned(),
            domain: domain.to_ascii_lowercase(),
            region: String::new(),
            pattern: String::new(),
            prefix: None,
        };
        site.check().map(|()| site)
    }

    /// Whether the site may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("site id", self.id.0)?;
        check_name("site name", &self.name)?;
        ensure(
            is_digits(&self.code, 1, MAX_CODE),
            "site code",
            &self.code,
            "use 1 to 8 digits, as they are dialled",
        )?;
        ensure(
            is_domain(&self.domain),
            "site domain",
            &self.domain,
            "use a host name in lower case, like s042.example.net",
        )?;
        check_text("site region", &self.region, 128)?;
        check_text("site pattern", &self.pattern, 32)
    }
}

/// RFC 1123 §2.1: labels of letters, digits and inner hyphens.
fn is_domain(domain: &str) -> bool {
    domain.len() <= 253
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

/// The longest site code, in digits.
pub(crate) const MAX_CODE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_says_what_is_wrong_with_it() {
        assert!(
            Site::new("Sakura", "42", "S042.Example.net").is_ok_and(|site| site.domain == "s042.example.net")
        );
        let Err(error) = Site::new("Sakura", "4a", "s042.example.net") else { unreachable!("4a is no code") };
        assert_eq!(
            error.to_string(),
            "site code \"4a\" is not valid: use 1 to 8 digits, as they are dialled"
        );
        for domain in ["", "a..b", "-a.b", "a_b", "a b", "é.net"] {
            assert!(Site::new("x", "1", domain).is_err(), "{domain}");
        }
        assert!(Site::new("x\ny", "1", "a.b").is_err());
    }
}
