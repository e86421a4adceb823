//! Privacy (RFC 3323 §4.2, RFC 3325 §9.3).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, lex};

/// What a caller wants hidden: `id`, `user`, `header`, `session`, `none`, `critical`, `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privacy(pub Vec<String>);

impl Privacy {
    /// Whether this value is among them, in any case.
    pub fn has(&self, value: &str) -> bool {
        self.0.iter().any(|own| own.eq_ignore_ascii_case(value))
    }

    /// Whether the caller's identity may not be shown to the called party: `id`, `user` or `header`, and not `none`.
    pub fn hides_identity(&self) -> bool {
        !self.has("none") && ["id", "user", "header"].into_iter().any(|value| self.has(value))
    }
}

impl Header for Privacy {
    const NAME: Name = Name::Privacy;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        // Semicolons separate the values (RFC 3323 §4.2); some write commas, as elsewhere in SIP.
        let values: Vec<String> =
            value.split([';', ',']).map(lex::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
        if values.is_empty() || !values.iter().all(|one| lex::is_token_text(one)) {
            return Err(invalid::<Self>("it is not a list of tokens"));
        }
        Ok(Privacy(values))
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_separators() {
        let privacy = Privacy::parse("ID; critical , session").unwrap();
        assert!(privacy.has("id") && privacy.hides_identity());
        assert_eq!(privacy.to_string(), "ID;critical;session");
        assert!(!Privacy::parse("none").unwrap().hides_identity());
        assert!(Privacy::parse(";").is_err());
    }
}
