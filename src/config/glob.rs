//! `conf.d/*.ron`: `*` and `?` in the last component of a path. Knows names; never opens a file.

use std::io;
use std::path::{Path, PathBuf};

/// The paths that match, sorted. Without `*` and `?` it is the path itself, whether it exists or not; hidden
/// files match only a pattern that begins with a dot.
///
/// # Errors
/// When the directory cannot be read, has more than `most` matches, or a directory of the path is a pattern.
pub(super) fn expand(pattern: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let directory = pattern.parent().unwrap_or(Path::new(""));
    if is_pattern(&directory.to_string_lossy()) {
        return Err(io::Error::other("`*` and `?` are possible in the last part of a path only"));
    }
    let name = match pattern.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_pattern(name) => name,
        _ => return Ok(vec![pattern.to_owned()]),
    };
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(listed)? {
        let entry = entry?.file_name();
        let Some(text) = entry.to_str() else { continue };
        if text.starts_with('.') && !name.starts_with('.') || !matches(name, text) {
            continue;
        }
        if paths.len() == most {
            return Err(io::Error::other(format!("more than {most} files match")));
        }
        paths.push(directory.join(text));
    }
    paths.sort();
    Ok(paths)
}

/// Whether all of `text` matches: `*` is any run of characters, `?` is one. Goes back to the last `*` only, so
/// it takes at most the product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, star_read)) = star else { return false };
                star = Some((star_at, star_read + 1));
                (at, read) = (star_at + 1, star_read + 1);
            }
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::{expand, matches};
    use std::path::Path;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in
            [("*.ron", "a.ron"), ("*", ""), ("a*b*c", "axxbyyc"), ("?.ron", "ä.ron"), ("*a", "baa")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.ron", "a.ron~"), ("?", ""), ("a*b", "acbd"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn matches_are_sorted_and_hidden_files_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["b.ron", "a.ron", ".c.ron", "d.txt"] {
            std::fs::write(directory.path().join(name), "").expect("a file");
        }
        let found = expand(&directory.path().join("*.ron"), 9).expect("readable");
        assert_eq!(found, ["a.ron", "b.ron"].map(|name| directory.path().join(name)));
        assert!(expand(&directory.path().join("*.ron"), 1).is_err());
    }

    #[test]
    fn a_plain_path_stays_and_a_pattern_in_a_directory_is_refused() {
        assert_eq!(expand(Path::new("x/y.ron"), 9).expect("plain"), [Path::new("x/y.ron")]);
        assert!(expand(Path::new("*/y.ron"), 9).is_err());
        assert!(expand(Path::new("/does/not/exist/*"), 9).is_err());
    }
}
