//! Finding the program before the clone, so that its absence is a clear error rather than an errno.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::os::Error;

/// Searched when the command's environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The absolute path of `program`: on the `PATH` of `env`, or from `cwd` when it has a `/`.
pub(super) fn program(
    program: &OsStr,
    env: &[(OsString, OsString)],
    cwd: &Path,
) -> Result<PathBuf, Error> {
    let not_found = |searched: String| Error::ProgramNotFound {
        program: program.to_string_lossy().into_owned(),
        searched,
    };
    if program.as_bytes().contains(&b'/') {
        let path = cwd.join(program);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(source) if is_missing(&source) => {
                let directory = path.parent().unwrap_or(&path);
                Err(not_found(format!("`{}`", directory.display())))
            }
            Err(source) => Err(Error::ProgramNotExecutable { program: path, source }),
        };
    }
    let search = env.iter().rfind(|(key, _)| key == "PATH");
    let search = search.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let mut refused = None;
    for directory in std::env::split_paths(search) {
        let path = cwd.join(directory).join(program);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(source) if is_missing(&source) => {}
            // A later directory may have one that may be executed, as execvp(3) goes on.
            Err(source) => refused = refused.or(Some((path, source))),
        }
    }
    Err(match refused {
        Some((program, source)) => Error::ProgramNotExecutable { program, source },
        None => not_found(format!("PATH `{}`", search.to_string_lossy())),
    })
}

/// What the `#!` line of a script names; `None` for anything else. For the error text only.
pub(super) fn interpreter(program: &Path) -> Option<String> {
    let mut head = [0; 256];
    let length = File::open(program).and_then(|mut file| file.read(&mut head)).ok()?;
    let line = head[..length].strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let word = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    Some(String::from_utf8_lossy(word).into_owned())
}

fn executable(path: &Path) -> io::Result<()> {
    // Effective ids, as execve(2) will look at it.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}
