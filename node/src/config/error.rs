//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a key or value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File {
        /// The file, when the text came from one.
        path: Option<PathBuf>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// In an environment variable of this name.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path: Some(path), line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Place::File { path: None, line, column } => write!(f, "line {line}, column {column}"),
            Place::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the TOML reader says.
        reason: String,
    },
    /// There is no such section.
    #[error("{place}: unknown section [{section}]{}", did_you_mean(nearest))]
    UnknownSection {
        /// Where.
        place: Place,
        /// As it was written.
        section: String,
        /// The nearest right section, if one is near.
        nearest: Option<String>,
    },
    /// The section has no such key.
    #[error("{place}: unknown key \"{key}\" in [{section}]{}", did_you_mean(nearest))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The section.
        section: String,
        /// As it was written.
        key: String,
        /// The nearest right key, with its section when that is another one.
        nearest: Option<String>,
    },
    /// The value does not fit.
    #[error("{place}: {section}.{key}: {reason}")]
    BadValue {
        /// Where.
        place: Place,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// What is wrong with the value, and what was expected.
        reason: String,
    },
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// One by one, in the order of the file, the environment's last.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

fn did_you_mean(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None => String::new(),
    }
}
