use serde::{Deserialize, Serialize};

use super::{InvalidRow, check_name, check_text, ensure};

/// A process of ours, as `node status` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; unique.
    pub name: String,
    /// What it does.
    pub roles: Vec<String>,
    /// When it started, in milliseconds since 1970.
    pub started_at: i64,
    /// When it last said that it lives, in milliseconds since 1970.
    pub seen_at: i64,
}

impl Node {
    /// Whether the node may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_name("node name", &self.name)?;
        ensure(self.roles.len() <= 16, "node roles", &self.roles.len().to_string(), "use at most 16 roles")?;
        self.roles.iter().try_for_each(|role| check_text("node role", role, 64))
    }
}
