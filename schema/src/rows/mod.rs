//! The rows: what the platform keeps, one file each.
//!
//! Fields are public; `check` on each row says whether it may be stored, and every commit calls it.

mod account;
mod alarm;
mod binding;
mod call_record;
mod device;
mod lease;
mod line;
mod mac;
mod node;
mod number;
mod prefix;
mod route;
mod sighting;
mod site;
mod trunk;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use account::{Account, TunnelLink};
pub use alarm::{Alarm, AlarmKind};
pub use binding::Binding;
pub use call_record::{CallRecord, CallResult, Direction, EndedBy};
pub use device::{Addressing, Device};
pub use lease::Lease;
pub use line::{Line, Rights};
pub use mac::{BadMac, Mac};
pub use node::Node;
pub use number::Number;
pub use prefix::{Pool, PrefixAllocation, Region, RegionBlock};
pub(crate) use route::MAX_PREFIX;
pub use route::Route;
pub use sighting::Sighting;
pub(crate) use site::MAX_CODE;
pub use site::Site;
pub use trunk::{BadGateway, Family, Gateway, GatewayHost, GatewayPlace, GatewayTransport, Trunk};
pub use words::UnknownWord;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Not numbered yet: the store gives the next free number when it commits the row.
            pub const NEW: $name = $name(0);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// Names a [`Site`].
    SiteId
);
row_id!(
    /// Names a [`Line`].
    LineId
);
row_id!(
    /// Names a [`Trunk`].
    TrunkId
);
row_id!(
    /// Names a [`Route`].
    RouteId
);
row_id!(
    /// Names a [`Device`].
    DeviceId
);
row_id!(
    /// Names a [`Region`].
    RegionId
);
row_id!(
    /// Names a [`RegionBlock`].
    RegionBlockId
);
row_id!(
    /// Names a [`PrefixAllocation`].
    PrefixAllocationId
);
row_id!(
    /// Names an [`Account`].
    AccountId
);
row_id!(
    /// Names an [`Alarm`].
    AlarmId
);

/// A row that may not be stored, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {expected}")]
pub struct InvalidRow {
    /// The field, with its row: `site code`.
    pub what: &'static str,
    /// What was given, shortened.
    pub value: String,
    /// What to give instead.
    pub expected: &'static str,
}

impl InvalidRow {
    fn new(what: &'static str, value: &str, expected: &'static str) -> Self {
        InvalidRow { what, value: value.chars().take(80).collect(), expected }
    }
}

/// Checks that an id is a stored one or [`SiteId::NEW`] and its sisters.
fn check_id(what: &'static str, id: i64) -> Result<(), InvalidRow> {
    ensure(id >= 0, what, &id.to_string(), "use 0 for a new row, else the number of a stored one")
}

fn ensure(holds: bool, what: &'static str, value: &str, expected: &'static str) -> Result<(), InvalidRow> {
    if holds { Ok(()) } else { Err(InvalidRow::new(what, value, expected)) }
}

/// Text that people read: bounded, and without control characters (PostgreSQL refuses NUL, and terminals obey the rest).
fn check_text(what: &'static str, value: &str, most: usize) -> Result<(), InvalidRow> {
    ensure(
        value.len() <= most && !value.chars().any(char::is_control),
        what,
        value,
        "use shorter text without control characters",
    )
}

fn check_name(what: &'static str, value: &str) -> Result<(), InvalidRow> {
    check_text(what, value, 128)?;
    ensure(
        !value.trim().is_empty() && value.trim() == value,
        what,
        value,
        "use a name of 1 to 128 bytes without blanks at its ends",
    )
}

fn is_digits(value: &str, from: usize, to: usize) -> bool {
    (from..=to).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// ITU-T E.164 §6: a plus sign, then at most 15 digits of which the first is not zero.
fn is_e164(value: &str, fewest: usize) -> bool {
    value.strip_prefix('+').is_some_and(|digits| is_digits(digits, fewest, 15) && !digits.starts_with('0'))
}
