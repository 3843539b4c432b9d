//! Files: what cannot be read, what is too large, what is included.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Config, Problems, load, load_bytes};
use super::environment;
use crate::types::error::Code;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Self(tempfile::tempdir().expect("a directory"));
        for (name, text) in files {
            directory.write(name, text.as_bytes());
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }

    fn load(&self) -> Result<Config, Problems> {
        load(&self.path("cafe.ron"), &environment)
    }

    /// The errors, with the path of the directory left out.
    fn errors(&self) -> String {
        let problems = self.load().expect_err("errors").render(false);
        problems.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn only_code(problems: &Problems) -> Code {
    assert_eq!(problems.count(), 1, "{problems}");
    problems.code()
}

#[test]
fn a_missing_file_a_directory_and_a_device_cannot_be_read() {
    for path in ["/does/not/exist.ron", "/", "/dev/zero"] {
        let problems = load(Path::new(path), &environment).expect_err(path);
        assert_eq!(only_code(&problems), Code::ConfigUnreadable);
        assert!(problems.to_string().contains(&format!("cannot read `{path}`")), "{problems}");
    }
}

#[test]
fn ten_megabytes_are_refused_unread() {
    let directory = Directory::new(&[]);
    let file = fs::File::create(directory.path("cafe.ron")).expect("a file");
    // A sparse file: were it read, it would be zeros and thus a syntax error.
    file.set_len(10 << 20).expect("a size");
    assert_eq!(only_code(&directory.load().expect_err("too large")), Code::ConfigTooLarge);
    assert!(load_bytes(Path::new("a"), &vec![b' '; 2 << 20], &environment).is_err());
}

#[test]
fn invalid_utf8_has_its_place() {
    let directory = Directory::new(&[]);
    directory.write("cafe.ron", b"Cafe(\n  // caf\xe9\n)");
    insta::assert_snapshot!(directory.errors(), @r##"
    cafe.ron:2:9: error[C002]: this is not UTF-8
     2 |   // caf�
       |         ^

    1 error
    "##);
}

#[test]
fn a_byte_order_mark_does_not_move_places() {
    let directory = Directory::new(&[]);
    directory.write("cafe.ron", b"\xef\xbb\xbfCafe(\xff)");
    let problems = directory.load().expect_err("not UTF-8");
    assert_eq!((problems.findings()[0].line, problems.findings()[0].column), (1, 6));
}

#[test]
fn included_files_are_merged_in_order() {
    let directory = Directory::new(&[
        (
            "cafe.ron",
            "Cafe(include: [\"conf.d/*.ron\"], env: { \"P\": \"80\" }, services: { \"a\": (command: [\"a\"]) })",
        ),
        (
            "conf.d/2.ron",
            "Cafe(services: { \"c\": (command: [\"c\", \"${P}\"], after: [\"a\", \"b\"]) })",
        ),
        (
            "conf.d/1.ron",
            "Cafe(services: { \"b\": (command: [\"${Q}\"]) }, env: { \"Q\": \"q${P}\" }, state_dir: \"s\")",
        ),
        ("conf.d/ignored.txt", "not RON"),
    ]);
    let config = directory.load().unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.services.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(config.services["b"].command, ["q80"]);
    assert_eq!(config.services["b"].cwd, directory.path("conf.d"));
    assert_eq!(config.daemon.state_dir, directory.path("conf.d/s"));
}

#[test]
fn what_stands_in_two_files_is_an_error_with_both_places() {
    let directory = Directory::new(&[
        (
            "cafe.ron",
            "Cafe(\n include: [\"other.ron\"],\n services: { \"a\": (command: [\"a\"]) },\n env: { \"A\": \"\" },\n cgroups: true)",
        ),
        (
            "other.ron",
            "Cafe(\n services: { \"a\": (command: [\"a\"]) },\n env: { \"A\": \"\" },\n cgroups: true)",
        ),
    ]);
    insta::assert_snapshot!(directory.errors(), @r##"
    other.ron:2:14: error[C008]: service `a` is defined twice
     2 |  services: { "a": (command: ["a"]) },
       |              ^^^ first at cafe.ron:3:14

    other.ron:3:9: error[C008]: variable `A` is defined twice
     3 |  env: { "A": "" },
       |         ^^^ first at cafe.ron:4:9

    other.ron:4:11: error[C008]: setting `cgroups` is defined twice
     4 |  cgroups: true)
       |           ^^^^ first at cafe.ron:5:11

    3 errors
    "##);
}

#[test]
fn an_unreadable_include_is_named_and_hides_no_other_error() {
    let directory = Directory::new(&[(
        "cafe.ron",
        "Cafe(\n include: [\"no.ron\", \"nodir/*.ron\", \"*/x.ron\"],\n services: { \"a\": (command: [\"a\"], after: [\"there\"], nise: 1) })",
    )]);
    insta::assert_snapshot!(directory.errors(), @r##"
    cafe.ron:2:12: error[C001]: cannot read `no.ron`: No such file or directory (os error 2)
     2 |  include: ["no.ron", "nodir/*.ron", "*/x.ron"],
       |            ^^^^^^^^

    cafe.ron:2:22: error[C001]: cannot include `nodir/*.ron`: No such file or directory (os error 2)
     2 |  include: ["no.ron", "nodir/*.ron", "*/x.ron"],
       |                      ^^^^^^^^^^^^^

    cafe.ron:2:37: error[C001]: cannot include `*/x.ron`: `*` and `?` are possible in the last part of a path only
     2 |  include: ["no.ron", "nodir/*.ron", "*/x.ron"],
       |                                     ^^^^^^^^^

    cafe.ron:3:54: error[C003]: unknown field `nise` of service `a`
     3 |  services: { "a": (command: ["a"], after: ["there"], nise: 1) })
       |                                                      ^^^^ did you mean `nice`?

    4 errors
    "##);
}

#[test]
fn errors_of_all_files_are_found_at_once() {
    let directory = Directory::new(&[
        ("cafe.ron", "Cafe(include: [\"bad.ron\", \"odd.ron\"], typo: 1)"),
        ("bad.ron", "Cafe(services: {"),
        ("odd.ron", "Cafe(services: { \"a\": (comand: []) })"),
    ]);
    let problems = directory.load().expect_err("errors");
    let codes: Vec<&str> =
        problems.findings().iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["C003", "C002", "C005", "C003"], "{problems}");
}

#[test]
fn files_that_include_themselves_are_refused() {
    let directory = Directory::new(&[("cafe.ron", "Cafe(include: [\"*.ron\"])")]);
    assert_eq!(only_code(&directory.load().expect_err("itself")), Code::DuplicateName);
}

#[test]
fn includes_are_bounded_in_depth_and_number() {
    let directory = Directory::new(&[("cafe.ron", "Cafe(include: [\"0.ron\"])")]);
    for depth in 0..20 {
        directory.write(
            &format!("{depth}.ron"),
            format!("Cafe(include: [\"{}.ron\"])", depth + 1).as_bytes(),
        );
    }
    assert!(directory.errors().contains("more than 8 deep"));
    let directory = Directory::new(&[("cafe.ron", "Cafe(include: [\"d/*\"])")]);
    for number in 0..300 {
        directory.write(&format!("d/{number}"), b"Cafe()");
    }
    assert!(directory.errors().contains("more than 256 files match"));
}
