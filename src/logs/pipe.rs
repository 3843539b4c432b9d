//! Pipes from a service to the pump: made so that a service outlives cafe, and found again afterwards.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid};

use super::Error;

/// Makes a pipe: the non-blocking read end for the pump, and the write end for the service.
///
/// The write end is open for reading too (the pipe reopened through `/proc/self/fd`), so a service that writes while
/// no cafe reads waits for room instead of being killed by `SIGPIPE`, and goes on once [`adopt`] has found the pipe.
/// `owner` is the user the service runs as: its `/dev/stdout` opens the pipe by name, which needs its permission.
///
/// # Errors
/// When no descriptor is free, `/proc` is not mounted, or the owner may not be given away.
pub fn pipe(owner: Option<(Uid, Gid)>) -> Result<(OwnedFd, OwnedFd), Error> {
    let failed = |operation| move |source: io::Error| Error::Pipe { operation, source };
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| failed("pipe2")(errno.into()))?;
    let both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
        .map_err(failed("reopen it through /proc/self/fd"))?;
    if let Some((uid, gid)) = owner {
        // Last: a cafe that is not root may not open what is no longer its own.
        nix::unistd::fchown(&reader, Some(uid), Some(gid))
            .map_err(|errno| failed("give it to the user of the service")(errno.into()))?;
    }
    Ok((reader, both.into()))
}

/// The read end of the pipe that a running process has as this descriptor, for a service found again after a crash of
/// cafe. What it wrote in between is still inside.
///
/// # Errors
/// When the process is gone, belongs to another user, or the descriptor is not a pipe.
pub fn adopt(pid: u32, descriptor: i32) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Pipe { operation: "reopen that of a running process", source };
    // Without O_NONBLOCK the open would wait for a writer if the process is just ending.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(format!("/proc/{pid}/fd/{descriptor}"))
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.file_type().is_fifo() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a pipe")));
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsRawFd;

    use super::{adopt, pipe};

    #[test]
    fn a_writer_survives_its_reader_and_is_adopted() {
        let (reader, writer) = pipe(None).expect("makes");
        drop(reader);
        let mut writer = File::from(writer);
        writer.write_all(b"nobody reads\n").expect("neither SIGPIPE nor EPIPE");
        let reader = adopt(std::process::id(), writer.as_raw_fd()).expect("finds it");
        let mut buffer = [0; 64];
        let length = File::from(reader).read(&mut buffer).expect("reads");
        assert_eq!(&buffer[..length], b"nobody reads\n");
    }

    #[test]
    fn a_reader_never_blocks_and_what_is_no_pipe_is_refused() {
        let (reader, _writer) = pipe(None).expect("makes");
        let empty = File::from(reader).read(&mut [0; 8]).expect_err("empty");
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        let file = tempfile::tempfile().expect("temporary file");
        assert!(adopt(std::process::id(), file.as_raw_fd()).is_err());
    }
}
