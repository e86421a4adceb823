//! The first reading: TOML with spans, environment overrides laid over it, and typed access that collects every error.
//!
//! A section's file asks for each of its keys once; what nobody asked for is unknown. So the keys that exist, the keys that
//! are refused and the keys that an error suggests are one list and cannot drift apart.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};

/// What every environment override begins with.
pub(super) const ENVIRONMENT_PREFIX: &str = "CENTREX6__";

/// A whole configuration before its values are looked at.
pub(super) struct Document<'a> {
    path: Option<PathBuf>,
    values: BTreeMap<(String, String), Entry<'a>>,
    /// Where the values stood that have been read.
    places: BTreeMap<(&'static str, &'static str), Place>,
    sections: Vec<(String, Place)>,
    known: Vec<(&'static str, &'static str)>,
    errors: Vec<ConfigError>,
}

impl<'a> Document<'a> {
    /// Parses `text`, and lays the overrides in `environment` over it; variables with another prefix are passed over.
    pub(super) fn parse(
        text: &'a str,
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut document = Document {
            path: path.map(Path::to_owned),
            values: BTreeMap::new(),
            places: BTreeMap::new(),
            sections: vec![],
            known: vec![],
            errors: vec![],
        };
        let place = |offset: usize| file_place(text, path, offset);
        let (root, syntax) = DeTable::parse_recoverable(text);
        for error in syntax {
            let at = place(error.span().map_or(0, |span| span.start));
            document.errors.push(ConfigError::Syntax { place: at, reason: error.message().to_owned() });
        }
        for (section, table) in root.into_inner() {
            let section_place = place(section.span().start);
            let section = section.into_inner().into_owned();
            let DeValue::Table(table) = table.into_inner() else {
                let reason =
                    format!("\"{section}\" stands outside any section: keys belong below a [section] line");
                document.errors.push(ConfigError::Syntax { place: section_place, reason });
                continue;
            };
            for (key, value) in table {
                let entry = Entry {
                    key_place: place(key.span().start),
                    value_place: place(value.span().start),
                    value: Raw::Toml(value.into_inner()),
                };
                document.values.insert((section.clone(), key.into_inner().into_owned()), entry);
            }
            document.sections.push((section, section_place));
        }
        document.lay_over(environment);
        document
    }

    fn lay_over(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let place = Place::Environment(name.clone());
            let Some((section, key)) = rest.split_once("__") else {
                let reason = format!("expected {ENVIRONMENT_PREFIX}SECTION__KEY");
                self.errors.push(ConfigError::Syntax { place, reason });
                continue;
            };
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            if !self.sections.iter().any(|(known, _)| *known == section) {
                self.sections.push((section.clone(), place.clone()));
            }
            let entry = Entry { key_place: place.clone(), value_place: place, value: Raw::Text(text) };
            self.values.insert((section, key), entry);
        }
    }

    /// The section of this name; a missing one reads as empty.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        Section { name, document: self }
    }

    /// Ends the reading: what is left over is unknown. Gives every error, and every key that was asked for.
    pub(super) fn finish(mut self) -> (Vec<ConfigError>, Vec<(&'static str, &'static str)>) {
        if self.errors.iter().any(|error| matches!(error, ConfigError::Syntax { .. })) {
            // After a syntax error the rest would be guesses about what the author meant.
            self.errors.retain(|error| matches!(error, ConfigError::Syntax { .. }));
            return (self.errors, self.known);
        }
        let is_section = |name: &str| self.known.iter().any(|(section, _)| *section == name);
        for (section, place) in self.sections {
            if !is_section(&section) {
                let nearest = nearest(&section, self.known.iter().map(|(section, _)| *section));
                self.errors.push(ConfigError::UnknownSection { place, section, nearest });
            }
        }
        for ((section, key), entry) in self.values {
            if is_section(&section) {
                let nearest = nearest_key(&section, &key, &self.known);
                self.errors.push(ConfigError::UnknownKey { place: entry.key_place, section, key, nearest });
            }
        }
        self.errors.sort_by_key(order);
        (self.errors, self.known)
    }
}

/// Typed access to one section.
pub(super) struct Section<'d, 'a> {
    name: &'static str,
    document: &'d mut Document<'a>,
}

