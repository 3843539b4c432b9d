//! `clone(2)` as vfork does it: the child borrows this process's memory and one thread waits for its exec.
//!
//! Knows nothing of what the child does.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use crate::os::procfs;

/// The child calls a few functions of the C library's size and has no locals to speak of; pages of up to 64 KiB leave
/// room beside the guard, and untouched ones cost nothing.
const STACK_BYTES: usize = 256 * 1024;

/// Memory for the child to run on until it executes its program, with a guard page below.
///
/// Reused from start to start: a clone returns only when the child no longer uses it.
pub(super) struct Stack {
    base: *mut c_void,
}

// SAFETY: the mapping is owned by this value alone and bound to no thread.
unsafe impl Send for Stack {}

impl Stack {
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new private mapping at an address of the kernel's choice aliases nothing.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), STACK_BYTES, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base };
        // SAFETY: the range lies within the mapping just made; its first page stays closed as the guard.
        let opened = unsafe {
            let usable = base.byte_add(guard());
            libc::mprotect(usable, STACK_BYTES - guard(), libc::PROT_READ | libc::PROT_WRITE)
        };
        if opened == 0 { Ok(stack) } else { Err(io::Error::last_os_error()) }
    }

    /// Stacks grow down; a page's end is aligned for every architecture.
    fn top(&mut self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, which `clone` does not read or write itself.
        unsafe { self.base.byte_add(STACK_BYTES) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no child runs on it (see `vfork`).
        unsafe { libc::munmap(self.base, STACK_BYTES) };
    }
}

/// Runs `entry(argument)` in a child, and returns its id and descriptor once it has executed a program or ended.
///
/// # Safety
/// `entry` shares the descriptor table with the caller's process, and must leave it as it is until it has taken its
/// own (`CLOSE_RANGE_UNSHARE`). It shares all memory with the callers' process and runs beside its other threads: it may only make
/// system calls, must not allocate, lock, panic or return to its caller's frames. All signals must be blocked
/// in the calling thread. `argument` must be valid for it.
pub(super) unsafe fn vfork(
    stack: &mut Stack,
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<(u32, OwnedFd)> {
    let flags =
        libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // SAFETY: the stack is large enough, exclusively borrowed, and unused again when this returns
    // (CLONE_VFORK); the kernel writes the descriptor to `pidfd` (CLONE_PIDFD); the rest is the caller's.
    // Needed because every safe way to start a process with these settings copies the page tables (fork).
    let pid = unsafe { libc::clone(entry, stack.top(), flags, argument, &raw mut pidfd) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel opened this descriptor for us, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid.unsigned_abs(), pidfd))
}

fn guard() -> usize {
    procfs::page_size() as usize
}
