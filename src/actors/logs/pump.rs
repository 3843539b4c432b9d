//! Speaks for the log pump: what the pump's thread notices becomes events, and readiness of services.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::actors::bus::Bus;
use crate::actors::services;
use crate::logs::{self, Notice};
use crate::supervision::task::{self, Task};
use crate::types::event::Kind;
use crate::types::unit::show_duration;

/// Notices that may wait; the pump drops further ones rather than wait for anybody.
const WAITING: usize = 4096;

/// Notices on their way from the pump's thread, over restarts of the actor; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Notices {
    receiver: Arc<Mutex<Option<mpsc::Receiver<Notice>>>>,
}

impl Notices {
    /// The way for notices, and the callback for the pump.
    pub(crate) fn channel() -> (Box<dyn Fn(Notice) + Send>, Self) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let callback = Box::new(move |notice| {
            if let Err(mpsc::error::TrySendError::Full(notice)) = sender.try_send(notice) {
                tracing::warn!(?notice, "log notice dropped, too many are waiting");
            }
        });
        (callback, Self { receiver: Arc::new(Mutex::new(Some(receiver))) })
    }

    fn take(&self) -> Option<mpsc::Receiver<Notice>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_back(&self, receiver: mpsc::Receiver<Notice>) {
        *self.receiver.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }
}

/// What the actor needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) notices: Notices,
    pub(crate) pump: logs::Pump,
    pub(crate) bus: Bus,
    pub(crate) services: services::Handle,
}

/// The actor; its state is the task that waits for notices.
#[derive(Debug)]
pub(crate) struct Pump;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The pump's thread is gone.
    Closed,
}

impl Actor for Pump {
    type Msg = Msg;
    type State = Task;
    type Arguments = Options;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        options: Options,
    ) -> Result<Task, ActorProcessingErr> {
        let receiver = options.notices.take().ok_or("another pump actor holds the notices")?;
        let mut held = Held { receiver: Some(receiver), notices: options.notices.clone() };
        Ok(task::spawn("log notices", async move {
            let mut looks = tokio::time::interval(logs::STALLED);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut hung = false;
            loop {
                tokio::select! {
                    notice = held.next() => match notice {
                        Some(notice) => pass_on(notice, &options),
                        None => break,
                    },
                    _ = looks.tick() => hung = watch(&options, hung),
                }
            }
            if !options.pump.is_suspended() {
                let _ = myself.cast(Msg::Closed);
            }
        }))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        Msg::Closed: Msg,
        _state: &mut Task,
    ) -> Result<(), ActorProcessingErr> {
        Err("the thread of the log pump ended".into())
    }
}

/// The receiver, given back for the next incarnation of the actor however this one ends.
struct Held {
    receiver: Option<mpsc::Receiver<Notice>>,
    notices: Notices,
}

impl Held {
    async fn next(&mut self) -> Option<Notice> {
        self.receiver.as_mut()?.recv().await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.notices.put_back(receiver);
        }
    }
}

/// Tells once that logs are not written any more, and once that they are again; says whether they hang now.
fn watch(options: &Options, hung: bool) -> bool {
    let stalled = options.pump.stalled();
    let message = match stalled {
        Some(turn) if !hung => format!(
            "no log is written for {}: a file system hangs; services that write much will wait",
            show_duration(turn)
        ),
        None if hung => "logs are written again".to_owned(),
        _ => return hung,
    };
    options.bus.publish(Kind::Daemon { message });
    stalled.is_some()
}

fn pass_on(notice: Notice, options: &Options) {
    let time = |ms| show_duration(Duration::from_millis(ms));
    let (service, message) = match notice {
        Notice::Matched { service, generation, line } => {
            return options.services.line_matched(service, generation, line);
        }
        Notice::WriteFailed { service, error } => (service, format!("cannot be written: {error}")),
        Notice::Blocked { service, ms, cause } => {
            (service, format!("waits for its log since {}: {cause}", time(ms)))
        }
        Notice::Unblocked { service, ms } => {
            (service, format!("is written again after {}, nothing lost", time(ms)))
        }
        Notice::Dropped { service, lines, ms } => {
            (service, format!("is written again, {lines} lines dropped in {}", time(ms)))
        }
    };
    options.bus.publish(Kind::Log { service, message });
}
