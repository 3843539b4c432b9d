//! One cafe per state directory: an exclusive lock that ends with its holder, however that ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::Error;

/// Name of the lock file in the state directory.
const FILE: &str = "lock";

/// Held for as long as it lives. The file stays; only the lock counts.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Locks `state_dir` (flock(2)), and leaves our process id inside for people and for error texts.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn acquire(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        let failed = |source: io::Error| Error::StateDirectory { path: path.clone(), source };
        // Not truncated here: until the lock is ours, what it says is its holder's.
        let options =
            File::options().read(true).write(true).create(true).truncate(false).to_owned();
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { pid: holder(&mut file), path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For people alone, who do without on a full disk.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }

    /// Goes on with the lock of another image of this process: it belongs to the open file.
    #[must_use]
    pub fn held(file: OwnedFd) -> Self {
        Self { file: file.into() }
    }

    /// The number of its descriptor.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Lock;
    use crate::types::error::Code;

    #[test]
    fn the_second_is_refused_and_told_by_whom() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let first = Lock::acquire(directory.path()).expect("is free");
        let error = Lock::acquire(directory.path()).expect_err("is held");
        assert_eq!(error.code(), Code::AlreadyRunning);
        assert!(error.to_string().ends_with(&format!("(process {})", std::process::id())));
        drop(first);
        Lock::acquire(directory.path()).expect("is free again");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Lock::acquire("/no/such/directory".as_ref()).expect_err("is not there");
        assert_eq!(error.code(), Code::StateDirectory);
        assert!(error.to_string().contains("/no/such/directory/lock"));
    }
}
