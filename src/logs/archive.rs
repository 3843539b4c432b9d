//! The second thread: compresses full log files, and removes the oldest when all logs together are too large.
//!
//! It never touches a `current` file. It runs at a low priority and leaves a file alone until it is two seconds old: a
//! service that fills files faster than that would have them removed before compressing them paid.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::dir::{self, Archive};
use super::pump::Limits;
use crate::types::name::Name;

/// How long a full file rests before it is compressed.
const REST: Duration = Duration::from_secs(2);

/// Bytes compressed between two looks at whether to stop.
const CHUNK: usize = 64 * 1024;

/// The handle of the archiving thread.
#[derive(Debug)]
pub(super) struct Archiver {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    work: Mutex<Work>,
    wake: Condvar,
}

/// What is to be done: bounded by the number of services.
#[derive(Debug)]
struct Work {
    limits: Limits,
    /// Services with new archives.
    rotated: BTreeSet<Name>,
    /// Whether the bounds over all services are to be checked at once.
    check: bool,
    stop: bool,
}

impl Archiver {
    /// Starts the thread. It begins with what a crash left: half-made and uncompressed files.
    pub(super) fn start(root: PathBuf, limits: Limits) -> io::Result<Self> {
        let work = Work { limits, rotated: BTreeSet::new(), check: true, stop: false };
        let shared = Arc::new(Shared { root, work: Mutex::new(work), wake: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("log-archive".to_owned()).spawn(move || run(&own))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A service has one archive more.
    pub(super) fn rotated(&self, service: &Name) {
        self.shared.lock().rotated.insert(service.clone());
        self.shared.wake.notify_one();
    }

    /// A write failed for lack of room: removes what the bounds allow to remove.
    pub(super) fn make_room(&self) {
        self.shared.lock().check = true;
        self.shared.wake.notify_one();
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.shared.lock().limits = limits;
        self.make_room();
    }

    /// Ends the thread; a file half compressed stays uncompressed.
    pub(super) fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("log archiver panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.lock().stop
    }

    /// Sleeps until bounds are to be checked or archives have rested; then says which. `None`: the end.
    fn wait(&self, resting: bool) -> Option<(BTreeSet<Name>, Limits)> {
        let mut due = resting.then(|| Instant::now() + REST);
        let mut work = self.lock();
        while !work.stop {
            if due.is_none() && !work.rotated.is_empty() {
                due = Some(Instant::now() + REST);
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if std::mem::take(&mut work.check) {
                return Some((BTreeSet::new(), work.limits));
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Some((std::mem::take(&mut work.rotated), work.limits));
            }
            work = match left {
                None => self.wake.wait(work).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.wake.wait_timeout(work, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        None
    }
}

fn run(shared: &Shared) {
    // Best effort: without it compression competes with services for the processor, nothing worse.
    let _ = rustix::process::setpriority_process(None, 10);
    // Services with archives to compress; after a start, that may be all of them.
    let mut resting: BTreeSet<Name> = match dir::services(&shared.root) {
        Ok(services) => services.into_iter().collect(),
        Err(error) => {
            tracing::warn!(path = %shared.root.display(), %error, "cannot list logs");
            BTreeSet::new()
        }
    };
    for service in &resting {
        report(service, remove_temporary(&dir::of(&shared.root, service)));
    }
    while let Some((rotated, limits)) = shared.wait(!resting.is_empty()) {
        resting.extend(rotated);
        if let Err(error) = hold_bounds(&shared.root, limits) {
            tracing::warn!(path = %shared.root.display(), %error, "cannot bound logs");
        }
        resting.retain(|service| {
            let compressed = compress_rested(shared, &dir::of(&shared.root, service));
            // What failed is tried again after the next rotation or start, not in a loop.
            !report(service, compressed).unwrap_or(true)
        });
    }
}

fn report<T>(service: &Name, result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%service, %error, "cannot archive logs");
            None
        }
    }
}

fn remove_temporary(directory: &Path) -> io::Result<()> {
    for name in dir::names(directory)?.iter().filter(|name| name.ends_with(dir::TEMPORARY)) {
        fs::remove_file(directory.join(name))?;
    }
    Ok(())
}

/// Removes the oldest archives of one service beyond those it keeps.
pub(super) fn keep_newest(directory: &Path, keep: u32) -> io::Result<()> {
    let archives = dir::archives(directory)?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let surplus = archives.len().saturating_sub(keep);
    archives[..surplus].iter().try_for_each(|archive| remove(directory, archive))
}

/// Removes an archive under both its names.
fn remove(directory: &Path, archive: &Archive) -> io::Result<()> {
    for gzip in [true, false] {
        let name = Archive { gzip, ..archive.clone() }.file_name();
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the oldest archives of all services until both bounds over all of them hold.
fn hold_bounds(root: &Path, limits: Limits) -> io::Result<()> {
    let mut total = 0;
    let mut archives = Vec::new();
    for service in dir::services(root)? {
        let directory = dir::of(root, &service);
        total += fs::metadata(directory.join(dir::CURRENT)).map_or(0, |current| current.len());
        for archive in dir::archives(&directory)? {
            // It may be gone: then it takes no room.
            let size =
                fs::metadata(directory.join(archive.file_name())).map_or(0, |file| file.len());
            total += size;
            archives.push((archive.last, directory.clone(), archive, size));
        }
    }
    archives.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
    for (_, directory, archive, size) in archives {
        if total <= limits.max_total && free_percent(root)? >= u64::from(limits.min_free_percent) {
            return Ok(());
        }
        remove(&directory, &archive)?;
        total -= size;
    }
    Ok(())
}

fn free_percent(root: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(root)?;
    Ok((disk.f_bavail * 100).checked_div(disk.f_blocks).unwrap_or(100))
}

/// Compresses the archives of a service that are old enough, newest last. Says whether none is left to compress.
fn compress_rested(shared: &Shared, directory: &Path) -> io::Result<bool> {
    let mut done = true;
    for archive in dir::archives(directory)?.into_iter().filter(|archive| !archive.gzip) {
        let path = directory.join(archive.file_name());
        let age = match fs::metadata(&path).and_then(|file| file.modified()) {
            Ok(modified) => SystemTime::now().duration_since(modified).unwrap_or(REST),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if age < REST || !compress(shared, directory, &archive)? {
            done = false;
        }
    }
    Ok(done)
}

/// Writes the compressed file under a temporary name, makes it durable, then puts it in the place of the other. `false` if
/// cafe stops meanwhile.
fn compress(shared: &Shared, directory: &Path, archive: &Archive) -> io::Result<bool> {
    let plain = directory.join(archive.file_name());
    let target = directory.join(Archive { gzip: true, ..archive.clone() }.file_name());
    let mut temporary = target.clone().into_os_string();
    temporary.push(dir::TEMPORARY);
    let mut reader = BufReader::with_capacity(CHUNK, File::open(&plain)?);
    let permissions = reader.get_ref().metadata()?.permissions();
    let mut encoder = GzEncoder::new(File::create(&temporary)?, Compression::default());
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = reader.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        if shared.stopping() {
            fs::remove_file(&temporary)?;
            return Ok(false);
        }
        if let Err(error) = encoder.write_all(&chunk[..length]) {
            // On a full disk, half a file helps nobody.
            fs::remove_file(&temporary)?;
            return Err(error);
        }
    }
    let file = encoder.finish()?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    fs::rename(&temporary, &target)?;
    File::open(directory)?.sync_all()?;
    fs::remove_file(&plain)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;
    use std::sync::{Condvar, Mutex};
    use std::time::SystemTime;

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::{BTreeSet, Shared, Work};
    use crate::logs::dir::{self, Archive};
    use crate::logs::pump::Limits;

    const LIMITS: Limits = Limits { max_total: u64::MAX, min_free_percent: 0 };

    fn shared(root: &Path, stop: bool) -> Shared {
        let work = Work { limits: LIMITS, rotated: BTreeSet::new(), check: false, stop };
        Shared { root: root.to_owned(), work: Mutex::new(work), wake: Condvar::new() }
    }

    fn archive(directory: &Path, sequence: u64, content: &[u8]) -> Archive {
        let at = 1_700_000_000_000_000 + sequence;
        let archive = Archive { sequence, first: at, last: at, gzip: false };
        fs::create_dir_all(directory).expect("makes");
        fs::write(directory.join(archive.file_name()), content).expect("writes");
        archive
    }

    fn sequences(directory: &Path) -> Vec<u64> {
        let archives = dir::archives(directory).expect("lists");
        archives.iter().map(|archive| archive.sequence).collect()
    }

    #[test]
    fn a_compressed_file_takes_the_place_of_the_plain_one() {
        let root = tempfile::tempdir().expect("temporary directory");
        let content = b"line\n".repeat(50_000);
        let plain = archive(root.path(), 1, &content);
        assert!(super::compress(&shared(root.path(), false), root.path(), &plain).expect("packs"));
        let packed = Archive { gzip: true, ..plain };
        assert_eq!(dir::names(root.path()).expect("lists"), [packed.file_name()]);
        let file = fs::File::open(root.path().join(packed.file_name())).expect("opens");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).expect("unpacks");
        assert_eq!(unpacked, content);
    }

    #[test]
    fn the_thread_compresses_what_it_finds_and_ends() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("web");
        let plain = archive(&directory, 1, &b"line\n".repeat(200_000));
        let file = fs::File::options().write(true).open(directory.join(plain.file_name()));
        let rested = SystemTime::now() - 2 * super::REST;
        file.expect("opens").set_modified(rested).expect("sets the time");
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify");
        let mask = AddWatchFlags::IN_DELETE;
        inotify.add_watch(&directory, mask).expect("watches");
        let archiver = super::Archiver::start(root.path().to_owned(), LIMITS).expect("starts");
        let events = inotify.read_events().expect("the plain file goes");
        assert_eq!(events[0].name, Some(plain.file_name().into()));
        archiver.stop();
        assert!(dir::archives(&directory).expect("lists")[0].gzip);
    }

    #[test]
    fn one_interrupted_stays_plain_and_what_a_crash_left_is_removed() {
        let root = tempfile::tempdir().expect("temporary directory");
        let plain = archive(root.path(), 1, b"line\n");
        assert!(!super::compress(&shared(root.path(), true), root.path(), &plain).expect("stops"));
        fs::write(root.path().join("half.log.gz.tmp"), "half").expect("writes");
        super::remove_temporary(root.path()).expect("removes");
        assert_eq!(dir::names(root.path()).expect("lists"), [plain.file_name()]);
    }

    #[test]
    fn a_file_just_rotated_rests() {
        let root = tempfile::tempdir().expect("temporary directory");
        archive(root.path(), 1, b"line\n");
        let shared = shared(root.path(), false);
        assert!(!super::compress_rested(&shared, root.path()).expect("looks"));
        assert!(!dir::archives(root.path()).expect("lists")[0].gzip);
    }

    #[test]
    fn the_oldest_archives_of_all_services_go_first_and_no_current_file() {
        let root = tempfile::tempdir().expect("temporary directory");
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (directory, sequence) in [(&one, 1), (&two, 2), (&one, 3), (&two, 4)] {
            archive(directory, sequence, &[b'x'; 1_000]);
        }
        for directory in [&one, &two] {
            fs::write(directory.join(dir::CURRENT), [b'x'; 500]).expect("writes");
        }
        let bound = |limits| super::hold_bounds(root.path(), limits).expect("bounds");
        bound(LIMITS);
        assert_eq!((sequences(&one), sequences(&two)), (vec![1, 3], vec![2, 4]));
        bound(Limits { max_total: 3_100, ..LIMITS });
        assert_eq!((sequences(&one), sequences(&two)), (vec![3], vec![4]));
        bound(Limits { min_free_percent: 101, ..LIMITS });
        assert_eq!((sequences(&one), sequences(&two)), (vec![], vec![]));
        assert!([one, two].iter().all(|directory| directory.join(dir::CURRENT).is_file()));
    }

    #[test]
    fn a_service_keeps_its_newest() {
        let root = tempfile::tempdir().expect("temporary directory");
        for sequence in 1..=5 {
            archive(root.path(), sequence, b"line\n");
        }
        super::keep_newest(root.path(), 2).expect("prunes");
        assert_eq!(sequences(root.path()), [4, 5]);
    }
}
