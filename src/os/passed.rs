//! Descriptors that whoever started cafe passed to it: `sd_listen_fds(3)`.

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the first one.
const FIRST: RawFd = 3;

/// Most that are taken, whatever is said.
const MOST: usize = 65_536;

/// Name of one that was given none.
const UNNAMED: &str = "unknown";

/// A descriptor that was passed.
#[derive(Debug)]
pub struct Passed {
    /// The number it came with.
    pub number: RawFd,
    /// `FileDescriptorName=` of the unit.
    pub name: String,
    /// The descriptor; services do not inherit it.
    pub descriptor: OwnedFd,
}

/// Takes what was passed to this process; once. To be called before anything else opens a descriptor, so that the numbers
/// mean what they meant to whoever passed them.
#[must_use]
pub fn take() -> Vec<Passed> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let told = |name: &str| std::env::var(name).ok();
    let names = names(told, std::process::id());
    let passed = (FIRST..).zip(names).filter_map(|(number, name)| {
        // SAFETY: plain numbers. Raw, as it is this call that says whether the descriptor is open at all.
        let set = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        if set != 0 {
            return None;
        }
        // SAFETY: it is open, was passed to this process to own, and is taken once: see above.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Some(Passed { number, name, descriptor })
    });
    passed.collect()
}

/// What tells an open file from all others that are open now.
#[must_use]
pub fn inode(descriptor: impl AsFd) -> Option<u64> {
    rustix::fs::fstat(descriptor).ok().map(|stat| stat.st_ino)
}

/// The same, of a pipe.
#[must_use]
pub fn pipe_inode(descriptor: impl AsFd) -> Option<u64> {
    let stat = rustix::fs::fstat(descriptor).ok()?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    (kind == rustix::fs::FileType::Fifo).then_some(stat.st_ino)
}

/// The names of what was passed to process `own`, in the order of the numbers.
fn names(told: impl Fn(&str) -> Option<String>, own: u32) -> Vec<String> {
    let number = |name: &str| told(name)?.trim().parse::<u32>().ok();
    // Meant for somebody else, who passed his environment on.
    if number("LISTEN_PID") != Some(own) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| usize::try_from(count).ok());
    let count = count.unwrap_or(0).min(MOST);
    let given = told("LISTEN_FDNAMES").unwrap_or_default();
    let given = given.split(':').filter(|name| !name.is_empty()).map(str::to_owned);
    given.chain(std::iter::repeat_with(|| UNNAMED.to_owned())).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    fn named(variables: &[(&str, &str)]) -> Vec<String> {
        let told = |name: &str| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        names(told, 7)
    }

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        assert_eq!(named(&[]), [""; 0]);
        assert_eq!(named(&[("LISTEN_FDS", "2")]), [""; 0]);
        assert_eq!(named(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "8")]), [""; 0]);
        assert_eq!(named(&[("LISTEN_FDS", "-1"), ("LISTEN_PID", "7")]), [""; 0]);
        assert_eq!(named(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7")]), ["unknown"; 2]);
    }

    #[test]
    fn names_may_be_too_few_or_too_many() {
        let named =
            |names| named(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", names)]);
        assert_eq!(named("http"), ["http", "unknown"]);
        assert_eq!(named("http:admin"), ["http", "admin"]);
        assert_eq!(named("http:admin:more"), ["http", "admin"]);
    }

    #[test]
    fn a_count_nobody_means_is_bounded() {
        let named = named(&[("LISTEN_FDS", "4000000000"), ("LISTEN_PID", "7")]);
        assert_eq!(named.len(), super::MOST);
    }
}
