//! Unix sockets: made under another name and renamed, so that there is one at the path at any moment.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};

use super::{Address, BACKLOG, Error};
use crate::net::socket::Socket;

/// Around the name of a socket that is being made, and what the kernel says of it for ever after.
const BEFORE: &[u8] = b".";
const AFTER: &[u8] = b".cafe";

/// As with systemd: the directory decides who may connect.
const MODE: u32 = 0o666;

pub(super) fn bind(address: &Address, path: &Path) -> Result<(OwnedFd, Socket), Error> {
    let failed = |operation| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::NotPermitted { address: address.clone(), source }
            }
            _ => Error::System { operation, address: address.clone(), source },
        }
    };
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(failed("create the directory of"))?;
    }
    look_at(address, path)?;
    let temporary = temporary(path);
    if fs::symlink_metadata(&temporary).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(&temporary).map_err(failed("remove what was left of"))?;
    }
    let descriptor = listen(&temporary).map_err(failed("listen on"))?;
    let placed = fs::set_permissions(&temporary, Permissions::from_mode(MODE))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| Socket::claim(path));
    match placed {
        Ok(file) => Ok((descriptor, file)),
        Err(source) => {
            // It may be gone, which is as good.
            let _ = fs::remove_file(&temporary);
            Err(failed("put in place")(source))
        }
    }
}

/// The path a socket was bound to, whatever it was renamed to by [`bind`].
pub(super) fn address(name: SocketAddrAny) -> Result<Address, String> {
    let name = SocketAddrUnix::try_from(name).map_err(|errno| errno.to_string())?;
    let path = name.path_bytes().filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| "it has no path".to_owned())?;
    let path = Path::new(OsStr::from_bytes(path));
    let file = path.file_name().unwrap_or_default().as_bytes();
    let made = file.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER));
    Ok(Address::Unix(match made {
        Some(file) => path.with_file_name(OsStr::from_bytes(file)),
        None => path.to_owned(),
    }))
}

fn temporary(path: &Path) -> PathBuf {
    let file = path.file_name().unwrap_or_default().as_bytes();
    path.with_file_name(OsStr::from_bytes(&[BEFORE, file, AFTER].concat()))
}

fn stream(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream(SocketFlags::empty())?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Refuses a path where somebody listens, or something else lies. Never waits: a full queue is an answer, too.
fn look_at(address: &Address, path: &Path) -> Result<(), Error> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|source| Error::of(address, source))?,
    };
    if !found.file_type().is_socket() {
        return Err(Error::NotASocket(address.clone()));
    }
    let asked = stream(SocketFlags::NONBLOCK)
        .and_then(|socket| rustix::net::connect(socket, &SocketAddrUnix::new(path)?));
    match asked {
        // Nobody: what lies there is replaced.
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(Error::InUse(address.clone())),
        Err(errno) => Err(Error::of(address, errno.into())),
    }
}
