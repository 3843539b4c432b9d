//! Watches the files of the config. Directories are watched, not files: editors and deploy tools replace a
//! file by a rename, or swap a symbolic link.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// A running watch; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Files {
    _watcher: RecommendedWatcher,
}

impl Files {
    /// Calls `touched` whenever something happens to one of `files` (or to a link on the way to one).
    ///
    /// # Errors
    /// When inotify has no room for another watch.
    pub(super) fn watch(
        files: &[PathBuf],
        touched: impl Fn() + Send + 'static,
    ) -> notify::Result<Self> {
        let directories: BTreeSet<PathBuf> = files.iter().flat_map(|file| homes_of(file)).collect();
        let mut watcher = RecommendedWatcher::new(
            move |event: notify::Result<Event>| {
                // Reading the config is an access too and must not lead to another reading.
                if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                    touched();
                }
            },
            Config::default(),
        )?;
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher })
    }
}

/// The directories a change of the file can be seen in: its own, and that of what it links to.
fn homes_of(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().ok();
    let paths = [Some(file.to_owned()), real];
    let parents = paths.into_iter().flatten().filter_map(|path| path.parent().map(Path::to_owned));
    parents.filter(|parent| !parent.as_os_str().is_empty()).collect()
}
