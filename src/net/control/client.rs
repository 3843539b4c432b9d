//! The client of the control socket: one connection per request, a deadline on each, a bound on every answer.

use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::lines::{Lines, Messages};
use super::{
    Acted, ConfigView, ErrorBody, Goal, LogQuery, Notice, Plan, Reloaded, Tree, Upgrading, Verb,
};
use crate::net::Error;
use crate::types::error::{Code, Problem};
use crate::types::status::{Daemon, Service, Status};

/// Longest answer, bytes: 50,000 services fit.
const ANSWER_LIMIT: usize = 64 << 20;

/// What is added to a wait so that the daemon's own answer "timed out" still arrives.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

/// Talks to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the daemon at `socket`; `timeout` is for each whole request.
    pub fn new(socket: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self { socket: socket.into(), timeout }
    }

    /// The socket it talks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Everything, or one service or group.
    ///
    /// # Errors
    /// As every request: unreachable, timed out, not understood, or the daemon's own [`Problem`].
    pub async fn status(&self, name: Option<&str>) -> Result<Status, Error> {
        match name {
            None => self.json(Method::GET, "/v1/status", Bytes::new(), self.timeout).await,
            Some(name) => {
                let path = format!("/v1/services/{}", escape(name));
                self.json(Method::GET, &path, Bytes::new(), self.timeout).await
            }
        }
    }

    /// The daemon itself: cheap however many services there are.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn daemon(&self) -> Result<Daemon, Error> {
        self.json(Method::GET, "/v1/daemon", Bytes::new(), self.timeout).await
    }

    /// The live supervision tree.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn tree(&self) -> Result<Tree, Error> {
        self.json(Method::GET, "/v1/tree", Bytes::new(), self.timeout).await
    }

    /// Does `verb` to a service or group and waits at most `wait` for the outcome.
    ///
    /// # Errors
    /// As [`Client::status`]; `C044` when the outcome was not known in time: it goes on.
    pub async fn act(
        &self,
        verb: Verb,
        name: &str,
        why: Option<&str>,
        wait: Duration,
    ) -> Result<Acted, Error> {
        let mut path = format!("/v1/services/{}/{verb}?wait_ms={}", escape(name), wait.as_millis());
        if let Verb::Kill { signal } = verb {
            path += &format!("&signal={signal}");
        }
        if verb == Verb::Overlap {
            path += "&overlap=true";
        }
        if let Some(why) = why {
            path += &format!("&why={}", escape(why));
        }
        self.json(Method::POST, &path, Bytes::new(), wait + ANSWER_SLACK).await
    }

    /// Waits until a service reaches `goal`.
    ///
    /// # Errors
    /// As [`Client::status`]; `C044` after `timeout`, `C052` when it will not get there by itself.
    pub async fn wait(&self, name: &str, goal: Goal, timeout: Duration) -> Result<Service, Error> {
        let milliseconds = timeout.as_millis();
        let name = escape(name);
        let path = format!("/v1/services/{name}/wait?for={goal}&timeout_ms={milliseconds}");
        self.json(Method::GET, &path, Bytes::new(), timeout + ANSWER_SLACK).await
    }

    /// The config in force, secrets masked.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn config(&self) -> Result<ConfigView, Error> {
        self.json(Method::GET, "/v1/config", Bytes::new(), self.timeout).await
    }

    /// Has the daemon read its config file again.
    ///
    /// # Errors
    /// As [`Client::status`]; `C001` to `C010` when the file is refused: nothing changed.
    pub async fn reload(&self, dry_run: bool) -> Result<Reloaded, Error> {
        let path = format!("/v1/config/reload?dry_run={dry_run}");
        self.json(Method::POST, &path, Bytes::new(), self.timeout).await
    }

    /// What applying `text` would change; the file on disk when there is none.
    ///
    /// # Errors
    /// As [`Client::status`]; `C001` to `C010` when it would be refused.
    pub async fn diff(&self, text: Option<String>) -> Result<Plan, Error> {
        let body = Bytes::from(text.unwrap_or_default());
        self.json(Method::POST, "/v1/config/diff", body, self.timeout).await
    }

    /// Stops every service, then the daemon; returns when that has begun.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn shutdown(&self, why: Option<&str>) -> Result<(), Error> {
        let query = why.map(|why| format!("?why={}", escape(why))).unwrap_or_default();
        let path = format!("/v1/shutdown{query}");
        self.json::<serde_json::Value>(Method::POST, &path, Bytes::new(), self.timeout).await?;
        Ok(())
    }

    /// Has the daemon become another program; returns when that begins.
    ///
    /// # Errors
    /// As [`Client::status`]; `C070` when the program is refused.
    pub async fn upgrade(&self, program: Option<&str>) -> Result<Upgrading, Error> {
        let query = program.map(|path| format!("?program={}", escape(path))).unwrap_or_default();
        let path = format!("/v1/upgrade{query}");
        self.json(Method::PUT, &path, Bytes::new(), self.timeout).await
    }

    /// Events after number `after`, or from now on.
    ///
    /// # Errors
    /// As [`Client::status`], until the stream is open.
    pub async fn events(&self, after: Option<u64>) -> Result<EventStream, Error> {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let exchange = self.open(&format!("/v1/events{query}")).await?;
        Ok(EventStream { exchange, messages: Messages::default() })
    }

    /// Log lines of a service or group, each a JSON object.
    ///
    /// # Errors
    /// As [`Client::status`], until the stream is open.
    pub async fn logs(&self, name: &str, query: &LogQuery) -> Result<LineStream, Error> {
        let mut path = format!("/v1/logs/{}?follow={}", escape(name), query.follow);
        if let Some(lines) = query.lines {
            path += &format!("&lines={lines}");
        }
        for (key, time) in [("since", query.since), ("until", query.until)] {
            if let Some(time) = time {
                path += &format!("&{key}={time}");
            }
        }
        let exchange = self.open(&path).await?;
        Ok(LineStream { exchange, lines: Lines::default() })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, Error> {
        let request = format!("{method} {path}");
        let again = method == Method::GET;
        let ask = || async {
            let mut exchange = self.send(&request, method.clone(), path, body.clone()).await?;
            exchange.whole().await
        };
        let answer = async {
            match ask().await {
                // A daemon that becomes another program cuts what takes longer than a moment. To look twice does no harm.
                Err(Error::Exchange { source, .. }) if again && is_cut(&source) => ask().await,
                answer => answer,
            }
        };
        let bytes = within(timeout, &request, answer).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Answer { request, source })
    }

    async fn open(&self, path: &str) -> Result<Exchange, Error> {
        let request = format!("GET {path}");
        within(self.timeout, &request, self.send(&request, Method::GET, path, Bytes::new())).await
    }

    /// Sends a request; the exchange is open when the daemon answered 2xx.
    async fn send(
        &self,
        request: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Exchange, Error> {
        let unreachable = |source| Error::Connect { socket: self.socket.clone(), source };
        let broken = |source| Error::Exchange { request: request.to_owned(), source };
        // The kernel answers at once whether somebody listens (connect(2), unix(7)): a deadline of its own could only
        // find out that this process did not get to run.
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let message = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "cafe")
            .body(Full::new(body))
            .expect("names and queries are escaped, so the path is a valid one");
        let mut connection = Some(Box::pin(connection));
        let mut answer = Box::pin(sender.send_request(message));
        let answer = poll_fn(|context| {
            drive(&mut connection, context);
            answer.as_mut().poll(context)
        })
        .await
        .map_err(broken)?;
        let status = answer.status();
        let mut exchange =
            Exchange { request: request.to_owned(), connection, body: answer.into_body() };
        if status.is_success() {
            return Ok(exchange);
        }
        let bytes = exchange.whole().await?;
        Err(Error::Problem(match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => body.error,
            Err(_) => Problem::new(Code::OperationFailed, format!("the daemon answered {status}")),
        }))
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    exchange: Exchange,
    messages: Messages,
}

