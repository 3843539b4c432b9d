//! What the child does between clone and exec.
//!
//! It shares memory with a running, multi-threaded process: only raw system calls here, no allocation, no lock,
//! no panic, no C library wrapper with a memory of its own (setuid(3) would signal the other threads).

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;

use crate::os::procfs::STAT_BYTES;

/// An argument of prctl(2) that must be zero, of the width of a register.
const NONE: usize = 0;

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Session,
    Cgroup,
    Signals,
    Descriptors,
    StartTime,
    Nice,
    Limits,
    Groups,
    Group,
    User,
    Capabilities,
    NoNewPrivileges,
    Directory,
    Execute,
}

/// Everything the child needs, prepared by the parent; raw so that the child touches nothing that could panic.
pub(super) struct Plan {
    pub program: *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
    pub cwd: *const c_char,
    pub account: Option<Ids>,
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    pub limits: Array<Limit>,
    pub capabilities: Option<Wanted>,
    pub no_new_privs: bool,
    pub moves: Array<Move>,
    pub gaps: Array<Gap>,
    /// First number above all targets.
    pub floor: c_int,
    /// First number above all sources: what lies there is not even copied.
    pub copied: u32,
    /// `cgroup.procs` of the cgroup to join, or -1.
    pub cgroup_procs: c_int,
    /// Where in the environment the digits of the child's process id go: room for ten and a NUL, or null.
    pub own_pid: *mut u8,
    /// Written by the child.
    pub report: Report,
}

/// The child's answer, in memory shared with the parent.
pub(super) struct Report {
    pub failed: Option<(Step, c_int)>,
    pub stat: [u8; STAT_BYTES],
    pub stat_length: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub uid: u32,
    pub gid: u32,
    pub groups: *const u32,
    pub group_count: usize,
}

/// The capabilities to have, as bits of the kernel.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Permitted, effective, inheritable and ambient.
    pub bits: u64,
    /// Whether the bounding set is to have no more: root is given all of it by the exec.
    pub bound: bool,
}

#[repr(C)]
pub(super) struct Limit {
    pub resource: u32,
    /// Soft and hard, as `struct rlimit64`.
    pub values: [u64; 2],
}

/// Descriptor `source` is to become `target`.
pub(super) struct Move {
    pub source: c_int,
    pub target: c_int,
}

/// An inclusive range of numbers to close.
pub(super) struct Gap {
    pub first: u32,
    pub last: u32,
}

/// A slice that cannot panic.
pub(super) struct Array<T> {
    pub first: *mut T,
    pub count: usize,
}

impl<T> Array<T> {
    pub(super) fn of(items: &mut [T]) -> Self {
        Self { first: items.as_mut_ptr(), count: items.len() }
    }
}

/// Entry of the child. Comes back only to end: by exec or by `_exit`.
pub(super) extern "C" fn run(argument: *mut c_void) -> c_int {
    let plan = argument.cast::<Plan>();
    // SAFETY: the parent passes a valid plan, exclusively ours until it runs again, which is after our exec or
    // exit (CLONE_VFORK). Everything called is a system call on values from that plan.
    unsafe {
        let failed = prepare_and_execute(&mut *plan);
        (*plan).report.failed = Some(failed);
        libc::_exit(127)
    }
}

/// Returns only on failure.
unsafe fn prepare_and_execute(plan: &mut Plan) -> (Step, c_int) {
    // SAFETY: as in `run`; each step says what it passes.
    let done = unsafe { prepare(plan) };
    if let Err(failed) = done {
        return failed;
    }
    // SAFETY: program, argv and envp are null-terminated and outlive the call.
    unsafe { libc::syscall(libc::SYS_execve, plan.program, plan.argv, plan.envp) };
    (Step::Execute, errno())
}

