//! Shares one scan among all who ask at about the same time, and kills families until none is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Family, Remaining, Scan};
use crate::os::Error;
use crate::os::children::Children;

/// Time for killed processes to go before the next look.
const ROUND: Duration = Duration::from_secs(1);

/// Answers what is left of services: a thousand that stop at once cost a scan or two. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Census {
    children: Arc<Children>,
    latest: Arc<Mutex<Option<Dated>>>,
}

/// A scan, and when it began.
#[derive(Debug)]
struct Dated {
    begun: Instant,
    scan: Arc<Scan>,
}

impl Census {
    /// Looks at everything but the children that somebody waits for.
    #[must_use]
    pub fn new(children: Arc<Children>) -> Self {
        Self { children, latest: Arc::default() }
    }

    /// A scan that began after this call.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub async fn scan(&self) -> Result<Arc<Scan>, Error> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        // While this waited for its turn, another may have begun and finished one.
        if let Some(latest) = latest.as_ref()
            && latest.begun > asked
        {
            return Ok(Arc::clone(&latest.scan));
        }
        let begun = Instant::now();
        let children = Arc::clone(&self.children);
        let scan = tokio::task::spawn_blocking(move || Scan::new(&children).map(Arc::new));
        let scan = scan.await.map_err(|error| {
            Error::system("scan", "the children of cafe", std::io::Error::other(error))
        })??;
        *latest = Some(Dated { begun, scan: Arc::clone(&scan) });
        Ok(scan)
    }

    /// Everything that is left of a family, except a main process that still lives.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or no descriptor is left.
    pub async fn remaining(&self, family: &Family) -> Result<Vec<Remaining>, Error> {
        self.scan().await?.of(family)
    }

    /// Kills what is left of a family until a look finds nothing; says how many were found.
    ///
    /// # Errors
    /// When after `within` something is still there (it may hang in the kernel), or as [`Census::remaining`].
    pub async fn kill_all(&self, family: &Family, within: Duration) -> Result<usize, Error> {
        let deadline = Instant::now() + within;
        let mut found = 0;
        loop {
            let (remaining, clear) = self.scan().await?.verdict(family)?;
            if clear {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(still_there(family, &remaining));
            }
            found += remaining.len();
            // A family that forks could outrun us one by one: the group goes at once. Only after the look, as
            // what has no mark is known by its parents alone, and those may be in the group.
            family.signal_group_of(libc::SIGKILL, &remaining)?;
            for process in &remaining {
                process.signal(libc::SIGKILL)?;
            }
            let all_ended = async {
                for process in &remaining {
                    process.exited().await?;
                }
                Ok(())
            };
            // On a timeout the next look tells what is left.
            if let Ok(ended) = timeout(ROUND.min(deadline - Instant::now()), all_ended).await {
                ended?;
            }
        }
    }
}

/// Names what hangs, or the service when its processes change too fast to name.
fn still_there(family: &Family, remaining: &[Remaining]) -> Error {
    let pids: Vec<_> = remaining.iter().map(|process| process.pid.to_string()).collect();
    let subject = format!("what is left of {} (processes {})", family.mark, pids.join(", "));
    Error::system("kill", subject, std::io::ErrorKind::TimedOut)
}
