//! What the test programs said.

use std::collections::BTreeMap;

use super::rules::Test;

/// The tests that ran: whether all of that name passed, by program and path.
pub(super) struct Results {
    passed: BTreeMap<String, BTreeMap<String, bool>>,
}

/// What became of a test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It passed; this is its whole path, as the test program names it.
    Passed(String),
    /// It ran and failed.
    Failed,
    /// It did not run.
    Missing,
    /// These could all be meant.
    Ambiguous(Vec<String>),
}

/// Reads what `cargo test` printed.
pub(super) fn read(log: &str) -> Results {
    let mut passed: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let mut program = String::new();
    for line in log.lines() {
        let line = line.trim();
        if let Some(running) = line.strip_prefix("Running ") {
            let file = running.rsplit(['/', '(']).next().unwrap_or_default();
            program = file.trim_end_matches(')').rsplit_once('-').map_or("", |(name, _)| name).to_owned();
        } else if let Some((path, outcome)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        {
            let path = path.trim_end_matches(" - should panic");
            // Whatever a test prints may stand between.
            let is_good = outcome.ends_with("ok");
            let of_program = passed.entry(program.clone()).or_default();
            *of_program.entry(path.to_owned()).or_insert(true) &= is_good;
        }
    }
    Results { passed }
}

impl Results {
    /// What became of a test that a source file names.
    pub(super) fn of(&self, test: &Test) -> Outcome {
        let Some(all) = self.passed.get(&test.program) else { return Outcome::Missing };
        let named = all.keys().filter(|path| path.rsplit("::").next() == Some(&test.name));
        let close = named.max_set_by(|path| likeness(path, &test.modules));
        match close.as_slice() {
            [] => Outcome::Missing,
            [path] if all.get(*path) == Some(&true) => Outcome::Passed((*path).clone()),
            [_] => Outcome::Failed,
            several => Outcome::Ambiguous(several.iter().map(|path| (*path).clone()).collect()),
        }
    }
}

/// How many of a file's modules stand in a test's path, in their order.
fn likeness(path: &str, modules: &[String]) -> usize {
    let mut parts = path.split("::");
    modules
        .iter()
        .filter(|module| parts.clone().any(|part| part == **module) && parts.any(|part| part == **module))
        .count()
}

/// All of the greatest, where [`Iterator::max_by_key`] gives one.
trait MaxSet<'a>: Iterator<Item = &'a String> + Sized {
    fn max_set_by(self, key: impl Fn(&str) -> usize) -> Vec<&'a String> {
        let mut best = (0, Vec::new());
        for item in self {
            let likeness = key(item);
            if likeness > best.0 || best.1.is_empty() {
                best = (likeness, vec![item]);
            } else if likeness == best.0 {
                best.1.push(item);
            }
        }
        best.1
    }
}

impl<'a, I: Iterator<Item = &'a String>> MaxSet<'a> for I {}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "
     Running unittests src/lib.rs (target/debug/deps/sip_core-88e6)
running 4 tests
test wire::uri::tests::equal ... ok
test wire::via::tests::equal ... FAILED
test dialog::tests::one ... a word printed meanwhileok
test both::tests::one ... ok
     Running tests/wire/main.rs (target/debug/deps/wire-0f4e)
test torture::datagrams ... ok
test result: ok. 1 passed
";

    fn outcome(program: &str, modules: &[&str], name: &str) -> Outcome {
        let modules = modules.iter().map(|module| (*module).to_owned()).collect();
        read(LOG).of(&Test { program: program.to_owned(), modules, name: name.to_owned() })
    }

    #[test]
    fn a_test_is_found_by_its_file_and_name() {
        assert_eq!(
            outcome("sip_core", &["wire", "uri"], "equal"),
            Outcome::Passed("wire::uri::tests::equal".into())
        );
        assert_eq!(outcome("sip_core", &["wire", "via"], "equal"), Outcome::Failed);
        assert_eq!(outcome("sip_core", &["dialog"], "one"), Outcome::Passed("dialog::tests::one".into()));
        assert_eq!(outcome("wire", &["torture"], "datagrams"), Outcome::Passed("torture::datagrams".into()));
        assert_eq!(outcome("wire", &["torture"], "streams"), Outcome::Missing);
        assert_eq!(outcome("node", &[], "equal"), Outcome::Missing);
        assert!(
            matches!(outcome("sip_core", &["elsewhere"], "one"), Outcome::Ambiguous(two) if two.len() == 2)
        );
    }
}