unsafe fn prepare(plan: &mut Plan) -> Result<(), (Step, c_int)> {
    // SAFETY: plain numbers, or pointers into the plan that outlive the calls.
    unsafe {
        check(Step::Session, libc::syscall(libc::SYS_setsid))?;
        // Not born there (CLONE_INTO_CGROUP), which would cost less: Linux 6.18 then kills it at once when anybody ever
        // wrote to `cgroup.kill` of that cgroup.
        if plan.cgroup_procs >= 0 {
            let written = libc::syscall(libc::SYS_write, plan.cgroup_procs, c"0".as_ptr(), 1_usize);
            check(Step::Cgroup, written)?;
        }
        reset_signals()?;
        take_own_table(plan.copied)?;
        take_descriptors(plan)?;
        read_own_stat(&mut plan.report)?;
        if !plan.own_pid.is_null() {
            write_own_pid(plan.own_pid);
        }
        if let Some(mask) = plan.umask {
            libc::syscall(libc::SYS_umask, mask);
        }
        if let Some(nice) = plan.nice {
            let result = libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice);
            check(Step::Nice, result)?;
        }
        for index in 0..plan.limits.count {
            let limit = &*plan.limits.first.add(index);
            let old = ptr::null_mut::<c_void>();
            let values = limit.values.as_ptr();
            let result = libc::syscall(libc::SYS_prlimit64, 0, limit.resource, values, old);
            check(Step::Limits, result)?;
        }
        if plan.capabilities.is_some_and(|wanted| wanted.bits != 0) {
            // Else they go when root becomes another user.
            let keep = libc::PR_SET_KEEPCAPS;
            check(Step::Capabilities, libc::syscall(libc::SYS_prctl, keep, 1_usize))?;
        }
        if let Some(ids) = plan.account {
            let result = libc::syscall(libc::SYS_setgroups, ids.group_count, ids.groups);
            check(Step::Groups, result)?;
            check(Step::Group, libc::syscall(libc::SYS_setresgid, ids.gid, ids.gid, ids.gid))?;
            // This also makes the memory we share undumpable, so that the user we become cannot trace us
            // into cafe before the exec. Nobody may set it back.
            check(Step::User, libc::syscall(libc::SYS_setresuid, ids.uid, ids.uid, ids.uid))?;
        }
        if let Some(wanted) = plan.capabilities {
            take_capabilities(wanted)?;
        }
        check(Step::Directory, libc::syscall(libc::SYS_chdir, plan.cwd))?;
        if plan.no_new_privs {
            let option = libc::PR_SET_NO_NEW_PRIVS;
            check(
                Step::NoNewPrivileges,
                libc::syscall(libc::SYS_prctl, option, 1_usize, NONE, NONE, NONE),
            )?;
        }
        unblock_signals()
    }
}

/// Exactly these, over the exec too: what is permitted and inheritable may be ambient, and only that stays when another
/// user than root executes an ordinary file (capabilities(7)).
unsafe fn take_capabilities(wanted: Wanted) -> Result<(), (Step, c_int)> {
    let is_wanted = |number: &usize| wanted.bits & (1 << number) != 0;
    if wanted.bound {
        for number in (0..64_usize).filter(|number| !is_wanted(number)) {
            let option = libc::PR_CAPBSET_DROP;
            // SAFETY: plain numbers.
            let dropped = unsafe { libc::syscall(libc::SYS_prctl, option, number) };
            if dropped < 0 && errno() == libc::EINVAL {
                // The first that the kernel does not know.
                break;
            }
            check(Step::Capabilities, dropped)?;
        }
    }
    // `_LINUX_CAPABILITY_VERSION_3`, of this thread; then two halves of effective, permitted, inheritable (capget(2)).
    let header = [0x2008_0522_u32, 0];
    let (low, high) = (wanted.bits as u32, (wanted.bits >> 32) as u32);
    let sets = [low, low, low, high, high, high];
    // SAFETY: two live structures of the layout of this version.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    check(Step::Capabilities, set)?;
    for number in (0..64_usize).filter(is_wanted) {
        let (option, raise) = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize);
        // SAFETY: plain numbers.
        let raised = unsafe { libc::syscall(libc::SYS_prctl, option, raise, number, NONE, NONE) };
        check(Step::Capabilities, raised)?;
    }
    Ok(())
}