impl Section<'_, '_> {
    /// A string, as it stands.
    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.read(key, default.to_owned(), |value| value.text())
    }

    /// A string that `T` reads.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: T) -> T {
        self.read(key, default, |value| parse(&value.text()?))
    }

    /// A string that `T` reads, where the empty one means the default.
    pub(super) fn parsed_or_empty<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: T) -> T {
        self.read(key, None, |value| non_empty(&value.text()?).map(parse).transpose()).unwrap_or(default)
    }

    /// A string that `T` reads, where the empty one means none.
    pub(super) fn optional<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        self.parsed_or_none(key, None)
    }

    /// A string that `T` reads, where the empty one means none, which the default need not be.
    pub(super) fn parsed_or_none<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        default: Option<T>,
    ) -> Option<T> {
        self.read(key, default, |value| non_empty(&value.text()?).map(parse).transpose())
    }

    /// A list of strings that `T` reads; an environment override may separate them by commas.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: Vec<T>) -> Vec<T> {
        self.read(key, default, |value| value.texts()?.iter().map(|text| parse(text)).collect())
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, |value| value.flag())
    }

    /// An integer within `range`.
    pub(super) fn integer<T>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        self.read(key, default, |value| {
            let fits = value.integer()?.and_then(|number| T::try_from(number).ok());
            fits.filter(|number| range.contains(number))
                .ok_or_else(|| format!("must lie between {} and {}", range.start(), range.end()))
        })
    }

    /// A span of time in milliseconds.
    pub(super) fn millis(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        let millis = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.integer(key, millis, range))
    }

    /// A span of time in seconds.
    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.integer(key, default.as_secs(), range))
    }

    /// Refuses what was read for `key` by a rule that its value alone cannot tell.
    pub(super) fn refuse(&mut self, key: &'static str, reason: impl Into<String>) {
        let place = self.document.places.get(&(self.name, key)).cloned();
        let place = place.unwrap_or_else(|| file_place("", self.document.path.as_deref(), 0));
        self.bad_value(key, place, reason.into());
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Raw<'_>) -> Result<T, String>,
    ) -> T {
        self.document.known.push((self.name, key));
        let Some(entry) = self.document.values.remove(&(self.name.to_owned(), key.to_owned())) else {
            return default;
        };
        self.document.places.insert((self.name, key), entry.value_place.clone());
        match read(entry.value) {
            Ok(value) => value,
            Err(reason) => {
                self.bad_value(key, entry.value_place, reason);
                default
            }
        }
    }

    fn bad_value(&mut self, key: &str, place: Place, reason: String) {
        let (section, key) = (self.name.to_owned(), key.to_owned());
        self.document.errors.push(ConfigError::BadValue { place, section, key, reason });
    }
}

struct Entry<'a> {
    key_place: Place,
    value_place: Place,
    value: Raw<'a>,
}

/// A value before its type is known.
enum Raw<'a> {
    Toml(DeValue<'a>),
    /// From the environment: a string as it stands, anything else as TOML writes it.
    Text(String),
}

impl Raw<'_> {
    fn text(self) -> Result<String, String> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::Toml(DeValue::String(text)) => Ok(text.into_owned()),
            Raw::Toml(other) => Err(expected("a string", &other)),
        }
    }

    fn texts(self) -> Result<Vec<String>, String> {
        match self {
            Raw::Text(text) if is_toml_list(&text) => Raw::Toml(toml_value(&text)?).texts(),
            Raw::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()),
            Raw::Toml(DeValue::Array(items)) => {
                items.into_iter().map(|item| Raw::Toml(item.into_inner()).text()).collect()
            }
            Raw::Toml(other) => Err(expected("a list of strings", &other)),
        }
    }

    fn flag(self) -> Result<bool, String> {
        match self {
            Raw::Text(text) => Raw::Toml(toml_value(&text)?).flag(),
            Raw::Toml(DeValue::Boolean(flag)) => Ok(flag),
            Raw::Toml(other) => Err(expected("true or false", &other)),
        }
    }

    /// `None` for an integer that no `u64` holds.
    fn integer(self) -> Result<Option<u64>, String> {
        match self {
            Raw::Text(text) => Raw::Toml(toml_value(&text)?).integer(),
            Raw::Toml(DeValue::Integer(number)) => {
                Ok(u64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            Raw::Toml(other) => Err(expected("an integer", &other)),
        }
    }
}

/// Whether it is a list as TOML writes it, and no IPv6 address.
fn is_toml_list(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with(['"', '\'', ']']))
}

fn toml_value(text: &str) -> Result<DeValue<'_>, String> {
    let value = DeValue::parse(text.trim()).map_err(|error| format!("{text:?}: {}", error.message()))?;
    Ok(value.into_inner())
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", found.type_str())
}

fn file_place(text: &str, path: Option<&Path>, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::File {
        path: path.map(Path::to_owned),
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
    }
}

/// The file's errors by line, the environment's after them.
fn order(error: &ConfigError) -> (usize, usize) {
    match error {
        ConfigError::Syntax { place, .. }
        | ConfigError::UnknownSection { place, .. }
        | ConfigError::UnknownKey { place, .. }
        | ConfigError::BadValue { place, .. } => match place {
            Place::File { line, column, .. } => (*line, *column),
            Place::Environment(_) => (usize::MAX, 0),
        },
        ConfigError::Read { .. } => (0, 0),
    }
}

fn nearest_key(section: &str, key: &str, known: &[(&'static str, &'static str)]) -> Option<String> {
    if let Some((section, key)) = known.iter().find(|(_, known)| *known == key) {
        return Some(format!("{section}.{key}"));
    }
    nearest(key, known.iter().filter(|(of, _)| *of == section).map(|(_, key)| *key))
}

fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(word, known), known))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.to_owned())
}

/// Below this a suggestion confuses more than it helps: 1 is equal, 0 has nothing in common.
const MIN_LIKENESS: f64 = 0.5;
