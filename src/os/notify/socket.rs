//! The datagram socket a service sends its notifications to (`$NOTIFY_SOCKET`).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::Message;
use crate::os::Error;

/// Largest datagram read; systemd's own bound is of this order. Longer ones count as malformed.
const MESSAGE_BYTES: usize = 4096;

/// Descriptors taken (and closed) per datagram; the kernel's bound is 253.
const DESCRIPTORS: usize = 253;

/// A message with what the kernel says about its sender.
#[derive(Debug)]
pub struct Received {
    /// What it says.
    pub message: Message,
    /// Process id of the sender: check that it belongs to the service before believing it.
    pub pid: u32,
    /// User id of the sender.
    pub uid: u32,
    /// What came with it; a sender may wait for these to be closed, and is there until then.
    _descriptors: Vec<OwnedFd>,
}

/// A socket bound in the file system; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Socket {
    /// Binds at `path`, writable for `owner` (the service's user) and cafe's own user alone. A leftover of
    /// an earlier cafe is replaced.
    ///
    /// # Errors
    /// When the path cannot be bound or given to that user.
    pub fn bind(path: &Path, owner: Option<u32>) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::system("bind", path.display().to_string(), source);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let socket = UnixDatagram::bind(path).map_err(failed)?;
        let socket = Self { socket, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        chown(path, owner, None).map_err(failed)?;
        set_socket_passcred(&socket.socket, true).map_err(|errno| failed(errno.into()))?;
        Ok(socket)
    }

    /// Where it is bound: the service's `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One that another image of this process bound at `path`.
    ///
    /// # Errors
    /// When it is no such socket, or the runtime cannot watch it.
    pub fn held(socket: OwnedFd, path: PathBuf) -> Result<Self, Error> {
        let held = UnixDatagram::from_std(socket.into());
        let failed = |source| Error::system("watch", path.display().to_string(), source);
        Ok(Self { socket: held.map_err(failed)?, path })
    }

    /// Until a message may have come. Safe to cancel.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn readable(&self) -> Result<(), Error> {
        self.socket.readable().await.map_err(|source| self.failed(source))
    }

    /// The next message, if there is one. Descriptors that come with it are closed when it is dropped, which is what
    /// `BARRIER=1` waits for.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn try_receive(&self) -> Result<Option<Received>, Error> {
        match self.socket.try_io(Interest::READABLE, || receive(&self.socket)) {
            // Without credentials there is nothing to trust it by; the kernel always gives them.
            Ok(received) => Ok(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::system("receive on", self.path.display().to_string(), source)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Of no consequence if it fails: the next bind replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn receive(socket: impl AsFd) -> io::Result<Option<Received>> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::<u8>::uninit();
        rustix::cmsg_space!(ScmRights(DESCRIPTORS), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let result = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let (mut sender, mut kept) = (None, Vec::new());
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials),
            RecvAncillaryMessage::ScmRights(descriptors) => kept.extend(descriptors),
            _ => {}
        }
    }
    let Some(sender) = sender else { return Ok(None) };
    let mut message = Message::parse(&bytes[..result.bytes]);
    if result.flags.contains(ReturnFlags::TRUNC) {
        // Its last line is cut, and nobody knows what followed: nothing of it can be trusted.
        message = Message { malformed: 1, ..Message::default() };
    }
    let pid = sender.pid.as_raw_nonzero().get().unsigned_abs();
    Ok(Some(Received { message, pid, uid: sender.uid.as_raw(), _descriptors: kept }))
}
