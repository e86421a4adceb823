//! Parameters: `;name=value` after a URI or a header's value.

use std::fmt;

use super::lex;

/// Parameters in the order in which they were written; names are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `name=value;name;…`, without a leading semicolon. Values keep their quotes; empty pieces are skipped.
    pub fn parse(text: &str) -> Params {
        let pieces = lex::split_outside(text.as_bytes(), b';').filter_map(|range| text.get(range));
        Params(
            pieces
                .map(lex::trim)
                .filter(|piece| !piece.is_empty())
                .map(|piece| match piece.split_once('=') {
                    Some((name, value)) => (lex::trim(name).to_owned(), Some(lex::trim(value).to_owned())),
                    None => (piece.to_owned(), None),
                })
                .collect(),
        )
    }

    /// What stands before the first semicolon, trimmed, and the parameters after it.
    pub(crate) fn split(value: &str) -> (&str, Params) {
        match value.split_once(';') {
            Some((head, params)) => (lex::trim(head), Params::parse(params)),
            None => (lex::trim(value), Params::default()),
        }
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// The parameter's value as written, when it is there and has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?.1.as_deref()
    }

    /// The parameter's value without quotes and escapes.
    pub fn unquoted(&self, name: &str) -> Option<String> {
        self.value(name).map(lex::unquote)
    }

    /// Sets the parameter, in its old place when it was there; a second one of that name goes, so that nobody reads it instead.
    ///
    /// The value is written as it stands: what is no token is quoted by the caller.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let mut place = None;
        let mut at = 0;
        self.0.retain(|(own, _)| {
            let same = own.eq_ignore_ascii_case(name);
            let keep = !same || place.is_none();
            if same && place.is_none() {
                place = Some(at);
            }
            at += usize::from(keep);
            keep
        });
        let value = value.map(str::to_owned);
        match place.and_then(|place| self.0.get_mut(place)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The same with `name=value` set.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Params {
        self.set(name, value);
        self
    }

    /// Takes the parameter away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        let params = Params::parse(" a = 1 ;b;;c=\"x;y\" ; d=");
        assert_eq!(params.to_string(), ";a=1;b;c=\"x;y\";d=");
        assert_eq!((params.value("A"), params.value("b"), params.has("B")), (Some("1"), None, true));
        assert_eq!(params.unquoted("c").as_deref(), Some("x;y"));
    }

    #[test]
    fn set_leaves_one_of_the_name() {
        let mut params = Params::parse("x;received=1;y;RECEIVED=2");
        params.set("received", Some("3"));
        assert_eq!(params.to_string(), ";x;received=3;y");
        params.remove("received");
        assert_eq!(params.to_string(), ";x;y");
    }
}
