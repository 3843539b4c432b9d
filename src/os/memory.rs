//! How much memory cafe itself holds on to. What concerns the heap is for glibc's allocator; others are left to their
//! own rules.

use std::ffi::{c_int, c_void};
use std::ptr;

/// Keeps all threads on one heap: each further one would hold on to memory of its own. To be called before the
/// first thread is made. cafe allocates little at a time, so its threads do not get in each other's way.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator. Needed because no crate wraps it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back to the kernel after a burst of work that will not soon come again: free memory of the heap, and
/// the program itself as far as it only did that work. What is still needed of it is mapped again when it is next used.
pub fn give_back() {
    trim_heap();
    // SAFETY: `unmap_program` is called before this returns, with what dl_iterate_phdr(3) passes.
    // Needed because only the loader knows where the program is.
    unsafe {
        libc::dl_iterate_phdr(Some(unmap_program), ptr::null_mut());
    }
}

fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator takes its own locks and touches only free memory. Needed because no crate wraps it.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the pages of those parts of the program that are never written: they are the file's, in its page cache. Parts
/// that the loader wrote to are another segment's, also once they are read-only.
unsafe extern "C" fn unmap_program(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid structure whose headers live as long as the program. The ranges are mapped from
    // a file, private and never written, so that MADV_DONTNEED loses nothing. Needed because no crate wraps this.
    unsafe {
        let headers = std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
        let page = libc::sysconf(libc::_SC_PAGESIZE).cast_unsigned();
        for header in headers {
            if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
                continue;
            }
            let start = (*info).dlpi_addr + header.p_vaddr;
            let (first, last) = (start & !(page - 1), start + header.p_memsz);
            let length = usize::try_from(last - first).unwrap_or_default();
            libc::madvise(ptr::without_provenance_mut(first as usize), length, libc::MADV_DONTNEED);
        }
    }
    // Only the first, which is the program; libraries are shared with others.
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::os::isolated::in_own_process;

    /// Bytes of the program that are mapped in this process: of its parts that are never written.
    fn mapped() -> u64 {
        let program = std::env::current_exe().expect("is known");
        let maps = fs::read_to_string("/proc/self/smaps").expect("reads");
        let (mut counted, mut bytes) = (false, 0);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (first, second) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if first.contains('-') {
                counted = line.ends_with(&*program.to_string_lossy()) && second == "r-xp";
            }
            if counted && first == "Rss:" {
                bytes += second.parse::<u64>().expect("a number") * 1024;
            }
        }
        bytes
    }

    #[tokio::test]
    async fn what_only_the_start_needed_is_given_back_and_the_rest_goes_on() {
        let name =
            "os::memory::tests::what_only_the_start_needed_is_given_back_and_the_rest_goes_on";
        in_own_process(name, async {
            let before = mapped();
            super::give_back();
            let after = mapped();
            assert!(before > 0 && after < before, "{before} bytes before, {after} after");
        })
        .await;
    }
}
