//! Reaps orphans that became our children, and never the child of somebody who waits for it.
//!
//! Works the same as a subreaper and as process 1. See PR_SET_CHILD_SUBREAPER(2const), waitid(2).

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;
use super::children::Children;

/// Ends that come together are looked at together: a look costs the kernel a walk over all children, and with 5,000 of
/// them one at each end was half the time of a restart.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the status of ended orphans for as long as [`Reaper::run`] runs.
#[derive(Debug)]
pub struct Reaper {
    children: Arc<Children>,
    hints: Signal,
}

impl Reaper {
    /// Makes this process the parent of every orphan among its descendants.
    ///
    /// Adopt what runs already before: a child nobody registered is an orphan.
    ///
    /// # Errors
    /// When the kernel does not permit it, or SIGCHLD cannot be watched.
    pub fn new(children: Arc<Children>) -> Result<Self, Error> {
        become_subreaper()?;
        let hints = signal(SignalKind::child())
            .map_err(|source| Error::system("watch", "SIGCHLD", source))?;
        Ok(Self { children, hints })
    }

    /// Runs for ever. Safe to cancel.
    pub async fn run(mut self) {
        loop {
            sweep(&self.children).await;
            // SIGCHLD says only that something may have ended: signals merge. A release matters because a
            // known child at the head of the kernel's list hides the orphans behind it.
            tokio::select! {
                _ = self.hints.recv() => {}
                () = self.children.a_release() => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Makes this process the parent of every orphan among its descendants.
///
/// # Errors
/// When the kernel does not permit it.
pub fn become_subreaper() -> Result<(), Error> {
    // Any process id other than none switches it on.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| Error::system("become the parent of", "orphans", errno))
}

/// Reaps every ended orphan up to the first child that somebody waits for.
async fn sweep(children: &Children) {
    while let Some(pid) = first_ended() {
        if children.knows(pid) {
            return;
        }
        // It may be a child just cloned and not yet registered: ask again with every spawner out. The gate is
        // taken only now, as it makes starts wait for each other.
        let _spawners_out = children.exclusive().await;
        if children.knows(pid) {
            continue;
        }
        match wait_for(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG) {
            Ok(_) => tracing::debug!(pid, "reaped an orphan"),
            Err(error) => {
                // Its waiter took it meanwhile.
                debug_assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
            }
        }
    }
}

/// Any ended child, left as it is.
fn first_ended() -> Option<u32> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    wait_for(libc::P_ALL, 0, options).ok().flatten()
}

fn wait_for(kind: libc::idtype_t, pid: u32, options: i32) -> io::Result<Option<u32>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the structure is live and writable. Needed because nix fails for a child that died of a real-time
    // signal, which would then block the list for ever, and rustix does not tell the process id.
    let result = unsafe { libc::waitid(kind, pid, info.as_mut_ptr(), options) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed and then written by the kernel: the child fields are valid, or all zero for "none".
    let pid = unsafe { info.assume_init().si_pid() };
    Ok(u32::try_from(pid).ok().filter(|&pid| pid > 0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::os::isolated::in_own_process;
    use crate::os::process::{Command, Spawner};
    use crate::os::{procfs, reaper::Reaper};
    use crate::types::exit::Cause;

    fn shell(script: &str) -> Command {
        Command {
            argv: vec!["sh".into(), "-c".into(), script.into()],
            cwd: "/".into(),
            ..Command::default()
        }
    }

    /// Reads to the end: until the last process that holds the other end is gone.
    async fn wait_for_all_writers(reader: std::io::PipeReader) -> String {
        let read = tokio::task::spawn_blocking(|| std::io::read_to_string(reader));
        read.await.expect("runs").expect("reads")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn orphans_are_reaped_and_no_known_status_is_lost() {
        in_own_process(
            "os::reaper::tests::orphans_are_reaped_and_no_known_status_is_lost",
            async {
                let spawner = Spawner::with_threads(2).expect("starts");
                let reaper = Reaper::new(Arc::clone(spawner.children())).expect("subreaper");
                let mut reaping = tokio::task::JoinSet::new();
                reaping.spawn(reaper.run());
                let (reader, writer) = std::io::pipe().expect("pipe");
                let writer = Arc::new(std::os::fd::OwnedFd::from(writer));
                let mut waits = Vec::new();
                for number in 0..300 {
                    let code = number % 200;
                    let script = format!(
                        "sh -c 'echo $$; exit 9' & sh -c 'echo $$; kill -40 $$' & exit {code}"
                    );
                    let mut command = shell(&script);
                    command.descriptors = vec![(1, Arc::clone(&writer))];
                    let spawner = spawner.clone();
                    waits.push(async move {
                        let child = spawner.spawn(command).await.expect("starts");
                        let exit = child.wait().await.expect("its status is there");
                        assert_eq!(exit.cause, Cause::Code(code));
                    });
                }
                futures_util::future::join_all(waits).await;
                drop(writer);
                let text = wait_for_all_writers(reader).await;
                let orphans: Vec<u32> = text.lines().filter_map(|pid| pid.parse().ok()).collect();
                assert_eq!(orphans.len(), 600);
                let ours = |pid| {
                    procfs::sample(pid).is_ok_and(|sample| sample.parent == std::process::id())
                };
                while orphans.iter().any(|&pid| ours(pid)) {
                    tokio::task::yield_now().await;
                }
                assert_eq!(spawner.children().count(), 0);
            },
        )
        .await;
    }
}
