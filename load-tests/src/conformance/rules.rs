//! The rules that the tests name, found in their sources.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// One rule that one test shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The RFC's number.
    pub(super) rfc: u32,
    /// Its sections, as the test names them: `16.7`, or `12.1, 13.2.2.4`.
    pub(super) section: String,
    /// The rule in a few words.
    pub(super) words: String,
    /// The test.
    pub(super) test: Test,
}

/// A test function, as its source names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// The program that cargo makes of it: the crate for a unit test, the target's own name for an integration test.
    pub(super) program: String,
    /// The modules that its file's path gives, outermost first.
    pub(super) modules: Vec<String>,
    /// The function.
    pub(super) name: String,
}

/// Every rule that a test of the workspace names.
pub(super) fn collect(workspace: &Path) -> anyhow::Result<Vec<Rule>> {
    let mut files = Vec::new();
    sources(workspace, &mut files)?;
    files.sort();
    let mut rules = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file.strip_prefix(workspace).unwrap_or(&file);
        let Some((program, modules)) = place(path) else { continue };
        for (name, line, docs) in tests_of(&text) {
            let test = Test { program: program.clone(), modules: modules.clone(), name };
            let found = rules_of(&docs, &test).with_context(|| format!("{}:{line}", path.display()))?;
            rules.extend(found);
        }
    }
    Ok(rules)
}

/// The Rust files below a folder, but for what cargo and other tools keep there.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            let name = entry.file_name();
            if !matches!(name.to_str(), Some("target" | "fuzz")) && !name.to_string_lossy().starts_with('.') {
                sources(&path, into)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            into.push(path);
        }
    }
    Ok(())
}

/// The program and the modules of a source file; `None` for what is in no test program.
fn place(path: &Path) -> Option<(String, Vec<String>)> {
    let parts: Vec<_> = path.iter().filter_map(OsStr::to_str).collect();
    let (program, rest): (&str, &[&str]) = match *parts.as_slice() {
        ["src", ..] => ("centrex6", parts.get(1..)?),
        ["load-tests", program @ ("blackbox" | "dorm"), ..] => (program, parts.get(2..)?),
        [name, "src", ..] => (name, parts.get(2..)?),
        [_, "tests", program, ..] => {
            (program.strip_suffix(".rs").unwrap_or(program), parts.get(3..).unwrap_or_default())
        }
        _ => return None,
    };
    let modules = rest.iter().map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let modules =
        modules.filter(|module| !matches!(*module, "mod" | "main" | "lib")).map(str::to_owned).collect();
    Some((program.replace('-', "_"), modules))
}

/// The test functions of a file, with their line and their documentation's lines.
fn tests_of(text: &str) -> Vec<(String, usize, Vec<&str>)> {
    let mut tests = Vec::new();
    let (mut docs, mut is_test) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim());
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let (true, Some(declared)) = (is_test, declared) {
                let name = declared.split(['(', '<']).next().unwrap_or_default();
                tests.push((name.to_owned(), number + 1, docs));
            }
            (docs, is_test) = (Vec::new(), false);
        }
    }
    tests
}

/// The rules in a test's documentation. What follows a rule up to the end of its sentence belongs to it.
fn rules_of(docs: &[&str], test: &Test) -> anyhow::Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut is_open = false;
    for line in docs {
        if let Some(cited) = line.strip_prefix("RFC ") {
            let Some((source, words)) = cited.split_once(": ") else {
                bail!(
                    "the test {} must say the rule, as in `/// RFC 3261 §16.7: a 6xx ends the fork.`",
                    test.name
                );
            };
            let Some((rfc, section)) = source.split_once(" §") else {
                bail!(
                    "the test {} must name one RFC and its section, as in `/// RFC 3261 §16.7: …`",
                    test.name
                );
            };
            let rfc = rfc.parse().with_context(|| format!("`{rfc}` is no number of an RFC"))?;
            let section = section.replace('§', "");
            rules.push(Rule { rfc, section, words: words.to_owned(), test: test.clone() });
        } else if let (true, Some(rule)) = (is_open && !line.is_empty(), rules.last_mut()) {
            rule.words = format!("{} {line}", rule.words);
        } else {
            is_open = false;
            continue;
        }
        is_open = true;
        if let Some(rule) = rules.last_mut()
            && let Some(end) = sentence_end(&rule.words)
        {
            rule.words.truncate(end);
            is_open = false;
        }
    }
    Ok(rules)
}

/// Where the first sentence ends, without its full stop.
fn sentence_end(words: &str) -> Option<usize> {
    let mut after = words
        .match_indices(". ")
        .filter(|(at, _)| words[at + 2..].starts_with(|next: char| next.is_uppercase()));
    match after.next() {
        Some((at, _)) => Some(at),
        None => words.ends_with('.').then(|| words.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> anyhow::Result<Vec<(u32, String, String, String)>> {
        let mut all = Vec::new();
        for (name, _, docs) in tests_of(source) {
            let test = Test { program: String::new(), modules: Vec::new(), name };
            let rules = rules_of(&docs, &test)?;
            all.extend(rules.into_iter().map(|rule| (rule.rfc, rule.section, rule.words, rule.test.name)));
        }
        Ok(all)
    }

    #[test]
    fn a_test_may_name_several_rules_over_several_lines() {
        let source = "
            /// RFC 3261 §12.1, §13.2.2.4: one dialog for each To tag,
            /// confirmed one by one. More about it.
            /// RFC 3311 §5: UPDATE
            /// passes.
            #[test]
            #[cfg(unix)]
            fn rules() {}

            /// RFC 3261 §1: no test.
            fn helper() {}

            #[test]
            fn without_rules() {}

            /// Words first.
            /// RFC 3326 §2: no full stop
            #[tokio::test]
            async fn waits() {}
        ";
        let expected = [
            (3261, "12.1, 13.2.2.4", "one dialog for each To tag, confirmed one by one", "rules"),
            (3311, "5", "UPDATE passes", "rules"),
            (3326, "2", "no full stop", "waits"),
        ];
        let expected =
            expected.map(|(rfc, section, words, test)| (rfc, section.into(), words.into(), test.into()));
        assert_eq!(read(source).unwrap(), expected);
    }

    #[test]
    fn a_rule_without_words_or_section_is_refused() {
        for docs in ["RFC 6026 §7.1.", "RFC 3261: without a section.", "RFC x §1: no number."] {
            let source = format!("/// {docs}\n#[test]\nfn test() {{}}\n");
            assert!(read(&source).is_err(), "{docs}");
        }
    }

    #[test]
    fn programs_and_modules_come_from_the_path() {
        for (path, program, modules) in [
            ("sip-core/src/wire/uri.rs", "sip_core", vec!["wire", "uri"]),
            ("sip-core/tests/wire/torture.rs", "wire", vec!["torture"]),
            ("load-tests/blackbox/strays.rs", "blackbox", vec!["strays"]),
            ("load-tests/src/lab/mod.rs", "load_tests", vec!["lab"]),
            ("src/operation/call.rs", "centrex6", vec!["operation", "call"]),
        ] {
            let modules = modules.into_iter().map(str::to_owned).collect();
            assert_eq!(place(Path::new(path)), Some((program.to_owned(), modules)));
        }
        assert_eq!(place(Path::new("build.rs")), None);
    }
}
