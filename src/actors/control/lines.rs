//! Log lines for API clients: read from the files on a thread that may block, handed over through a bounded
//! channel. A client that does not read stops its own reading, never a service.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::logs::read::{Follower, Line, Query, Reader, Stream};
use crate::net::api::Feed;
use crate::net::control::LogQuery;
use crate::types::name::Name;

/// Lines on their way to a client.
const AHEAD: usize = 256;

/// How soon a follower notices that its client is gone.
const LOOK: Duration = Duration::from_secs(1);

/// One line as JSON.
#[derive(Debug, Serialize)]
struct Document<'l> {
    t: jiff::Timestamp,
    service: &'l Name,
    stream: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continued: bool,
    line: String,
}

/// The lines of `services` that `query` asks for, as JSON Lines.
pub(super) fn feed(root: PathBuf, services: Vec<Name>, query: LogQuery) -> Feed<Bytes> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let wanted = Query {
        services,
        lines: query.lines,
        since: query.since,
        until: query.until,
        ..Query::default()
    };
    tokio::task::spawn_blocking(move || {
        let ended = match query.follow {
            true => follow(&root, &wanted, &sender),
            false => read(&root, &wanted, &sender),
        };
        if let Err(error) = ended {
            tracing::warn!(error = crate::types::error::chain(&error), "log not read for a client");
        }
    });
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }))
}

fn read(
    root: &std::path::Path,
    query: &Query,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), crate::logs::Error> {
    for line in Reader::open(root, query)? {
        if sender.blocking_send(document(&line?)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn follow(
    root: &std::path::Path,
    query: &Query,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), crate::logs::Error> {
    let mut follower = Follower::open(root, query)?;
    while !sender.is_closed() {
        let Some(line) = follower.next(LOOK)? else { continue };
        if sender.blocking_send(document(&line)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn document(line: &Line) -> Bytes {
    let document = Document {
        t: line.at,
        service: &line.service,
        stream: match line.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Cafe => "cafe",
        },
        continued: line.continued,
        line: String::from_utf8_lossy(&line.text).into_owned(),
    };
    // A struct of strings and times cannot fail to serialise.
    let mut text = serde_json::to_vec(&document).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}
