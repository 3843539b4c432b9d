//! What the service manager keeps for cafe (its descriptor store), so that a crash loses nothing of it: of every service
//! the read ends of its pipes and its process, and every socket that cafe bound.
//!
//! ```text
//!   web/3/81237      of service `web`, third incarnation: its output (the inode is that of its stdout) and its process
//!   socket/90112     a socket that listens, by its inode
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::notify::store::Store;
use crate::os::passed::{self, Passed};
use crate::os::process::Child;
use crate::types::name::Name;

/// First word of the names of sockets; no service can be called `socket/...`.
const SOCKET: &str = "socket";

/// An incarnation of a service.
type Key = (Name, u64);

/// How the rest of cafe has something kept; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeping(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    store: Store,
    names: Mutex<BTreeMap<Key, String>>,
    returned: Mutex<Returned>,
}

/// What came back at the start, until somebody wants it.
#[derive(Debug, Default)]
struct Returned {
    services: BTreeMap<Key, Remains>,
    sockets: Vec<(Listed, OwnedFd)>,
}

/// What came back of an incarnation.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    pub(crate) process: Option<OwnedFd>,
    name: String,
}

/// A socket is kept as long as this lives.
#[derive(Debug)]
pub(crate) struct Listed {
    name: String,
    store: Store,
}

impl Keeping {
    /// Takes out of what was `passed` to cafe what it had the manager keep.
    pub(crate) fn new(store: Store, passed: Vec<Passed>) -> (Self, Vec<Passed>) {
        let (mut returned, mut others) = (Returned::default(), Vec::new());
        for passed in passed {
            match read(&passed.name) {
                Some(Named::Socket) => {
                    let listed = Listed { name: passed.name.clone(), store: store.clone() };
                    store.known(&listed.name, 1);
                    returned.sockets.push((listed, passed.descriptor));
                }
                Some(Named::Service(key, stdout)) => {
                    store.known(&passed.name, 1);
                    let remains = returned.services.entry(key).or_default();
                    remains.name.clone_from(&passed.name);
                    remains.add(passed.descriptor, stdout);
                }
                None => others.push(passed),
            }
        }
        let names = Mutex::default();
        (Self(Arc::new(Inner { store, names, returned: Mutex::new(returned) })), others)
    }

    // ---- services ----

    /// The read ends of the pipes of an incarnation, which need not have a process yet.
    pub(crate) fn output(
        &self,
        service: &Name,
        generation: u64,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
    ) {
        if let Some(name) = self.name(service, generation, stdout) {
            self.0.store.keep(&name, &[stdout.as_fd(), stderr.as_fd()]);
        }
    }

    /// Its process; after its output.
    pub(crate) fn process(&self, service: &Name, generation: u64, child: &Child) {
        let name = self.names().get(&(service.clone(), generation)).cloned();
        if let Some(name) = name {
            self.0.store.keep(&name, &[child.as_fd()]);
        }
    }

    /// An incarnation that another image of this process had kept.
    pub(crate) fn known(&self, service: &Name, generation: u64, stdout: &OwnedFd) {
        if let Some(name) = self.name(service, generation, stdout) {
            self.0.store.known(&name, 3);
        }
    }

    /// Nothing of an incarnation is needed any more: its output is in its log.
    pub(crate) fn forget(&self, service: &Name, generation: u64) {
        if let Some(name) = self.names().remove(&(service.clone(), generation)) {
            self.0.store.remove(&name);
        }
    }

    /// What came back of an incarnation, which is kept on.
    pub(crate) fn take(&self, service: &Name, generation: u64) -> Option<Remains> {
        let key = (service.clone(), generation);
        let remains = self.returned().services.remove(&key)?;
        self.names().insert(key, remains.name.clone());
        Some(remains)
    }

    /// Of which incarnation of a service something came back, if any.
    pub(crate) fn last_of(&self, service: &Name) -> Option<u64> {
        let returned = self.returned();
        let of_service = returned.services.keys().filter(|(name, _)| name == service);
        of_service.map(|(_, generation)| *generation).max()
    }

