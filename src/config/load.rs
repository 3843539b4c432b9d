//! From a path to a checked config: reads the file and what it includes, within bounds, then has it checked.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::check;
use super::fields::Fields;
use super::model::Config;
use super::problem::{Problems, quote};
use super::reader::{Environment, Reader, lower_first};
use super::source::{Place, Source};
use super::{glob, syntax};
use crate::types::error::Code;

/// Largest config file, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// How many files a config may have.
const MOST_FILES: usize = 256;
/// How deep files may include files.
const DEEPEST: usize = 8;

/// Reads and checks the config at `path`. `environment` reads the process environment.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let mut loading = Loading::new(environment);
    match read(path) {
        Ok(bytes) => loading.add(path, &bytes, None),
        Err((code, message)) => loading.reader.report(code, None, message, None),
    }
    loading.finish(path)
}

/// Checks `bytes` as if they stood in the file at `path`: what [`load`] will say once they do.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn load_bytes(
    path: &Path,
    bytes: &[u8],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut loading = Loading::new(environment);
    if bytes.len() as u64 > LARGEST_FILE {
        let (code, message) = too_large(path);
        loading.reader.report(code, None, message, None);
    } else {
        loading.add(path, bytes, None);
    }
    loading.finish(path)
}

struct Loading<'e> {
    reader: Reader<'e>,
    /// The top-level fields of every file that could be read.
    documents: Vec<Fields>,
    /// Patterns to include: where they stand, and how deep the file is that has them.
    includes: VecDeque<(Place, usize)>,
    /// Real paths of the files read so far, and who asked for them.
    seen: BTreeMap<PathBuf, Option<Place>>,
    /// Files that were read, and the patterns that were looked for: what to watch for changes.
    watched: Vec<PathBuf>,
}

impl<'e> Loading<'e> {
    fn new(environment: Environment<'e>) -> Self {
        Self {
            reader: Reader::new(environment),
            documents: Vec::new(),
            includes: VecDeque::new(),
            seen: BTreeMap::new(),
            watched: Vec::new(),
        }
    }

    /// Parses a file that was read; `by` is the pattern that included it, and how deep that stands.
    fn add(&mut self, path: &Path, bytes: &[u8], by: Option<(Place, usize)>) {
        let real = fs::canonicalize(path).unwrap_or_else(|_| absolute(path));
        self.seen.insert(real, by.map(|(place, _)| place));
        self.watched.push(absolute(path));
        let file = self.reader.problems.sources.len();
        // A byte order mark is no part of the text; editors on other systems write one.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let invalid = std::str::from_utf8(bytes).err().map(|error| error.valid_up_to());
        let text = String::from_utf8_lossy(bytes).into_owned();
        let shown = path.display().to_string();
        self.reader.problems.sources.push(Source { path: absolute(path), shown, text });
        if let Some(offset) = invalid {
            // The valid part is the same in the lossy text, so the offset holds there.
            let place = Place { file, start: offset, end: offset + '\u{fffd}'.len_utf8() };
            self.reader.error(Code::ConfigSyntax, place, "this is not UTF-8");
            return;
        }
        self.parse(file, by.map_or(0, |(_, depth)| depth + 1));
    }

    fn parse(&mut self, file: usize, depth: usize) {
        let source = &self.reader.problems.sources[file];
        let range = match syntax::document(&source.text) {
            Ok(range) => range,
            Err(error) => {
                let start = source.offset(error.span.start.line, error.span.start.col);
                let end = source.offset(error.span.end.line, error.span.end.col).max(start);
                let message = lower_first(&error.code.to_string());
                self.reader.error(Code::ConfigSyntax, Place { file, start, end }, message);
                return;
            }
        };
        let whole = Place { file, start: range.start, end: range.end };
        let Some(value) = self.top_level(whole) else { return };
        let heading = Place { file, start: whole.start, end: value.start };
        let Some(mut fields) = Fields::open(value, heading, "`Cafe`", &mut self.reader) else {
            return;
        };
        if let Some(place) = fields.take("include", &self.reader) {
            let patterns = self.reader.items(place).unwrap_or_default();
            self.includes.extend(patterns.into_iter().map(|pattern| (pattern, depth)));
        }
        self.documents.push(fields);
    }

