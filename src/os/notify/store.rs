//! Descriptors that the service manager keeps while cafe is not there: `FDSTORE=1` of `sd_notify(3)`.
//!
//! One thread with a bounded queue tells it: nobody ever waits for the manager. What does not fit is not kept, with one
//! warning; whoever wants it back must do without.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Requests that may wait: two for the start of each of the most services that fit a machine.
const CAPACITY: usize = 16_384;

/// Most bytes of all names together, each followed by a colon: they come back in one variable of the environment, for
/// which Linux has 128 KiB, and a cafe that is given more cannot be executed.
const NAMES: usize = 120_000;

/// Longest wait for the manager, for which it is never worth to wait long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most descriptors of one name.
const TOGETHER: usize = 4;

/// The store of the manager, if it has one; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Store(Option<SyncSender<Request>>);

#[derive(Debug)]
enum Request {
    Keep(String, Vec<OwnedFd>),
    /// It is kept since before.
    Known(String, usize),
    Remove(String),
    /// All before is done; the manager, too, if it is to be waited for.
    Flush(SyncSender<()>, bool),
}

impl Store {
    /// The store of the manager that started this process; one that keeps nothing where there is none.
    #[must_use]
    pub fn of_manager() -> Self {
        let told = |name: &str| std::env::var(name).ok();
        let Some((path, most)) = offered(told, std::process::id()) else { return Self::default() };
        let (sender, receiver) = mpsc::sync_channel(CAPACITY);
        let teller = Teller {
            path,
            socket: None,
            most,
            kept: BTreeMap::new(),
            count: 0,
            names: 0,
            warned: false,
        };
        let thread = std::thread::Builder::new().name("store".to_owned());
        match thread.spawn(move || teller.run(&receiver)) {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                tracing::warn!(%error, "the service manager keeps nothing for cafe");
                Self::default()
            }
        }
    }

    /// Whether anything is kept at all.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Has copies of descriptors kept under a name: ASCII that can be printed, without a colon.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        if self.0.is_none() {
            return;
        }
        // The manager gets copies in any case; these last until it has them.
        let copies = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect();
        match copies {
            Ok(copies) => self.ask(Request::Keep(name.to_owned(), copies)),
            Err(error) => tracing::debug!(name, %error, "not kept by the service manager"),
        }
    }

    /// So many descriptors are kept under a name already.
    pub fn known(&self, name: &str, count: usize) {
        self.ask(Request::Known(name.to_owned(), count));
    }

    /// What is kept under a name is not wanted any more.
    pub fn remove(&self, name: &str) {
        self.ask(Request::Remove(name.to_owned()));
    }

    /// Until the manager has been told all of it, within a second. Blocking.
    pub fn flush(&self) {
        self.wait(false);
    }

    /// Until the manager has done all of it, within a second: what was removed is closed then. Blocking.
    pub fn settle(&self) {
        self.wait(true);
    }

    fn wait(&self, for_manager: bool) {
        let (done, over) = mpsc::sync_channel(1);
        self.ask(Request::Flush(done, for_manager));
        let _ = over.recv_timeout(2 * PATIENCE);
    }

    fn ask(&self, request: Request) {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let Some(sender) = &self.0 else { return };
        if let Err(TrySendError::Full(_)) = sender.try_send(request)
            && !WARNED.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                CAPACITY,
                "the service manager does not answer: it does not keep everything"
            );
        }
    }
}

/// The socket of a manager that keeps descriptors, and how many. Another cafe keeps none, and passes its `NOTIFY_SOCKET`
/// on like one that does; so systemd must have said that it made this very process, or that it has a store.
fn offered(told: impl Fn(&str) -> Option<String>, own: u32) -> Option<(PathBuf, usize)> {
    let number = |name: &str| told(name)?.parse::<u64>().ok();
    let path = PathBuf::from(told("NOTIFY_SOCKET").filter(|path| path.starts_with('/'))?);
    // From systemd 254 on; before, it is not said.
    let most = match number("FDSTORE") {
        Some(most) => usize::try_from(most).ok()?,
        None if number("SYSTEMD_EXEC_PID") == Some(own.into()) => usize::MAX,
        None => 0,
    };
    (most > 0).then_some((path, most))
}

