//! What services of an earlier cafe left behind. That cafe was their last parent, so they are not below this one,
//! where the census looks: a walk over the whole machine finds them by their mark.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::context::{Context, KILL_DEADLINE, KILL_SIGNAL};
use crate::os::family::{self, Marked};
use crate::types::error::chain;
use crate::types::seat::Seat;

/// Time for killed processes to go before the next look.
const ROUND: Duration = Duration::from_secs(1);

impl Context {
    /// Kills every process with the mark of a seat until a look finds none; says how many there were.
    pub(super) async fn kill_strays(&self, seat: &Seat) -> usize {
        let deadline = Instant::now() + KILL_DEADLINE;
        let mut killed = 0;
        loop {
            let strays = self.strays(seat).await;
            if strays.is_empty() {
                return killed;
            }
            if Instant::now() >= deadline {
                tracing::error!(service = %seat, count = strays.len(), "processes that cannot be killed are left behind");
                return killed;
            }
            killed += strays.len();
            for stray in &strays {
                let _ = stray.process.signal(KILL_SIGNAL);
            }
            let all_ended = async {
                for stray in &strays {
                    let _ = stray.process.exited().await;
                }
            };
            // On a timeout the next look tells what is left.
            let _ = timeout(ROUND, all_ended).await;
        }
    }

    async fn strays(&self, seat: &Seat) -> Vec<Marked> {
        let state_id = self.state_id.clone();
        let marked = tokio::task::spawn_blocking(move || family::marked(&state_id)).await;
        let mut marked = match marked {
            Ok(Ok(marked)) => marked,
            Ok(Err(error)) => {
                tracing::error!(
                    error = chain(&error),
                    "processes of an earlier cafe not looked for"
                );
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let seat = seat.to_string();
        marked.retain(|found| found.seat == seat);
        marked
    }
}