impl EventStream {
    /// The next event; `None` when the daemon ended the stream.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Notice>, Error> {
        loop {
            if let Some(notice) = self.messages.pop() {
                return Ok(Some(notice));
            }
            match self.exchange.chunk().await? {
                Some(chunk) => self.messages.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Lines as they come.
#[derive(Debug)]
pub struct LineStream {
    exchange: Exchange,
    lines: Lines,
}

impl LineStream {
    /// The next line without its end; `None` when the daemon ended the stream.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(line) = self.lines.pop() {
                return Ok(Some(line));
            }
            match self.exchange.chunk().await? {
                Some(chunk) => self.lines.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

type Driver = Pin<Box<Connection<TokioIo<UnixStream>, Full<Bytes>>>>;

/// Whether the connection ended in the middle.
fn is_cut(error: &hyper::Error) -> bool {
    let reset = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| source.kind() == std::io::ErrorKind::ConnectionReset);
    error.is_incomplete_message() || reset
}

/// An answer being read. The connection is driven by whoever reads, so that nothing runs on its own.
struct Exchange {
    request: String,
    connection: Option<Driver>,
    body: Incoming,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exchange").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Exchange {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = poll_fn(|context| {
                drive(&mut self.connection, context);
                Pin::new(&mut self.body).poll_frame(context)
            })
            .await;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(source)) => {
                    return Err(Error::Exchange { request: self.request.clone(), source });
                }
            }
        }
    }

    async fn whole(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Error::TooLarge { request: self.request.clone(), limit: ANSWER_LIMIT });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// Lets the connection do its work; its own errors reach whoever waits for the answer or the body.
fn drive(connection: &mut Option<Driver>, context: &mut std::task::Context<'_>) {
    if let Some(driver) = connection
        && let Poll::Ready(_) = driver.as_mut().poll(context)
    {
        *connection = None;
    }
}

async fn within<T>(
    timeout: Duration,
    request: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(Error::TimedOut { request: request.to_owned(), after: timeout }))
}

/// Percent-encodes all but unreserved characters (RFC 3986, 2.3).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}
