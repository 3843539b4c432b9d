//! One pass over cafe's orphans, which answers for any number of services. Reads `/proc`: blocks for moments.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};

use super::{Family, MARK, Remaining};
use crate::os::children::Children;
use crate::os::{Error, procfs};

/// Passes until two agree.
const PASSES: usize = 8;

/// Looks at a process that executes; a hundred take about a millisecond.
const LOOKS: usize = 2_000;

/// Longest environment looked at; the kernel allows more, but then the mark is not in it by accident.
const ENVIRONMENT_BYTES: u64 = 1 << 20;

/// The orphans there were at one moment, with their descendants.
#[derive(Debug)]
pub struct Scan {
    trees: Vec<Vec<Found>>,
    /// Whether a process that is not in it certainly was not there; not so while orphans come and go too fast.
    settled: bool,
}

/// One look at all orphans.
struct Pass {
    orphans: BTreeSet<u32>,
    trees: Vec<Vec<Found>>,
    seen: Seen,
}

/// What was listed, and not simply alive when it was looked at.
#[derive(Default)]
struct Seen {
    /// Ended: its children may have been missed.
    ended: HashSet<u32>,
    /// About to end: its mark may have been missed, and children that it forked just before.
    ending: HashSet<u32>,
    /// One that executes a program, so whose it is cannot be told.
    unknown: bool,
}

#[derive(Debug)]
pub(super) struct Found {
    pid: u32,
    start_time: u64,
    session: u32,
    group: u32,
    mark: Option<String>,
    executing: bool,
}

impl Scan {
    /// Looks at all children of this process that nobody waits for, and below them. Blocks.
    pub(super) fn new(known: &Children) -> Result<Self, Error> {
        let failed = |source| Error::system("list", "the children of cafe", source);
        // An orphan reaped while the list is read makes the kernel skip the one behind it (proc(5)).
        let _reaper_out = known.shared_blocking();
        let mut last = Pass::new(known).map_err(failed)?;
        for _ in 1..PASSES {
            let now = Pass::new(known).map_err(failed)?;
            // The children of an orphan are orphans by the time it is seen to have ended, and one that is about to
            // end forks no more. So what the first of two passes missed is listed in the second, and when both agree
            // nothing was missed.
            let settled = now.orphans == last.orphans
                && now.seen.ended.is_subset(&last.seen.ended)
                && now.seen.ending.is_subset(&last.seen.ending)
                && !now.seen.unknown;
            last = now;
            if settled {
                return Ok(Self { trees: last.trees, settled });
            }
        }
        Ok(Self { trees: last.trees, settled: false })
    }

    /// Every living process of the family: orphans of it with all their descendants, and while its main
    /// process lives, the descendants of that. Never the main process itself.
    ///
    /// Empty also when all of them ended since the scan: then only another scan tells whether they left any.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn of(&self, family: &Family) -> Result<Vec<Remaining>, Error> {
        open(self.members(family))
    }

    /// As [`Scan::of`], and whether the family certainly had no living process.
    pub(super) fn verdict(&self, family: &Family) -> Result<(Vec<Remaining>, bool), Error> {
        let members = self.members(family);
        let clear = self.settled && members.is_empty();
        Ok((open(members)?, clear))
    }

    /// Process ids and start times.
    fn members(&self, family: &Family) -> Vec<(u32, u64)> {
        let stranger = family.number_was_given_anew();
        let belongs = |process: &Found| process.belongs_to(family, !stranger);
        let trees = self.trees.iter().filter(|tree| tree.iter().any(belongs));
        let mut members: Vec<_> = trees.flatten().map(id).collect();
        let alive = procfs::sample(family.main).is_ok_and(|main| main.session == family.main);
        if alive
            && !stranger
            && let Ok(lineage) = Lineage::new()
        {
            let below = tree(&lineage, family.main, &mut Seen::default());
            // Its number still is its own: all that was found below it came from it.
            if !family.number_was_given_anew() {
                members.extend(below.iter().map(id));
            }
        }
        members.retain(|&(pid, _)| pid != family.main);
        members
    }
}

fn id(process: &Found) -> (u32, u64) {
    (process.pid, process.start_time)
}

/// Those that still live.
fn open(members: Vec<(u32, u64)>) -> Result<Vec<Remaining>, Error> {
    let opened = members.into_iter().map(|(pid, start_time)| Remaining::open(pid, start_time));
    opened.filter_map(Result::transpose).collect()
}

impl Pass {
    fn new(known: &Children) -> io::Result<Self> {
        let lineage = Lineage::new()?;
        let orphans = lineage.orphans()?;
        let unknown: Vec<u32> = {
            let known = known.known();
            orphans.iter().copied().filter(|pid| !known.contains(pid)).collect()
        };
        let mut seen = Seen::default();
        let trees = unknown.into_iter().map(|root| tree(&lineage, root, &mut seen)).collect();
        Ok(Self { orphans, trees, seen })
    }
}

impl Found {
    /// `None` when it has ended. Of one that executes a program it is known after a moment whose it is.
    fn look(pid: u32) -> Option<Self> {
        for _ in 0..LOOKS {
            let (found, sample) =
                Self::look_at_any(pid).filter(|(_, sample)| sample.state != 'Z')?;
            if !found.may_have_a_mark(&sample) {
                return Some(found);
            }
            std::thread::yield_now();
        }
        None
    }

