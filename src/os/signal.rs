//! Signals sent to cafe itself, as one stream. Decides nothing about them.

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;

/// What somebody asks of cafe by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM: a service manager ends us.
    Terminate,
    /// SIGINT: a person at the terminal ends us.
    Interrupt,
    /// SIGHUP: read the config again.
    Reload,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

/// The stream of signals to cafe. Signals of one kind that come faster than they are read are merged.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Watches from now on; none of these signals ends the process any more. Also ignores SIGPIPE: a write to
    /// a closed pipe is an error of that write.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn watch() -> Result<Self, Error> {
        ignore_broken_pipes()?;
        let watch = |kind: SignalKind| {
            signal(kind).map_err(|source| {
                let name = crate::types::exit::signal_name(kind.as_raw_value());
                Error::system("watch", name, source)
            })
        };
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            reload: watch(SignalKind::hangup())?,
            user1: watch(SignalKind::user_defined1())?,
            user2: watch(SignalKind::user_defined2())?,
        })
    }

    /// The next request. Safe to cancel.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Terminate,
            _ = self.interrupt.recv() => Request::Interrupt,
            _ = self.reload.recv() => Request::Reload,
            _ = self.user1.recv() => Request::User1,
            _ = self.user2.recv() => Request::User2,
        }
    }
}

/// Holds all signals back in this thread, until [`restore`] or, in the program that this process becomes, [`release`].
pub(super) fn hold() -> Option<SigSet> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before)).ok()?;
    Some(before)
}

/// Undoes [`hold`].
pub(super) fn restore(mask: &SigSet) {
    // Fails only for a value of `how` that does not exist.
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(mask), None);
}

/// What was held back when this process became another program is delivered now; to be called once it is watched for.
pub fn release() {
    restore(&SigSet::empty());
}

fn ignore_broken_pipes() -> Result<(), Error> {
    use nix::sys::signal::{SigHandler, Signal as Number, signal};
    // SAFETY: ignoring a signal installs no code. Needed because a handler may be any function.
    let ignored = unsafe { signal(Number::SIGPIPE, SigHandler::SigIgn) };
    ignored.map(drop).map_err(|errno| Error::system("ignore", "SIGPIPE", errno))
}

#[cfg(test)]
mod tests {
    use super::{Request, Signals};
    use crate::os::isolated::in_own_process;

    #[tokio::test]
    async fn each_signal_is_one_request() {
        in_own_process("os::signal::tests::each_signal_is_one_request", async {
            let mut signals = Signals::watch().expect("watches");
            for (number, request) in [
                (libc::SIGTERM, Request::Terminate),
                (libc::SIGINT, Request::Interrupt),
                (libc::SIGHUP, Request::Reload),
                (libc::SIGUSR1, Request::User1),
                (libc::SIGUSR2, Request::User2),
            ] {
                let own = crate::os::pidfd::open(std::process::id()).expect("opens");
                crate::os::pidfd::signal(&own, number).expect("signals");
                assert_eq!(signals.next().await, request);
            }
        })
        .await;
    }
}
