use serde::{Deserialize, Serialize};

use super::{InvalidRow, RouteId, TrunkId, check_id, ensure, is_digits, is_e164};

/// Which trunk takes the numbers that begin with a prefix. Several routes of one prefix are tried in the order of their priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The row's number.
    pub id: RouteId,
    /// How the numbers begin: `+81`, `+` for all E.164 numbers, `110` for a short one, or nothing for every number.
    pub prefix: String,
    /// The smallest is tried first.
    #[serde(default)]
    pub priority: u16,
    /// The trunk; at most one route a prefix and trunk.
    pub trunk: TrunkId,
    /// How many characters, the plus sign among them, are taken from the front of the number before it is sent to the trunk.
    #[serde(default)]
    pub strip: u8,
    /// What is then put before it.
    #[serde(default)]
    pub prepend: String,
}

impl Route {
    /// A route that sends numbers as they were dialled.
    ///
    /// # Errors
    /// As [`check`](Route::check).
    pub fn new(prefix: &str, priority: u16, trunk: TrunkId) -> Result<Route, InvalidRow> {
        let route = Route {
            id: RouteId::NEW,
            prefix: prefix.to_owned(),
            priority,
            trunk,
            strip: 0,
            prepend: String::new(),
        };
        route.check().map(|()| route)
    }

    /// Whether the route may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("route id", self.id.0)?;
        let prefix = &self.prefix;
        ensure(
            prefix == "+" || is_e164(prefix, 1) || is_digits(prefix, 0, MAX_PREFIX - 1),
            "route prefix",
            prefix,
            "use the first digits of the number, with the plus sign of an international one, or nothing for every number",
        )?;
        ensure(
            usize::from(self.strip) <= MAX_PREFIX,
            "route strip",
            &self.strip.to_string(),
            "use 0 to 16 characters",
        )?;
        let digits = self.prepend.strip_prefix('+').unwrap_or(&self.prepend);
        ensure(
            is_digits(digits, 0, 15),
            "route prepend",
            &self.prepend,
            "use up to 15 digits, a plus sign before them if need be",
        )
    }

    /// The number as the trunk shall see it.
    pub fn rewrite(&self, number: &str) -> String {
        let rest = number.chars().skip(usize::from(self.strip));
        self.prepend.chars().chain(rest).collect()
    }
}

/// The longest prefix: a plus sign and 15 digits.
pub(crate) const MAX_PREFIX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewriting_strips_then_prepends() {
        let mut route = Route::new("+81", 0, TrunkId(1)).expect("valid");
        assert_eq!(route.rewrite("+81312345678"), "+81312345678");
        route.strip = 3;
        route.prepend = "0".to_owned();
        assert_eq!(route.rewrite("+81312345678"), "0312345678");
        assert_eq!(route.rewrite("+8"), "0");
    }

    #[test]
    fn prefixes() {
        for good in ["", "+", "+81", "110", "0"] {
            assert!(Route::new(good, 0, TrunkId(1)).is_ok(), "{good}");
        }
        for bad in ["+0", "81x", " ", "++1", "12345678901234567"] {
            assert!(Route::new(bad, 0, TrunkId(1)).is_err(), "{bad}");
        }
    }
}
