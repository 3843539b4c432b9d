//! One start, from the [`Command`] to the running child or a clear error. Blocks until the exec.

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use super::child::{self, Array, Gap, Ids, Limit, Move, Plan, Report, Step};
use super::clone::{Stack, vfork};
use super::stage::Stage;
use super::{Child, Command, credentials, resolve};
use crate::os::children::Children;
use crate::os::procfs::STAT_BYTES;
use crate::os::{Error, pidfd, procfs};

/// Starts processes, one after the other.
pub(super) struct Launcher {
    stack: Stack,
    null: OwnedFd,
    stage: Stage,
    children: Arc<Children>,
}

impl Launcher {
    pub(super) fn new(children: Arc<Children>) -> io::Result<Self> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?.into();
        Ok(Self { stack: Stack::new()?, stage: Stage::new(&null)?, null, children })
    }

    /// Returns once the program runs or the start has failed, with nothing left of it.
    pub(super) fn launch(&mut self, command: &Command) -> Result<Child, Error> {
        let mut prepared = Prepared::of(command, &self.null)?;
        let staged = self.stage.fill(&mut prepared.moves, &self.null);
        let launched = match staged {
            Ok(()) => self.launch_staged(command, &mut prepared),
            Err(source) => Err(prepared.failed("hand over the descriptors", source)),
        };
        self.stage.clear(&self.null);
        launched
    }

    fn launch_staged(
        &mut self,
        command: &Command,
        prepared: &mut Prepared,
    ) -> Result<Child, Error> {
        let mut plan = prepared.plan(command, self.stage.end());
        let children = Arc::clone(&self.children);
        let _reaper_out = children.shared_blocking();
        let cloned = {
            let _blocked = SignalsBlocked::new();
            // SAFETY: the entry is `child::run`, made for this; the plan points into `prepared` and `command`,
            // which outlive the call; all signals are blocked.
            unsafe { vfork(&mut self.stack, child::run, (&raw mut plan).cast::<c_void>()) }
        };
        let (pid, descriptor) =
            cloned.map_err(|source| prepared.failed("create a process", source))?;
        if let Some((step, errno)) = plan.report.failed {
            // It has ended and nobody else knows it, so this takes its status at once.
            let reaped = pidfd::reap_now(&descriptor);
            debug_assert!(reaped.is_ok(), "a failed child is ours to reap");
            return Err(prepared.step_failed(step, io::Error::from_raw_os_error(errno), command));
        }
        let stat = &plan.report.stat[..plan.report.stat_length];
        // The kernel writes this text, so it parses; 0 would be a start no process can have.
        let start_time = procfs::parse(stat).map_or(0, |sample| sample.start_time);
        Ok(Child::new(pid, descriptor, start_time, &children))
    }
}

/// The command in the forms the kernel takes.
struct Prepared {
    program: PathBuf,
    program_text: CString,
    argv: Texts,
    envp: Texts,
    cwd: CString,
    account: Option<credentials::Account>,
    limits: Vec<Limit>,
    moves: Vec<Move>,
    gaps: Vec<Gap>,
    floor: c_int,
    cgroup_procs: Option<OwnedFd>,
}

impl Prepared {
    fn of(command: &Command, null: &OwnedFd) -> Result<Self, Error> {
        let Some(name) = command.argv.first().filter(|name| !name.is_empty()) else {
            return Err(invalid(OsStr::new(""), "it is empty"));
        };
        let account = account(command)?;
        let program = resolve::program(name, &command.env, &command.cwd)?;
        let text = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| invalid(name, "a text holds a NUL byte"))
        };
        let argv = command.argv.iter().map(|argument| text(argument)).collect::<Result<_, _>>()?;
        let mut variables = Vec::with_capacity(command.env.len() + 3);
        for (key, value) in &command.env {
            variables.push(text(&assignment(key, value))?);
        }
        for (key, value) in account.iter().flat_map(account_variables) {
            if !command.env.iter().any(|(given, _)| given == key) {
                variables.push(text(&assignment(OsStr::new(key), value))?);
            }
        }
        let (moves, gaps, floor) = descriptors(command, null, name)?;
        Ok(Self {
            program_text: text(program.as_os_str())?,
            argv: Texts::new(argv),
            envp: Texts::new(variables),
            cwd: text(command.cwd.as_os_str())?,
            account,
            limits: command.rlimits.iter().map(limit).collect(),
            moves,
            gaps,
            floor,
            cgroup_procs: cgroup_procs(command, &program)?,
            program,
        })
    }

    fn plan(&mut self, command: &Command, copied: u32) -> Plan {
        Plan {
            program: self.program_text.as_ptr(),
            argv: self.argv.pointers.as_ptr(),
            envp: self.envp.pointers.as_ptr(),
            cwd: self.cwd.as_ptr(),
            account: self.account.as_ref().map(|account| Ids {
                uid: account.uid,
                gid: account.gid,
                groups: account.groups.as_ptr(),
                group_count: account.groups.len(),
            }),
            umask: command.umask,
            nice: command.nice,
            limits: Array::of(&mut self.limits),
            moves: Array::of(&mut self.moves),
            gaps: Array::of(&mut self.gaps),
            floor: self.floor,
            copied,
            cgroup_procs: self.cgroup_procs.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            report: Report { failed: None, stat: [0; STAT_BYTES], stat_length: 0 },
        }
    }

    fn failed(&self, step: &'static str, source: io::Error) -> Error {
        Error::Start { step, program: self.program.clone(), source }
    }

    fn step_failed(&self, step: Step, source: io::Error, command: &Command) -> Error {
        let program = self.program.clone();
        match step {
            Step::Session => self.failed("open a session", source),
            Step::Cgroup => self.failed("enter the cgroup", source),
            Step::Signals => self.failed("reset the signals", source),
            Step::Descriptors => self.failed("hand over the descriptors", source),
            Step::StartTime => self.failed("read `/proc/self/stat`", source),
            Step::Nice => self.failed("set the priority", source),
            Step::Limits => self.failed("set the resource limits", source),
            Step::Groups => self.failed("set the groups", source),
            Step::Group => self.failed("become the group", source),
            Step::User => self.failed("become the user", source),
            Step::Directory => Error::WorkingDirectory { path: command.cwd.clone(), source },
            Step::Execute => match source.raw_os_error() {
                // The file itself was found before the clone.
                Some(libc::ENOENT) => {
                    let interpreter = resolve::interpreter(&program);
                    Error::InterpreterNotFound { program, interpreter }
                }
                Some(libc::EACCES | libc::EPERM | libc::ENOEXEC | libc::ELIBBAD) => {
                    Error::ProgramNotExecutable { program, source }
                }
                _ => self.failed("execute the program", source),
            },
        }
    }
}

