//! Lines as they come: a [`Merge`] woken by inotify. Survives rotation, restarts of services and of the daemon.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::filter::Filter;
use super::merge::Merge;
use super::source::Start;
use super::{Line, Query, unreadable};
use crate::logs::dir;
use crate::logs::error::Error;
use crate::types::name::Name;

/// How often to look where inotify is not to be had: users have a limited number of watches.
const LOOK: Duration = Duration::from_millis(250);

/// The lines that are there now, then those that come.
#[derive(Debug)]
pub struct Follower {
    root: PathBuf,
    /// Services asked for; all if empty.
    wanted: Vec<Name>,
    merge: Merge,
    watched: HashMap<Name, usize>,
    /// Absent where watches ran out.
    inotify: Option<Inotify>,
    directories: HashMap<WatchDescriptor, usize>,
}

impl Follower {
    /// Finds the first line. Services that appear later are followed too, from their first line.
    ///
    /// # Errors
    /// When a log, or the directory of all logs, cannot be read.
    pub fn open(root: &Path, query: &Query) -> Result<Self, Error> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        // Watched before listed and read: what comes in between is seen twice as an event, never missed.
        let mut follower = Self {
            root: root.to_owned(),
            wanted: query.services.clone(),
            merge: Merge::open(root, Vec::new(), Filter::new(query), None)?,
            watched: HashMap::new(),
            inotify,
            directories: HashMap::new(),
        };
        follower.watch_root().map_err(|errno| unreadable(root, errno.into()))?;
        let services = follower.services()?;
        follower.merge = Merge::open(root, services.clone(), Filter::new(query), query.lines)?;
        for (index, service) in services.into_iter().enumerate() {
            follower.watch(&service, index);
            follower.watched.insert(service, index);
        }
        Ok(follower)
    }

    /// The next line, waiting for it as long as `wait`; `None` if none came.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Line>, Error> {
        let due = Instant::now() + wait;
        loop {
            if let Some(line) = self.merge.next()? {
                return Ok(Some(line));
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left)?;
        }
    }

    /// Waits for something to happen in the directories, and notes where.
    fn wait(&mut self, left: Duration) -> Result<(), Error> {
        let failed = |errno: Errno| unreadable(&self.root, io::Error::from(errno));
        let Some(inotify) = &self.inotify else {
            let timeout = PollTimeout::try_from(left.min(LOOK)).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [], timeout);
            return self.look_everywhere();
        };
        // One millisecond more, or the last wait would spin.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
        let mut ready = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let events = match inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        for event in &events {
            self.note(event)?;
        }
        Ok(())
    }

    fn note(&mut self, event: &InotifyEvent) -> Result<(), Error> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return self.look_everywhere();
        }
        let Some(name) = event.name.as_ref().and_then(|name| name.to_str()) else { return Ok(()) };
        match self.directories.get(&event.wd) {
            Some(&index) if name == dir::CURRENT => self.merge.touch(index),
            // Archives come and go without new lines.
            Some(_) => {}
            None => {
                if let Ok(service) = name.parse() {
                    self.appeared(service);
                }
            }
        }
        Ok(())
    }

    fn look_everywhere(&mut self) -> Result<(), Error> {
        for service in self.services()? {
            self.appeared(service);
        }
        self.merge.touch_all();
        Ok(())
    }

    /// A service that had no logs has some now, or its directory was made again.
    fn appeared(&mut self, service: Name) {
        if !self.wanted.is_empty() && !self.wanted.contains(&service) {
            return;
        }
        let index = match self.watched.get(&service) {
            Some(&index) => index,
            None => self.merge.add(service.clone(), Start { sequence: 1, ..Start::default() }),
        };
        self.watch(&service, index);
        self.watched.insert(service, index);
        self.merge.touch(index);
    }

    fn services(&self) -> Result<Vec<Name>, Error> {
        if !self.wanted.is_empty() {
            return Ok(self.wanted.clone());
        }
        dir::services(&self.root).map_err(|source| unreadable(&self.root, source))
    }

    fn watch_root(&mut self) -> Result<(), Errno> {
        let Some(inotify) = &self.inotify else { return Ok(()) };
        let mask = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        match inotify.add_watch(&self.root, mask | AddWatchFlags::IN_ONLYDIR) {
            Ok(_) => Ok(()),
            Err(Errno::ENOSPC) => {
                self.inotify = None;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    fn watch(&mut self, service: &Name, index: usize) {
        let Some(inotify) = &self.inotify else { return };
        let mask =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_FROM;
        match inotify.add_watch(&dir::of(&self.root, service), mask | AddWatchFlags::IN_ONLYDIR) {
            Ok(descriptor) => {
                self.directories.insert(descriptor, index);
            }
            // It has no logs yet; the root tells when it has.
            Err(Errno::ENOENT) => {}
            Err(_) => self.inotify = None,
        }
    }
}
