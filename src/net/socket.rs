//! The socket file: made where the config says, with rights that fit, never over somebody else's.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::Error;

/// A listening socket and the file that leads to it.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Device and inode: so that only this file is ever removed.
    identity: (u64, u64),
}

/// Who may connect. What they may do is decided per request, by who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Members of this group, besides the owner.
    pub group: Option<u32>,
    /// Anybody.
    pub public: bool,
}

impl Reach {
    fn mode(self) -> u32 {
        match self {
            Self { public: true, .. } => 0o666,
            Self { group: Some(_), .. } => 0o660,
            Self { .. } => 0o600,
        }
    }

    /// Whether anybody but the owner may pass the directory.
    fn is_private(self) -> bool {
        self.group.is_none() && !self.public
    }
}

/// Listens on `path`; makes its directory, and takes the place of a socket nobody answers on.
///
/// The listener is non-blocking, ready for `tokio::net::UnixListener::from_std`. Call it before the
/// runtime takes requests: it does file I/O.
///
/// # Errors
/// When somebody answers there, the file is no socket, or the system refuses.
pub fn listen(path: &Path, reach: Reach) -> Result<(UnixListener, Socket), Error> {
    let failed =
        |operation| move |source| Error::Socket { operation, path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        let mode = if reach.is_private() { 0o700 } else { 0o755 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .map_err(failed("create the directory of"))?;
    }
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    let socket = Socket::claim(path).map_err(failed("look at"))?;
    if let Some(group) = reach.group {
        chown(path, None, Some(group)).map_err(failed("set the group of"))?;
    }
    fs::set_permissions(path, Permissions::from_mode(reach.mode()))
        .map_err(failed("set the mode of"))?;
    listener.set_nonblocking(true).map_err(failed("set up"))?;
    Ok((listener, socket))
}

/// Removes a socket that nobody answers on; leaves everything else alone.
fn clear(path: &Path) -> Result<(), Error> {
    let failed =
        |operation| move |source| Error::Socket { operation, path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("look at"))?,
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Error::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale"))
        }
        Err(source) => Err(failed("connect to the existing")(source)),
    }
}

impl Socket {
    /// The file that lies there now is ours.
    ///
    /// # Errors
    /// When there is none.
    pub fn claim(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    /// Removes the file, unless another daemon has put its own there meanwhile.
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::{Reach, listen};
    use crate::net::Error;

    #[test]
    fn the_file_has_the_mode_of_its_reach_and_goes_with_the_socket() {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("run/control.sock");
        let gid = nix::unistd::getegid().as_raw();
        for (reach, mode) in [
            (Reach::default(), 0o600),
            (Reach { group: Some(gid), public: false }, 0o660),
            (Reach { group: None, public: true }, 0o666),
        ] {
            let (_listener, socket) = listen(&path, reach).expect("listens");
            let metadata = fs::metadata(&path).expect("there");
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
            UnixStream::connect(socket.path()).expect("connects");
            drop(socket);
            assert!(!path.try_exists().expect("readable"));
        }
    }

    #[test]
    fn a_private_socket_gets_a_private_directory() {
        let directory = tempfile::tempdir().expect("temp dir");
        let _kept = listen(&directory.path().join("a/s"), Reach::default()).expect("listens");
        let mode = fs::metadata(directory.path().join("a")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_stale_socket_is_replaced_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).expect("binds"));
        let _first = listen(&path, Reach::default()).expect("replaces the stale one");
        assert!(matches!(listen(&path, Reach::default()), Err(Error::InUse(_))));
        UnixStream::connect(&path).expect("the first still answers");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("s");
        fs::write(&path, "precious").expect("written");
        assert!(matches!(listen(&path, Reach::default()), Err(Error::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn the_end_of_one_daemon_leaves_the_socket_of_the_next() {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("s");
        let (_old, old_socket) = listen(&path, Reach::default()).expect("listens");
        fs::remove_file(&path).expect("removed");
        let (_new, _new_socket) = listen(&path, Reach::default()).expect("listens");
        drop(old_socket);
        UnixStream::connect(&path).expect("the new one is there");
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("x".repeat(120));
        let error = listen(&path, Reach::default()).expect_err("108 bytes at most");
        assert!(crate::types::error::chain(&error).contains("listen on"), "{error}");
    }
}