    /// The `( ... )` of `Cafe( ... )`.
    fn top_level(&mut self, whole: Place) -> Option<Place> {
        let typed = self.reader.typed(whole);
        let (word, rest) = syntax::word(typed);
        let value = whole.part(rest);
        if &typed[word.clone()] == "Cafe" && value.start < value.end {
            return Some(value);
        }
        let hint = "a config is written as Cafe( ... )".to_owned();
        let end = if word.is_empty() { 1.min(typed.len()) } else { word.end };
        let place = whole.part(0..end);
        self.reader.error_with(Code::ConfigSyntax, place, "expected `Cafe`", hint);
        None
    }

    /// Reads what is included, then checks everything together.
    fn finish(mut self, path: &Path) -> Result<Config, Problems> {
        while let Some((pattern, depth)) = self.includes.pop_front() {
            self.include(pattern, depth);
        }
        self.reader.incomplete = !self.reader.problems.list.is_empty();
        let revision = self.revision();
        let Self { mut reader, mut documents, watched, .. } = self;
        let config = check::config(&mut reader, &mut documents, absolute(path));
        for document in documents {
            document.finish(&mut reader);
        }
        let mut hasher = DefaultHasher::new();
        (revision, reader.variables.digest()).hash(&mut hasher);
        let mut problems = reader.problems;
        if problems.list.is_empty() {
            let revision = format!("{:016x}", hasher.finish());
            return Ok(Config { files: watched, revision, ..config });
        }
        problems.list.sort_by_key(|entry| entry.place);
        Err(problems)
    }

    fn include(&mut self, place: Place, depth: usize) {
        let Some(pattern) = self.reader.literal_text(place) else { return };
        if depth >= DEEPEST {
            let message = format!("files include each other more than {DEEPEST} deep");
            self.reader.error(Code::InvalidValue, place, message);
            return;
        }
        let base = self.reader.source(place).shown.clone();
        let base = Path::new(&base).parent().unwrap_or(Path::new("")).to_owned();
        self.watched.push(absolute(&base.join(&pattern)));
        let paths = match glob::expand(&base.join(&pattern), MOST_FILES) {
            Ok(paths) => paths,
            Err(error) => {
                let message = format!("cannot include {}: {error}", quote(&pattern));
                self.reader.error(Code::ConfigUnreadable, place, message);
                return;
            }
        };
        for path in paths {
            self.include_file(place, depth, &path);
        }
    }

    fn include_file(&mut self, place: Place, depth: usize, path: &Path) {
        if self.reader.problems.sources.len() >= MOST_FILES {
            let message = format!("a config has at most {MOST_FILES} files");
            self.reader.error(Code::ConfigTooLarge, place, message);
            return;
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| absolute(path));
        if self.seen.contains_key(&real) {
            let message = format!("{} is included twice", quote(&path.display().to_string()));
            self.reader.error(Code::DuplicateName, place, message);
            return;
        }
        match read(path) {
            Ok(bytes) => self.add(path, &bytes, Some((place, depth))),
            Err((code, message)) => self.reader.error(code, place, message),
        }
    }

    /// A hash of the text of all files.
    fn revision(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for source in &self.reader.problems.sources {
            (&source.path, &source.text).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The bytes of a file, unless it is too large: that is known before it is read.
fn read(path: &Path) -> Result<Vec<u8>, (Code, String)> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read {}: {error}", quote(&path.display().to_string()));
        (Code::ConfigUnreadable, message)
    };
    // Before opening: a FIFO would wait for its writer for ever.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(too_large(path));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(too_large(path));
    }
    Ok(bytes)
}

fn too_large(path: &Path) -> (Code, String) {
    let path = quote(&path.display().to_string());
    let message = format!("{path} is larger than {} MiB", LARGEST_FILE >> 20);
    (Code::ConfigTooLarge, message)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
