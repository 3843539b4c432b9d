//! `${NAME}`, `${env:NAME}`, `${file:/path}`, `$${`: what they stand for, and whether a secret is in it.
//! Resolves each variable once, whatever order they are written in; never prints a value.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problem::quote;
use super::reader::{Environment, Reader};
use super::source::Place;
use crate::types::error::Code;

/// Largest secret file, bytes: one environment string of Linux holds 128 KiB (`MAX_ARG_STRLEN`).
const LARGEST_SECRET: u64 = 64 << 10;
/// Bytes all substitutions of one config may produce together.
const MOST_EXPANDED: usize = 16 << 20;
/// How deep variables may use variables.
const DEEPEST: usize = 32;

/// A string after substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// What it says.
    pub(super) value: String,
    /// Whether a secret file is in it, directly or by a variable.
    pub(super) secret: bool,
}

/// Every variable of one config.
pub(super) struct Variables<'e> {
    environment: Environment<'e>,
    defined: BTreeMap<String, Variable>,
    resolving: Vec<String>,
    secret_files: BTreeMap<PathBuf, String>,
    expanded: usize,
    hasher: DefaultHasher,
}

struct Variable {
    place: Place,
    value: Resolved,
}

enum Resolved {
    NotYet,
    Text(Text),
    /// Its error is reported at its own place, once.
    Failed,
}

impl<'e> Variables<'e> {
    pub(super) fn new(environment: Environment<'e>) -> Self {
        Self {
            environment,
            defined: BTreeMap::new(),
            resolving: Vec::new(),
            secret_files: BTreeMap::new(),
            expanded: 0,
            hasher: DefaultHasher::new(),
        }
    }

    /// Reads the process environment.
    pub(super) fn environment(&self) -> Environment<'e> {
        self.environment
    }

    /// A hash of what was read from outside of the config files. Of a secret file its identity and times go in,
    /// not its content: the hash is public.
    pub(super) fn digest(&self) -> u64 {
        self.hasher.finish()
    }
}

