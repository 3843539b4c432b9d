//! Low descriptor numbers in which the next child finds what it is to get.
//!
//! A child begins with the descriptor table of cafe. Copying all of it and closing the copies would make every start
//! dearer the more services run: a few descriptors for each. So the child shares the table until it takes a copy of
//! its lowest part only, and that is where these are.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};

use super::child::Move;

/// What most commands need: the three standard ones, readiness, a listener or two. More are reserved when needed.
const RESERVED: usize = 6;

/// The reserved numbers of one launcher; each leads to `/dev/null` while nothing is handed over.
pub(super) struct Stage {
    slots: Vec<OwnedFd>,
}

impl Stage {
    /// Reserves the lowest free numbers: best early, before services have taken them.
    pub(super) fn new(null: &OwnedFd) -> io::Result<Self> {
        let mut stage = Self { slots: Vec::new() };
        stage.reserve(RESERVED, null)?;
        Ok(stage)
    }

    /// Copies the sources of `moves` to reserved numbers, and names those as the sources instead.
    pub(super) fn fill(&mut self, moves: &mut [Move], null: &OwnedFd) -> io::Result<()> {
        self.reserve(moves.len(), null)?;
        for (entry, slot) in moves.iter_mut().zip(&mut self.slots) {
            // SAFETY: the command that the moves were made from holds its descriptors open for longer.
            let source = unsafe { BorrowedFd::borrow_raw(entry.source) };
            dup3(source, slot, DupFlags::CLOEXEC)?;
            entry.source = slot.as_raw_fd();
        }
        Ok(())
    }

    /// Lets go of the `count` that were handed over: a pipe's other end must see when the child closes it.
    pub(super) fn clear(&mut self, count: usize, null: &OwnedFd) {
        for slot in self.slots.iter_mut().take(count) {
            // Both are open descriptors of ours; nothing is left to fail.
            let cleared = dup3(null, slot, DupFlags::CLOEXEC);
            debug_assert!(cleared.is_ok(), "an open descriptor can be replaced");
        }
    }

    /// The first number above all reserved ones.
    pub(super) fn end(&self) -> u32 {
        self.slots.iter().map(|slot| slot.as_raw_fd().unsigned_abs() + 1).max().unwrap_or(0)
    }

    fn reserve(&mut self, count: usize, null: &OwnedFd) -> io::Result<()> {
        while self.slots.len() < count {
            self.slots.push(fcntl_dupfd_cloexec(null, 0)?);
        }
        Ok(())
    }
}
