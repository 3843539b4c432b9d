//! A client of HTTP/1.1 that knows nothing of cafe: what any program can do with a socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::harness::{Cafe, DEADLINE};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// One request on a connection of its own.
pub(super) fn request(
    cafe: &Cafe,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = send(cafe, method, path, headers, body);
    let (status, headers) = head(&mut stream);
    let mut bytes = Vec::new();
    // The daemon may close a connection whose request it did not read to the end.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let chunked = headers.iter().any(|(key, value)| {
        key.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
    });
    let body = if chunked { unchunk(&text) } else { text };
    Answer { status, headers, body }
}

fn send(
    cafe: &Cafe,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(cafe.client.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: cafe\r\nconnection: close\r\n");
    for (key, value) in headers {
        text += &format!("{key}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes());
    BufReader::new(stream)
}

fn head(stream: &mut BufReader<UnixStream>) -> (u16, Vec<(String, String)>) {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).unwrap_or_else(|| panic!("no HTTP: {first}"));
    let status = status.parse().unwrap();
    let headers = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let pair = |line: String| {
        let (key, value) = line.split_once(':').unwrap();
        (key.to_owned(), value.trim().to_owned())
    };
    (status, headers.map(pair).collect())
}

fn unchunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &rest[..size];
        text = rest.get(size + 2..).unwrap_or_default();
    }
    body
}

/// Server-sent events, read as the standard says.
pub(super) struct Stream {
    reader: BufReader<UnixStream>,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

impl Stream {
    pub(super) fn open(cafe: &Cafe, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut reader = send(cafe, "GET", path, headers, "");
        let (status, headers) = head(&mut reader);
        assert_eq!(status, 200, "{headers:?}");
        Self { reader }
    }

    /// The next message; chunk sizes stand between the lines and are no field.
    pub(super) fn message(&mut self) -> Message {
        let mut message = Message::default();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(id) = line.strip_prefix("id: ") {
                message.id = Some(id.trim_end().to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                data.trim_end().clone_into(&mut message.data);
            } else if line == "\n" && !message.data.is_empty() {
                return message;
            }
        }
    }
}
