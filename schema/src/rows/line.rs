use serde::{Deserialize, Serialize};

use super::{InvalidRow, LineId, SiteId, check_id, check_text, ensure, is_digits};
use crate::secret::{Ha1Set, Sealed};

/// An address-of-record, `sip:101@s042.example.net`.
///
/// It serializes for listings: the secrets are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The row's number.
    pub id: LineId,
    /// The site that it is in.
    pub site: SiteId,
    /// What is dialled inside the site, and the user part of the address-of-record; unique in the site.
    pub extension: String,
    /// The user name that its phone authenticates with; unique platform-wide (`s042-101`).
    pub auth_user: String,
    /// What the called party's display shows.
    pub display_name: String,
    /// The digest secrets, one an algorithm.
    #[serde(skip)]
    pub ha1: Ha1Set,
    /// The password, for phone files; only the key file opens it.
    #[serde(skip)]
    pub sealed_password: Sealed,
    /// Which calls it may make.
    pub rights: Rights,
    /// Whether its phone may register from outside its site's prefix.
    pub anywhere: bool,
}

/// Which calls a line may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Calls to numbers outside the platform.
    pub external: bool,
    /// Calls to other countries.
    pub international: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Rights { external: true, international: false }
    }
}

impl Line {
    /// A new line with the fields that every line needs.
    ///
    /// # Errors
    /// As [`check`](Line::check).
    pub fn new(
        site: SiteId,
        extension: &str,
        auth_user: &str,
        ha1: Ha1Set,
        sealed_password: Sealed,
    ) -> Result<Line, InvalidRow> {
        let line = Line {
            id: LineId::NEW,
            site,
            extension: extension.to_owned(),
            auth_user: auth_user.to_owned(),
            display_name: String::new(),
            ha1,
            sealed_password,
            rights: Rights::default(),
            anywhere: false,
        };
        line.check().map(|()| line)
    }

    /// Whether the line may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("line id", self.id.0)?;
        ensure(
            is_digits(&self.extension, 1, 15),
            "line extension",
            &self.extension,
            "use 1 to 15 digits, as they are dialled",
        )?;
        ensure(
            is_auth_user(&self.auth_user),
            "line auth user",
            &self.auth_user,
            "use 1 to 64 letters, digits, dots, hyphens or underscores, like s042-101",
        )?;
        check_text("line display name", &self.display_name, 128)?;
        ensure(self.ha1.is_complete(), "line HA1", "", "make it with Ha1Set::of")
    }
}

/// Neither a colon, which separates it in the digest (RFC 7616 §3.4.2), nor anything that needs escapes in a URI or a quoted string.
fn is_auth_user(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Password;

    #[test]
    fn a_listing_holds_no_secret() {
        let ha1 = Ha1Set::of("s042-101", "r", &Password::new("open sesame"));
        let line =
            Line::new(SiteId(1), "101", "s042-101", ha1.clone(), Sealed::from_stored("c2VhbGVk".to_owned()))
                .expect("valid");
        let shown = format!("{line:?} {}", serde_json::to_string(&line).expect("json"));
        assert!(shown.contains("s042-101"));
        for secret in [ha1.md5(), ha1.sha256(), ha1.sha512_256(), "c2VhbGVk", "sesame"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_line_says_what_is_wrong_with_it() {
        let ha1 = || Ha1Set::of("u", "r", &Password::new("p"));
        let sealed = || Sealed::from_stored(String::new());
        assert!(Line::new(SiteId(1), "1o1", "u", ha1(), sealed()).is_err());
        for user in ["", "a:b", "a\"b", "a b", "ü"] {
            assert!(Line::new(SiteId(1), "101", user, ha1(), sealed()).is_err(), "{user}");
        }
    }
}