    /// Of a zombie, too: that has no mark any more, but still a session and a group.
    pub(super) fn look_at_any(pid: u32) -> Option<(Self, procfs::Sample)> {
        // It may execute a program at any moment, of these three as well: only an environment that is as long as it is
        // said to be was read, and of one that executes all the time maybe none.
        let before = Environment::of(pid);
        let sample = procfs::sample(pid).ok()?;
        let whole = |environment: &Environment| {
            environment.bytes == sample.environment_bytes.min(ENVIRONMENT_BYTES)
        };
        let environment = if whole(&before) { before } else { Environment::of(pid) };
        let executing = sample.executing || !whole(&environment);
        let (start_time, session, group) = (sample.start_time, sample.session, sample.group);
        let mark = environment.mark;
        Some((Self { pid, start_time, session, group, mark, executing }, sample))
    }

    /// Whether it may have a mark that was not seen: it ends or executes just now.
    pub(super) fn may_have_a_mark(&self, sample: &procfs::Sample) -> bool {
        self.mark.is_none() && (sample.ending || self.executing)
    }

    /// `by_number`: whether the number of the main process still names what it named.
    pub(super) fn belongs_to(&self, family: &Family, by_number: bool) -> bool {
        match &self.mark {
            Some(mark) => *mark == family.mark,
            None => by_number && (self.session == family.main || self.group == family.main),
        }
    }
}

/// A process that bears the mark of some service.
#[derive(Debug)]
pub struct Marked {
    /// The seat of a service, as its mark has it.
    pub seat: String,
    /// The process.
    pub process: Remaining,
    /// Its session: equal to its process id for the main process of a service.
    pub session: u32,
}

/// All processes on the machine with a mark of this state directory. Walks all of `/proc`: for the start after
/// a crash of cafe only.
///
/// # Errors
/// When `/proc` cannot be read, or no descriptor is left.
pub fn marked(state_id: &str) -> Result<Vec<Marked>, Error> {
    let failed = |source| Error::system("list", "/proc", source);
    let mut marked = Vec::new();
    for pid in numbers_in("/proc").map_err(failed)? {
        if pid == std::process::id() {
            continue;
        }
        let Some(found) = Found::look(pid) else { continue };
        let seat = found.mark.as_deref().and_then(|mark| mark.strip_prefix(state_id));
        let Some(seat) = seat.and_then(|rest| rest.strip_prefix('/')) else { continue };
        if let Some(process) = Remaining::open(pid, found.start_time)? {
            marked.push(Marked { seat: seat.to_owned(), process, session: found.session });
        }
    }
    Ok(marked)
}

/// What was read of the environment of a process: nothing when it is not ours to read.
#[derive(Default)]
struct Environment {
    mark: Option<String>,
    /// Longer ones are cut.
    bytes: u64,
}

impl Environment {
    fn of(pid: u32) -> Self {
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(ENVIRONMENT_BYTES).read_to_end(&mut text));
        if read.is_err() {
            return Self::default();
        }
        let value = text
            .split(|&byte| byte == 0)
            .find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
        let mark = value.and_then(|value| String::from_utf8(value.to_owned()).ok());
        Self { mark, bytes: text.len() as u64 }
    }
}

/// The living processes from `root` down.
fn tree(lineage: &Lineage, root: u32, seen: &mut Seen) -> Vec<Found> {
    let mut found = Vec::new();
    let mut listed = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        // Before the look: of a process that then has not ended, all children were below it.
        let below = lineage.children_of(pid).unwrap_or_default();
        match Found::look_at_any(pid).filter(|(_, sample)| sample.state != 'Z') {
            Some((living, sample)) => {
                if sample.ending {
                    seen.ending.insert(pid);
                }
                seen.unknown |= !sample.ending && living.may_have_a_mark(&sample);
                found.push(living);
            }
            None => drop(seen.ended.insert(pid)),
        }
        next.extend(below.into_iter().filter(|&child| listed.insert(child)));
    }
    found
}

/// Who is whose child: from `/proc/PID/task/TID/children`, or from every `stat` where the kernel has no such
/// file (it is a build option).
enum Lineage {
    Files,
    Map(HashMap<u32, Vec<u32>>),
}

impl Lineage {
    fn new() -> io::Result<Self> {
        if fs::metadata("/proc/thread-self/children").is_ok() {
            return Ok(Self::Files);
        }
        let mut map: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in numbers_in("/proc")? {
            if let Ok(sample) = procfs::sample(pid) {
                map.entry(sample.parent).or_default().push(pid);
            }
        }
        Ok(Self::Map(map))
    }

    /// The kernel gives orphans to the first thread of the subreaper; what other threads started is theirs.
    fn orphans(&self) -> io::Result<BTreeSet<u32>> {
        let own = std::process::id();
        match self {
            Self::Files => children_of_thread(own, own),
            Self::Map(_) => self.children_of(own),
        }
    }

    fn children_of(&self, pid: u32) -> io::Result<BTreeSet<u32>> {
        if let Self::Map(map) = self {
            return Ok(map.get(&pid).into_iter().flatten().copied().collect());
        }
        let mut children = BTreeSet::new();
        for thread in numbers_in(&format!("/proc/{pid}/task"))? {
            // On an error the thread has ended; its children are another thread's now.
            children.extend(children_of_thread(pid, thread).unwrap_or_default());
        }
        Ok(children)
    }
}

fn children_of_thread(pid: u32, thread: u32) -> io::Result<BTreeSet<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"))?;
    Ok(text.split_whitespace().filter_map(number).collect())
}

fn numbers_in(directory: &str) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries.filter_map(|entry| number(entry.ok()?.file_name().to_str()?)).collect())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}
