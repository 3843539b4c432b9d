//! Where answers go: stdout, locked and buffered, written once; stderr for everything else.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::arguments::Global;
use super::failure::Failure;
use super::style::{Paint, is_coloured, is_unicode};

/// `-o`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people: aligned, coloured, may change between versions.
    #[default]
    Human,
    /// For shell scripts: one record per line, tab-separated, no headings; columns are only ever added.
    Plain,
    /// For programs: an object with `"schema": 1`; streams are JSON Lines; keys are only ever added.
    Json,
}

/// The two streams of a verb.
pub(super) struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
    paint: Paint,
    paint_errors: Paint,
    stdout: BufWriter<Box<dyn Write>>,
    stderr: Box<dyn Write>,
}

impl Output {
    /// The streams of this process, as the flags and the environment say.
    pub(super) fn new(global: &Global) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let stdout: StdoutLock<'static> = io::stdout().lock();
        let unicode = is_unicode(&variable);
        let coloured = is_coloured(global.color, &variable, stdout.is_terminal());
        let errors_coloured = is_coloured(global.color, &variable, io::stderr().is_terminal());
        Self {
            format: global.format(),
            quiet: global.quiet,
            verbose: global.verbose > 0,
            paint: Paint { coloured, unicode },
            paint_errors: Paint { coloured: errors_coloured, unicode },
            stdout: BufWriter::with_capacity(64 << 10, Box::new(stdout)),
            stderr: Box::new(io::stderr()),
        }
    }

    /// For errors in the arguments themselves, before there are flags.
    pub(super) fn errors(format: Format) -> Self {
        let paint = Paint { coloured: false, unicode: false };
        Self {
            format,
            quiet: false,
            verbose: false,
            paint,
            paint_errors: paint,
            stdout: BufWriter::new(Box::new(io::stdout())),
            stderr: Box::new(io::stderr()),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Colours for stdout.
    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    /// Colours for stderr.
    pub(super) fn paint_errors(&self) -> Paint {
        self.paint_errors
    }

    /// Writes part of the answer.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stdout.write_all(text.as_bytes())?)
    }

    /// Writes bytes as they are.
    pub(super) fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// Writes a document as one line of JSON.
    pub(super) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, document).map_err(io::Error::from)?;
        self.write("\n")
    }

    /// Hands everything on: at the end, and after each item of a stream.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    /// A remark for people, on stderr; not with `-q`, nor for programs.
    pub(super) fn remark(&mut self, text: &str) {
        if !self.quiet && self.format == Format::Human {
            self.complain(text);
        }
    }

    /// Writes to stderr, whatever the flags.
    pub(super) fn complain(&mut self, text: &str) {
        // If stderr is closed nobody wants to know.
        let _ = self.stderr.write_all(text.as_bytes());
    }

    /// For verbs whose answer is not a document.
    pub(super) fn refuse_json(&self, verb: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => Err(Failure::usage(format!("`cafe {verb}` has no JSON output"))),
            Format::Human | Format::Plain => Ok(()),
        }
    }
}

#[cfg(test)]
impl Output {
    /// Keeps both streams; no colours, symbols as given.
    pub(super) fn captured(format: Format, unicode: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let paint = Paint { coloured: false, unicode };
        let output = Self {
            format,
            quiet: false,
            verbose: false,
            paint,
            paint_errors: paint,
            stdout: BufWriter::new(Box::new(captured.stdout.clone())),
            stderr: Box::new(captured.stderr.clone()),
        };
        (output, captured)
    }
}

/// What a verb printed.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Captured {
    pub(super) stdout: Shared,
    pub(super) stderr: Shared,
}

#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Shared(tokio::sync::watch::Sender<Vec<u8>>);

#[cfg(test)]
impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("text")
    }

    /// Waits until `text` was printed.
    pub(super) async fn shows(&self, text: &str) {
        let has = |printed: &Vec<u8>| String::from_utf8_lossy(printed).contains(text);
        self.0.subscribe().wait_for(has).await.expect("the sender is held here");
    }
}

#[cfg(test)]
impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|printed| printed.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