    /// What came back and was not taken.
    pub(crate) fn others(&self) -> Vec<(Name, u64)> {
        self.returned().services.keys().cloned().collect()
    }

    /// Nobody wants what came back of an incarnation.
    pub(crate) fn give_up(&self, service: &Name, generation: u64) {
        if let Some(remains) = self.take(service, generation) {
            tracing::debug!(name = remains.name, "what the service manager kept is not wanted");
            self.forget(service, generation);
        }
    }

    // ---- sockets ----

    /// A socket that cafe has bound; none where nothing is kept.
    pub(crate) fn socket(&self, socket: &OwnedFd) -> Option<Listed> {
        let store = self.0.store.clone();
        let inode = store.is_there().then(|| passed::inode(socket)).flatten()?;
        let name = format!("{SOCKET}/{inode}");
        store.keep(&name, &[socket.as_fd()]);
        Some(Listed { name, store })
    }

    /// A socket that another image of this process had kept.
    pub(crate) fn known_socket(&self, socket: &OwnedFd) -> Option<Listed> {
        let store = self.0.store.clone();
        let inode = store.is_there().then(|| passed::inode(socket)).flatten()?;
        let name = format!("{SOCKET}/{inode}");
        store.known(&name, 1);
        Some(Listed { name, store })
    }

    /// The sockets that came back.
    pub(crate) fn sockets(&self) -> Vec<(Listed, OwnedFd)> {
        std::mem::take(&mut self.returned().sockets)
    }

    // ---- the manager ----

    /// Until the manager has been told everything. Blocking, a second at most.
    pub(crate) fn flush(&self) {
        self.0.store.flush();
    }

    /// Until it has closed what is not wanted any more. Blocking, a second at most.
    pub(crate) fn settle(&self) {
        self.0.store.settle();
    }

    fn name(&self, service: &Name, generation: u64, stdout: &OwnedFd) -> Option<String> {
        let inode = self.0.store.is_there().then(|| passed::inode(stdout)).flatten()?;
        let name = format!("{service}/{generation}/{inode}");
        self.names().insert((service.clone(), generation), name.clone());
        Some(name)
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Key, String>> {
        // A name is a whole value: a panic elsewhere leaves the others as they are.
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returned(&self) -> MutexGuard<'_, Returned> {
        // Likewise.
        self.0.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remains {
    /// Which of them it is: the manager returns them in no order.
    fn add(&mut self, descriptor: OwnedFd, stdout: u64) {
        let slot = match passed::pipe_inode(&descriptor) {
            Some(inode) if inode == stdout => &mut self.stdout,
            Some(_) => &mut self.stderr,
            None => &mut self.process,
        };
        *slot = Some(descriptor);
    }

    /// The read ends of its pipes.
    pub(crate) fn pipes(self) -> Option<[OwnedFd; 2]> {
        Some([self.stdout?, self.stderr?])
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.store.remove(&self.name);
    }
}

/// What a name is of.
enum Named {
    Socket,
    /// And the inode of its stdout.
    Service(Key, u64),
}

fn read(name: &str) -> Option<Named> {
    let words: Vec<&str> = name.split('/').collect();
    match words.as_slice() {
        [SOCKET, inode] => inode.parse::<u64>().ok().map(|_| Named::Socket),
        [service, generation, inode] => {
            let key = (service.parse().ok()?, generation.parse().ok()?);
            Some(Named::Service(key, inode.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, read};

    #[test]
    fn names_of_others_are_told_from_its_own() {
        for other in ["cafe.socket", "http", "unknown", "socket/x", "web/1", "/1/2", "WEB/1/2"] {
            assert!(read(other).is_none(), "{other}");
        }
        assert!(matches!(read("socket/12"), Some(Named::Socket)));
        let Some(Named::Service((name, generation), inode)) = read("web.x-y/3/81237") else {
            panic!("of a service");
        };
        assert_eq!((name.as_str(), generation, inode), ("web.x-y", 3, 81237));
    }
}
