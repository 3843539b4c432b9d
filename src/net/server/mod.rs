//! HTTP/1.1 on the control socket: who connects is told by the kernel, and no client can cost more than
//! its bound in connections, header bytes, buffers or time.
//!
//! The connections live in the future of [`serve`] and end with it. What a request means is the router's matter.

mod deadline;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tower::ServiceExt as _;

use self::deadline::WriteDeadline;
use super::control::Peer;

/// Most connections at once; further ones are told so and closed.
pub const MAX_CONNECTIONS: usize = 256;

/// Of these, kept free for root and the daemon's own user: strangers cannot lock the owner out.
const RESERVED: usize = 32;

/// Longest time from a connection (or the end of an answer) to the end of the next request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time a client may leave an answer unread before it is cut off.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Buffer per connection, bytes; the bound of a request's head.
const BUFFER: usize = 64 << 10;

/// Time for answers under way when the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// Pause after the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sent to those over [`MAX_CONNECTIONS`]; fits any socket buffer.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 99\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"C025\",\"message\":\"too many connections\",\"hint\":\"close some, or try again later\"}}\n";

/// Answers connections on `listener` until `shutdown`, then lets answers under way end for a moment.
///
/// `owner` is the user the daemon runs as.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    owner: u32,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let (closing, watch_closing) = watch::channel(false);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) if has_room(connections.len(), peer, owner) => {
                let router = router.clone();
                connections.spawn(converse(stream, peer, router, watch_closing.clone()));
            }
            Ok((stream, peer)) => {
                tracing::warn!(uid = peer.uid, limit = MAX_CONNECTIONS, "too many control clients");
                let _ = stream.try_write(BUSY);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a control connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = closing.send(true);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::debug!(count = connections.len(), "cut off control connections");
    }
    connections.shutdown().await;
}

async fn accept(listener: &UnixListener) -> io::Result<(UnixStream, Peer)> {
    let (stream, _) = listener.accept().await?;
    let credentials = stream.peer_cred()?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok((stream, Peer { uid: credentials.uid(), gid: credentials.gid(), pid }))
}

fn has_room(open: usize, peer: Peer, owner: u32) -> bool {
    let trusted = peer.uid == 0 || peer.uid == owner;
    open < if trusted { MAX_CONNECTIONS } else { MAX_CONNECTIONS - RESERVED }
}

/// One connection, to its end.
async fn converse(
    stream: UnixStream,
    peer: Peer,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    let endless = AtomicBool::new(false);
    let service = service_fn(|request| answer(request, peer, router.clone(), &endless));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(WriteDeadline::new(stream, WRITE_DEADLINE)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { let _ = closing.wait_for(|&closing| closing).await; } => {
            if endless.load(Ordering::Relaxed) {
                // A stream goes on until somebody ends it.
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        let error = crate::types::error::chain(&error);
        tracing::debug!(uid = peer.uid, %error, "a control connection ended early");
    }
}

async fn answer(
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    router: Router,
    endless: &AtomicBool,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    let answer = router.oneshot(request.map(Body::new)).await;
    let is_endless =
        answer.as_ref().is_ok_and(|answer| answer.body().size_hint().exact().is_none());
    endless.store(is_endless, Ordering::Relaxed);
    answer
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the handler of a control request failed");
    }
}