/// Handlers would run in shared memory, and an ignored SIGPIPE would be inherited over exec.
unsafe fn reset_signals() -> Result<(), (Step, c_int)> {
    // A kernel sigaction of zeroes is SIG_DFL without flags, on every architecture at most 32 bytes.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        let old = ptr::null_mut::<c_void>();
        // SAFETY: the structure is live and of sufficient size; no old one is asked for.
        let result = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8_usize)
        };
        check(Step::Signals, result)?;
    }
    Ok(())
}

unsafe fn unblock_signals() -> Result<(), (Step, c_int)> {
    let none = 0_u64;
    let old = ptr::null_mut::<c_void>();
    // SAFETY: an 8-byte kernel signal set that outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, old, 8_usize)
    };
    check(Step::Signals, result)
}

/// Until here the table was cafe's own. The kernel copies only what lies below `copied`: a start costs the same
/// however many descriptors cafe has.
unsafe fn take_own_table(copied: u32) -> Result<(), (Step, c_int)> {
    let flags = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: plain numbers; the table closed from is the copy made by the call.
    let result = unsafe { libc::syscall(libc::SYS_close_range, copied, u32::MAX, flags) };
    check(Step::Descriptors, result)
}

unsafe fn take_descriptors(plan: &mut Plan) -> Result<(), (Step, c_int)> {
    // SAFETY: moves and gaps are live arrays of the plan; the descriptors are copies in the child's own table.
    unsafe {
        for index in 0..plan.moves.count {
            let entry = &mut *plan.moves.first.add(index);
            if entry.source >= plan.floor {
                continue;
            }
            // It lies where some target goes: move it out of the way first.
            let command = libc::F_DUPFD_CLOEXEC;
            let moved = libc::syscall(libc::SYS_fcntl, entry.source, command, plan.floor);
            check(Step::Descriptors, moved)?;
            entry.source = moved as c_int;
        }
        for index in 0..plan.moves.count {
            let entry = &*plan.moves.first.add(index);
            let result = libc::syscall(libc::SYS_dup3, entry.source, entry.target, 0);
            check(Step::Descriptors, result)?;
        }
        for index in 0..plan.gaps.count {
            let gap = &*plan.gaps.first.add(index);
            let result = libc::syscall(libc::SYS_close_range, gap.first, gap.last, 0);
            check(Step::Descriptors, result)?;
        }
    }
    Ok(())
}

/// Read here rather than by the parent: it cannot fail for want of descriptors after the program has started.
unsafe fn read_own_stat(report: &mut Report) -> Result<(), (Step, c_int)> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: a constant path, and a buffer with its own length.
    unsafe {
        let path = c"/proc/self/stat".as_ptr();
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags);
        check(Step::StartTime, file)?;
        let buffer = report.stat.as_mut_ptr();
        let length = libc::syscall(libc::SYS_read, file, buffer, STAT_BYTES);
        libc::syscall(libc::SYS_close, file);
        check(Step::StartTime, length)?;
        report.stat_length = length as usize;
    }
    Ok(())
}

/// Nobody but the child knows its process id before the program begins. Decimal, as `sd_listen_fds(3)` wants it.
unsafe fn write_own_pid(digits: *mut u8) {
    // SAFETY: takes nothing, cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) } as u32;
    let mut scale = 1_u32;
    while pid / scale >= 10 {
        scale = scale.wrapping_mul(10);
    }
    let mut next = digits;
    while scale > 0 {
        // SAFETY: a number of 32 bits has at most ten digits, for which and a NUL there is room.
        unsafe {
            *next = b'0'.wrapping_add((pid / scale % 10) as u8);
            next = next.add(1);
        }
        scale /= 10;
    }
    // SAFETY: as above.
    unsafe { *next = 0 };
}

fn check(step: Step, result: c_long) -> Result<(), (Step, c_int)> {
    if result < 0 { Err((step, errno())) } else { Ok(()) }
}

/// The C library's `errno`: it is the waiting parent thread's, which does not use it meanwhile.
fn errno() -> c_int {
    // SAFETY: always valid for reads in a thread of the C library.
    unsafe { *libc::__errno_location() }
}
