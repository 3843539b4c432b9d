//! `listeners/`: every socket that cafe binds for others.
//!
//! Sockets are bound once and live as long as the config has them: a service that restarts, crashes or waits for its
//! next try never closes one, and whoever connects meanwhile waits in its queue. The actor binds and closes; the
//! table itself is shared, so that nothing closes when the actor fails, and services take theirs without asking anybody.

pub(crate) mod binder;
mod table;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use self::binder::Msg;
pub(crate) use self::table::Record;
use self::table::Table;
use crate::actors::kept::Keeping;
use crate::config::{Config, Listen};
use crate::net::listener;
use crate::os::image::Descriptors;
use crate::os::passed::Passed;
use crate::supervision::mailbox::Mailbox;
use crate::types::error::{Code, Problem, chain};
use crate::types::name::Name;

/// Changes that may wait; they come from the config keeper alone, one at a time.
const CHANGES_WAITING: usize = 4;

/// Longest time to bind all sockets of a config.
const DEADLINE: Duration = Duration::from_secs(10);

/// How the rest of cafe reaches the sockets; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    table: Arc<Table>,
    mailbox: Mailbox<Msg>,
}

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("`{socket}` of service `{service}`")]
pub(crate) struct Error {
    service: Name,
    socket: Name,
    /// An address of cafe's own that is in the way.
    in_the_way: Option<Listen>,
    source: Box<listener::Error>,
}

impl Error {
    /// The code that `cafe explain` has a page for.
    pub(crate) fn code(&self) -> Code {
        self.source.code()
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match &self.in_the_way {
            Some(own) => Some(format!(
                "cafe itself listens on {own}: take that out of the config first, then put this in"
            )),
            None => self.source.hint(),
        }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let problem = Self::new(error.code(), chain(error));
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl Handle {
    /// Without a socket yet; what is bound is kept over a crash.
    pub(crate) fn new(keeping: Keeping) -> Self {
        let table = Arc::new(Table::new(keeping));
        Self { table, mailbox: Mailbox::new(CHANGES_WAITING) }
    }

    /// Opens all sockets of the first config: takes those that were `passed` to cafe, those that services which still run
    /// were given by an earlier cafe (`found`), those that were kept over its crash, and binds the rest. What was passed and is not in the config is closed, with a warning.
    ///
    /// # Errors
    /// The first socket that cannot be had; none is open then.
    pub(crate) fn open(
        &self,
        config: &Config,
        passed: Vec<Passed>,
        found: Vec<(Name, Vec<OwnedFd>)>,
    ) -> Result<(), Error> {
        let opened = self.table.open(config, passed, found);
        if opened.is_err() {
            self.table.clear();
        }
        opened
    }

    /// Binds what `config` has and the one in force has not; nothing is bound, and nothing was changed, when one of them
    /// cannot be.
    ///
    /// # Errors
    /// The first socket that cannot be had.
    pub(crate) async fn bind(&self, config: Arc<Config>) -> Result<(), Problem> {
        let asked = self.mailbox.call(|reply| Msg::Bind { config, reply }, DEADLINE).await;
        asked.unwrap_or_else(|error| {
            Err(Problem::new(error.code(), format!("the listeners do not answer: {error}")))
        })
    }

    /// Closes what `config`, now in force, does not have.
    pub(crate) fn close_others(&self, config: Arc<Config>) {
        // Between two incarnations of the actor nobody closes; the next change does.
        let _ = self.mailbox.tell(Msg::CloseOthers { config });
    }

    /// The sockets of a service in the order of their names, to pass on. Binds one that could not be had so far.
    ///
    /// # Errors
    /// The first that still cannot be had.
    pub(crate) fn sockets(
        &self,
        service: &Name,
        listen: &BTreeMap<Name, Listen>,
    ) -> Result<Vec<Arc<OwnedFd>>, Error> {
        let one = |(socket, listen)| self.table.get(service, socket, listen);
        listen.iter().map(one).collect()
    }

    /// All sockets, for the image of cafe that comes.
    pub(crate) fn record(&self) -> Vec<Record> {
        self.table.record()
    }

    /// Goes on with the sockets of another image.
    pub(crate) fn resume(&self, records: Vec<Record>, descriptors: &mut Descriptors) {
        self.table.resume(records, descriptors);
    }

    /// Closes everything; the end of cafe.
    pub(crate) fn close_all(&self) {
        self.table.clear();
    }
}
