//! Streams of the API cut into lines and server-sent events, in bounded memory.

use std::collections::VecDeque;

use crate::net::control::Notice;

/// Longest line a daemon sends: an event with its last lines.
const LINE_LIMIT: usize = 1 << 20;

/// Cuts chunks into lines; a line over the limit is an error of the sender and is dropped.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    too_long: bool,
    whole: VecDeque<Vec<u8>>,
}

impl Lines {
    /// Takes what came.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            let (body, ends) = match piece.strip_suffix(b"\n") {
                Some(body) => (body, true),
                None => (piece, false),
            };
            self.too_long |= self.partial.len() + body.len() > LINE_LIMIT;
            if !self.too_long {
                self.partial.extend_from_slice(body);
            }
            if !ends {
                continue;
            }
            let mut line = std::mem::take(&mut self.partial);
            if std::mem::take(&mut self.too_long) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.whole.push_back(line);
        }
    }

    /// The next whole line, without its end.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }
}

/// Reads server-sent events (HTML standard, 9.2.6) into notices; what is not one is skipped.
#[derive(Debug, Default)]
pub(super) struct Messages {
    lines: Lines,
    kind: String,
    data: String,
}

impl Messages {
    /// Takes what came.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.lines.push(chunk);
    }

    /// The next notice.
    pub(super) fn pop(&mut self) -> Option<Notice> {
        while let Some(line) = self.lines.pop() {
            let line = String::from_utf8_lossy(&line);
            if line.is_empty() {
                let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
                if let Some(notice) = notice(&kind, &data) {
                    return Some(notice);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.kind),
                "data" => self.data.push_str(value),
                // Comments (heartbeats), and ids: the event carries its own number.
                _ => {}
            }
        }
        None
    }
}

fn notice(kind: &str, data: &str) -> Option<Notice> {
    #[derive(serde::Deserialize)]
    struct Gap {
        missed: u64,
    }
    match kind {
        "gap" => serde_json::from_str(data).ok().map(|Gap { missed }| Notice::Gap(missed)),
        _ => serde_json::from_str(data).ok().map(|event| Notice::Event(Box::new(event))),
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_LIMIT, Lines, Messages};
    use crate::net::control::Notice;

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let text = b"one\r\n\ntwo\nrest";
        for cut in 1..text.len() {
            let mut lines = Lines::default();
            text.chunks(cut).for_each(|chunk| lines.push(chunk));
            let whole: Vec<_> = std::iter::from_fn(|| lines.pop()).collect();
            assert_eq!(whole, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_does_not_grow() {
        let mut lines = Lines::default();
        for _ in 0..40 {
            lines.push(&vec![b'x'; LINE_LIMIT / 10]);
        }
        assert!(lines.partial.len() <= LINE_LIMIT);
        lines.push(b"\nnext\n");
        assert_eq!(lines.pop(), Some(b"next".to_vec()));
        assert_eq!(lines.pop(), None);
    }

    #[test]
    fn messages_are_events_and_gaps_and_nothing_else() {
        let mut messages = Messages::default();
        messages.push(b": heartbeat\n\nevent: gap\ndata: {\"event\":\"gap\",\"missed\":7}\n\n");
        messages.push(b"id: 8\ndata: {\"seq\":8,\"at\":\"2026-11-20T18:20:01Z\",");
        messages.push(b"\"event\":\"daemon\",\"message\":\"ready\"}\n\ndata: nonsense\n\n");
        assert_eq!(messages.pop(), Some(Notice::Gap(7)));
        match messages.pop() {
            Some(Notice::Event(event)) => assert_eq!(event.seq, 8),
            other => panic!("{other:?}"),
        }
        assert_eq!(messages.pop(), None);
    }
}
