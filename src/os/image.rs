//! A process that becomes another program in place: execve(2) keeps the process id, the children, the signals that wait
//! and every descriptor that is not closed on exec. What the next program must know is in a memory file.
//!
//! Never decides whether, and knows nothing of what is handed on.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

use super::Error;

/// Says which descriptor has the state, to the program that goes on with it.
const STATE: &str = "CAFE_STATE";

/// Says why the program that was to go on did not, to the one that does instead.
const FAILED: &str = "CAFE_STATE_REFUSED";

/// What was passed to the first program of this process, and was taken then (`sd_listen_fds(3)`).
const PASSED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Most bytes of a reason.
const REASON: usize = 2000;

/// A program to become. Held by descriptor: it is the same file later, even if another has its name by then.
#[derive(Debug)]
pub struct Image {
    file: Arc<OwnedFd>,
    path: PathBuf,
}

impl Image {
    /// The program at `path`.
    ///
    /// # Errors
    /// When there is none, or it may not be executed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let not_executable =
            |source| Error::ProgramNotExecutable { program: path.to_owned(), source };
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let program = path.display().to_string();
                let searched = path.parent().unwrap_or(path).display().to_string();
                return Err(Error::ProgramNotFound { program, searched });
            }
            file => file.map_err(not_executable)?,
        };
        let metadata = file.metadata().map_err(not_executable)?;
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            return Err(not_executable(io::ErrorKind::PermissionDenied.into()));
        }
        let file: OwnedFd = file.into();
        Ok(Self { file: Arc::new(file), path: path.to_owned() })
    }

    /// The program that runs, whatever has its name now.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> Result<Self, Error> {
        let path = own_path();
        let file = open(Path::new("/proc/self/exe"));
        let file = file.map_err(|source| Error::system("open", "the own program", source))?;
        let file: OwnedFd = file.into();
        Ok(Self { file: Arc::new(file), path })
    }

    /// Goes on with one that was held over an exec.
    #[must_use]
    pub fn held(file: OwnedFd, path: PathBuf) -> Self {
        Self { file: Arc::new(file), path }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of its descriptor.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// What a child needs to run this very file: a descriptor to have, and the path at which it then finds it.
    #[must_use]
    pub fn for_child(&self) -> ((RawFd, Arc<OwnedFd>), PathBuf) {
        // In its own directory, as it may not look into that of a process with other capabilities. The same number, as
        // whether it may be executed is looked up here before.
        let path = format!("/proc/self/fd/{}", self.number());
        ((self.number(), Arc::clone(&self.file)), path.into())
    }

    /// Becomes this program, with the arguments of now and the descriptors in `kept`; `state` is one of them. Comes back
    /// only if that failed, and then everything is as before.
    ///
    /// Signals are held back until [`super::signal::release`]: in between they would end the process.
    pub fn execute(&self, state: Option<RawFd>, failed: Option<&str>, kept: &[RawFd]) -> io::Error {
        let arguments: Vec<CString> = std::env::args_os().filter_map(c_string).collect();
        let environment: Vec<CString> = environment(state, failed).filter_map(c_string).collect();
        let mask = super::signal::hold();
        for number in kept {
            close_on_exec(*number, false);
        }
        let error = nix::unistd::execveat(
            &self.file,
            c"",
            &arguments,
            &environment,
            nix::fcntl::AtFlags::AT_EMPTY_PATH,
        );
        for number in kept {
            close_on_exec(*number, true);
        }
        if let Some(mask) = mask {
            super::signal::restore(&mask);
        }
        match error {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    File::options().read(true).custom_flags(flags).open(path)
}

/// Where the program of this process was; an upgrade of its package puts another one there.
#[must_use]
pub fn own_path() -> PathBuf {
    let link = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let bytes = link.as_os_str().as_bytes();
    // What the kernel adds to the name of a file that was replaced, see proc(5).
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

fn environment(state: Option<RawFd>, failed: Option<&str>) -> impl Iterator<Item = OsString> {
    let stale = |name: &OsString| {
        PASSED.iter().chain([&STATE, &FAILED]).any(|stale| name.as_os_str() == *stale)
    };
    let inherited = std::env::vars_os().filter(move |(name, _)| !stale(name));
    let state = state.map(|number| (STATE.into(), number.to_string().into()));
    let failed = failed.map(|reason| {
        let end = reason.floor_char_boundary(REASON);
        (FAILED.into(), reason[..end].replace('\0', " ").into())
    });
    inherited.chain(state).chain(failed).map(|(mut entry, value)| {
        entry.push("=");
        entry.push(value);
        entry
    })
}

fn c_string(text: OsString) -> Option<CString> {
    // None of them has a NUL: each came to this process as a C string.
    CString::new(text.into_vec()).ok()
}

fn close_on_exec(number: RawFd, close: bool) -> bool {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: plain numbers. Raw, as what was inherited is only known by number until this call says that it is open.
    unsafe { libc::fcntl(number, libc::F_SETFD, flags) == 0 }
}

/// Writes bytes into a memory file that nobody can change any more.
///
/// # Errors
/// When memory or descriptors are lacking.
pub fn seal(bytes: &[u8]) -> Result<File, Error> {
    let failed = |source| Error::system("keep", "the state in memory", source);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file =
        rustix::fs::memfd_create("cafe-state", flags).map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(failed)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(|errno| failed(errno.into()))?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}

/// What the program before left for this one.
#[derive(Debug)]
pub struct Inherited {
    /// The file with the state.
    pub state: File,
    /// Why the program that was to go on did not, if this is the one that does instead.
    pub refused: Option<String>,
}

impl Inherited {
    /// What there is, once. To be called before anything else opens a descriptor or starts a thread.
    #[must_use]
    pub fn take() -> Option<Self> {
        static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        if TAKEN.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let number: RawFd = std::env::var(STATE).ok()?.parse().ok().filter(|number| *number > 2)?;
        if !close_on_exec(number, true) {
            return None;
        }
        // SAFETY: it is open, was left for this process to own, and is taken once: see above.
        let state = File::from(unsafe { OwnedFd::from_raw_fd(number) });
        // Named after the number of a descriptor otherwise, before Linux 6.14.
        let _ = rustix::thread::set_name(c"cafe");
        Some(Self { state, refused: std::env::var(FAILED).ok() })
    }

    /// The state. It can be read again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.state.seek(SeekFrom::Start(0))?;
        self.state.read_to_end(&mut bytes)?;
        self.state.seek(SeekFrom::Start(0))?;
        Ok(bytes)
    }
}

/// Descriptors that were inherited, each to be taken once. Those that nobody takes are closed with it.
#[derive(Debug, Default)]
pub struct Descriptors(BTreeSet<RawFd>);

impl Descriptors {
    /// Those of `numbers` that are open. From now on they are closed on exec.
    ///
    /// The numbers must come from the state that [`Inherited`] has: nothing else in this process may own them.
    #[must_use]
    pub fn inherited(numbers: &[RawFd]) -> Self {
        Self(
            numbers
                .iter()
                .copied()
                .filter(|&number| number > 2 && close_on_exec(number, true))
                .collect(),
        )
    }

    /// Those that were not taken yet.
    #[must_use]
    pub fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().copied().collect()
    }

    /// Takes one; `None` when it was not inherited, or was taken.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        // SAFETY: it was open and nobody's, see `inherited`, and is in the set until it is taken.
        self.0.remove(&number).then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        for number in std::mem::take(&mut self.0) {
            // SAFETY: as in `take`.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
