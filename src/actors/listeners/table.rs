//! The sockets by address. By address rather than by service: one that moves to another service or gets another name
//! stays open, with all that waits in its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::actors::kept::{Keeping, Listed};
use crate::config::{Config, Listen};
use crate::net::listener::{self, Address, Listener};
use crate::os::image::Descriptors;
use crate::os::passed::Passed;
use crate::types::name::Name;

/// Every socket of the config in force, and for a moment those of the next.
#[derive(Debug)]
pub(super) struct Table {
    slots: Mutex<BTreeMap<Listen, Slot>>,
    keeping: Keeping,
}

/// A socket, or none while only a service that still runs has it: it is bound when that starts again.
type Slot = Option<Held>;

/// A socket, kept over a crash unless whoever passed it to cafe has it, too.
#[derive(Debug)]
struct Held {
    listener: Listener,
    listed: Option<Listed>,
}

/// A socket, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    listen: Listen,
    socket: Option<RawFd>,
    owns_file: bool,
    /// The service manager keeps it for cafe.
    #[serde(default)]
    kept: bool,
}

impl Record {
    /// The number of its descriptor.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.socket
    }
}

impl Table {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self { slots: Mutex::default(), keeping }
    }

    pub(super) fn open(
        &self,
        config: &Config,
        passed: Vec<Passed>,
        found: Vec<(Name, Vec<OwnedFd>)>,
    ) -> Result<(), Error> {
        let mut slots = self.lock();
        for passed in passed {
            adopt(&mut slots, config, passed);
        }
        for (service, descriptors) in &found {
            let count = descriptors.len();
            tracing::debug!(service = %service, count, "sockets found with a running service");
        }
        let running: Vec<Name> = found.iter().map(|(service, _)| service.clone()).collect();
        let mut unwanted = false;
        for (listed, descriptor) in self.keeping.sockets() {
            unwanted |= !self.take_back(&mut slots, config, descriptor, Some(listed));
        }
        if unwanted {
            // It may be in the way of what is bound next.
            self.keeping.settle();
        }
        for descriptor in found.into_iter().flat_map(|(_, descriptors)| descriptors) {
            self.take_back(&mut slots, config, descriptor, None);
        }
        for (service, socket, listen) in sockets_of(config) {
            if slots.contains_key(listen) {
                continue;
            }
            let slot = match bind(&slots, service, socket, listen) {
                Ok(listener) => Some(self.hold(listener)),
                // It runs on, with its socket: not to be started at all would be worse.
                Err(error) if is_in_use(&error) && running.contains(service) => {
                    tracing::warn!(service = %service, address = %listen, "held by the running service alone until it restarts");
                    None
                }
                Err(error) => return Err(error),
            };
            slots.insert(listen.clone(), slot);
        }
        Ok(())
    }

    /// Binds what is new, all or nothing.
    pub(super) fn bind(&self, config: &Config) -> Result<(), Error> {
        let mut slots = self.lock();
        let mut fresh = BTreeMap::new();
        for (service, socket, listen) in sockets_of(config) {
            if !slots.contains_key(listen) {
                fresh.insert(listen.clone(), bind(&slots, service, socket, listen)?);
            }
        }
        slots.extend(fresh.into_iter().map(|(listen, socket)| (listen, Some(self.hold(socket)))));
        Ok(())
    }

    pub(super) fn close_others(&self, config: &Config) {
        let wanted: BTreeSet<&Listen> = sockets_of(config).map(|(_, _, listen)| listen).collect();
        self.lock().retain(|listen, _| wanted.contains(listen));
    }

    pub(super) fn get(
        &self,
        service: &Name,
        socket: &Name,
        listen: &Listen,
    ) -> Result<Arc<OwnedFd>, Error> {
        let mut slots = self.lock();
        if let Some(Some(held)) = slots.get(listen) {
            return Ok(held.listener.descriptor());
        }
        let listener = bind(&slots, service, socket, listen)?;
        let descriptor = listener.descriptor();
        slots.insert(listen.clone(), Some(self.hold(listener)));
        Ok(descriptor)
    }

    pub(super) fn record(&self) -> Vec<Record> {
        let slots = self.lock();
        let records = slots.iter().map(|(listen, slot)| Record {
            listen: listen.clone(),
            socket: slot.as_ref().map(|held| held.listener.descriptor().as_raw_fd()),
            owns_file: slot.as_ref().is_some_and(|held| held.listener.owns_file()),
            kept: slot.as_ref().is_some_and(|held| held.listed.is_some()),
        });
        records.collect()
    }

    pub(super) fn resume(&self, records: Vec<Record>, descriptors: &mut Descriptors) {
        let mut slots = self.lock();
        for Record { listen, socket, owns_file, kept } in records {
            let held = socket.and_then(|number| descriptors.take(number)).map(|socket| {
                let listed = kept.then(|| self.keeping.known_socket(&socket)).flatten();
                let listener = match owns_file {
                    true => Listener::found(socket, &address(&listen)),
                    false => Listener::given(socket),
                };
                Held { listener, listed }
            });
            slots.insert(listen, held);
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn hold(&self, listener: Listener) -> Held {
        let listed = self.keeping.socket(&listener.descriptor());
        Held { listener, listed }
    }

    /// A service that was found running has a socket of an earlier cafe, or the service manager kept it: it becomes ours
    /// again. Says whether that is wanted.
    fn take_back(
        &self,
        slots: &mut BTreeMap<Listen, Slot>,
        config: &Config,
        descriptor: OwnedFd,
        listed: Option<Listed>,
    ) -> bool {
        let Ok(address) = listener::address_of(&descriptor) else { return false };
        let listen = listen(address.clone());
        if owner_of(config, &listen).is_none() {
            tracing::debug!(address = %listen, "a socket of an earlier cafe is not wanted");
            return false;
        }
        slots.entry(listen).or_insert_with(|| {
            let listed = listed.or_else(|| self.keeping.socket(&descriptor));
            Some(Held { listener: Listener::found(descriptor, &address), listed })
        });
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Listen, Slot>> {
        // A slot is a whole value: a panic elsewhere leaves the others as they are.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sockets_of(config: &Config) -> impl Iterator<Item = (&Name, &Name, &Listen)> {
    let services = config.services.iter();
    services.flat_map(|(service, it)| {
        it.listen.iter().map(move |(socket, listen)| (service, socket, listen))
    })
}

fn bind(
    slots: &BTreeMap<Listen, Slot>,
    service: &Name,
    socket: &Name,
    listen: &Listen,
) -> Result<Listener, Error> {
    Listener::bind(&address(listen)).map_err(|source| Error {
        service: service.clone(),
        socket: socket.clone(),
        in_the_way: slots.keys().find(|own| own.collides_with(listen)).cloned(),
        source: Box::new(source),
    })
}

fn is_in_use(error: &Error) -> bool {
    matches!(*error.source, listener::Error::InUse(_))
}

/// What was passed to cafe is used where the config has its address; the name of a unit stands for all its sockets.
fn adopt(slots: &mut BTreeMap<Listen, Slot>, config: &Config, passed: Passed) {
    let Passed { number, name, descriptor } = passed;
    let refused = match listener::address_of(&descriptor) {
        Err(why) => why,
        Ok(address) => {
            let listen = listen(address);
            match owner_of(config, &listen) {
                Some((service, socket)) if !slots.contains_key(&listen) => {
                    tracing::info!(number, name, service = %service, socket = %socket, address = %listen, "a socket that was passed to cafe is used");
                    let listener = Listener::given(descriptor);
                    slots.insert(listen, Some(Held { listener, listed: None }));
                    return;
                }
                Some(_) => format!("{listen} was passed twice"),
                None => no_place(config, &name, &listen),
            }
        }
    };
    tracing::warn!(
        number,
        name,
        "a descriptor that was passed to cafe is not used, and closed: {refused}"
    );
}

/// Why a socket on `listen` that came under `name` is nobody's.
fn no_place(config: &Config, name: &str, listen: &Listen) -> String {
    let named = sockets_of(config).find(|(_, socket, _)| socket.as_str() == name);
    match named {
        Some((service, socket, wanted)) => {
            format!("it is on {listen}, and `{socket}` of service `{service}` on {wanted}")
        }
        None => format!("no service of the config has `listen` on {listen}"),
    }
}

fn owner_of<'c>(config: &'c Config, listen: &Listen) -> Option<(&'c Name, &'c Name)> {
    let found = sockets_of(config).find(|(_, _, wanted)| *wanted == listen);
    found.map(|(service, socket, _)| (service, socket))
}

fn address(listen: &Listen) -> Address {
    match listen {
        Listen::Ip(ip) => Address::Ip(*ip),
        Listen::Unix(path) => Address::Unix(path.clone()),
    }
}

fn listen(address: Address) -> Listen {
    match address {
        Address::Ip(ip) => Listen::Ip(ip),
        Address::Unix(path) => Listen::Unix(path),
    }
}
