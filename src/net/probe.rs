//! Questions to running services: is the port open, is the page answered. One question, one deadline.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::types::error::chain;
use crate::types::unit::show_duration;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A TCP connection is accepted.
    Tcp(SocketAddr),
    /// A GET is answered with a status from 200 to 399.
    Http {
        /// Where to connect.
        address: SocketAddr,
        /// Host header.
        host: String,
        /// Path and query.
        path: String,
    },
}

/// Asks once. `Ok` and `Err` both carry what came back, in words; no answer within `deadline` is an `Err`.
///
/// # Errors
/// Whatever is no good answer.
pub async fn ask(target: &Target, deadline: Duration) -> Result<String, String> {
    let begun = Instant::now();
    let answer = match target {
        Target::Tcp(address) => {
            timeout(deadline, connect(*address)).await.map(|opened| opened.map(drop))
        }
        Target::Http { address, host, path } => {
            match timeout(deadline, get(*address, host, path)).await {
                Ok(Ok(status)) if (200..400).contains(&status) => {
                    let took = show_duration(begun.elapsed());
                    return Ok(format!("http {status} from {address}{path} in {took}"));
                }
                Ok(Ok(status)) => return Err(format!("http {status} from {address}{path}")),
                Ok(Err(error)) => Ok(Err(error)),
                Err(late) => Err(late),
            }
        }
    };
    let (Target::Tcp(address) | Target::Http { address, .. }) = target;
    match answer {
        Ok(Ok(())) => Ok(format!("{address} accepts connections")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("{address} did not answer within {}", show_duration(deadline))),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))
}

/// The status of the answer. Its body is not read: the connection is closed after the head.
async fn get(address: SocketAddr, host: &str, path: &str) -> Result<u16, String> {
    let failed = |error: hyper::Error| format!("{address}{path}: {}", chain(&error));
    let stream = connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = hyper::Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "cafe-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{path} is no valid path: {error}"))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        answer = &mut answer => return answer.map(|answer| answer.status().as_u16()).map_err(failed),
        ended = &mut connection => ended.map_err(failed)?,
    }
    // The connection is over; what it brought is there or will not come.
    answer.await.map(|answer| answer.status().as_u16()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::{Target, ask};

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn http_target(reply: &'static [u8]) -> (Target, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let server = async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.expect("reads");
            assert!(request[..length].starts_with(b"GET /healthz?a=1 HTTP/1.1\r\n"));
            stream.write_all(reply).await.expect("writes");
            let _ = stream.read(&mut request).await;
        };
        (Target::Http { address, host: "app".into(), path: "/healthz?a=1".into() }, server)
    }

    #[tokio::test]
    async fn a_good_status_is_a_good_answer_and_any_other_is_not() {
        for (reply, good) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], true),
            (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", true),
            (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false),
            (b"SMTP ready\r\n", false),
        ] {
            let (target, server) = http_target(reply).await;
            let (answer, ()) = tokio::join!(ask(&target, DEADLINE), server);
            assert_eq!(answer.is_ok(), good, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nfirst";
        let (target, server) = http_target(head).await;
        let (answer, ()) = tokio::join!(ask(&target, DEADLINE), server);
        assert!(answer.expect("good").starts_with("http 200"));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_silent_server_are_no_good_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        assert!(ask(&Target::Tcp(address), DEADLINE).await.is_ok());
        let silent = Target::Http { address, host: "x".into(), path: "/".into() };
        let late = ask(&silent, Duration::from_millis(20)).await.expect_err("silent");
        assert!(late.contains("did not answer within 20ms"), "{late}");
        drop(listener);
        let refused = ask(&Target::Tcp(address), DEADLINE).await.expect_err("closed");
        assert!(refused.contains("refused"), "{refused}");
    }
}
