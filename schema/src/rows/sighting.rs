use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{InvalidRow, LineId, ensure};

/// Where a line's valid credential was last used from outside its site, which was refused. The line is its key, and it goes with the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The line.
    pub line: LineId,
    /// Where the request came from.
    pub source: IpAddr,
    /// When, in milliseconds since 1970.
    pub seen_at: i64,
}

impl Sighting {
    /// Whether the sighting may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(self.line.0 > 0, "sighting line", &self.line.to_string(), "use the number of a stored line")
    }
}
