//! Tells when processes end, all of them by one descriptor of the runtime.
//!
//! A task and a registration of their own would cost each waiting service 0.8 KB for as long as it runs. Only says that
//! a process has ended; its status is taken by [`Child::status`]. See epoll(7), pidfd_open(2).

use std::collections::HashMap;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{Timespec, epoll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Error;
use super::process::Child;

/// Ends taken from the kernel at a time.
const BATCH: usize = 64;

/// Knows who wants to be told of whose end.
pub struct Exits {
    epoll: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_key: u64,
    tell: HashMap<u64, Box<dyn FnOnce() + Send>>,
}

/// While it is held, the end of a process is waited for.
#[derive(Debug)]
#[must_use = "nobody is told once it is dropped"]
pub struct Watch {
    exits: Arc<Exits>,
    child: Arc<Child>,
    key: u64,
}

impl Exits {
    /// Nobody waits yet. To be called on the runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> Result<Arc<Self>, Error> {
        let failed = |source| Error::system("watch", "the ends of processes", source);
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        // SAFETY: an owned descriptor stays open for as long as the watch lives.
        // Needed because the runtime has no other watch that it would call sound.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) };
        let epoll = epoll.map_err(|error| failed(error.into_parts().1))?;
        Ok(Arc::new(Self { epoll, waiting: Mutex::default() }))
    }

    /// Calls `tell` once when the process has ended, at once if it has already; it must not block. [`Self::run`]
    /// does it.
    ///
    /// # Errors
    /// When the kernel watches no more descriptors for this user (`max_user_watches`, see epoll(7)).
    pub fn watch(
        self: &Arc<Self>,
        child: Arc<Child>,
        tell: impl FnOnce() + Send + 'static,
    ) -> Result<Watch, Error> {
        let key = {
            let mut waiting = self.waiting();
            waiting.next_key += 1;
            let key = waiting.next_key;
            waiting.tell.insert(key, Box::new(tell));
            key
        };
        let watch = Watch { exits: Arc::clone(self), child, key };
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(key);
        epoll::add(self.epoll.get_ref(), &watch.child, data, flags).map_err(|errno| {
            let source = std::io::Error::from(errno);
            Error::system("watch process", watch.child.pid().to_string(), source)
        })?;
        Ok(watch)
    }

    /// Tells of ends, for ever. Safe to cancel; whoever runs it next goes on.
    ///
    /// # Errors
    /// When the kernel fails.
    pub async fn run(&self) -> Result<(), Error> {
        let failed = |source| Error::system("wait for", "the ends of processes", source);
        loop {
            let mut ready = self.epoll.readable().await.map_err(failed)?;
            while self.tell_some().map_err(failed)? == BATCH {}
            ready.clear_ready();
        }
    }

    /// Tells of a few that have ended; says how many.
    fn tell_some(&self) -> std::io::Result<usize> {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = epoll::wait(self.epoll.get_ref(), &mut events[..], Some(&now))?;
        for event in &*events {
            // Whoever waited may have stopped waiting. Not called under the lock: it may watch the next one.
            let tell = self.waiting().tell.remove(&event.data.u64());
            if let Some(tell) = tell {
                tell();
            }
        }
        Ok(events.len())
    }

    /// The map is whole after any panic: insert and remove are single steps.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exits").field("waiting", &self.waiting().tell.len()).finish()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let untold = self.exits.waiting().tell.remove(&self.key).is_some();
        // Once told, the kernel looks no more, and forgets the process with its descriptor.
        if untold {
            // Not there if it could not be added.
            let _ = epoll::delete(self.exits.epoll.get_ref(), &self.child);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;
    use crate::os::process::{Command, Spawner};
    use crate::types::exit::Cause;

    async fn shell(spawner: &Spawner, script: &str) -> Arc<Child> {
        let command = Command {
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
            env: vec![("PATH".into(), std::env::var_os("PATH").expect("is set"))],
            cwd: "/".into(),
            ..Command::default()
        };
        Arc::new(spawner.spawn(command).await.expect("starts"))
    }

    fn run(exits: &Arc<Exits>) -> JoinSet<Result<(), Error>> {
        let (mut running, exits) = (JoinSet::new(), Arc::clone(exits));
        running.spawn(async move { exits.run().await });
        running
    }

    #[tokio::test]
    async fn tells_once_of_each_end_with_its_status_still_to_be_taken() {
        let spawner = Spawner::with_threads(2).expect("starts");
        let exits = Exits::new().expect("makes");
        let _running = run(&exits);
        let (tell, mut told) = mpsc::channel(100);
        let mut watches = Vec::new();
        for code in 0..100 {
            let child = shell(&spawner, &format!("exit {code}")).await;
            let (tell, told_of) = (tell.clone(), Arc::clone(&child));
            let watch = exits.watch(child, move || _ = tell.try_send((code, told_of)));
            watches.push(watch.expect("watches"));
        }
        drop(tell);
        let mut codes = Vec::new();
        while let Some((code, child)) = told.recv().await {
            assert_eq!(child.status().await.expect("is there").cause, Cause::Code(code));
            codes.push(code);
        }
        codes.sort_unstable();
        assert_eq!(codes, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn one_that_ended_before_is_told_of_also_by_a_later_run() {
        let spawner = Spawner::with_threads(1).expect("starts");
        let exits = Exits::new().expect("makes");
        let child = shell(&spawner, "exit 0").await;
        child.wait().await.expect("ends");
        let (tell, mut told) = mpsc::channel(100);
        let watching = exits.watch(child, move || _ = tell.try_send(()));
        let _watch = watching.expect("watches");
        drop(run(&exits));
        let _running = run(&exits);
        assert_eq!(told.recv().await, Some(()));
    }

    #[tokio::test]
    async fn nobody_is_told_after_the_watch_is_dropped() {
        let spawner = Spawner::with_threads(1).expect("starts");
        let exits = Exits::new().expect("makes");
        let _running = run(&exits);
        let child = shell(&spawner, "read line").await;
        let (tell, mut told) = mpsc::channel(100);
        let (dropped, kept) = (tell.clone(), tell);
        drop(exits.watch(Arc::clone(&child), move || _ = dropped.try_send("dropped")));
        let watching = exits.watch(Arc::clone(&child), move || _ = kept.try_send("kept"));
        let _watch = watching.expect("watches");
        child.signal(9).expect("is there");
        assert_eq!(told.recv().await, Some("kept"));
        assert_eq!(told.recv().await, None);
    }
}
