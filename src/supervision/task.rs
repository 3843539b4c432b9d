//! The only place that may start a task. A [`Task`] belongs to whoever holds it and is aborted with it; its panic is logged under
//! its name and reaches whoever waits for it, never nobody.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

/// A running task; dropping it aborts it. Waiting for it gives its result.
#[derive(Debug)]
#[must_use = "a task is aborted when it is dropped"]
pub struct Task<T = ()> {
    handle: JoinHandle<T>,
    detached: bool,
}

/// Why a task gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It panicked; the log has its name.
    #[error("the task panicked")]
    Panicked,
    /// It was aborted, or the runtime is ending.
    #[error("the task was cancelled")]
    Cancelled,
}

/// Starts `future` as a task of the caller; `name` is what the log calls it.
pub fn spawn<T: Send + 'static>(
    name: impl Into<Cow<'static, str>>,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let named = Named { future, name: name.into() };
    #[expect(clippy::disallowed_methods, reason = "the one place: the guard makes it supervised")]
    let handle = tokio::spawn(named);
    Task { handle, detached: false }
}

impl<T> Task<T> {
    /// Ends it at its next await; it is gone when waiting for it returns.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Lets it run on by itself. Only for work that ends, and whose end nobody waits for.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context).map_err(|error| match error.is_panic() {
            true => Failure::Panicked,
            false => Failure::Cancelled,
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.handle.abort();
        }
    }
}

pin_project! {
    /// A future that says its name when it panics. An `async` block around it would hold it twice: once as captured,
    /// once as awaited; there are a few of these for each service.
    struct Named<F> {
        #[pin]
        future: F,
        name: Cow<'static, str>,
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _report = PanicReport { name: this.name };
        this.future.poll(context)
    }
}

struct PanicReport<'a> {
    name: &'a str,
}

impl Drop for PanicReport<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::{Failure, spawn};

    #[tokio::test]
    async fn gives_its_result() {
        assert_eq!(spawn("sum", async { 1 + 1 }).await, Ok(2));
    }

    #[tokio::test]
    async fn a_panic_reaches_whoever_waits() {
        assert_eq!(
            spawn("broken", async { panic!("on purpose") }).await,
            Err::<(), _>(Failure::Panicked)
        );
    }

    #[tokio::test]
    async fn is_aborted_with_its_owner() {
        let (held, gone) = oneshot::channel::<()>();
        let task = spawn("forever", async move {
            let _held = held;
            pending::<()>().await;
        });
        drop(task);
        assert!(gone.await.is_err(), "dropped with the task, never sent");
    }

    #[tokio::test]
    async fn a_detached_task_goes_on() {
        let (sender, result) = oneshot::channel();
        spawn("alone", async move { sender.send(7) }).detach();
        assert_eq!(result.await, Ok(7));
    }

    #[tokio::test]
    async fn an_aborted_task_says_so() {
        let task = spawn("forever", pending::<()>());
        task.abort();
        assert_eq!(task.await, Err(Failure::Cancelled));
    }
}