/// The thread.
struct Teller {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Most descriptors.
    most: usize,
    /// How many descriptors have a name.
    kept: BTreeMap<String, usize>,
    /// Sum of them, and of the bytes of their names.
    count: usize,
    names: usize,
    warned: bool,
}

impl Teller {
    fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(request) = requests.recv() {
            match request {
                Request::Keep(name, descriptors) => self.keep(name, &descriptors),
                Request::Known(name, count) => self.note(name, count),
                Request::Remove(name) => {
                    let count = self.kept.remove(&name).unwrap_or(0);
                    self.count -= count;
                    self.names -= count * (name.len() + 1);
                    self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]);
                }
                Request::Flush(done, for_manager) => {
                    if for_manager {
                        self.await_manager();
                    }
                    let _ = done.send(());
                }
            }
        }
    }

    fn note(&mut self, name: String, count: usize) {
        self.count += count;
        self.names += count * (name.len() + 1);
        *self.kept.entry(name).or_default() += count;
    }

    fn keep(&mut self, name: String, descriptors: &[OwnedFd]) {
        let wanted = descriptors.len();
        if self.count + wanted > self.most || self.names + (name.len() + 1) * wanted > NAMES {
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    count = self.count,
                    "the service manager has no room for more descriptors: what is not kept there has last words that a crash of cafe may lose"
                );
            }
            return;
        }
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n");
        self.note(name, wanted);
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        self.tell(&message, &descriptors);
    }

    /// Until the manager has read what it was told: it closes a descriptor that is sent last.
    fn await_manager(&mut self) {
        let Ok((ours, theirs)) = io::pipe() else { return };
        self.tell("BARRIER=1\n", &[theirs.as_fd()]);
        drop(theirs);
        let mut ends = [rustix::event::PollFd::new(&ours, rustix::event::PollFlags::HUP)];
        let patience = rustix::event::Timespec::try_from(PATIENCE).ok();
        let _ = rustix::event::poll(&mut ends, patience.as_ref());
    }

    fn tell(&mut self, message: &str, descriptors: &[BorrowedFd<'_>]) {
        if let Err(error) = self.send(message, descriptors) {
            // The next try is on a new one.
            self.socket = None;
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(%error, "the service manager is not told what to keep");
            }
        }
    }

    fn send(&mut self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket
            }
        };
        let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = [IoSlice::new(message.as_bytes())];
        sendmsg(&socket, &bytes, &mut control, SendFlags::NOSIGNAL)?;
        self.socket = Some(socket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::offered;

    fn most(variables: &[(&str, &str)]) -> Option<usize> {
        let told = |name: &str| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        offered(told, 7).map(|(_, most)| most)
    }

    #[test]
    fn only_a_manager_that_made_this_process_or_says_that_it_keeps_something_does() {
        let socket = ("NOTIFY_SOCKET", "/run/systemd/notify");
        assert_eq!(most(&[]), None);
        assert_eq!(most(&[("FDSTORE", "9"), ("SYSTEMD_EXEC_PID", "7")]), None);
        assert_eq!(most(&[socket]), None, "another cafe");
        assert_eq!(most(&[socket, ("SYSTEMD_EXEC_PID", "8")]), None, "its parent's");
        assert_eq!(most(&[socket, ("SYSTEMD_EXEC_PID", "7")]), Some(usize::MAX));
        assert_eq!(most(&[socket, ("FDSTORE", "9")]), Some(9));
        assert_eq!(most(&[socket, ("FDSTORE", "0"), ("SYSTEMD_EXEC_PID", "7")]), None);
    }
}
