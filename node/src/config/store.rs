//! `[store]`: where things are kept.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::Node;
use super::reader::Section;

/// `[store]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Which engine, and where.
    pub url: StoreUrl,
}

impl Store {
    pub(super) fn read(section: &mut Section<'_, '_>, data_dir: &Path) -> Self {
        Store { url: section.parsed_or_empty("url", StoreUrl::sqlite_in(data_dir)) }
    }
}

impl Default for Store {
    fn default() -> Self {
        Store { url: StoreUrl::sqlite_in(&Node::default().data_dir) }
    }
}

/// `sqlite:<file>` or `postgres://…`. It may hold a password: neither [`Debug`] nor [`Display`](fmt::Display) shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// The SQLite file of a data directory.
    pub fn sqlite_in(data_dir: &Path) -> Self {
        StoreUrl::sqlite(&data_dir.join("centrex6.db"))
    }

    /// This SQLite file.
    pub fn sqlite(file: &Path) -> Self {
        StoreUrl(format!("sqlite:{}", file.display()))
    }

    /// The whole URL, password included: not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The SQLite file, when it is one.
    pub fn sqlite_file(&self) -> Option<&Path> {
        self.0.strip_prefix("sqlite:").map(|file| Path::new(file.strip_prefix("//").unwrap_or(file)))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str(&self.0) };
        // A query can hold a password, too.
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(f, "{scheme}://***@{host}/{path}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

/// The URL names no engine that we have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must begin with sqlite: or postgres://")]
pub struct UnknownStore;

impl FromStr for StoreUrl {
    type Err = UnknownStore;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        known.then(|| StoreUrl(url.to_owned())).ok_or(UnknownStore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let url: StoreUrl = "postgres://centrex6:s3cret@db.example.net/c6?password=s3cret".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://***@db.example.net/c6");
        assert!(!format!("{url:?}").contains("s3cret"));
    }

    #[test]
    fn a_sqlite_file_is_found() {
        let url = StoreUrl::sqlite_in(Path::new("/tmp/x"));
        assert_eq!(url.sqlite_file(), Some(Path::new("/tmp/x/centrex6.db")));
        assert_eq!("mysql://x".parse::<StoreUrl>(), Err(UnknownStore));
    }
}
