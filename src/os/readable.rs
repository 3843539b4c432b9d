//! Waits for descriptors that are somebody else's to read: whether there is something, never what.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Error;

/// Until there is something to read, or a connection to accept, on one of these: says on which. Takes nothing. Safe to cancel.
///
/// # Errors
/// When the runtime cannot watch so many descriptors.
pub async fn any(descriptors: &[Arc<OwnedFd>]) -> Result<usize, Error> {
    let failed = |source| Error::system("watch", "a descriptor", source);
    let mut watched = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        // A copy: one number can be watched once, and another wait for the same may not have ended yet.
        let copy = descriptor.try_clone().map_err(failed)?;
        // SAFETY: the watch owns the copy, which nobody else can close.
        // Needed because the runtime has no watch over descriptors of any kind that is safe.
        let watch = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
        watched.push(watch.map_err(|error| failed(error.into_parts().1))?);
    }
    poll_fn(|context| {
        for (number, watch) in watched.iter().enumerate() {
            if let Poll::Ready(ready) = watch.poll_read_ready(context) {
                return Poll::Ready(ready.map(|_| number).map_err(failed));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::time::Duration;

    use super::any;

    #[tokio::test]
    async fn tells_which_and_takes_nothing() {
        let (first, _quiet) = std::io::pipe().expect("pipe");
        let (second, mut writer) = std::io::pipe().expect("pipe");
        let both = [Arc::new(first.into()), Arc::new(second.into())];
        let early = tokio::time::timeout(Duration::from_millis(20), any(&both)).await;
        assert!(early.is_err(), "nothing is there");
        writer.write_all(b"x").expect("writes");
        // Two at a time, and one after the other.
        let (one, other) = tokio::join!(any(&both), any(&both));
        assert_eq!((one.expect("watches"), other.expect("watches")), (1, 1));
        assert_eq!(any(&both).await.expect("watches"), 1);
    }
}
