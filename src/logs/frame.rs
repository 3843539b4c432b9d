//! Turns what a stream wrote into lines on disk. Owns the unfinished line of a stream; does no I/O.

use memchr::{memchr, memchr_iter};

use super::line::{self, HEADER, MAX_PAYLOAD, Micros, Stream};

/// Stop framing into a buffer once it has this much: a chunk of empty lines grows thirtyfold.
const ENOUGH: usize = 1 << 20;

/// An unfinished line larger than this gives its memory back once it is written.
const WORTH_KEEPING: usize = 512;

/// The state of one stream between two reads.
#[derive(Debug, Clone)]
pub(super) struct Framer {
    stream: Stream,
    /// Whether the next piece continues a line whose head is already written.
    continued: bool,
    /// The unfinished line, at most [`MAX_PAYLOAD`] bytes.
    partial: Vec<u8>,
}

impl Default for Framer {
    /// Of nobody.
    fn default() -> Self {
        Self::new(Stream::Cafe)
    }
}

/// What [`Framer::push`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framed {
    /// Bytes of the chunk used; fewer than given when the output is large enough to be written first.
    pub(super) consumed: usize,
    /// Lines completed.
    pub(super) lines: u64,
}

impl Framer {
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, continued: false, partial: Vec::new() }
    }

    /// Goes on where another one stopped: in a line whose head is written already, or is not.
    pub(super) fn resume(&mut self, continued: bool, partial: &[u8]) {
        self.continued = continued;
        self.partial = partial[..partial.len().min(MAX_PAYLOAD)].to_vec();
    }

    /// Whether the next piece continues a line whose head is written, and the unfinished line.
    pub(super) fn unfinished(&self) -> (bool, &[u8]) {
        (self.continued, &self.partial)
    }

    /// Whether the next byte begins a new line.
    pub(super) fn is_between_lines(&self) -> bool {
        !self.continued && self.partial.is_empty()
    }

    /// Whether a line is unfinished.
    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Frames `chunk` into `out`, all lines with the same stamp.
    pub(super) fn push(&mut self, at: Micros, chunk: &[u8], out: &mut Vec<u8>) -> Framed {
        let plain = line::header(at, self.stream.mark(false));
        let mut framed = Framed::default();
        if !self.partial.is_empty() || self.continued {
            framed = self.complete(at, chunk, out);
        }
        let mut start = framed.consumed;
        for end in memchr_iter(b'\n', &chunk[start..]).map(|end| framed.consumed + end) {
            if out.len() >= ENOUGH {
                return Framed { consumed: start, lines: framed.lines };
            }
            if end - start <= MAX_PAYLOAD {
                out.extend_from_slice(&plain);
                out.extend_from_slice(&chunk[start..=end]);
            } else {
                self.extend(at, &chunk[start..end], out);
                self.end(at, out);
            }
            framed.lines += 1;
            start = end + 1;
        }
        self.extend(at, &chunk[start..], out);
        Framed { consumed: chunk.len(), lines: framed.lines }
    }

    /// Writes the unfinished line as it is; what follows will be its continuation. Returns whether there was one.
    pub(super) fn flush(&mut self, at: Micros, out: &mut Vec<u8>) -> bool {
        if self.partial.is_empty() {
            return false;
        }
        self.emit(at, out);
        true
    }

    /// Ends the stream: the unfinished line is written, the next is a new one. Returns lines completed.
    pub(super) fn finish(&mut self, at: Micros, out: &mut Vec<u8>) -> u64 {
        let unfinished = self.flush(at, out) || self.continued;
        self.continued = false;
        u64::from(unfinished)
    }

    /// The head of `chunk`, up to its first newline, completes the line begun before.
    fn complete(&mut self, at: Micros, chunk: &[u8], out: &mut Vec<u8>) -> Framed {
        let Some(end) = memchr(b'\n', chunk) else {
            self.extend(at, chunk, out);
            return Framed { consumed: chunk.len(), lines: 0 };
        };
        self.extend(at, &chunk[..end], out);
        self.end(at, out);
        Framed { consumed: end + 1, lines: 1 }
    }

    /// Adds bytes without a newline; writes a piece only once it is known that more follows.
    fn extend(&mut self, at: Micros, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.partial.len() == MAX_PAYLOAD {
                self.emit(at, out);
            }
            let room = MAX_PAYLOAD - self.partial.len();
            let (head, tail) = bytes.split_at(room.min(bytes.len()));
            self.partial.extend_from_slice(head);
            bytes = tail;
        }
    }

    /// The newline came. A line whose pieces are all written needs no empty one more.
    fn end(&mut self, at: Micros, out: &mut Vec<u8>) {
        if !self.partial.is_empty() || !self.continued {
            self.emit(at, out);
        }
        self.continued = false;
    }

    fn emit(&mut self, at: Micros, out: &mut Vec<u8>) {
        out.reserve(HEADER + self.partial.len() + 1);
        out.extend_from_slice(&line::header(at, self.stream.mark(self.continued)));
        out.extend_from_slice(&self.partial);
        out.push(b'\n');
        self.continued = true;
        self.partial.clear();
        if self.partial.capacity() > WORTH_KEEPING {
            self.partial = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::{Framer, MAX_PAYLOAD};
    use crate::logs::line::{Stream, parse};

    /// What is on disk, as (mark is capital, payload).
    fn pieces(disk: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let Some(body) = disk.strip_suffix(b"\n") else {
            assert!(disk.is_empty(), "ends in a newline");
            return Vec::new();
        };
        // Payloads have no newline, so every newline is an end of a piece.
        body.split(|&byte| byte == b'\n')
            .map(|line| {
                let line = parse(line).expect("is a line");
                (line.continued, line.payload.to_vec())
            })
            .collect()
    }

    /// The naive model: split all bytes at newlines, each line into pieces of the cap.
    fn model(bytes: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        let mut pieces = Vec::new();
        for line in lines {
            if line.is_empty() {
                pieces.push((false, Vec::new()));
            }
            for (index, piece) in line.chunks(MAX_PAYLOAD).enumerate() {
                pieces.push((index > 0, piece.to_vec()));
            }
        }
        pieces
    }

    fn push(framer: &mut Framer, mut chunk: &[u8], out: &mut Vec<u8>) -> u64 {
        let mut lines = 0;
        while !chunk.is_empty() {
            let mut part = Vec::new();
            let framed = framer.push(0, chunk, &mut part);
            assert!(framed.consumed > 0, "always advances");
            out.extend_from_slice(&part);
            chunk = &chunk[framed.consumed..];
            lines += framed.lines;
        }
        lines
    }

    fn written() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let chunk = prop_oneof![
            4 => proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            1 => (MAX_PAYLOAD - 2..MAX_PAYLOAD + 3).prop_map(|length| vec![b'x'; length]),
            1 => (0..70_000_usize).prop_map(|length| vec![b'y'; length]),
            1 => (0..4_usize).prop_map(|length| vec![b'\n'; length]),
        ];
        proptest::collection::vec(chunk, 0..12)
    }

    proptest! {
        #[test]
        fn however_it_is_chunked_the_lines_are_those_of_the_model(chunks in written()) {
            let (mut framer, mut disk) = (Framer::new(Stream::Stdout), Vec::new());
            let mut lines = 0;
            for chunk in &chunks {
                lines += push(&mut framer, chunk, &mut disk);
            }
            lines += framer.finish(0, &mut disk);
            let expected = model(&chunks.concat());
            assert_eq!(pieces(&disk), expected);
            let begun = expected.iter().filter(|(continued, _)| !continued).count();
            assert_eq!(lines, begun as u64);
        }
    }

    #[test]
    fn a_flushed_line_goes_on_as_a_continuation_and_leaves_no_empty_piece() {
        let (mut framer, mut disk) = (Framer::new(Stream::Stderr), Vec::new());
        push(&mut framer, b"pass", &mut disk);
        assert!(framer.flush(0, &mut disk));
        push(&mut framer, b"word: \nnext\nlast", &mut disk);
        framer.flush(0, &mut disk);
        push(&mut framer, b"\n\n", &mut disk);
        assert_eq!(framer.finish(0, &mut disk), 0);
        let expected: [(bool, &[u8]); 5] =
            [(false, b"pass"), (true, b"word: "), (false, b"next"), (false, b"last"), (false, b"")];
        let expected = expected.map(|(continued, piece)| (continued, piece.to_vec()));
        assert_eq!(pieces(&disk), expected);
    }

    #[test]
    fn a_chunk_of_empty_lines_is_framed_in_bounded_parts() {
        let (mut framer, mut part) = (Framer::new(Stream::Stdout), Vec::new());
        let chunk = vec![b'\n'; 256 * 1024];
        let framed = framer.push(0, &chunk, &mut part);
        assert!(framed.consumed < chunk.len());
        assert!(part.len() < super::ENOUGH + 64);
        let mut disk = Vec::new();
        assert_eq!(push(&mut framer, &chunk, &mut disk), chunk.len() as u64);
    }
}
