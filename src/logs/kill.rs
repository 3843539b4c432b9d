//! Places where a test kills the pump, before and after everything it does to a file, and where a disk is full for it.
//! Nothing outside of tests.

#[cfg(not(test))]
pub(super) use nothing::{point, until, write};
#[cfg(test)]
pub(super) use simulated::{point, until, write};

#[cfg(not(test))]
mod nothing {
    use std::fs::File;
    use std::io::{self, Write};

    /// A place where it may be killed.
    #[inline]
    pub(in crate::logs) fn point() {}

    /// How much of a write of this length comes about.
    #[inline]
    pub(in crate::logs) fn until(length: usize) -> usize {
        length
    }

    /// `write(2)`.
    #[inline]
    pub(in crate::logs) fn write(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }
}

#[cfg(test)]
pub(super) mod simulated {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::{self, Write};

    thread_local! {
        /// Points that are still passed.
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        /// Bytes that still fit on the disk.
        static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// The payload of the panic that stands for the kill.
    pub(in crate::logs) struct Killed;

    /// This thread is killed at its `left`th point from now on; `None`: never.
    pub(in crate::logs) fn at(left: Option<u64>) {
        LEFT.set(left);
    }

    /// So many bytes fit on the disk of this thread; `None`: any.
    pub(in crate::logs) fn room(bytes: Option<usize>) {
        ROOM.set(bytes);
    }

    /// A place where it may be killed.
    pub(in crate::logs) fn point() {
        match LEFT.get() {
            Some(0) => {
                LEFT.set(None);
                std::panic::resume_unwind(Box::new(Killed));
            }
            left => LEFT.set(left.map(|left| left - 1)),
        }
    }

    /// How much of a write of this length comes about: a part, if it is killed next.
    pub(in crate::logs) fn until(length: usize) -> usize {
        if LEFT.get() == Some(0) && length > 1 { length / 2 } else { length }
    }

    /// `write(2)`, on a disk that may be full.
    pub(in crate::logs) fn write(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let length = until(bytes.len()).min(ROOM.get().unwrap_or(usize::MAX));
        if length == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = file.write(&bytes[..length])?;
        ROOM.set(ROOM.get().map(|room| room - written));
        Ok(written)
    }
}
