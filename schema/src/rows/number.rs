use serde::{Deserialize, Serialize};

use super::{InvalidRow, LineId, ensure, is_e164};

/// An E.164 number that rings a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// A plus sign and digits (`+81312345678`); unique, and the row's key: storing it again gives it to another line.
    pub e164: String,
    /// The line that it rings.
    pub line: LineId,
}

impl Number {
    /// A number for a line.
    ///
    /// # Errors
    /// As [`check`](Number::check).
    pub fn new(e164: &str, line: LineId) -> Result<Number, InvalidRow> {
        let number = Number { e164: e164.to_owned(), line };
        number.check().map(|()| number)
    }

    /// Whether the number may be stored.
    ///
    /// # Errors
    /// When it is not in E.164 form.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(
            is_e164(&self.e164, 3),
            "number",
            &self.e164,
            "use a plus sign, the country code and the number: 3 to 15 digits without blanks, like +81312345678",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_a_number() {
        assert!(Number::new("+81312345678", LineId(1)).is_ok());
        for bad in [
            "",
            "+",
            "0312345678",
            "81312345678",
            "+0312345678",
            "+81-3-1234",
            "+1234567890123456",
            "+８１３",
        ] {
            assert!(Number::new(bad, LineId(1)).is_err(), "{bad}");
        }
    }
}
