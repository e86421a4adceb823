//! `[dial_plan]`: what dialled digits mean.

use super::reader::Section;

/// `[dial_plan]`. Extensions and site codes come from the store; this tells which numbers lead outside and how they become E.164.
#[derive(Debug, Clone, PartialEq)]
pub struct DialPlan {
    /// The country that numbers without a country code belong to, without `+`.
    pub country_code: String,
    /// What stands before a national number.
    pub national_prefix: String,
    /// What stands before a country code.
    pub international_prefix: String,
    /// What is dialled for an outside line and then dropped; empty for none.
    pub outside_line: String,
    /// A number that begins with one of these, after `outside_line`, leads outside.
    pub external_prefixes: Vec<String>,
    /// Numbers that go to the trunk as dialled, at once and for every line.
    pub emergency: Vec<String>,
}

impl DialPlan {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = DialPlan::default();
        let plan = DialPlan {
            country_code: section.text("country_code", &default.country_code),
            national_prefix: section.text("national_prefix", &default.national_prefix),
            international_prefix: section.text("international_prefix", &default.international_prefix),
            outside_line: section.text("outside_line", &default.outside_line),
            external_prefixes: section.list("external_prefixes", default.external_prefixes),
            emergency: section.list("emergency", default.emergency),
        };
        let is_code = (1..=3).contains(&plan.country_code.len()) && is_dialled(&plan.country_code, b"");
        if !is_code || plan.country_code.starts_with('0') {
            section.refuse("country_code", "must be one to three digits without + and not begin with 0");
        }
        for (key, value) in [
            ("national_prefix", &plan.national_prefix),
            ("international_prefix", &plan.international_prefix),
            ("outside_line", &plan.outside_line),
        ] {
            if !is_dialled(value, b"*#") {
                section.refuse(key, "must be digits, * and #");
            }
        }
        if plan.external_prefixes.iter().any(|prefix| prefix.is_empty() || !is_dialled(prefix, b"+*#")) {
            section.refuse("external_prefixes", "each must be digits, +, * and #, at least one");
        }
        if plan.emergency.iter().any(|number| number.is_empty() || !is_dialled(number, b"")) {
            section.refuse("emergency", "each must be digits, at least one");
        }
        plan
    }
}

impl Default for DialPlan {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        DialPlan {
            country_code: "81".to_owned(),
            national_prefix: "0".to_owned(),
            international_prefix: "010".to_owned(),
            outside_line: String::new(),
            external_prefixes: words(&["0", "+"]),
            emergency: words(&["110", "118", "119"]),
        }
    }
}

fn is_dialled(text: &str, more: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || more.contains(&byte))
}
