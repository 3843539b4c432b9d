//! cgroups v2: one per seat of a service, for limits, a kill that nothing escapes, and a verified end. See cgroups(7).
//!
//! Uses what is delegated to cafe and says what is missing. Waits and kills; never decides.

mod hierarchy;
mod limits;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Error, pidfd};

pub use hierarchy::Hierarchy;
pub use limits::Limits;

/// The cgroup of one seat of a service. Dropping it leaves it in place, as its processes stay in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup at `path`. Nothing is held open: descriptors are scarcer than system calls.
    fn open(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is in the file system.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `Command::cgroup`: a process started with it is in this cgroup before its program runs.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn directory(&self) -> Result<Arc<OwnedFd>, Error> {
        let opened = File::open(&self.path).map_err(|source| self.failed("open", source))?;
        Ok(Arc::new(opened.into()))
    }

    /// Whether no process is in it or below it (zombies do not count).
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(number_of(&self.read("cgroup.events")?, "populated") == Some(0))
    }

    /// The processes in it and below it (zombies do not count); none if it was never made.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let listed = |path: PathBuf| fs::read_to_string(path.join("cgroup.procs")).ok();
        let lists: Vec<_> = descendants(&self.path).into_iter().filter_map(listed).collect();
        lists.iter().flat_map(|list| list.lines()).filter_map(|line| line.parse().ok()).collect()
    }

    /// Until no process is in it or below it. Safe to cancel.
    ///
    /// # Errors
    /// When its files cannot be read or watched.
    pub async fn emptied(&self) -> Result<(), Error> {
        let failed = |source| Error::system("watch", self.path.display().to_string(), source);
        let events = File::open(self.path.join("cgroup.events")).map_err(failed)?;
        // SAFETY: the watch owns the file and gives it out by reference only, so it stays open and the same.
        // Needed because the runtime has no safe watch for a priority event.
        let watched = unsafe { AsyncFd::register_with_interest(events, Interest::PRIORITY) };
        let watched = watched.map_err(|error| failed(error.into_parts().1))?;
        loop {
            let mut text = String::new();
            let mut events = watched.get_ref();
            events.rewind().map_err(failed)?;
            events.read_to_string(&mut text).map_err(failed)?;
            if number_of(&text, "populated") == Some(0) {
                return Ok(());
            }
            watched.ready(Interest::PRIORITY).await.map_err(failed)?.clear_ready();
        }
    }

    /// Kills every process in it and below it: at once where the kernel can (Linux 5.14), else one by one, and
    /// then [`Cgroup::emptied`] may need another call for what was forked meanwhile.
    ///
    /// # Errors
    /// When it may not be written, or a process may not be killed.
    pub fn kill(&self) -> Result<(), Error> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.kill_one_by_one(),
            Err(source) => Err(self.failed("kill", source)),
        }
    }

    /// How many of its processes the kernel has killed for memory since it was made; `None` without the memory
    /// controller.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        number_of(&self.read("memory.events").ok()?, "oom_kill")
    }

    /// Memory used by all its processes, bytes; `None` without the memory controller.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.read("memory.current").ok()?.trim().parse().ok()
    }

    /// Removes it, with the empty cgroups that the service made below it.
    ///
    /// # Errors
    /// When a process is still in it.
    pub fn remove(self) -> Result<(), Error> {
        if fs::remove_dir(&self.path).is_ok() {
            // As nearly always: the service made none below it.
            return Ok(());
        }
        for path in descendants(&self.path).into_iter().rev() {
            match fs::remove_dir(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::system("remove", path.display().to_string(), source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kill_one_by_one(&self) -> Result<(), Error> {
        for path in descendants(&self.path) {
            let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            for pid in listed.lines().filter_map(|line| line.parse().ok()) {
                let Ok(process) = pidfd::open(pid) else { continue };
                // Its number may have been given anew between list and open: look again before killing.
                let again = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
                if !again.lines().any(|line| line.parse() == Ok(pid)) {
                    continue;
                }
                match pidfd::signal(&process, libc::SIGKILL) {
                    Err(source) if !pidfd::is_gone(&source) => {
                        return Err(self.failed("kill", source));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        fs::read_to_string(&path)
            .map_err(|source| Error::system("read", path.display().to_string(), source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::system(operation, self.path.display().to_string(), source)
    }
}

/// The value of `key` in a file of `key value` lines.
fn number_of(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// `path` and all cgroups below it, parents first.
fn descendants(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let paths: Vec<_> = directories.map(|entry| entry.path()).collect();
        found.extend(paths);
        next += 1;
    }
    found
}
