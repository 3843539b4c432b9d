//! From the config of a service to a process: environment, pipes, cgroup, notify socket.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::unistd::{Gid, Uid};
use ractor::ActorRef;
use regex::bytes::Regex;

use super::super::context::Context;
use super::instance::Instance;
use super::{Msg, State};
use crate::config::{self, Ready};
use crate::logs;
use crate::os::notify::Socket;
use crate::os::process::{Account, Child, Command, Resource};
use crate::supervision::task::{self, Task};
use crate::types::error::{Code, chain};
use crate::types::name::Name;
use crate::types::seat::Seat;

/// Number of the first socket a service is passed, `SD_LISTEN_FDS_START`.
pub(crate) const FIRST_SOCKET: i32 = 3;

/// Where a service writes a newline when it is ready.
pub(super) type ReadyPipe = tokio::net::unix::pipe::Receiver;

/// Why a process could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its user, its cgroup, its notify socket, or the process itself.
    #[error(transparent)]
    System(#[from] crate::os::Error),
    /// Its output could not be attached to the log.
    #[error(transparent)]
    Log(#[from] logs::Error),
    /// A socket it is to accept on, which could not be bound so far either.
    #[error(transparent)]
    Listener(#[from] crate::actors::listeners::Error),
    /// The pipe of its readiness descriptor.
    #[error("cannot make the pipe of readiness descriptor {descriptor}")]
    ReadyPipe {
        /// The descriptor.
        descriptor: i32,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The code that `cafe explain` has a page for.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::System(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Listener(error) => error.code(),
            Self::ReadyPipe { .. } => Code::OutOfResources,
        }
    }
}

impl State {
    /// Everything a new incarnation needs, up to the process itself.
    pub(super) fn prepare(
        &self,
        myself: &ActorRef<Msg>,
        instance: &mut Instance,
        account: Option<&Account>,
    ) -> Result<Command, Error> {
        let config = &self.config;
        let owner = account.map(|account| (account.uid, account.gid));
        let (stdout_reader, stdout) = logs::pipe(owner.map(ids))?;
        let (stderr_reader, stderr) = logs::pipe(owner.map(ids))?;
        let mut descriptors = vec![(1, Arc::new(stdout)), (2, Arc::new(stderr))];
        let mut env = self.environment(&instance.seat);
        let sockets = self.pass_sockets(&mut env)?;
        descriptors.extend((FIRST_SOCKET..).zip(sockets));
        if let Some(Ready::Fd(descriptor)) = config.ready {
            descriptors
                .push((descriptor, self.listen_on_descriptor(myself, instance, descriptor)?));
        }
        if self.hears_notifications() {
            self.bind_notify_socket(instance, owner, &mut env)?;
        }
        let cgroup = self.context.enter_cgroup(&instance.seat, &config.limits())?;
        // Before it runs: it may be killed for memory before anybody hears that it was started.
        instance.oom_kills_before = self.context.oom_kills(&instance.seat);
        let generation = instance.generation;
        // Before it runs: its last words may be its first.
        self.context.keeping.output(&self.name, generation, &stdout_reader, &stderr_reader);
        self.context.pump.attach(logs::Source {
            service: self.name.clone(),
            generation,
            beside: self.has_another(instance),
            stdout: stdout_reader,
            stderr: stderr_reader,
            options: super::super::context::sink_options(&config.log),
            watch_for: self.readiness_expression(),
            found: false,
        })?;
        Ok(Command {
            argv: config.command.iter().map(OsString::from).collect(),
            env: env.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            own_pid_in: (!config.listen.is_empty()).then_some("LISTEN_PID"),
            cwd: config.cwd.clone(),
            user: config.user.clone(),
            group: config.group.clone(),
            umask: config.umask,
            nice: config.nice,
            rlimits: rlimits(&config.limits()),
            capabilities: config.capabilities,
            no_new_privs: config.no_new_privs,
            descriptors,
            cgroup,
        })
    }

    /// A process that was found running: its output and its notifications are heard again. What it wrote
    /// meanwhile is still in its pipes.
    pub(super) fn listen_again(
        &self,
        instance: &mut Instance,
        child: &Child,
        pipes: Option<[OwnedFd; 2]>,
    ) {
        let pid = child.pid();
        let heard = self.reattach(instance, child, pipes).and_then(|()| {
            if !self.hears_notifications() {
                return Ok(());
            }
            // The socket belonged to the user of the service, and is to belong to it again.
            let owner = std::fs::metadata(format!("/proc/{pid}")).ok();
            let owner = owner.map(|process| (process.uid(), process.gid()));
            self.bind_notify_socket(instance, owner, &mut BTreeMap::new())
        });
        if let Err(error) = heard {
            tracing::warn!(service = %self.name, error = chain(&error), "output of a found process not heard");
        }
    }

    /// Whether another incarnation goes on beside this one.
    fn has_another(&self, instance: &Instance) -> bool {
        let both = [&self.instance, &self.beside].into_iter().flatten();
        both.into_iter().any(|other| other.generation != instance.generation)
    }

    /// To the pipes that were kept over the crash, or else to those that the process has.
    fn reattach(
        &self,
        instance: &Instance,
        child: &Child,
        pipes: Option<[OwnedFd; 2]>,
    ) -> Result<(), Error> {
        let (generation, keeping) = (instance.generation, &self.context.keeping);
        let [stdout, stderr] = match pipes {
            Some(kept) => kept,
            None => {
                let found = [logs::adopt(child.pid(), 1)?, logs::adopt(child.pid(), 2)?];
                // Some of it may be kept still.
                keeping.forget(&self.name, generation);
                keeping.output(&self.name, generation, &found[0], &found[1]);
                keeping.process(&self.name, generation, child);
                found
            }
        };
        self.context.pump.attach(logs::Source {
            service: self.name.clone(),
            generation: instance.generation,
            beside: self.has_another(instance),
            stdout,
            stderr,
            options: super::super::context::sink_options(&self.config.log),
            watch_for: None,
            found: true,
        })?;
        Ok(())
    }

    /// What the service finds in its environment: a few variables of cafe's own, its own, and its mark.
    fn environment(&self, seat: &Seat) -> BTreeMap<String, String> {
        let mut env = self.context.base_env.clone();
        if self.config.user.is_some() {
            // The spawner gives it that of the user.
            env.remove("HOME");
        }
        env.extend(self.config.env.clone());
        if let Some(number) = self.name.number() {
            env.insert("CAFE_INSTANCE".to_owned(), number.to_string());
        }
        env.insert("CAFE_SERVICE".to_owned(), self.context.mark(seat));
        env
    }

    /// The sockets of the service, and what `sd_listen_fds(3)` reads of them but for `LISTEN_PID`, which nobody knows yet.
    fn pass_sockets(&self, env: &mut BTreeMap<String, String>) -> Result<Vec<Arc<OwnedFd>>, Error> {
        let listen = &self.config.listen;
        if listen.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = listen.keys().map(Name::as_str).collect();
        env.insert("LISTEN_FDS".to_owned(), names.len().to_string());
        env.insert("LISTEN_FDNAMES".to_owned(), names.join(":"));
        env.remove("LISTEN_PID");
        Ok(self.context.listeners.sockets(&self.name, listen)?)
    }

    /// Whether the service has a notify socket.
    pub(super) fn hears_notifications(&self) -> bool {
        matches!(self.config.ready, Some(Ready::Notify)) || self.config.watchdog.is_some()
    }

    fn readiness_expression(&self) -> Option<Regex> {
        match &self.config.ready {
            // Compiled once by the config check, so it is valid.
            Some(Ready::Log(expression)) => Regex::new(expression).ok(),
            _ => None,
        }
    }

    /// What is said before the process is known waits in the socket.
    fn bind_notify_socket(
        &self,
        instance: &mut Instance,
        owner: Option<(u32, u32)>,
        env: &mut BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let path = self.context.notify_path(&self.name, instance.generation);
        let socket = Socket::bind(&path, owner.map(|(uid, _)| uid))?;
        env.insert("NOTIFY_SOCKET".to_owned(), path.to_string_lossy().into_owned());
        if let Some(interval) = self.config.watchdog {
            env.insert("WATCHDOG_USEC".to_owned(), interval.as_micros().to_string());
        }
        instance.notify = Some((Arc::new(socket), owner.map(|(uid, _)| uid)));
        Ok(())
    }

    /// Hears what processes of the service say, and nobody else; anew when another process becomes the main one.
    pub(super) fn hear(&mut self, myself: &ActorRef<Msg>, generation: u64, main: u32) {
        let (me, context) = (myself.clone(), self.context.clone());
        let (name, log) = (self.name.clone(), self.config.log);
        let Some(instance) = self.find(generation) else { return };
        let Some((socket, owner)) = instance.notify.clone() else { return };
        let Some(family) = instance.family.clone() else { return };
        let seat = instance.seat.clone();
        instance.ear = Some(task::spawn("notify socket", async move {
            let mut told = false;
            while socket.readable().await.is_ok() {
                let _pass = context.gate.pass().await;
                let received = match socket.try_receive() {
                    Ok(Some(received)) => received,
                    Ok(None) => continue,
                    Err(_) => return,
                };
                if !context.speaks_for(&seat, &family, main, owner, &received) {
                    if !std::mem::replace(&mut told, true) {
                        let (pid, uid) = (received.pid, received.uid);
                        let text = format!(
                            "process {pid} of user {uid} notifies, and is not of this service: not believed"
                        );
                        context.note(&name, &log, text);
                    }
                    continue;
                }
                // By now nobody needs to be asked who it is: what it sent along may be closed.
                let notification = Box::new(received.message);
                if me.cast(Msg::Notified { generation, notification }).is_err() {
                    return;
                }
            }
        }));
    }

    /// The readiness protocol of s6: a newline on the descriptor means ready.
    fn listen_on_descriptor(
        &self,
        myself: &ActorRef<Msg>,
        instance: &mut Instance,
        descriptor: i32,
    ) -> Result<Arc<OwnedFd>, Error> {
        let failed = |source| Error::ReadyPipe { descriptor, source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let reader = ReadyPipe::from_owned_fd(reader.into()).map_err(failed)?;
        let reader = Arc::new(reader);
        instance.ready_pipe = Some(reader.clone());
        let heard = hear_pipe(myself, &self.context, instance.generation, descriptor, reader);
        instance.checks.push(heard);
        Ok(Arc::new(writer.into()))
    }
}

fn ids((uid, gid): (u32, u32)) -> (Uid, Gid) {
    (Uid::from_raw(uid), Gid::from_raw(gid))
}

/// Reads the readiness pipe until a newline or the end.
pub(super) fn hear_pipe(
    myself: &ActorRef<Msg>,
    context: &Arc<Context>,
    generation: u64,
    descriptor: i32,
    pipe: Arc<ReadyPipe>,
) -> Task {
    let (me, context) = (myself.clone(), context.clone());
    task::spawn("ready descriptor", async move {
        let mut bytes = [0_u8; 256];
        while pipe.readable().await.is_ok() {
            let _pass = context.gate.pass().await;
            match pipe.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(count) if bytes[..count].contains(&b'\n') => {
                    let evidence = format!("wrote to descriptor {descriptor}");
                    let _ = me.cast(Msg::Ready { generation, evidence });
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    })
}

fn rlimits(limits: &config::Limits) -> Vec<(Resource, u64)> {
    let wanted = [
        (Resource::RLIMIT_NOFILE, limits.nofile),
        (Resource::RLIMIT_NPROC, limits.nproc),
        (Resource::RLIMIT_CORE, limits.core),
        (Resource::RLIMIT_AS, limits.address_space),
        (Resource::RLIMIT_FSIZE, limits.file_size),
        (Resource::RLIMIT_MEMLOCK, limits.memlock),
    ];
    wanted.into_iter().filter_map(|(resource, value)| Some((resource, value?))).collect()
}
