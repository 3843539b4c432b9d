//! What a command of the command line printed, as text; and what a test says when it cannot run here.

use std::process::Output;

use super::program;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Told {
    /// Exit code; a signal is -1.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained about.
    pub(crate) stderr: String,
}

impl Told {
    /// Its answer as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless it ended with `code` and said each of `texts`, on either stream.
    ///
    /// # Panics
    /// When it did not.
    pub(crate) fn expect(&self, code: i32, texts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(said, "`{text}` is not said: {self:#?}");
        }
        self
    }
}

/// A command's output as text.
pub(crate) fn told(output: &Output) -> Told {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Told { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Says why a test does not run on this machine.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Whether the tests run as root.
pub(crate) fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program is on the `PATH`.
pub(crate) fn is_installed(name: &str) -> bool {
    let found = program("sh").args(["-c", &format!("command -v {name}")]).output();
    found.is_ok_and(|output| output.status.success())
}
