//! Reads Rust sources as far as the rules need: code without comments, and the modules it names.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{files_below, read};

/// One source file.
pub(super) struct Source {
    /// From the root of the repository.
    pub(super) path: PathBuf,
    /// Without comments and the contents of string literals.
    pub(super) code: String,
}

impl Source {
    /// The modules that lead to it, from the root of the crate: `["net", "api", "look"]`.
    pub(super) fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src").expect("a file of the crate").with_extension("");
        let mut module: Vec<String> = inside
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_string_lossy().into_owned(),
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// Whether it is only compiled for tests.
    pub(super) fn is_test(&self) -> bool {
        const HARNESS: [&str; 4] = [
            "src/net/fake.rs",
            "src/os/isolated.rs",
            "src/supervision/otp",
            "src/supervision/testing.rs",
        ];
        self.path
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
            || HARNESS.iter().any(|path| self.path.starts_with(path))
    }

    /// Every module of the crate it names, from the root: by `crate::`, `cafe::` or by climbing with `super::`.
    pub(super) fn names(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for (start, word) in words(&self.code) {
            let rest = &self.code[start + word.len()..];
            match word {
                "crate" | "cafe" if rest.starts_with("::") => {
                    paths(&rest[2..], Vec::new(), &mut found)
                }
                "super" if !self.code[..start].ends_with("::") => {
                    if let Some(path) = self.climb(rest) {
                        paths(path.1, path.0, &mut found);
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Resolves `super::super::…` after the first `super`. In an inline module it may lead one level less far, which
    /// then names the file's own island: harmless.
    fn climb<'a>(&self, mut rest: &'a str) -> Option<(Vec<String>, &'a str)> {
        let mut module = self.module();
        module.pop();
        while let Some(further) = rest.strip_prefix("::super") {
            module.pop();
            rest = further;
        }
        rest.strip_prefix("::").map(|path| (module, path))
    }
}

/// All sources of the crate.
pub(super) fn sources() -> Vec<Source> {
    let load = |path: PathBuf| {
        let text = read(&path);
        Source { code: without_comments(&text), path }
    };
    files_below("src", "rs").into_iter().map(load).collect()
}

/// Whether the file lies in this folder (or is this file) of `src`.
pub(super) fn lies_in(path: &Path, folder: &str) -> bool {
    path.starts_with(Path::new("src").join(folder))
}

/// Identifiers and where they start.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.split(move |letter| !is_part(letter))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// The paths after `crate::`, with braces opened: `a::{b, c::d}` is `a::b` and `a::c::d`. Only what stands in braces of
/// a `use` is opened; a path ends at the first thing that is no module or item name.
fn paths(text: &str, mut prefix: Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    let mut rest = text;
    loop {
        let name: String =
            rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        if name.is_empty() || name == "self" {
            break;
        }
        rest = &rest[name.len()..];
        prefix.push(name);
        let Some(further) = rest.strip_prefix("::") else { break };
        rest = further;
    }
    match rest.strip_prefix('{') {
        Some(inside) => {
            let items = items(inside);
            items.iter().for_each(|item| paths(item.trim(), prefix.clone(), found));
        }
        None => drop(found.insert(prefix)),
    }
}

/// The items of a brace that was just opened, cut at the commas of its own level.
fn items(text: &str) -> Vec<&str> {
    let (mut level, mut start, mut items) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => level += 1,
            '}' if level == 0 => {
                items.push(&text[start..at]);
                break;
            }
            '}' => level -= 1,
            ',' if level == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

/// Drops `//` comments and empties string literals, line by line where they stand. Enough for formatted sources.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '/' if text[at..].starts_with("//") => {
                while letters.next_if(|(_, letter)| *letter != '\n').is_some() {}
            }
            '"' => {
                let raw = text[..at].ends_with("r#");
                let mut escaped = false;
                for (end, letter) in letters.by_ref() {
                    if letter == '"' && !escaped && (!raw || text[end..].starts_with("\"#")) {
                        break;
                    }
                    escaped = letter == '\\' && !escaped && !raw;
                }
                code.push_str("\"\"");
            }
            // A character literal may hold a quote; a lifetime has no second tick.
            '\'' if text[at..].starts_with("'\"'") || text[at..].starts_with("'\\\"'") => {
                while letters.next_if(|(_, letter)| *letter != '\'').is_some() {}
                letters.next();
            }
            _ => code.push(letter),
        }
    }
    code
}

#[test]
fn sources_are_read_as_the_rules_need() {
    let text = "use crate::a::{b, c::{D, e}};\n// crate::no\nlet s = \"crate::no \\\" //\"; crate::f::g(); super::h::I;";
    let source = Source { path: "src/net/api/look.rs".into(), code: without_comments(text) };
    let names: Vec<String> = source.names().iter().map(|path| path.join("::")).collect();
    assert_eq!(names, ["a::b", "a::c::D", "a::c::e", "f::g", "net::api::h::I"]);
    let odd = without_comments("let quote = '\"'; unsafe { r#\"unsafe \" safe\"# } // unsafe");
    assert_eq!(words(&odd).filter(|(_, word)| *word == "unsafe").count(), 1, "{odd}");
}
