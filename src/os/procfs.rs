//! Reads of `/proc` about one process at a time, and the boot id. See proc_pid_stat(5).
//!
//! One open, one read, no allocation per sample. Walks over many processes live in `family`.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use super::Error;

/// Bytes enough for any `/proc/PID/stat`: 52 numbers of 20 digits, and a name of 64 bytes at most.
pub(super) const STAT_BYTES: usize = 1280;

/// The kernel's flag of a process that ends, see `linux/sched.h`.
const PF_EXITING: u64 = 4;

/// The kernel's flag of a thread of its own, which has no program.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What one read of `/proc/PID/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// `R`, `S`, `D`, `Z` (ended, not yet reaped), ...
    pub state: char,
    /// Parent process.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// It ends just now, or has ended: it forks no more, and its memory may be gone, with its environment.
    pub ending: bool,
    /// It executes a program just now, and does not have all of its environment yet.
    pub executing: bool,
    /// Length of its environment; 0 also when that is not ours to read.
    pub environment_bytes: u64,
    /// CPU time in user mode and in the kernel, clock ticks (`ticks_per_second`).
    pub cpu_ticks: u64,
    /// Start, clock ticks since boot: with the process id it names a process for one boot.
    pub start_time: u64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

impl Sample {
    /// How long the process runs, by the clock that counts from boot: nobody sets it.
    #[must_use]
    pub fn age(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot = Duration::try_from(now).unwrap_or_default();
        let ticks =
            u128::from(self.start_time) * 1_000_000_000 / u128::from(ticks_per_second().max(1));
        since_boot.saturating_sub(Duration::from_nanos(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }
}

/// Samples one process.
///
/// # Errors
/// When the process does not exist, or `/proc` cannot be read.
pub fn sample(pid: u32) -> Result<Sample, Error> {
    let failed = |source: io::Error| Error::system("read", format!("/proc/{pid}/stat"), source);
    let mut buffer = [0; STAT_BYTES];
    let read = File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read(&mut buffer))
        .map_err(failed)?;
    parse(&buffer[..read]).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

/// Start of a process, clock ticks since boot.
///
/// # Errors
/// As [`sample`].
pub fn start_time(pid: u32) -> Result<u64, Error> {
    sample(pid).map(|sample| sample.start_time)
}

/// The kernel's random id of this boot: process ids and start times mean nothing across boots.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text =
        std::fs::read_to_string(PATH).map_err(|source| Error::system("read", PATH, source))?;
    Ok(text.trim().to_owned())
}

/// How many descriptors this process has open; 0 where `/proc` cannot be read.
#[must_use]
pub fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Clock ticks per second (`sysconf(_SC_CLK_TCK)`, in practice 100).
#[must_use]
pub fn ticks_per_second() -> u64 {
    constant(libc::_SC_CLK_TCK)
}

/// Bytes of a memory page.
pub(super) fn page_size() -> u64 {
    constant(libc::_SC_PAGESIZE)
}

fn constant(name: i32) -> u64 {
    // SAFETY: takes and returns plain numbers. Needed because the crates at hand hide it behind features.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or_default()
}

/// Reads the text of `/proc/PID/stat`. The name may hold spaces and `)`: fields begin after the last `)`.
pub(super) fn parse(stat: &[u8]) -> Option<Sample> {
    let name_end = memchr::memrchr(b')', stat)?;
    let text = std::str::from_utf8(stat.get(name_end + 2..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Fields count from 3 after the name: skip 7 and 8 to reach 9, the kernel's flags.
    let mut fields = fields.skip(2);
    let flags: u64 = fields.next()?.parse().ok()?;
    // Skip 10 to 13 to reach 14 and 15, user and system time.
    let mut fields = fields.skip(4);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // Skip 16 to 21 to reach 22, the start.
    let mut fields = fields.skip(6);
    let start_time = fields.next()?.parse().ok()?;
    // 23 is the virtual size, 24 the resident pages.
    let pages: u64 = fields.nth(1)?.parse().ok()?;
    let memory_bytes = pages * page_size();
    // Skip 25 to reach 26, where the code begins: the last the kernel sets of a new program; it says 1 to those who may
    // not know. 50 and 51 are where the environment begins and ends.
    let mut addresses = fields.skip(1).map(|field| field.parse().unwrap_or(0_u64));
    let code = addresses.next();
    let (start, end) = (addresses.nth(23).unwrap_or(0), addresses.next().unwrap_or(0));
    Some(Sample {
        state,
        parent,
        group,
        session,
        ending: flags & PF_EXITING != 0,
        executing: code == Some(0) && flags & (PF_EXITING | PF_KTHREAD) == 0,
        environment_bytes: end.saturating_sub(start),
        cpu_ticks: user + system,
        start_time,
        memory_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = b"42 (a) R 9 (b) S 1 42 40 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 1 0 12345 999 3";
        let sample = parse(stat).expect("parses");
        assert_eq!((sample.state, sample.parent), ('S', 1));
        assert_eq!((sample.group, sample.session, sample.ending), (42, 40, false));
        let ending = String::from_utf8_lossy(stat).replace("4194560", "4194564");
        assert!(parse(ending.as_bytes()).expect("parses").ending);
        // Code, 23 fields that do not matter, begin and end of the environment.
        let cases = [
            (0, " 0 0", true, 0),
            (0, " 140700 140700", true, 0),
            (4096, " 140700 140700", false, 0),
            (1, " 0 0", false, 0),
            (4096, " 140700 140735", false, 35),
        ];
        for (code, environment, executing, bytes) in cases {
            let rest = " 7".repeat(23);
            let stat = format!("{} 18 {code}{rest}{environment}", String::from_utf8_lossy(stat));
            let sample = parse(stat.as_bytes()).expect("parses");
            assert_eq!((sample.executing, sample.environment_bytes), (executing, bytes), "{stat}");
        }
        let kernels = String::from_utf8_lossy(stat).replace("4194560", "2129984");
        let rest = " 0".repeat(25);
        assert!(!parse(format!("{kernels} 0 0{rest}").as_bytes()).expect("parses").executing);
        assert_eq!((sample.cpu_ticks, sample.start_time), (12, 12345));
        assert_eq!(sample.memory_bytes, 3 * page_size());
        assert_eq!(parse(b"42 (short) S 1"), None);
    }

    #[test]
    fn samples_this_process_and_refuses_one_that_does_not_exist() {
        let own = sample(std::process::id()).expect("samples itself");
        assert!(own.memory_bytes > 0 && own.start_time > 0);
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(sample(u32::MAX).is_err());
        assert_eq!(boot_id().expect("has a boot id").len(), 36);
    }
}
