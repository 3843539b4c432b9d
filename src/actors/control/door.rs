//! The listening socket of the API. It outlives the actor that serves it and, over an upgrade, this image of cafe:
//! whoever connects meanwhile waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Config;
use crate::net::socket::{self, Reach, Socket};
use crate::os::image::Descriptors;

/// The door; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: UnixListener,
    file: Socket,
    /// The group whose members may operate the daemon.
    group: Option<u32>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Who comes is answered.
    Open,
    /// Nobody is let in any more; those inside get their answers.
    Closing,
    /// Nobody is inside.
    Closed,
}

/// The door, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    listener: RawFd,
    path: PathBuf,
    group: Option<u32>,
}

impl Record {
    /// The number of its descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.listener
    }
}

impl Door {
    /// Listens where the config says. What may connect is looked up once: a change of `control` needs a restart.
    ///
    /// # Errors
    /// As [`socket::listen`].
    pub(crate) fn open(config: &Config) -> Result<Self, crate::net::Error> {
        let control = &config.daemon.control;
        let group = control.group.as_deref().and_then(group_id);
        let reach = Reach { group, public: control.public };
        let (listener, file) = socket::listen(&control.socket, reach)?;
        Ok(Self::of(listener, file, group, State::Open))
    }

    /// The door of another image of this cafe, still closed. None when it is not there any more.
    pub(crate) fn inherited(record: Record, descriptors: &mut Descriptors) -> Option<Self> {
        let listener = UnixListener::from(descriptors.take(record.listener)?);
        let file = Socket::claim(&record.path).ok()?;
        Some(Self::of(listener, file, record.group, State::Closed))
    }

    fn of(listener: UnixListener, file: Socket, group: Option<u32>, state: State) -> Self {
        let (state, _) = watch::channel(state);
        Self(Arc::new(Inner { listener, file, group, state }))
    }

    /// For the next image.
    pub(crate) fn record(&self) -> Record {
        Record {
            listener: self.0.listener.as_raw_fd(),
            path: self.0.file.path().to_owned(),
            group: self.0.group,
        }
    }

    /// The group whose members may operate the daemon.
    pub(crate) fn group(&self) -> Option<u32> {
        self.0.group
    }

    /// The socket, for whoever serves it now.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let copy: OwnedFd = self.0.listener.as_fd().try_clone_to_owned()?;
        tokio::net::UnixListener::from_std(copy.into())
    }

    /// Lets nobody in any more; returns when those inside have their answers, or have been cut off.
    pub(crate) async fn close(&self) {
        let mut state = self.0.state.subscribe();
        self.0.state.send_replace(State::Closing);
        // The sender is ours, so it is there.
        let _ = state.wait_for(|state| *state == State::Closed).await;
    }

    /// Lets in again.
    pub(crate) fn reopen(&self) {
        self.0.state.send_replace(State::Open);
    }

    /// Until people are let in.
    pub(super) async fn opened(&self) {
        let _ = self.0.state.subscribe().wait_for(|state| *state == State::Open).await;
    }

    /// Until nobody is let in any more.
    pub(super) async fn closing(&self) {
        let _ = self.0.state.subscribe().wait_for(|state| *state != State::Open).await;
    }

    /// Nobody is inside.
    pub(super) fn is_empty(&self) {
        self.0.state.send_if_modified(|state| {
            let closing = *state == State::Closing;
            if closing {
                *state = State::Closed;
            }
            closing
        });
    }
}

fn group_id(name: &str) -> Option<u32> {
    let found = nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    if found.is_none() {
        tracing::warn!(group = name, "the control group does not exist, so nobody is in it");
    }
    found
}
