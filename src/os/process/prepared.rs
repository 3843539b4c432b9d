//! A [`Command`] in the forms the kernel takes, with what is wrong with it told before anything is made.

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use super::child::{Array, Gap, Ids, Limit, Move, Plan, Report, Step, Wanted};
use super::{Command, credentials, resolve};
use crate::os::Error;
use crate::os::procfs::STAT_BYTES;

/// Digits of the largest number of 32 bits, and a NUL.
const PID_ROOM: usize = 11;

/// The command in the forms the kernel takes.
pub(super) struct Prepared {
    program: PathBuf,
    program_text: CString,
    argv: Texts,
    envp: Texts,
    /// `NAME=` and room for a process id; the last variable of `envp`.
    own_pid: Option<Vec<u8>>,
    cwd: CString,
    account: Option<credentials::Account>,
    limits: Vec<Limit>,
    /// Where descriptors go; the launcher may say that they come from elsewhere.
    pub moves: Vec<Move>,
    gaps: Vec<Gap>,
    floor: c_int,
    cgroup_procs: Option<OwnedFd>,
}

impl Prepared {
    /// Blocks while accounts are looked up.
    ///
    /// # Errors
    /// What the command lacks.
    pub(super) fn of(command: &Command, null: &OwnedFd) -> Result<Self, Error> {
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
        let mut own_pid = command.own_pid_in.map(room_for_pid);
        let last = own_pid.as_mut().map(|variable| variable.as_mut_ptr().cast::<c_char>());
        let (moves, gaps, floor) = descriptors(command, null, name)?;
        Ok(Self {
            program_text: text(program.as_os_str())?,
            argv: Texts::new(argv, None),
            envp: Texts::new(variables, last.map(<*mut c_char>::cast_const)),
            own_pid,
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

    /// For one child, which copies descriptors below `copied` only.
    pub(super) fn plan(&mut self, command: &Command, copied: u32) -> Plan {
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
            capabilities: self.capabilities(command),
            no_new_privs: command.no_new_privs,
            limits: Array::of(&mut self.limits),
            moves: Array::of(&mut self.moves),
            gaps: Array::of(&mut self.gaps),
            floor: self.floor,
            copied,
            cgroup_procs: self.cgroup_procs.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            own_pid: self.own_pid.as_mut().map_or(ptr::null_mut(), |variable| {
                let digits = variable.len() - PID_ROOM;
                variable[digits..].as_mut_ptr()
            }),
            report: Report { failed: None, stat: [0; STAT_BYTES], stat_length: 0 },
        }
    }

    /// Root is given by the exec whatever its bounding set has; others have what is ambient. Cafe's own ambient ones are
    /// not for its services.
    fn capabilities(&self, command: &Command) -> Option<Wanted> {
        let uid = self.account.as_ref().map(|account| account.uid);
        let is_root = uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()) == 0;
        let bits = command.capabilities.map(|set| set.bits());
        match bits {
            None if is_root => None,
            bits => Some(Wanted { bits: bits.unwrap_or(0), bound: is_root }),
        }
    }

    /// The error of a step that failed for `source`.
    pub(super) fn failed(&self, step: &'static str, source: io::Error) -> Error {
        Error::Start { step, program: self.program.clone(), source }
    }

    /// The error of a step of the child.
    pub(super) fn step_failed(&self, step: Step, source: io::Error, command: &Command) -> Error {
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
            Step::Capabilities => self.failed("take the capabilities", source),
            Step::NoNewPrivileges => self.failed("set `no_new_privs`", source),
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
    /// `last` follows the texts; its owner is somebody else.
    fn new(texts: Vec<CString>, last: Option<*const c_char>) -> Self {
        let own = texts.iter().map(|text| text.as_ptr());
        let pointers = own.chain(last).chain([ptr::null()]).collect();
        Self { _owner: texts, pointers }
    }
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

/// `NAME=` with room for the digits, all NUL until the child writes them.
fn room_for_pid(name: &str) -> Vec<u8> {
    let mut variable = format!("{name}=").into_bytes();
    variable.resize(variable.len() + PID_ROOM, 0);
    variable
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
