//! Supervisors over real actors, in virtual time.

mod heartbeat;
mod otp_cases;
mod pitfalls;
mod storm;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{ChildSpec, Handle, start};
use crate::supervision::machine::Spec;
use crate::supervision::testing::{Do, Journal, options, puppet, root, spec};
use crate::types::policy::{Intensity, Restart, Strategy};

pub(super) async fn started(spec: Spec, children: Vec<ChildSpec>) -> (Handle, Journal) {
    let journal = Journal::default();
    let handle = start(root(), options(spec, children, &journal)).await.expect("boots");
    journal.take();
    (handle, journal)
}

fn few(restarts: u32, strategy: Strategy) -> Spec {
    let intensity = Intensity { restarts, ..spec(strategy).intensity };
    Spec { intensity, ..spec(strategy) }
}

/// Fails to start as told by the number of the start.
pub(super) fn failing(id: &str, fails: impl Fn(u64) + Send + Sync + 'static) -> ChildSpec {
    struct Fails<F>(Arc<F>);
    impl<F: Fn(u64) + Send + Sync + 'static> Actor for Fails<F> {
        type Msg = Do;
        type State = ();
        type Arguments = u64;
        async fn pre_start(&self, _: ActorRef<Do>, number: u64) -> Result<(), ActorProcessingErr> {
            self.0(number);
            Ok(())
        }
        async fn handle(
            &self,
            _: ActorRef<Do>,
            _: Do,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            Err("crashed on purpose".into())
        }
    }
    let fails = Arc::new(fails);
    ChildSpec::worker(id, move |context| {
        let actor = Fails(Arc::clone(&fails));
        async move { Ok(context.spawn(actor, context.generation).await?) }
    })
}

pub(super) fn nested(restart: Restart, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    let inner = move || {
        let children = vec![puppet("x"), puppet("y")];
        options(few(1, Strategy::OneForOne), children, &journal)
    };
    ChildSpec::supervisor("inner", inner).restart(restart)
}
