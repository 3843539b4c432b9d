//! Lines for the journal of systemd: it adds the time, and takes a priority in front (sd-daemon(3)).

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::types::event::Kind;
use crate::types::state::State;

/// How bad a line is, as in syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Whether what is written to stderr goes to the journal: systemd names the socket in `JOURNAL_STREAM`, and a
/// redirection that came later has another one.
pub(super) fn takes_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    is_stream(&named, Path::new("/proc/self/fd/2"))
}

/// Whether a file is the one of `DEVICE:INODE`.
fn is_stream(named: &str, file: &Path) -> bool {
    let found = std::fs::metadata(file);
    found.is_ok_and(|found| format!("{}:{}", found.dev(), found.ino()) == named)
}

/// A line, or several, of one priority.
pub(super) fn line(priority: Priority, text: &str) -> String {
    text.lines().map(|line| format!("<{}>{line}\n", priority as u8)).collect()
}

/// How bad an event is.
pub(super) fn priority_of(event: &Kind) -> Priority {
    match event {
        Kind::State { to: State::Failed, .. }
        | Kind::GaveUp { .. }
        | Kind::Actor { .. }
        | Kind::Config { applied: false, .. } => Priority::Error,
        Kind::State { to: State::Unhealthy | State::Backoff, .. } => Priority::Warning,
        _ => Priority::Info,
    }
}

/// Writes cafe's own log in this form.
#[derive(Debug)]
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            Level::DEBUG | Level::TRACE => Priority::Debug,
        };
        write!(writer, "<{}>", priority as u8)?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Priority, is_stream, line};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_stream_is_known_by_device_and_inode() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let found = file.as_file().metadata().expect("there");
        let named = format!("{}:{}", found.dev(), found.ino());
        assert!(is_stream(&named, file.path()));
        assert!(!is_stream(&format!("{}:{}", found.dev(), found.ino() + 1), file.path()));
        assert!(!is_stream("", file.path()));
        assert!(!is_stream(&named, std::path::Path::new("/does/not/exist")));
    }

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(line(Priority::Warning, "one\ntwo"), "<4>one\n<4>two\n");
    }
}