impl Reader<'_> {
    /// Defines a variable of the top-level `env`; its value stands at `place`.
    pub(super) fn define(&mut self, name: String, place: Place) {
        self.variables.defined.insert(name, Variable { place, value: Resolved::NotYet });
    }

    /// Resolves every variable, so that errors in unused ones are found too.
    pub(super) fn resolve_variables(&mut self) {
        let names: Vec<String> = self.variables.defined.keys().cloned().collect();
        for name in names {
            self.variable(&name);
        }
    }

    /// `literal` with its variables replaced; `place` is where it stands, for errors.
    pub(super) fn expand(&mut self, place: Place, literal: &str) -> Option<Text> {
        let mut text = Text { value: String::with_capacity(literal.len()), secret: false };
        let mut rest = literal;
        let mut failed = false;
        while let Some(dollar) = rest.find('$') {
            text.value.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                text.value.push_str("${");
                rest = after;
                continue;
            }
            let Some(after) = rest.strip_prefix("${") else {
                text.value.push('$');
                rest = &rest[1..];
                continue;
            };
            let Some((name, after)) = after.split_once('}') else {
                let hint = "end it with `}`, or write `$${` for a literal `${`".to_owned();
                let message = "a variable has no end";
                self.error_with(Code::InvalidValue, self.find(place, "${"), message, hint);
                return None;
            };
            rest = after;
            let found = self.find(place, &format!("${{{name}}}"));
            match self.replacement(found, name) {
                Some(part) => {
                    text.value.push_str(&part.value);
                    text.secret |= part.secret;
                }
                None => failed = true,
            }
        }
        text.value.push_str(rest);
        (!failed).then_some(text)
    }

    /// What `${name}` stands for.
    fn replacement(&mut self, place: Place, name: &str) -> Option<Text> {
        let text = match name.split_once(':') {
            None => self.known_variable(place, name)?,
            Some(("env", name)) => self.process_variable(place, name)?,
            Some(("file", path)) => self.secret_file(place, path)?,
            Some(_) => {
                let message = format!("{} is not a variable", quote(name));
                let hint = "use `${NAME}`, `${env:NAME}` or `${file:/path}`".to_owned();
                self.error_with(Code::UndefinedVariable, place, message, hint);
                return None;
            }
        };
        let before = self.variables.expanded;
        self.variables.expanded = before.saturating_add(text.value.len());
        if self.variables.expanded <= MOST_EXPANDED {
            return Some(text);
        }
        if before <= MOST_EXPANDED {
            let message = format!("variables grow to more than {} MiB", MOST_EXPANDED >> 20);
            self.error(Code::ConfigTooLarge, place, message);
        }
        None
    }

    fn known_variable(&mut self, place: Place, name: &str) -> Option<Text> {
        if self.variables.defined.contains_key(name) {
            return self.variable(name);
        }
        if self.incomplete {
            return None;
        }
        let hint = self
            .did_you_mean(name, self.variables.defined.keys().map(String::as_str))
            .unwrap_or_else(|| match (self.variables.environment)(name) {
                Some(_) => format!("it is in the environment of cafe: write `${{env:{name}}}`"),
                None => "define it in the top-level `env`".to_owned(),
            });
        let message = format!("variable {} is not defined", quote(name));
        self.error_with(Code::UndefinedVariable, place, message, hint);
        None
    }

    /// The value of a defined variable, resolved when it is first asked for.
    fn variable(&mut self, name: &str) -> Option<Text> {
        let variable = self.variables.defined.get(name)?;
        let place = variable.place;
        match &variable.value {
            Resolved::Text(text) => return Some(text.clone()),
            Resolved::Failed => return None,
            Resolved::NotYet => {}
        }
        let resolving = &self.variables.resolving;
        if let Some(start) = resolving.iter().position(|other| other == name) {
            let mut circle: Vec<&str> = resolving[start..].iter().map(String::as_str).collect();
            circle.push(name);
            let message = format!("variable {} uses itself: {}", quote(name), circle.join(" -> "));
            self.error(Code::InvalidValue, place, message);
            self.store(name, Resolved::Failed);
            return None;
        }
        if resolving.len() >= DEEPEST {
            let message = format!("variables use each other more than {DEEPEST} deep");
            self.error(Code::InvalidValue, place, message);
            self.store(name, Resolved::Failed);
            return None;
        }
        self.variables.resolving.push(name.to_owned());
        let text = self.text_or_secret(place);
        self.variables.resolving.pop();
        self.store(name, text.clone().map_or(Resolved::Failed, Resolved::Text));
        text
    }

    fn store(&mut self, name: &str, value: Resolved) {
        if let Some(variable) = self.variables.defined.get_mut(name) {
            variable.value = value;
        }
    }

    fn process_variable(&mut self, place: Place, name: &str) -> Option<Text> {
        let Some(value) = (self.variables.environment)(name) else {
            let message = format!("{} is not in the environment of cafe", quote(name));
            self.error(Code::UndefinedVariable, place, message);
            return None;
        };
        (name, &value).hash(&mut self.variables.hasher);
        Some(Text { value, secret: false })
    }

    fn secret_file(&mut self, place: Place, path: &str) -> Option<Text> {
        let directory = self.source(place).path.parent().unwrap_or(Path::new("/"));
        let path = directory.join(path);
        if let Some(value) = self.variables.secret_files.get(&path) {
            return Some(Text { value: value.clone(), secret: true });
        }
        match read_secret(&path, &mut self.variables.hasher) {
            Ok(value) => {
                self.variables.secret_files.insert(path, value.clone());
                Some(Text { value, secret: true })
            }
            Err(reason) => {
                let path = quote(&path.display().to_string());
                let message = format!("cannot read the secret file {path}: {reason}");
                self.error(Code::UndefinedVariable, place, message);
                None
            }
        }
    }

    /// Where `part` stands in the literal at `place`; the whole literal when escapes hide it.
    fn find(&self, place: Place, part: &str) -> Place {
        match self.typed(place).find(part) {
            Some(start) => place.part(start..start + part.len()),
            None => place,
        }
    }
}

/// The content without its last line break. Its reason for failing never has a byte of it.
fn read_secret(path: &Path, hasher: &mut DefaultHasher) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST_SECRET {
        return Err(format!("it is larger than {} KiB", LARGEST_SECRET >> 10));
    }
    (path, metadata.dev(), metadata.ino(), metadata.len()).hash(hasher);
    (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
