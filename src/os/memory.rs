//! How much memory cafe itself holds on to. For glibc's allocator; others are left to their own rules.

/// Keeps all threads on one heap: each further one would hold on to memory of its own. To be called before the
/// first thread is made. cafe allocates little at a time, so its threads do not get in each other's way.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator. Needed because no crate wraps it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives free memory back to the kernel: after a burst of work that will not soon come again.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator takes its own locks and touches only free memory. Needed because no crate wraps it.
    unsafe {
        libc::malloc_trim(0);
    }
}