/// Null-terminated pointers to texts, as argv and envp are.
struct Texts {
    _owner: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Texts {
    fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Self { _owner: texts, pointers }
    }
}

/// Blocks every signal in this thread, those of the C library as well; restores the mask when dropped.
struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    fn new() -> Self {
        Self { before: set_signal_mask(u64::MAX) }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        set_signal_mask(self.before);
    }
}

/// Raw, because `pthread_sigmask(3)` leaves out the C library's own two signals, whose handlers must not run in
/// the child either.
fn set_signal_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: two live kernel signal sets of eight bytes; the call cannot fail with a valid `how`.
    unsafe {
        let (new, old) = (&raw const mask, &raw mut before);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, old, 8_usize);
    }
    before
}

fn account(command: &Command) -> Result<Option<credentials::Account>, Error> {
    if command.user.is_none() && command.group.is_none() {
        return Ok(None);
    }
    let account = credentials::lookup(command.user.as_deref(), command.group.as_deref())?;
    Ok(Some(account))
}

fn account_variables(
    account: &credentials::Account,
) -> impl Iterator<Item = (&'static str, &OsStr)> {
    let name = account.name.as_deref();
    let home = account.home.as_deref().map(Path::as_os_str);
    [("HOME", home), ("USER", name), ("LOGNAME", name)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
}

fn assignment(key: &OsStr, value: &OsStr) -> OsString {
    let mut text = OsString::with_capacity(key.len() + 1 + value.len());
    text.push(key);
    text.push("=");
    text.push(value);
    text
}

fn limit((resource, value): &(super::Resource, u64)) -> Limit {
    Limit { resource: *resource as u32, values: [*value, *value] }
}

/// Where each descriptor goes, the gaps to close between them, and the first number above them all.
fn descriptors(
    command: &Command,
    null: &OwnedFd,
    program: &OsStr,
) -> Result<(Vec<Move>, Vec<Gap>, c_int), Error> {
    let mut moves: Vec<Move> = Vec::with_capacity(command.descriptors.len() + 3);
    for (target, source) in &command.descriptors {
        // The kernel's own bound is far above; this keeps the arithmetic below from overflowing.
        if !(0..=0xFFFF).contains(target) {
            return Err(invalid(program, "a descriptor's number is not within 0 to 65535"));
        }
        moves.push(Move { source: source.as_raw_fd(), target: *target });
    }
    for target in 0..=2 {
        if !moves.iter().any(|given| given.target == target) {
            moves.push(Move { source: null.as_raw_fd(), target });
        }
    }
    moves.sort_unstable_by_key(|entry| entry.target);
    let mut gaps = Vec::with_capacity(moves.len());
    let mut next = 0;
    for entry in &moves {
        if entry.target < next {
            return Err(invalid(program, "two descriptors have the same number"));
        }
        if entry.target > next {
            gaps.push(Gap { first: next.unsigned_abs(), last: entry.target.unsigned_abs() - 1 });
        }
        next = entry.target + 1;
    }
    gaps.push(Gap { first: next.unsigned_abs(), last: u32::MAX });
    Ok((moves, gaps, next))
}

fn cgroup_procs(command: &Command, program: &Path) -> Result<Option<OwnedFd>, Error> {
    use rustix::fs::{Mode, OFlags, openat};
    let Some(directory) = &command.cgroup else { return Ok(None) };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = openat(directory, c"cgroup.procs", flags, Mode::empty());
    let opened = opened.map_err(|errno| Error::Start {
        step: "open the cgroup",
        program: program.to_owned(),
        source: errno.into(),
    })?;
    Ok(Some(opened))
}

fn invalid(program: &OsStr, reason: &'static str) -> Error {
    Error::InvalidCommand { program: program.to_string_lossy().into_owned(), reason }
}
